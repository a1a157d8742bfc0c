//! Hashing: tight loops over memory that is in the cache.
//!
//! A profile shows three leaves, one for each way of going over the input:
//! [`siphash`] with about 41 %, [`fnv1a`] with 34 % and [`crc32`] with 25 %. They
//! are made of inlined functions, which have nearly all of the self share:
//! `siphash`'s round, the closures of the other two.

use core::hint::black_box;

use super::scratch::Scratch;

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    let key = [scratch.seed(), scratch.round];
    black_box(fnv1a(black_box(&scratch.source)));
    black_box(siphash(key, black_box(&scratch.source)));
    black_box(crc32(black_box(&scratch.source[..256])));
}

/// FNV-1a, 64 bits: a byte at a time, each waits for the one before.
#[inline(never)]
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// SipHash-2-4: a word at a time, much work in registers for each.
#[inline(never)]
#[must_use]
pub fn siphash(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = bytes.as_chunks::<8>();
    // The last word: what is left, and the length modulo 256 on top.
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len().to_le_bytes()[0];
    for &word in words.iter().chain([&last]) {
        let word = u64::from_le_bytes(word);
        state[3] ^= word;
        sip_round(&mut state);
        sip_round(&mut state);
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    for _ in 0..4 {
        sip_round(&mut state);
    }
    state.into_iter().fold(0, |hash, word| hash ^ word)
}

#[inline]
fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

/// CRC-32 as in Ethernet, a bit at a time: without a table it is mostly shifts.
#[inline(never)]
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            let polynomial = if crc & 1 == 0 { 0 } else { 0xedb8_8320 };
            (crc >> 1) ^ polynomial
        })
    });
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_of_the_reference_strings() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn siphash_of_the_reference_vectors() {
        // Aumasson and Bernstein, SipHash (2012), appendix A; and the first of the
        // reference implementation's vectors, the empty input.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let input: [u8; 15] = core::array::from_fn(|i| i.to_le_bytes()[0]);
        assert_eq!(siphash(key, &input), 0xa129_ca61_49be_45e5);
        assert_eq!(siphash(key, b""), 0x726f_db47_dd0e_0e31);
    }

    #[test]
    fn crc32_of_the_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
