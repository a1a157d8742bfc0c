//! What a sample costs in each of the kernels, by each way that its interrupts come: the numbers of
//! `docs/guide.md`, which `--nocapture` shows.

use super::c_multiboot2;
use super::kernel::{Boot, Kernel};
use crate::pmu::is_skipped;

/// By the timer and by counters.
const TIMER: &str = "--source apic-timer";
const COUNTERS: &str = "--pmu intel-v5 --source pmu";

const NMI: &str = "--delivery nmi";
const IRQ: &str = "--delivery irq";

/// What samples cost at most, and how many of a hundred are fast at least.
struct Cost {
    instructions: u64,
    fast: u64,
}

const FAST_BY_TIMER: Cost = Cost {
    instructions: 460,
    fast: 99,
};
const FAST_BY_COUNTERS: Cost = Cost {
    instructions: 510,
    fast: 98,
};
const SLOW: Cost = Cost {
    instructions: 1600,
    fast: 0,
};

/// Asserts what samples of a kernel cost, and prints it.
#[track_caller]
fn assert_cost(kernel: &Kernel, arguments: &str, expected: &Cost) {
    let report = kernel.profile(&format!("--smp 1 {arguments}")).report();
    let what = format!("{} {arguments}", kernel.name());
    let number = |at: &str| {
        let found = report.pointer(at).and_then(serde_json::Value::as_u64);
        found.unwrap_or_else(|| panic!("{what}: no {at}: {report}"))
    };
    let (fast, samples) = (number("/fast_samples"), number("/samples"));
    let median = number("/handler_instructions/median");
    println!("{what}: {median} instructions a sample (median), {fast} of {samples} fast");
    let is_as_expected = if expected.fast == 0 {
        fast == 0
    } else {
        100 * fast >= expected.fast * samples
    };
    assert!(is_as_expected, "{what}: {fast} of {samples} are fast");
    let most = expected.instructions;
    assert!(median <= most, "{what}: {median} instructions a sample");
}

fn asking_for(source: &str, delivery: &str) -> String {
    format!("--period 1009 --samples 2000 {source} {delivery}")
}

#[test]
fn samples_by_the_librarys_entries_are_fast_in_each_kernel() {
    let rust = ["rust-smp", "rust-tasks"].map(Kernel::rust);
    let direct = Kernel::rust("rust-pvh").by(Boot::Direct);
    let in_c = ["c-limine", "c-limine-all"].map(|name| Kernel::c("c-limine", name).remove(0));
    for kernel in rust.iter().chain([&direct]).chain(&in_c) {
        for delivery in [NMI, IRQ] {
            assert_cost(kernel, &asking_for(TIMER, delivery), &FAST_BY_TIMER);
        }
    }
    if is_skipped() {
        return;
    }
    for kernel in [&rust[0], &in_c[0]] {
        for delivery in [NMI, IRQ] {
            assert_cost(kernel, &asking_for(COUNTERS, delivery), &FAST_BY_COUNTERS);
        }
    }
}

#[test]
fn samples_of_a_kernel_that_grub_boots_are_fast() {
    let kernel = &c_multiboot2::kernels()[0];
    for delivery in ["nmi", "irq"] {
        let settings = format!("source=apic-timer period=1009 samples=2000 delivery={delivery}");
        let kernel = c_multiboot2::by_grub(kernel, &format!("cost-{delivery}"), &settings);
        assert_cost(&kernel, "", &FAST_BY_TIMER);
    }
}

/// They do not try a fast handler, and the report says what that costs.
#[test]
fn samples_by_a_kernels_own_entries_are_slow() {
    let timer = asking_for(TIMER, IRQ);
    assert_cost(&Kernel::rust("rust-irq"), &timer, &SLOW);
    for kernel in Kernel::c("c-limine", "c-limine-all") {
        assert_cost(&kernel, &format!("{timer} --workload own-entries"), &SLOW);
    }
}
