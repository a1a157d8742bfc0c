//! Functions without call-frame information, whose instructions are decoded.

use object::elf::{SHF_ALLOC, SHF_EXECINSTR, SHT_PROGBITS};
use object::write::{Object, StandardSegment, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionFlags, SectionKind};
use object::{SymbolFlags, SymbolKind, SymbolScope};

use crate::elf::look_up;
use crate::input::Input;
use crate::run::text;

/// Code, in functions whose lengths come first.
///
/// # Panics
///
/// As [`crate::elf`].
pub fn code(data: &[u8]) {
    let mut input = Input(data);
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let segment = object.segment_name(StandardSegment::Text).to_vec();
    let section = object.add_section(segment, b".text".to_vec(), SectionKind::Text);
    object.section_mut(section).flags = SectionFlags::Elf {
        sh_type: SHT_PROGBITS,
        sh_flags: SHF_ALLOC | SHF_EXECINSTR,
    };
    let mut number = 0;
    while !input.is_empty() {
        let length = input.u8();
        let code = input.bytes(length.into());
        let value = object.append_section_data(section, code, 1);
        object.add_symbol(Symbol {
            name: format!("function_{number}").into_bytes(),
            value,
            size: code.len() as u64,
            kind: SymbolKind::Text,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
        number += 1;
    }
    let elf = object.write().expect("an ELF file");
    // An object file's section begins at address 0.
    let mut text = text(data.len() as u64);
    text.start.0 = 0;
    look_up(&elf, text);
}
