//! What is different from core to core: `apic.x-pending`, `x-tsc-skew`, `x-hybrid`.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Words, entries};
use crate::cores::{self, MAX_CORES};
use crate::machine::{self, read_apic, try_read_msr};
use crate::report::{equal, test};

const REQUESTED: u32 = 0x200;

const IA32_PMC0: u32 = 0xc1;
const GENERALS_MAX: u32 = 8;
/// In CPUID leaf 7.
const HYBRID: u32 = 1 << 15;
/// The leaf that says what a core is.
const CORE_TYPE: u32 = 0x1a;

/// What a core found.
struct Found {
    requested: [AtomicU32; 8],
    arrived: [AtomicU32; 2],
    time: AtomicU64,
    /// CPUID's: 0 where the processor is not hybrid.
    kind: AtomicU32,
    /// General counters that are not #GP.
    counters: AtomicU32,
}

static FOUND: [Found; MAX_CORES] = [const {
    Found {
        requested: [const { AtomicU32::new(0) }; 8],
        arrived: [const { AtomicU32::new(0) }; 2],
        time: AtomicU64::new(0),
        kind: AtomicU32::new(0),
        counters: AtomicU32::new(0),
    }
}; MAX_CORES];

/// A core's part. One after the other, so that it is known whose interrupts came, and
/// that times go up.
fn look() {
    let number = machine::core_number();
    for turn in 0..cores::count() {
        cores::meet();
        if turn != number {
            continue;
        }
        let found = &FOUND[number];
        for (bits, register) in found.requested.iter().zip((REQUESTED..).step_by(0x10)) {
            bits.store(read_apic(register), Ordering::Relaxed);
        }
        for arrived in &found.arrived {
            arrived.store(entries::arrived_by_any(), Ordering::Relaxed);
        }
        found.time.store(machine::time(), Ordering::Relaxed);
        found.kind.store(kind(), Ordering::Relaxed);
        let counters = (0..GENERALS_MAX).filter(|n| try_read_msr(IA32_PMC0 + n).is_some());
        let counters = u32::try_from(counters.count()).expect("a few");
        found.counters.store(counters, Ordering::Relaxed);
    }
    cores::meet();
}

/// What CPUID says that the running core is.
fn kind() -> u32 {
    let is_hybrid = machine::cpuid(7)[3] & HYBRID != 0;
    if is_hybrid && machine::cpuid(0)[0] >= CORE_TYPE {
        machine::cpuid(CORE_TYPE)[0] >> 24
    } else {
        0
    }
}

pub fn other_core() {
    look();
}

/// The first `performance` cores are of one kind, all others of another.
pub fn judge_hybrid(words: &Words<'_>) {
    look();
    let performance = if words.is_on() {
        words.number("performance")
    } else {
        u64::MAX
    };
    for (core, found) in (0..).zip(&FOUND[..cores::count()]) {
        let (kind, counters) = match (words.is_on(), core < performance) {
            (false, _) => (0, "counters"),
            (true, true) => (0x40, "counters"),
            (true, false) => (0x20, "efficient"),
        };
        let seen = found.kind.load(Ordering::Relaxed);
        equal(format_args!("core {core}: kind"), seen, kind);
        let seen = found.counters.load(Ordering::Relaxed);
        equal(
            format_args!("core {core}: counters"),
            u64::from(seen),
            words.number(counters),
        );
    }
}

pub fn judge(words: &Words<'_>, skew: bool) {
    look();
    if skew {
        let behind = if words.is_on() {
            words.number("skew")
        } else {
            0
        };
        judge_skew(behind);
    } else {
        let vector = if words.is_on() {
            words.number("vector")
        } else {
            0
        };
        judge_pending(vector);
    }
}

/// With what is skewed put back, times go up, and not by much.
fn judge_skew(behind: u64) {
    let times = |core: u64, found: &Found| {
        found
            .time
            .load(Ordering::Relaxed)
            .wrapping_add(core * behind)
    };
    let mut times = (0..)
        .zip(&FOUND[..cores::count()])
        .map(|(core, found)| times(core, found));
    let mut last = times.next().expect("a core");
    for (time, core) in times.zip(1..) {
        let apart = time.wrapping_sub(last);
        test(
            apart < 10_000_000,
            format_args!("core {core} looked {apart} after the one before it"),
        );
        last = time;
    }
}

fn judge_pending(vector: u64) {
    for (core, found) in FOUND[..cores::count()].iter().enumerate() {
        let requested = (0..256).filter(|&n| {
            let bits = found.requested[n / 32].load(Ordering::Relaxed);
            bits & 1 << (n % 32) != 0
        });
        let first = requested.clone().next().unwrap_or(0) as u64;
        equal(format_args!("core {core}: requested"), first, vector);
        let expected = usize::from(vector != 0);
        equal(
            format_args!("core {core}: requests"),
            requested.count(),
            expected,
        );
        let came = found
            .arrived
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed));
        equal(
            format_args!("core {core}: came, and came again"),
            came,
            [u32::from(vector != 0), 0],
        );
    }
}
