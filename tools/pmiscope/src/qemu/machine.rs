//! The machine that QEMU is asked for, as its command line.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::probe::KVM_MACHINE;
use super::{Disc, Drive, Load, PmuModel, status};
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
        /// What else the loader is given.
        load: Load,
    },
    /// The kernel itself, which is entered through PVH.
    Pvh {
        /// The kernel's ELF file.
        kernel: PathBuf,
        /// The kernel's command line.
        command_line: String,
    },
    /// A disc with a boot loader, the kernel and its command line on it.
    Disc(Disc),
}

impl Boot {
    /// What the loader is given beside the kernel, where it is used.
    #[must_use]
    pub fn load(&self) -> Option<&Load> {
        match self {
            Self::Loader { load, .. } => Some(load),
            Self::Pvh { .. } | Self::Disc(_) => None,
        }
    }
}

/// What users add to the machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Additions {
    /// Where QEMU shows the machine's screen, which it then has.
    pub display: Option<String>,
    /// Words of QEMU's command line.
    pub arguments: Vec<OsString>,
    /// The socket to which the serial port is connected, beside the file; QEMU makes it.
    pub serial: Option<PathBuf>,
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
    pub boot: Boot,
    /// A UEFI firmware image in place of the BIOS.
    pub firmware: Option<PathBuf>,
    /// Whether the kernel may use the HPET, which then needs a timer for each
    /// core and messages as interrupts.
    pub hpet: bool,
    /// Whether it has a framebuffer: one in ordinary memory, which the loader,
    /// SeaBIOS and OVMF know.
    pub framebuffer: bool,
    pub additions: Additions,
}

/// The most timers of the HPET that the guest can reach: QEMU's register window
/// has no more.
pub const HPET_TIMERS: u32 = 24;

/// The words of a command line.
struct Words(Vec<OsString>);

impl Words {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }
}

impl Machine {
    /// The arguments that make this machine, with its memory in one file and what its
    /// serial port writes in another: their names as QEMU opens them.
    #[must_use]
    pub fn arguments(&self, memory_file: &Path, serial_file: &Path) -> Vec<OsString> {
        let mut words = Words(Vec::new());
        words.add(["-machine", "q35,memory-backend=ram"]);
        words.add(["-smp", &self.cores.to_string()]);
        self.add_processor(&mut words);
        self.add_memory(memory_file, &mut words);
        if self.hpet {
            let timers = self.cores.clamp(3, HPET_TIMERS);
            words.add(["-global", "hpet.msi=on"]);
            words.add(["-global", &format!("hpet.timers={timers}")]);
        }
        words.add([
            "-display",
            self.additions.display.as_deref().unwrap_or("none"),
        ]);
        words.add(["-nodefaults", "-no-reboot"]);
        // Of two screens QEMU would show the first.
        if self.additions.display.is_some() && !self.framebuffer {
            words.add(["-vga", "std"]);
        }
        let exit = format!("isa-debug-exit,iobase={:#x},iosize=1", status::PORT);
        words.add(["-device", &exit]);
        if self.framebuffer {
            words.add(["-device", "ramfb"]);
        }
        let serial = match &self.additions.serial {
            None => property("file,id=serial,path=", serial_file),
            // What the guest writes is in the file, whether anybody is connected or not.
            Some(socket) => {
                let mut serial = property("socket,id=serial,server=on,wait=off,path=", socket);
                serial.push(property(",logfile=", serial_file));
                serial
            }
        };
        words.0.extend(["-chardev".into(), serial]);
        words.add(["-serial", "chardev:serial"]);
        self.add_boot(&mut words);
        // Last: a second -serial is the second port, and so on.
        words.0.extend(self.additions.arguments.iter().cloned());
        words.0
    }

    fn add_processor(&self, words: &mut Words) {
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
                words.add(["-accel", "tcg,thread=single"]);
                words.add(["-icount", "shift=0,sleep=off"]);
                words.add(["-cpu", &format!("max,-x2apic{counters}")]);
            }
            Mode::Realtime => words.add(["-accel", "tcg,thread=multi", "-cpu", "max"]),
            Mode::Kvm => words.add(KVM_MACHINE),
        }
    }

    fn add_memory(&self, file: &Path, words: &mut Words) {
        let size = format!("{}K", self.memory >> 10);
        words.add(["-m", &size]);
        let backend = format!("memory-backend-file,id=ram,size={size},share=on,mem-path=");
        words.0.extend(["-object".into(), property(&backend, file)]);
    }

    fn add_boot(&self, words: &mut Words) {
        if let Some(firmware) = &self.firmware {
            let drive = property("if=pflash,format=raw,readonly=on,file=", &local(firmware));
            words.0.extend(["-drive".into(), drive]);
        }
        match &self.boot {
            Boot::Loader {
                loader,
                kernel,
                command_line,
                load,
            } => {
                words.0.extend(["-kernel".into(), loader.into()]);
                words.0.extend(["-initrd".into(), kernel.into()]);
                words.0.extend(["-append".into(), command_line.into()]);
                words.0.extend(load.arguments());
            }
            Boot::Pvh {
                kernel,
                command_line,
            } => {
                words.0.extend(["-kernel".into(), kernel.into()]);
                words.0.extend(["-append".into(), command_line.into()]);
            }
            Boot::Disc(disc) => add_disc(disc, words),
        }
    }
}

