//! A kernel's file with its table.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use kernel_core::symbols::lines::{LineTable, Row, encode as encode_lines};
use kernel_core::symbols::{Function, Table, encode, shown};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, elf};

use crate::functions::{Named, functions};
use crate::lines::{Lines, Place};

/// The sections that the linker script leaves room in: for the names, and for the lines.
const SECTION: &str = ".pmiscope.symbols";
const LINE_SECTION: &str = ".pmiscope.lines";

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
    let lines = Lines::of(&file)?;
    let rows = lines.of_text(&text)?;
    let line_table = line_table(&rows, text.start)?;
    check_lines(&line_table, &rows, &text)?;
    let mut content = linked.to_vec();
    let names = format!("{} functions", named.len());
    let rows = format!("{} lines", rows.len());
    let names = write(&file, &mut content, SECTION, &table, &names)?;
    let lines = write(&file, &mut content, LINE_SECTION, &line_table, &rows)?;
    Ok((content, format!("{names}; {lines}")))
}

/// Writes a table into the room that there is for it, and returns what there is to say of that.
fn write(
    file: &object::File<'_>,
    content: &mut [u8],
    section: &str,
    table: &[u8],
    of: &str,
) -> Result<String> {
    let room = room(file, section)?;
    let (bytes, have) = (table.len(), room.len());
    ensure!(
        bytes <= have,
        "{of} take {bytes} bytes, and its linker script has left {have} in {section}: let it leave \
         more"
    );
    let place = &mut content[room];
    place.fill(0);
    place[..bytes].copy_from_slice(table);
    Ok(format!("{of} in {bytes} bytes, of {have} that there are"))
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
fn room(file: &object::File<'_>, name: &str) -> Result<Range<usize>> {
    let section = file
        .section_by_name(name)
        .with_context(|| format!("its linker script leaves no room for a table in {name}"))?;
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
        bail!("it is no ELF file");
    };
    ensure!(
        sh_flags & (elf::SHF_EXECINSTR | elf::SHF_WRITE) == elf::SectionFlags(0),
        "{name} can be written or executed, and is to be read only"
    );
    let (offset, bytes) = section
        .file_range()
        .with_context(|| format!("{name} has no bytes in the file"))?;
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

/// The bytes of the table of lines.
fn line_table(rows: &[(u64, Option<Place>)], text_start: u64) -> Result<Vec<u8>> {
    let rows: Result<Vec<_>> = rows
        .iter()
        .map(|(address, place)| {
            let place = place.as_ref().map(|(path, line)| (path.as_str(), *line));
            let start = u32::try_from(address - text_start)?;
            Ok(Row { start, place })
        })
        .collect();
    encode_lines(&rows.context("its text has 4 GiB or more")?).context("its lines")
}

/// Makes sure that each line is found by its first and its last byte.
fn check_lines(table: &[u8], rows: &[(u64, Option<Place>)], text: &Range<u64>) -> Result<()> {
    let table = LineTable::new(table).context("the table of lines that was made is none")?;
    let ends = rows.iter().skip(1).map(|row| row.0).chain([text.end]);
    for ((start, place), end) in rows.iter().zip(ends) {
        let expected = place.as_ref().map(|(path, line)| format!("{path}:{line}"));
        for address in [*start, (end - 1).max(*start)] {
            let found = table.find(address - text.start).map(|it| it.to_string());
            ensure!(
                found == expected,
                "{address:#x} is at {expected:?}, found is {found:?}"
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
