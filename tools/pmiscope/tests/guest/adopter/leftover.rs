//! The kernels on a machine whose firmware has left an interrupt pending on each core: it comes
//! when they let interrupts in first.

use profiler::sampler::vector;

use super::c_multiboot2;
use super::kernel::{Boot, Kernel};
use super::round::assert_exact;
use crate::pmu::is_skipped;

/// A vector that is nobody's.
const NOBODYS: u8 = 49;

const SAMPLES: u64 = 200;
const PERIOD: u64 = 1000;

/// Has a kernel sampled so, on a machine of these cores where the vector is pending.
#[track_caller]
fn assert_sampled(kernel: &Kernel, cores: u64, arguments: &str, vector: u8) {
    let what = format!("{}: vector {vector:#x}: {arguments}", kernel.name());
    let run = kernel.profile(&format!(
        "--pmu intel-v5 --smp {cores} {arguments} -- -global apic.x-pending={vector}"
    ));
    assert_exact(&run.report(), &what, SAMPLES, PERIOD);
}

/// Of the sampler's, two more: they are no sample, and end no core's wait. A kernel that has not
/// all of its gates has the first.
#[test]
fn what_firmware_left_pending_is_ended_and_no_sample() {
    if is_skipped() {
        return;
    }
    let counters = format!("--event instructions --period {PERIOD} --samples {SAMPLES}");
    let by_irq = format!(
        "--source apic-timer --delivery irq --period {PERIOD} --samples {SAMPLES} --ring 8M"
    );
    let mut kernels = vec![
        (Kernel::rust("rust-irq"), 1, by_irq),
        (Kernel::rust("rust-smp"), 4, counters.clone()),
        (
            Kernel::rust("rust-pvh").by(Boot::Direct),
            1,
            format!("{counters} --ring 8M"),
        ),
        (
            Kernel::rust("rust-tasks"),
            1,
            format!("{counters} --ring 8M"),
        ),
    ];
    let c = Kernel::c("c-limine", "c-limine");
    kernels.extend(c.into_iter().map(|kernel| (kernel, 4, counters.clone())));
    for (kernel, cores, arguments) in kernels {
        let vectors = [NOBODYS, vector::OVERFLOW, vector::WAKE];
        let has_all_gates = !arguments.contains("irq");
        for vector in &vectors[..if has_all_gates { 3 } else { 2 }] {
            assert_sampled(&kernel, cores, &arguments, *vector);
        }
    }
    // Its settings are on the image.
    let settings = format!("source=pmu event=instructions period={PERIOD} samples={SAMPLES}");
    for (number, kernel) in c_multiboot2::kernels().iter().enumerate() {
        let image = format!("leftover-{number}");
        let kernel = c_multiboot2::by_grub(kernel, &image, &settings);
        assert_sampled(&kernel, 1, "", NOBODYS);
    }
}

/// As an exception it would end the kernel. The task priority keeps it out.
#[test]
fn a_vector_of_exceptions_never_comes() {
    if is_skipped() {
        return;
    }
    let arguments = format!("--event instructions --period {PERIOD} --samples {SAMPLES}");
    let mut kernels = Kernel::c("c-limine", "c-limine");
    kernels.push(Kernel::rust("rust-smp"));
    for kernel in kernels {
        assert_sampled(&kernel, 4, &arguments, 20);
    }
}