fn add_disc(disc: &Disc, words: &mut Words) {
    match disc.drive {
        Drive::Cd => words.0.extend(["-cdrom".into(), local(&disc.image).into()]),
        // A guest may write to a hard disk; by the snapshot it does not write to the image.
        Drive::Hd => {
            let drive = "if=ide,index=0,media=disk,format=raw,snapshot=on,file=";
            let drive = property(drive, &local(&disc.image));
            words.0.extend(["-drive".into(), drive]);
        }
    }
}

/// Properties, of which the last is a path: there a comma is written twice.
pub(super) fn property(before: &str, path: &Path) -> OsString {
    let mut bytes = before.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

/// The path of an image so that QEMU takes it for one: `a:b` is the file `b` of a protocol `a`.
fn local(path: &Path) -> PathBuf {
    // An absolute one takes the place of the dot.
    Path::new(".").join(path)
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
            boot: Boot::Loader {
                loader: "loader".into(),
                kernel: "kernel".into(),
                command_line: "period=1000".into(),
                load: Load::default(),
            },
            firmware: None,
            hpet: false,
            framebuffer: false,
            additions: Additions::default(),
        }
    }

    fn line(machine: &Machine) -> String {
        let [memory, serial] = ["/dev/shm/a,b", "/proc/self/fd/5"].map(Path::new);
        let words = machine.arguments(memory, serial);
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
    fn what_a_guest_writes_is_in_the_file_and_on_the_socket() {
        let machine = Machine {
            additions: Additions {
                serial: Some("/run/a,b.sock".into()),
                ..Additions::default()
            },
            ..machine()
        };
        let line = line(&machine);
        assert!(
            line.contains(
                " -chardev socket,id=serial,server=on,wait=off,path=/run/a,,b.sock,logfile=/proc/self/fd/5 \
                 -serial chardev:serial "
            ),
            "{line}"
        );
        assert!(!line.contains("file,id=serial"), "{line}");
    }

    #[test]
    fn a_kernel_may_need_no_loader() {
        let machine = Machine {
            boot: Boot::Pvh {
                kernel: "kernel".into(),
                command_line: "period=1000".into(),
            },
            ..machine()
        };
        let line = line(&machine);
        assert!(
            line.ends_with("-serial chardev:serial -kernel kernel -append period=1000"),
            "{line}"
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
            boot: Boot::Disc(Disc {
                image: "pmiscope-12:30.iso".into(),
                drive: Drive::Cd,
            }),
            firmware: Some("a:b,c.fd".into()),
            hpet: true,
            framebuffer: true,
            ..machine()
        };
        let line = line(&machine);
        for part in [
            "-accel tcg,thread=multi -cpu max -m",
            "-global hpet.msi=on -global hpet.timers=24",
            "-drive if=pflash,format=raw,readonly=on,file=./a:b,,c.fd",
            "-device ramfb",
            "-cdrom ./pmiscope-12:30.iso",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("icount"));
        assert!(!line.contains("-kernel"));
    }

    #[test]
    fn what_users_add_comes_last_and_a_display_has_something_to_show() {
        let machine = Machine {
            boot: Boot::Disc(Disc {
                image: "/i/a,b:c.img".into(),
                drive: Drive::Hd,
            }),
            additions: Additions {
                display: Some("vnc=:7".into()),
                arguments: ["-device", "edu"].map(OsString::from).to_vec(),
                serial: None,
            },
            ..machine()
        };
        let line = line(&machine);
        assert!(
            line.contains("-display vnc=:7 -nodefaults -no-reboot -vga std -device isa-debug-exit"),
            "{line}"
        );
        let disc = "-drive if=ide,index=0,media=disk,format=raw,snapshot=on,file=/i/a,,b:c.img";
        assert!(line.ends_with(&format!(" {disc} -device edu")), "{line}");
        assert!(!line.contains("-cdrom"), "{line}");
    }
}
