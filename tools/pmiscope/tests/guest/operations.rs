//! What fast handlers execute that costs more on a processor than an instruction: looked up in the
//! kernel that was built.

use std::collections::BTreeMap;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::fixture::kernel;

/// What is counted of a function.
#[derive(Default, PartialEq, Eq, Debug)]
struct Operations {
    wrmsr: u32,
    /// RDMSR and RDPMC.
    reads: u32,
    /// Writes of a constant to the page of an xAPIC.
    apic: u32,
    rdtsc: u32,
    locked: u32,
    cr2: u32,
}

impl Operations {
    fn count(&mut self, instruction: &Instruction) {
        let is_memory = |operand| instruction.op_kind(operand) == OpKind::Memory;
        match instruction.mnemonic() {
            Mnemonic::Wrmsr => self.wrmsr += 1,
            Mnemonic::Rdmsr | Mnemonic::Rdpmc => self.reads += 1,
            Mnemonic::Rdtsc | Mnemonic::Rdtscp => self.rdtsc += 1,
            // The end of an interrupt, and the entry for counters of the local vector table.
            Mnemonic::Mov
                if instruction.code() == Code::Mov_rm32_imm32
                    && instruction.memory_base() == Register::RCX
                    && [0xb0, 0x340].contains(&instruction.memory_displacement64()) =>
            {
                self.apic += 1;
            }
            // Locked without a prefix.
            Mnemonic::Xchg if is_memory(0) || is_memory(1) => self.locked += 1,
            _ => {}
        }
        self.locked += u32::from(instruction.has_lock_prefix());
        let is_cr2 = (0..instruction.op_count()).any(|operand| {
            instruction.op_kind(operand) == OpKind::Register
                && instruction.op_register(operand) == Register::CR2
        });
        self.cr2 += u32::from(is_cr2);
    }
}

/// The instructions of each function of the kernel, by its name.
struct Functions<'a> {
    code: &'a [u8],
    start: u64,
    all: BTreeMap<String, (u64, u64)>,
}

impl Functions<'static> {
    fn of_kernel() -> Self {
        let file = object::File::parse(kernel()).unwrap();
        let text = file.section_by_name(".text").unwrap();
        let all = file.symbols().filter_map(|symbol| {
            let name = symbol.name().ok()?;
            Some((name.into(), (symbol.address(), symbol.size())))
        });
        Self {
            code: text.data().unwrap(),
            start: text.address(),
            all: all.collect(),
        }
    }

    fn instructions(&self, name: &str) -> Vec<Instruction> {
        let &(address, size) = self.all.get(name).unwrap_or_else(|| panic!("no {name}"));
        let from = usize::try_from(address - self.start).unwrap();
        let code = &self.code[from..from + usize::try_from(size).unwrap()];
        Decoder::with_ip(64, code, address, DecoderOptions::NONE)
            .into_iter()
            .collect()
    }

    /// Those of the whole function: on the way of a usual sample there is none of these in a loop,
    /// but for what each further event takes.
    fn operations(&self, name: &str) -> Operations {
        let mut found = Operations::default();
        let instructions = self.instructions(name);
        assert!(instructions.len() > 100, "{name}: {}", instructions.len());
        instructions.iter().for_each(|it| found.count(it));
        found
    }

    /// Those of an entry before it goes to a fast handler.
    fn before_handler(&self, name: &str) -> Operations {
        let mut found = Operations::default();
        for instruction in self.instructions(name) {
            if instruction.is_jmp_near_indirect() {
                return found;
            }
            found.count(&instruction);
        }
        panic!("{name} goes nowhere");
    }
}

#[test]
fn a_sample_by_counters_takes_few_accesses_and_no_locked_instruction() {
    let functions = Functions::of_kernel();
    for (entry, name) in [("nmi_entry", "nmi"), ("pmiscope_overflow_entry", "irq")] {
        let before = functions.before_handler(entry);
        let expected = Operations {
            rdtsc: 1,
            ..Operations::default()
        };
        assert_eq!(before, expected, "{entry}");
        for form in ["one", "several"] {
            for (apic, is_x2apic) in [("xapic", 0), ("x2apic", 1)] {
                for (status, has_status) in [("alone", 0), ("status", 1)] {
                    let handler = format!("pmiscope_fast_{form}_{apic}_{status}_{name}");
                    // What the end of a maskable interrupt takes, whoever has sent it.
                    let ends = u32::from(name == "irq");
                    let expected = Operations {
                        // Stop, load, start; acknowledge.
                        wrmsr: 3 + has_status + is_x2apic * (1 + ends),
                        reads: 1 + has_status,
                        apic: (1 - is_x2apic) * (1 + ends),
                        rdtsc: 1,
                        locked: 0,
                        cr2: 0,
                    };
                    assert_eq!(functions.operations(&handler), expected, "{handler}");
                }
            }
        }
    }
}

/// As the ABI has it: what is interrupted may have set it.
#[test]
fn compiled_code_is_called_with_the_direction_flag_cleared() {
    let functions = Functions::of_kernel();
    let mut calls = 0;
    for name in functions.all.keys() {
        if !name.starts_with("pmiscope_fast_") || functions.all[name].1 == 0 {
            continue;
        }
        for pair in functions.instructions(name).windows(2) {
            if pair[1].is_call_near_indirect() {
                let at = pair[1].ip() - functions.all[name].0;
                assert_eq!(pair[0].mnemonic(), Mnemonic::Cld, "{name}+{at:#x}");
                calls += 1;
            }
        }
    }
    assert!(calls > 100, "{calls}");
}

#[test]
fn no_fast_handler_has_a_locked_instruction() {
    let functions = Functions::of_kernel();
    let is_fast = |name: &&String| {
        name.starts_with("pmiscope_fast_xapic_")
            || name.contains("handler4fast12on_interrupt")
            || name.contains("handler13fast_counters12on_interrupt")
    };
    let handlers: Vec<_> = functions.all.keys().filter(is_fast).collect();
    assert!(handlers.len() >= 8, "{handlers:?}");
    for name in handlers {
        let mut found = Operations::default();
        functions
            .instructions(name)
            .iter()
            .for_each(|it| found.count(it));
        // That of the source `ipi`, 3, takes the request of another core.
        let locked = u32::from(name.contains("4fast12on_interrupt") && name.contains("Kh3_"));
        assert_eq!((found.locked, found.cr2), (locked, 0), "{name}");
    }
}
