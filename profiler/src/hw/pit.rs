//! Channel 2 of the PC's interval timer (Intel 8254 data sheet), which counts
//! 1,193,182 Hz on every PC. It interrupts nobody: it is the loudspeaker's, whose gate and
//! output are bits of port 61h. So it can be used as a stopwatch in any kernel.

use core::arch::asm;

use super::tsc::{self, Deadline};

/// Mode and command (8254, "control word").
const COMMAND: u16 = 0x43;
/// The count of channel 2.
const CHANNEL_2: u16 = 0x42;
/// Channel 2, low byte then high byte, mode 0 ("interrupt on terminal count"), binary.
const ONE_SHOT: u8 = 0b1011_0000;

/// Port 61h, "NMI status and control".
const GATE_PORT: u16 = 0x61;
/// Channel 2 counts.
const GATE: u8 = 1 << 0;
/// Its output goes to the loudspeaker.
const SPEAKER: u8 = 1 << 1;
/// Its output (read only): set when it has counted down.
const OUTPUT: u8 = 1 << 5;

/// What can be written to port 61h of it: the other bits are status.
const WRITABLE: u8 = 0x0f;

/// Its ticks a second.
const HERTZ: u64 = 1_193_182;
const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// No wait for the timer reads its output more often: each reading takes a microsecond or so.
const MOST_READS: u32 = 2_000_000;

/// What channel 2 was seen to count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counted {
    /// What it takes.
    pub nanoseconds: u64,
    /// How far the time stamp counter advanced meanwhile,
    pub ticks: u64,
    /// give or take so many: from the reading before the last one to the last.
    pub width: u64,
}

/// Lets channel 2 count `count` of its ticks. Returns what was seen of that; `None` if it has
/// not counted down after `timeout_ticks` of the time stamp counter, or there is no such timer.
///
/// Whatever else uses the channel (it makes sounds) is disturbed.
#[must_use]
pub fn measure(count: u16, timeout_ticks: u64) -> Option<Counted> {
    let before = read(GATE_PORT) & WRITABLE;
    let stopped = before & !(GATE | SPEAKER);
    write(GATE_PORT, stopped);
    write(COMMAND, ONE_SHOT);
    let [low, high] = count.to_le_bytes();
    write(CHANNEL_2, low);
    write(CHANNEL_2, high);
    // Where there is no timer, ports read as all ones.
    let is_there = read(GATE_PORT) & OUTPUT == 0;

    let start = tsc::ticks();
    write(GATE_PORT, stopped | GATE);
    let deadline = Deadline::after(timeout_ticks);
    let mut looked = start;
    let end = (0..MOST_READS)
        .take_while(|_| !deadline.is_over())
        .find_map(|_| {
            let has_ended = read(GATE_PORT) & OUTPUT != 0;
            let now = tsc::ticks();
            let last = core::mem::replace(&mut looked, now);
            has_ended.then_some((now, last))
        });
    write(GATE_PORT, before);
    // The output rises one tick after the count is zero (8254, mode 0).
    let nanoseconds = (u64::from(count) + 1) * NANOSECONDS_PER_SECOND / HERTZ;
    let (end, last) = end.filter(|_| is_there)?;
    Some(Counted {
        nanoseconds,
        ticks: end.wrapping_sub(start),
        width: end.wrapping_sub(last),
    })
}

fn read(port: u16) -> u8 {
    let value;
    // SAFETY: reading one of the ports above has no effect.
    unsafe {
        asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags))
    };
    value
}

fn write(port: u16, value: u8) {
    // SAFETY: one of the ports above: it starts or stops channel 2, which interrupts nobody.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags))
    };
}
