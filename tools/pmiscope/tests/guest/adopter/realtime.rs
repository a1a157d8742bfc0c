//! The kernels by the clock. None of them says where an HPET is: the sampler finds a clock by
//! itself.
//!
//! Under QEMU's emulation samples gather at the heads of translated blocks, so only functions of
//! long loops have their shares, and these only roughly (`docs/limits.md`).

use super::kernel::{Boot, Kernel};
use super::round::shown;

/// How far off a share may be, in hundreds of all.
const OFF: u64 = 10;

/// A kernel, with the options that it needs.
fn kernels() -> Vec<(Kernel, u64, &'static str)> {
    let mut kernels = vec![
        (Kernel::rust("rust-smp"), 4, ""),
        (Kernel::rust("rust-irq"), 1, "--delivery irq"),
        (Kernel::rust("rust-pvh").by(Boot::Direct), 1, ""),
        (Kernel::rust("rust-tasks"), 1, ""),
    ];
    let c = Kernel::c("c-limine", "c-limine");
    kernels.extend(c.into_iter().map(|kernel| (kernel, 4, "")));
    kernels
}

/// The least period that is said; it depends on the host.
#[track_caller]
fn least_period(said: &str) -> u64 {
    let (_, behind) = said
        .split_once("makes no progress here: the smallest that does is ")
        .unwrap_or_else(|| panic!("{said}"));
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{said}"))
}

#[test]
fn short_periods_are_refused_with_the_least_that_is_not() {
    for (kernel, cores, options) in kernels() {
        for period in [1000, 100] {
            let arguments = format!(
                "--mode realtime --source apic-timer --smp {cores} --period {period} {options}"
            );
            let run = kernel.attempt(&arguments).ended_with(5);
            let least = least_period(&run.said());
            assert!(least > period, "{}: {least}", kernel.name());
        }
    }
}

#[test]
fn long_loops_have_their_shares() {
    for (kernel, cores, options) in kernels() {
        let samples = 2000 * cores;
        let arguments = format!(
            "--mode realtime --source apic-timer --smp {cores} --period 200000 --samples {samples} \
             {options}"
        );
        let run = kernel.profile(&arguments);
        let report = run.report();
        let what = format!("{}: {arguments}: {report:#}", kernel.name());
        let taken = report["samples"].as_u64().unwrap() + report["lost"].as_u64().unwrap();
        assert_eq!(taken, samples, "{what}");
        let functions = shown(&report);
        let total = |name: &str| functions.get(name).map_or(0, |&(_, total)| total);
        assert!(total("rounds") * 100 >= samples * 95, "{what}");
        // In hundreds of all, of a round without and with a function with interrupts off. In C
        // all are short loops, each step of which is a block: they have not their shares.
        let shares: &[(&str, u64)] = match kernel.name().as_str() {
            "release/rust-smp" => &[("fibonacci", 40), ("copy", 16)],
            "gcc/c-limine" | "clang/c-limine" => &[],
            _ => &[("fibonacci", 45), ("copy", 19)],
        };
        for &(name, share) in shares {
            let shown = total(name) * 100;
            assert!(
                shown.abs_diff(share * samples) <= OFF * samples,
                "{name}: {what}"
            );
        }
    }
}
