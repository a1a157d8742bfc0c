//! What the command line says there is, and how a counter of it is used.

use crate::machine::{self, write_msr};

/// A vendor's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    Intel,
    Amd,
}

/// A model, as the emulator's README has it.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub name: &'static str,
    pub vendor: Vendor,
    /// Of architectural performance monitoring; PerfMonV2 is 2.
    pub version: u32,
    pub generals: u32,
    pub fixed: u32,
    pub full_width: bool,
    pub core_ext: bool,
}

const INTEL: Model = Model {
    name: "",
    vendor: Vendor::Intel,
    version: 0,
    generals: 0,
    fixed: 3,
    full_width: true,
    core_ext: false,
};
const AMD: Model = Model {
    vendor: Vendor::Amd,
    fixed: 0,
    full_width: false,
    ..INTEL
};

#[rustfmt::skip]
const MODELS: [Model; 6] = [
    Model { name: "intel-v2", version: 2, generals: 2, full_width: false, ..INTEL },
    Model { name: "intel-v4", version: 4, generals: 4, ..INTEL },
    Model { name: "intel-v5", version: 5, generals: 8, fixed: 4, ..INTEL },
    Model { name: "amd-legacy", generals: 4, ..AMD },
    Model { name: "amd-core-ext", generals: 6, core_ext: true, ..AMD },
    Model { name: "amd-v2", version: 2, generals: 6, core_ext: true, ..AMD },
];

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub model: Model,
    /// Instructions from an overflow to its interrupt.
    pub skid: u64,
    /// Whether the local vector table's entry is masked by a delivery.
    pub mask: bool,
    /// Interrupts on each core in the longest run.
    pub long: u64,
    /// There is Instruction-Based Sampling.
    pub ibs: bool,
    /// Every second op that it tags does not retire.
    pub aborts: bool,
}

impl Expected {
    /// Reads `model=NAME skid=N mask=on|off long=N ibs=on aborts=on`; all but the first may be left out.
    pub fn parse(words: &str) -> Self {
        let value = |name: &str| {
            words
                .split_whitespace()
                .filter_map(|word| word.split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
        };
        let name = value("model").expect("model=… on the command line");
        let model = MODELS.iter().find(|model| model.name == name);
        let model = *model.expect("a model that the guest knows");
        let number = |name, default| value(name).map_or(default, |n| n.parse().expect("a number"));
        Self {
            model,
            skid: number("skid", 0),
            long: number("long", 1000),
            ibs: value("ibs") == Some("on"),
            aborts: value("aborts") == Some("on"),
            mask: value("mask").map_or(model.vendor == Vendor::Intel, |mask| mask == "on"),
        }
    }
}

/// Counters have 48 bits.
pub const COUNTER_MASK: u64 = (1 << 48) - 1;

pub const USER: u64 = 1 << 16;
pub const KERNEL: u64 = 1 << 17;
pub const EDGE: u64 = 1 << 18;
pub const INTERRUPT: u64 = 1 << 20;
pub const ENABLE: u64 = 1 << 22;
pub const INVERT: u64 = 1 << 23;
pub const fn counter_mask(n: u64) -> u64 {
    n << 24
}

/// INST_RETIRED.ANY_P and PMCx0C0.
pub const INSTRUCTIONS: u64 = 0xc0;

pub const FIXED_CTRL: u32 = 0x38d;
pub const FREEZE: u64 = 1 << 59;

/// A counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    General(u32),
    Fixed(u32),
}

/// What starts a counter that is otherwise set up, in one WRMSR, and what stops it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switch {
    pub msr: u32,
    pub on: u64,
    pub off: u64,
}

impl Model {
    pub fn is_intel(&self) -> bool {
        self.vendor == Vendor::Intel
    }

    pub fn cycles(&self) -> u64 {
        if self.is_intel() { 0x3c } else { 0x76 }
    }

