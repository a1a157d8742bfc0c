//! The interrupt vectors that the sampler uses. They are of the highest priority class,
//! which a waiting core lets in alone, and fixed, since `int` takes a constant.

/// An overflow, where overflows come as maskable interrupts.
pub const OVERFLOW: u8 = crate::entry::vector::OVERFLOW;
/// The first core has a request of the host to run: see `sampler::requests`.
pub const CONTROL: u8 = 0xf1;
/// A group of events has been counted for its time: see `sampler::counting`, as for the
/// four that follow.
pub const COUNT_TIMER: u8 = 0xf2;
/// A counter has wrapped.
pub const COUNT_OVERFLOW: u8 = 0xf3;
/// A core begins to count.
pub const COUNT_BEGIN: u8 = 0xf4;
/// A core has done what it counts.
pub const COUNT_END: u8 = 0xf5;
/// The last core has done what it counts.
pub const COUNT_DONE: u8 = 0xf6;
/// Ends a core's wait: see `sampler::round_robin`.
pub const WAKE: u8 = 0xf7;

/// An interrupt that went away before the core took it. It is not to be ended; a kernel
/// whose APICs it has not enabled itself has a gate for it.
pub const SPURIOUS: u8 = 0xff;

/// Those whose handlers call [`super::Sampler::on_interrupt`]: all but [`WAKE`], whose gate
/// leads to [`super::Sampler::wake_entry`].
pub const HANDLED: core::ops::RangeInclusive<u8> = OVERFLOW..=COUNT_DONE;

/// The number of those.
pub const HANDLED_COUNT: u8 = COUNT_DONE - OVERFLOW + 1;

/// The priority class below theirs: a core of that task priority lets them in alone.
pub(crate) const CLASS_BELOW: u8 = (OVERFLOW >> 4) - 1;

/// The vector's name, for messages; `None` if it is not the sampler's.
#[must_use]
pub const fn name(vector: u8) -> Option<&'static str> {
    Some(match vector {
        OVERFLOW => "overflow",
        WAKE => "wake-up of a waiting core",
        COUNT_TIMER => "rotation of counted events",
        COUNT_OVERFLOW => "overflow of a counted event",
        COUNT_BEGIN => "begin of counting",
        COUNT_END => "end of counting",
        COUNT_DONE => "end of all counting",
        CONTROL => "control",
        _ => return None,
    })
}
