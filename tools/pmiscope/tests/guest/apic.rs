//! Local APICs as strict as the manuals have them, and as firmware leaves them, on the lab
//! emulator; more cores, and higher ids, than an xAPIC knows.

use std::fs;
use std::process::Command;

use profiler::format::Source;

use crate::fixture::{Run, Slot, built, folder, run, tool};
use crate::pmu::{is_skipped, lab_with};
use pmiscope::internals::qemu::{Choice, Qemu};

/// What makes the emulator's APICs and MSRs strict.
const STRICT: &str = "-global apic.x-strict=on -global max-x86_64-cpu.x-msr-strict=on";

/// The processor in xAPIC and in x2APIC mode.
const MODES: [(&str, &str); 2] = [
    ("xAPIC", "-cpu max,-x2apic,x-pmu=intel-v5"),
    ("x2APIC", "-cpu max,x-pmu=intel-v5"),
];

/// The lab emulator, strict, its APICs in the mode called so.
fn strict(mode: &str, more: &str) -> String {
    let (_, processor) = MODES.iter().find(|(name, _)| *name == mode).unwrap();
    let name = format!("strict-{mode}{}", more.replace([' ', '/'], "_"));
    lab_with(&name, &format!("{processor} {STRICT} {more}"))
}

/// Asserts that the kernel was in that mode, and that no APIC has found fault with it.
#[track_caller]
fn assert_faultless(run: &Run, mode: &str) {
    let said = run.said();
    assert!(said.contains(&format!("a ping; {mode}\n")), "{said}");
    assert!(!said.contains("local APIC error"), "{said}");
}

#[test]
fn counters_work_with_an_apic_that_signals_illegal_vectors() {
    if is_skipped() {
        return;
    }
    for (mode, _) in MODES {
        let qemu = strict(mode, "");
        for delivery in ["nmi", "irq"] {
            let run = run(&format!(
                "--qemu {qemu} --verbose --delivery {delivery} --workload arithmetic --samples 2000"
            ))
            .ended_with(0);
            assert_faultless(&run, mode);
            let samples = run.samples();
            assert_eq!(samples.description.source, Source::Pmu);
            samples.assert_whole(4, 2000);
        }
    }
}

#[test]
fn a_timer_that_takes_no_delivery_mode_is_passed_over() {
    if is_skipped() {
        return;
    }
    for (mode, _) in MODES {
        let qemu = strict(mode, "");
        let (status, list) = tool("list", &format!("--qemu {qemu} --smp 2"));
        assert_eq!(status, Some(0), "{mode}: {list}");
        for line in [
            "pmu as NMI                works; auto takes it",
            "apic-timer as NMI         not here: the timer does not keep the NMI delivery mode",
            "ipi as NMI                works",
            "apic-timer as IRQ         works",
        ] {
            assert!(list.contains(line), "{mode}: no `{line}` in\n{list}");
        }
        let run = run(&format!("--qemu {qemu} --verbose --source apic-timer"));
        let run = run.ended_with(5).saying(&[
            "apic-timer: the timer does not keep the NMI delivery mode; there are ipi, step",
        ]);
        assert_faultless(&run, mode);
    }
}

#[test]
fn what_firmware_left_pending_is_ended_and_counted() {
    if is_skipped() {
        return;
    }
    for (mode, _) in MODES {
        let qemu = strict(mode, "-global apic.x-pending=49");
        let run = run(&format!("--qemu {qemu} --verbose --samples 400"))
            .ended_with(0)
            .saying(&["interrupts left pending by firmware: 4, ended; vectors: 0x31\n"]);
        assert_faultless(&run, mode);
        run.samples().assert_whole(4, 400);
    }
}

/// One that the kernel uses as well is no call, no tick and no wake-up; one below 32 waits for
/// ever, as it would be taken for an exception.
#[test]
fn what_firmware_left_pending_may_have_any_vector() {
    if is_skipped() {
        return;
    }
    for (vector, is_ended) in [(0x40, true), (0x45, true), (20, false)] {
        let qemu = strict("xAPIC", &format!("-global apic.x-pending={vector}"));
        let run = run(&format!("--qemu {qemu} --verbose --samples 400")).ended_with(0);
        assert_faultless(&run, "xAPIC");
        let line = format!("interrupts left pending by firmware: 4, ended; vectors: {vector:#x}\n");
        assert_eq!(run.said().contains(&line), is_ended, "{}", run.said());
        run.samples().assert_whole(4, 400);
    }
}

#[test]
fn firmwares_thermal_interrupt_stays_an_smi() {
    if is_skipped() {
        return;
    }
    for (mode, _) in MODES {
        // The emulator ends if it does not.
        let qemu = strict(mode, "-global apic.x-thermal-smi=on");
        let run = run(&format!("--qemu {qemu} --verbose --samples 400")).ended_with(0);
        assert_faultless(&run, mode);
        run.samples().assert_whole(4, 400);
    }
}

/// Boots the kernel on the lab emulator with these arguments and a processor that has x2APIC.
/// Returns the emulator's status and the log.
fn boot(arguments: &str, command_line: &str) -> (Option<i32>, String) {
    let _slot = Slot::take();
    let lab = Qemu::find(&Choice::Lab).unwrap();
    let output = Command::new(lab.program)
        .args("-machine q35 -accel tcg,thread=single -m 512 -display none".split(' '))
        .args("-nodefaults -no-reboot -serial stdio -cpu max".split(' '))
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .args(["-append", command_line, "-kernel"])
        .arg(built("loader"))
        .arg("-initrd")
        .arg(built("kernel"))
        .args(arguments.split_ascii_whitespace())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), log)
}

