//! Bytes that mean nothing, where they can be executed.

/// How many there are.
const COUNT: usize = 16 << 10;

const fn random() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut place = 0;
    while place < COUNT {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        [_, _, _, _, bytes[place], ..] = state.to_le_bytes();
        place += 1;
    }
    bytes
}

/// Random bytes, in the text of a program that uses them.
#[unsafe(link_section = ".text.random")]
pub static RANDOM: [u8; COUNT] = random();
