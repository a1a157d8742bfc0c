//! The code of a function.

use profiler::address::{CodeAddress, UserAddress};

use super::slide::LinkAddress;
use super::{Symbols, demangle};

/// The code that one symbol covers, or names behind its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FunctionCode<'a> {
    /// As the ELF file has it.
    pub start: LinkAddress,
    pub bytes: &'a [u8],
    /// Where it ran: what is to be added to an address of the file, modulo 2⁶⁴.
    pub moved_by: u64,
}

/// The most code that a symbol without a size is taken for.
const MOST_BYTES: u64 = 1 << 20;

impl Symbols {
    /// The code of the function that has this address, where it ran, or what is behind its end; `None` if
    /// no symbol names it, or the bytes are not there.
    pub(crate) fn code_around(&self, address: CodeAddress) -> Option<FunctionCode<'_>> {
        if let Some(user) = UserAddress::of_program(address) {
            let symbols = self.symbols_of_program(user.program)?;
            let code = symbols.code_around(CodeAddress(user.address))?;
            let moved_by = address.0.wrapping_sub(user.address);
            return Some(FunctionCode { moved_by, ..code });
        }
        let link = self.slide.link(address)?;
        let symbol = self.table.naming(link)?;
        let next = || self.table.all_behind(link).next();
        // It ends where what is behind it begins.
        let limit = || next().map_or(symbol.limit, |next| next.start.0.min(symbol.limit));
        let (start, end) = match symbol.size {
            0 => (symbol.start, limit()),
            _ if symbol.covers(link) => (symbol.start, symbol.end()),
            // What has no symbol has the name of the one before.
            _ => (LinkAddress(symbol.end()), limit()),
        };
        let bytes = self.code.at(start)?;
        let size = end.checked_sub(start.0)?.min(MOST_BYTES);
        let size = usize::try_from(size).ok()?.min(bytes.len());
        let is_in = link.0.checked_sub(start.0)? < size as u64;
        is_in.then_some(FunctionCode {
            start,
            bytes: &bytes[..size],
            moved_by: address.0.wrapping_sub(link.0),
        })
    }

    /// The name of the code that begins there, where it ran, for people.
    pub(crate) fn name_of_code(&self, address: CodeAddress) -> Option<String> {
        if let Some(user) = UserAddress::of_program(address) {
            let symbols = self.symbols_of_program(user.program)?;
            return symbols.name_of_code(CodeAddress(user.address));
        }
        let link = self.slide.link(address)?;
        let symbol = self.table.naming(link)?;
        let name = demangle::demangle(&symbol.name);
        let distance = link.0 - symbol.start.0;
        Some(match distance {
            0 => name,
            distance => format!("{name}+{distance:#x}"),
        })
    }
}