#[test]
fn errors_of_an_apic_are_counted_and_end_nothing() {
    if is_skipped() {
        return;
    }
    for processor in ["", "-cpu max,-x2apic"] {
        let (status, log) = boot(&format!("{processor} {STRICT}"), "test=apic-error");
        assert_eq!(status, Some(33), "{log}");
        for line in [
            "[WARN core0] local APIC error: SEND_ILLEGAL_VECTOR",
            "[WARN core0] local APIC errors: 3 in all\n",
        ] {
            assert_eq!(log.matches(line).count(), 1, "`{line}` in\n{log}");
        }
    }
}

#[test]
fn an_interrupt_without_a_handler_still_ends_the_run() {
    if is_skipped() {
        return;
    }
    let (status, log) = boot("-global apic.x-pending=49", "test=stray-interrupt");
    assert_eq!(status, Some(39), "{log}");
    let line = "[ERROR core0] interrupt (vector 49) at ";
    assert!(log.contains(line), "no `{line}` in\n{log}");
}

#[test]
fn firmware_may_opt_out_of_x2apic() {
    if is_skipped() {
        return;
    }
    for (flags, mode, loader) in [
        (0b01, "x2APIC", None),
        (
            0b11,
            "xAPIC",
            Some("not answered: x2APIC (firmware opts out of it, in its DMAR table)"),
        ),
    ] {
        // Behind the header: the width of addresses, the flags, ten reserved bytes.
        let table = folder().join(format!("dmar-{flags}"));
        let content = [&[39, flags][..], &[0; 10]].concat();
        fs::write(&table, content).unwrap();
        let table = format!("-acpitable sig=DMAR,rev=1,data={}", table.display());
        let (status, log) = boot(&format!("{table} -smp 2"), "test=nothing");
        assert_eq!(status, Some(33), "{log}");
        assert!(log.contains(&format!("a ping; {mode}\n")), "{log}");
        let said = log.lines().find(|line| line.contains("not answered"));
        assert_eq!(said.is_some(), loader.is_some(), "{log}");
        assert!(said.unwrap_or("").ends_with(loader.unwrap_or("")), "{log}");
    }
}

#[test]
fn a_core_with_an_id_beyond_eight_bits_is_sampled_as_exactly() {
    if is_skipped() {
        return;
    }
    let second = "max-x86_64-cpu,socket-id=1,core-id=0,thread-id=0,x-pmu=intel-v5";
    let qemu = strict(
        "x2APIC",
        &format!("-smp 1,maxcpus=510,sockets=2,cores=255,threads=1 -device {second}"),
    );
    for delivery in ["nmi", "irq"] {
        let run = run(&format!(
            "--qemu {qemu} --verbose --delivery {delivery} --smp 2 --samples 1000 \
             --workload arithmetic"
        ))
        .ended_with(0);
        assert_faultless(&run, "x2APIC");
        let samples = run.samples();
        samples.assert_whole(2, 1000);
        let ids: Vec<_> = samples.counters.iter().map(|core| core.apic_id).collect();
        assert_eq!(ids, [0, 256]);
        if delivery == "nmi" {
            samples.assert_exact(1000);
        }
    }
}

/// Some have no bit for it, and are known by their family.
#[test]
fn whether_the_timer_runs_in_halts_depends_on_the_maker() {
    if is_skipped() {
        return;
    }
    for (processor, runs) in [
        ("vendor=GenuineIntel,family=6,arat=on", true),
        ("vendor=GenuineIntel,family=6,arat=off", false),
        ("vendor=AuthenticAMD,family=16,arat=off", false),
        ("vendor=AuthenticAMD,family=23,arat=off", true),
        ("vendor=HygonGenuine,family=24,arat=off", true),
        ("vendor=CentaurHauls,family=23,arat=off", false),
    ] {
        let (status, log) = boot(&format!("-cpu max,{processor}"), "test=nothing");
        assert_eq!(status, Some(33), "{log}");
        let features = log.lines().find(|line| line.contains("features: "));
        let has_arat = features.is_some_and(|line| line.ends_with(" arat"));
        assert_eq!(has_arat, runs, "{processor}: {log}");
    }
}

/// The register that would limit it is Intel's, and a hypervisor may not have it.
#[test]
fn cpuid_may_end_with_its_third_leaf() {
    if is_skipped() {
        return;
    }
    for vendor in ["GenuineIntel", "AuthenticAMD"] {
        let processor = format!("-cpu max,vendor={vendor},level=3 {STRICT}");
        let (status, log) = boot(&processor, "test=nothing");
        assert_eq!(status, Some(33), "{log}");
        assert!(!log.contains("CPUID was limited"), "{log}");
    }
}

#[test]
fn of_more_than_255_cores_the_first_are_used_and_the_rest_named() {
    if is_skipped() {
        return;
    }
    let (status, log) = boot("-smp 257", "test=nothing");
    assert_eq!(status, Some(33), "{log}");
    for line in [
        "257 logical processors, of which 255 are used (255 at most; without x2APIC APIC ids \
         up to 254): not those with the APIC ids 255-256\n",
        "cores: 255 online, every one answered a ping; x2APIC\n",
    ] {
        assert!(log.contains(line), "no `{line}` in\n{log}");
    }
}
