//! The machine that QEMU is asked for, as its command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::probe::KVM_MACHINE;
use super::{PmuModel, status};
use crate::profile::Mode;

/// What the machine boots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Boot {
    /// The loader, which is entered through PVH, with the kernel as its initrd.
    Loader {
        /// The loader's ELF file.
        loader: PathBuf,
        /// The kernel's ELF file.
        kernel: PathBuf,
        /// The kernel's command line.
        command_line: String,
    },
    /// A disc image with a boot loader, the kernel and its command line on it.
    Iso(PathBuf),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// How its time runs.
    pub mode: Mode,
    /// Its performance counters, if it is to be asked for any: instructions have to be
    /// counted, and QEMU to be the lab emulator.
    pub pmu: Option<PmuModel>,
    pub cores: u32,
    /// Bytes of its memory.
    pub memory: u64,
    /// The file that backs its memory, as QEMU is to open it.
    pub memory_file: PathBuf,
    /// The file that its serial port writes to, likewise.
    pub serial_file: PathBuf,
    pub boot: Boot,
    /// A UEFI firmware image in place of the BIOS.
    pub firmware: Option<PathBuf>,
    /// Whether the kernel may use the HPET, which then needs a timer for each
    /// core and messages as interrupts.
    pub hpet: bool,
}

/// The most timers of the HPET that the guest can reach: QEMU's register window
/// has no more.
pub const HPET_TIMERS: u32 = 24;

impl Machine {
    /// The arguments that make this machine.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        add(&["-machine", "q35,memory-backend=ram"]);
        add(&["-smp", &self.cores.to_string()]);
        let counters = match self.pmu {
            Some(model) => format!(",x-pmu={model}"),
            None => String::new(),
        };
        match self.mode {
            // shift=0: an instruction is a nanosecond of the guest's clock. sleep=off:
            // a halted machine's clock jumps ahead to the next event.
            // No x2APIC: from QEMU 9 on, which has it, reading its timer while
            // instructions are counted ends QEMU ("Bad icount read"). The lab emulator
            // does not end, but lets that timer come two instructions early.
            Mode::Deterministic => {
                add(&[
                    "-accel",
                    "tcg,thread=single",
                    "-icount",
                    "shift=0,sleep=off",
                ]);
                add(&["-cpu", &format!("max,-x2apic{counters}")]);
            }
            Mode::Realtime => add(&["-accel", "tcg,thread=multi", "-cpu", "max"]),
            Mode::Kvm => add(&KVM_MACHINE),
        }
        add(&["-m", &format!("{}K", self.memory >> 10)]);
        add(&[
            "-object",
            &format!(
                "memory-backend-file,id=ram,size={}K,share=on,mem-path={}",
                self.memory >> 10,
                escaped(&self.memory_file)
            ),
        ]);
        if self.hpet {
            let timers = self.cores.clamp(3, HPET_TIMERS);
            add(&[
                "-global",
                "hpet.msi=on",
                "-global",
                &format!("hpet.timers={timers}"),
            ]);
        }
        add(&["-display", "none", "-nodefaults", "-no-reboot"]);
        add(&[
            "-device",
            &format!("isa-debug-exit,iobase={:#x},iosize=1", status::PORT),
        ]);
        add(&[
            "-chardev",
            &format!("file,id=serial,path={}", escaped(&self.serial_file)),
            "-serial",
            "chardev:serial",
        ]);
        if let Some(firmware) = &self.firmware {
            let drive = format!(
                "if=pflash,format=raw,readonly=on,file={}",
                escaped(firmware)
            );
            add(&["-drive", &drive]);
        }
        match &self.boot {
            Boot::Loader {
                loader,
                kernel,
                command_line,
            } => {
                arguments.extend(["-kernel".into(), loader.into()]);
                arguments.extend(["-initrd".into(), kernel.into()]);
                arguments.extend(["-append".into(), command_line.into()]);
            }
            Boot::Iso(image) => arguments.extend(["-cdrom".into(), image.into()]),
        }
        arguments
    }
}

/// A path as the value of a property: there a comma is written twice.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            mode: Mode::Deterministic,
            pmu: None,
            cores: 4,
            memory: 96 << 20,
            memory_file: "/dev/shm/a,b".into(),
            serial_file: "/proc/self/fd/5".into(),
            boot: Boot::Loader {
                loader: "loader".into(),
                kernel: "kernel".into(),
                command_line: "period=1000".into(),
            },
            firmware: None,
            hpet: false,
        }
    }

    fn line(machine: &Machine) -> String {
        let words = machine.arguments();
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn the_deterministic_machine_counts_instructions() {
        assert_eq!(
            line(&machine()),
            "-machine q35,memory-backend=ram -smp 4 -accel tcg,thread=single \
             -icount shift=0,sleep=off -cpu max,-x2apic -m 98304K -object \
             memory-backend-file,id=ram,size=98304K,share=on,mem-path=/dev/shm/a,,b \
             -display none -nodefaults -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=1 \
             -chardev file,id=serial,path=/proc/self/fd/5 -serial chardev:serial \
             -kernel loader -initrd kernel -append period=1000"
        );
    }

    #[test]
    fn counters_are_the_processors() {
        let machine = Machine {
            pmu: Some(PmuModel::AmdCoreExt),
            ..machine()
        };
        let line = line(&machine);
        assert!(
            line.contains("-cpu max,-x2apic,x-pmu=amd-core-ext -m"),
            "{line}"
        );
    }

    #[test]
    fn by_kvm_the_processor_is_the_hosts_with_its_counters() {
        let machine = Machine {
            mode: Mode::Kvm,
            ..machine()
        };
        let line = line(&machine);
        assert!(
            line.contains("-smp 4 -accel kvm -cpu host,pmu=on -m"),
            "{line}"
        );
        assert!(!line.contains("tcg"), "{line}");
    }

    #[test]
    fn what_is_asked_for_is_there() {
        let machine = Machine {
            mode: Mode::Realtime,
            cores: 64,
            boot: Boot::Iso("pmiscope.iso".into()),
            firmware: Some("OVMF.fd".into()),
            hpet: true,
            ..machine()
        };
        let line = line(&machine);
        for part in [
            "-accel tcg,thread=multi -cpu max -m",
            "-global hpet.msi=on -global hpet.timers=24",
            "-drive if=pflash,format=raw,readonly=on,file=OVMF.fd",
            "-cdrom pmiscope.iso",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("icount"));
        assert!(!line.contains("-kernel"));
    }
}