    pub fn select(&self, n: u32) -> u32 {
        match self.vendor {
            Vendor::Intel => 0x186 + n,
            Vendor::Amd if self.core_ext => 0xc001_0200 + 2 * n,
            Vendor::Amd => 0xc001_0000 + n,
        }
    }

    pub fn counter(&self, counter: Counter) -> u32 {
        match (counter, self.vendor) {
            (Counter::Fixed(n), _) => 0x309 + n,
            (Counter::General(n), Vendor::Intel) if self.full_width => 0x4c1 + n,
            (Counter::General(n), Vendor::Intel) => 0xc1 + n,
            (Counter::General(n), Vendor::Amd) if self.core_ext => 0xc001_0201 + 2 * n,
            (Counter::General(n), Vendor::Amd) => 0xc001_0004 + n,
        }
    }

    pub fn has_global(&self) -> bool {
        self.version >= 2
    }

    pub fn global_status(&self) -> u32 {
        if self.is_intel() { 0x38e } else { 0xc000_0300 }
    }

    pub fn global_ctrl(&self) -> u32 {
        if self.is_intel() { 0x38f } else { 0xc000_0301 }
    }

    pub fn status_reset(&self) -> u32 {
        if self.is_intel() { 0x390 } else { 0xc000_0302 }
    }

    pub fn status_set(&self) -> u32 {
        if self.is_intel() { 0x391 } else { 0xc000_0303 }
    }

    /// The global registers' bit.
    pub fn bit(counter: Counter) -> u64 {
        match counter {
            Counter::General(n) => 1 << n,
            Counter::Fixed(n) => 1 << (32 + n),
        }
    }

    /// RDPMC's number.
    pub fn number(counter: Counter) -> u32 {
        match counter {
            Counter::General(n) => n,
            Counter::Fixed(n) => 1 << 30 | n,
        }
    }

    /// All counters.
    pub fn counters(&self) -> impl Iterator<Item = Counter> + use<> {
        let generals = (0..self.generals).map(Counter::General);
        generals.chain((0..self.fixed).map(Counter::Fixed))
    }

    /// Stops and zeroes everything.
    pub fn clear(&self) {
        if self.has_global() {
            write_msr(self.global_ctrl(), 0);
        }
        if self.fixed > 0 {
            write_msr(FIXED_CTRL, 0);
        }
        for counter in self.counters() {
            if let Counter::General(n) = counter {
                write_msr(self.select(n), 0);
            }
            write_msr(self.counter(counter), 0);
        }
        if self.has_global() {
            let status = machine::read_msr(self.global_status());
            write_msr(self.status_reset(), status);
        }
    }

    /// Sets a counter to a value; no more than 31 bits below a wrap where writes
    /// are not of full width.
    pub fn set(&self, counter: Counter, value: u64) {
        write_msr(self.counter(counter), value & COUNTER_MASK);
    }

    /// Sets up a counter, which counts nothing before its switch is on. `event`
    /// is an event select without [`ENABLE`]; of a fixed counter its flags count.
    pub fn prepare(&self, counter: Counter, event: u64) -> Switch {
        match counter {
            Counter::General(n) if self.has_global() => {
                write_msr(self.select(n), event | ENABLE);
            }
            Counter::General(n) => {
                write_msr(self.select(n), event);
                return Switch {
                    msr: self.select(n),
                    on: event | ENABLE,
                    off: event,
                };
            }
            Counter::Fixed(n) => {
                let field = u64::from(event & KERNEL != 0)
                    | u64::from(event & USER != 0) << 1
                    | u64::from(event & INTERRUPT != 0) << 3;
                let others = machine::read_msr(FIXED_CTRL) & !(0xf << (4 * n));
                write_msr(FIXED_CTRL, others | field << (4 * n));
            }
        }
        Switch {
            msr: self.global_ctrl(),
            on: Self::bit(counter),
            off: 0,
        }
    }
}
