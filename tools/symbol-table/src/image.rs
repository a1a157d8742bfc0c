//! A kernel's file with its table.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use kernel_core::symbols::{Function, Table, encode, shown};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, elf};

use crate::functions::{Named, functions};

/// The section that the linker script leaves room in.
const SECTION: &str = ".pmiscope.symbols";

/// Returns the file with its table, and what there is to say of that.
pub fn with_table(linked: &[u8]) -> Result<(Vec<u8>, String)> {
    let file = object::File::parse(linked).context("it is no ELF file")?;
    let text = text(&file)?;
    let named = functions(&file, &text);
    ensure!(
        !named.is_empty(),
        "it has no symbols of functions: link it without `strip`"
    );
    let table = table(&named, text.start)?;
    check(&table, &named, text.start)?;
    let room = room(&file)?;
    let (bytes, have) = (table.len(), room.len());
    ensure!(
        bytes <= have,
        "the names of {} functions take {bytes} bytes, and its linker script has left {have} \
         in {SECTION}: let it leave more",
        named.len(),
    );
    let mut content = linked.to_vec();
    let place = &mut content[room];
    place.fill(0);
    place[..bytes].copy_from_slice(&table);
    let functions = named.len();
    let said = format!("{functions} functions in {bytes} bytes, of {have} that there are");
    Ok((content, said))
}

/// The addresses of the kernel's code.
fn text(file: &object::File<'_>) -> Result<Range<u64>> {
    let address = |name: &str| {
        let mut symbols = file.symbols();
        let found = symbols.find(|it| it.name() == Ok(name));
        found
            .map(|it| it.address())
            .with_context(|| format!("it has no symbol {name}"))
    };
    Ok(address("__text_start")?..address("__text_end")?)
}

/// Where in the file there is room for the table.
fn room(file: &object::File<'_>) -> Result<Range<usize>> {
    let section = file
        .section_by_name(SECTION)
        .with_context(|| format!("its linker script leaves no room for a table in {SECTION}"))?;
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
        bail!("it is no ELF file");
    };
    ensure!(
        sh_flags & (elf::SHF_EXECINSTR | elf::SHF_WRITE) == elf::SectionFlags(0),
        "{SECTION} can be written or executed, and is to be read only"
    );
    let (offset, bytes) = section
        .file_range()
        .with_context(|| format!("{SECTION} has no bytes in the file"))?;
    let start = usize::try_from(offset)?;
    let end = start.checked_add(usize::try_from(bytes)?);
    let end = end.context("it is damaged")?;
    Ok(start..end)
}

/// The bytes of the table.
fn table(named: &[Named], text_start: u64) -> Result<Vec<u8>> {
    let functions: Result<Vec<_>> = named
        .iter()
        .map(|it| {
            let start = u32::try_from(it.addresses.start - text_start)?;
            let size = u32::try_from(it.addresses.end - it.addresses.start)?;
            Ok(Function {
                start,
                size,
                name: &it.name,
            })
        })
        .collect();
    Ok(encode(&functions.context("its text has 4 GiB or more")?)?)
}

/// Makes sure that each function is found by its first and its last byte.
fn check(table: &[u8], named: &[Named], text_start: u64) -> Result<()> {
    let table = Table::new(table).context("the table that was made is none")?;
    for function in named {
        let Range { start, end } = function.addresses;
        for address in [start, end - 1] {
            let found = table.find(address - text_start);
            let found = found.map(|place| place.name.to_string());
            let is_it = found.as_deref().is_some_and(|found| {
                // A name that is too long is cut.
                let found = found.strip_suffix("...").unwrap_or(found);
                shown(&function.name).starts_with(found)
            });
            ensure!(
                is_it,
                "{address:#x} is in {}, found is {found:?}",
                function.name
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::with_table;

    #[test]
    fn what_has_no_room_for_a_table_is_refused() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for (file, says) in [
            (&b"\x7fELF"[..], "it is no ELF file"),
            (b"text", "it is no ELF file"),
            (&own, "it has no symbol __text_start"),
        ] {
            let problem = with_table(file).unwrap_err();
            assert_eq!(problem.to_string(), says);
        }
    }
}
