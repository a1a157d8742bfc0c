//! The commands that show memory.

use core::fmt::{self, Write};

use kernel_core::monitor::hexdump::{ROW_BYTES, Row};
use kernel_core::monitor::{Arguments, Command, Problem};
use x86_64::VirtAddr;
use x86_64::structures::paging::PageTableFlags;

use super::cores::address_of;
use crate::boot::{self, RegionKind};
use crate::memory::paging::look::{self, Unreadable};
use crate::memory::{frames, image, stacks};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "hexdump",
        arguments: "ADDR|NAME [LEN]",
        summary: "LEN bytes of memory, 64 without",
        run: hexdump,
    },
    Command {
        name: "maps",
        arguments: "ADDR|NAME",
        summary: "what the page tables say of an address, level by level",
        run: maps,
    },
    Command {
        name: "mem",
        arguments: "",
        summary: "physical memory, and where the kernel lies",
        run: memory,
    },
];

impl From<Unreadable> for Problem {
    fn from(unreadable: Unreadable) -> Self {
        Self::new(format_args!("{unreadable}"))
    }
}

fn hexdump(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    const USUAL: u64 = 64;
    const MOST: u64 = 4096;
    let mut address = address_of(&mut arguments)?;
    let length = arguments.number("LEN")?.unwrap_or(USUAL);
    arguments.end()?;
    if !(1..=MOST).contains(&length) {
        return Err(Problem::new(format_args!(
            "LEN must be from 1 to {MOST}, not {length}"
        )));
    }
    let mut left = usize::try_from(length).unwrap_or_default();
    while left > 0 {
        let mut bytes = [0; ROW_BYTES];
        let count = left.min(ROW_BYTES);
        let read = look::read(address, &mut bytes[..count])?;
        let bytes = &bytes[..read];
        writeln!(out, "{}", Row { address, bytes })?;
        left -= read;
        let Some(next) = address.checked_add(read as u64) else {
            break;
        };
        address = next;
    }
    Ok(())
}

fn maps(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let address = address_of(&mut arguments)?;
    arguments.end()?;
    let mapping = look::look_up(address)?;
    let entries = &mapping.entries[..mapping.count];
    for (number, &entry) in (1..=look::LEVELS).rev().zip(entries) {
        writeln!(out, "  level {number}: {entry:#018x} {}", Letters(entry))?;
    }
    match mapping.physical {
        Some(physical) => {
            let kind = match look::check_readable(address) {
                Ok(()) => "memory",
                Err(_) => "device",
            };
            writeln!(
                out,
                "{address:#018x} is {:#x} in physical memory ({kind}), in a page of {} KiB",
                physical.as_u64(),
                mapping.page_bytes >> 10
            )?;
        }
        None => writeln!(out, "{address:#018x} is not mapped")?,
    }
    if let Some(place) = stacks::locate(VirtAddr::new_truncate(address)) {
        writeln!(out, "{address:#018x} is on {place}")?;
    }
    Ok(())
}

/// The flags of an entry of a page table; `-` for those that are not set.
struct Letters(u64);

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = PageTableFlags::from_bits_truncate(self.0);
        for (flag, letter) in [
            (PageTableFlags::PRESENT, 'p'),
            (PageTableFlags::WRITABLE, 'w'),
            (PageTableFlags::USER_ACCESSIBLE, 'u'),
            (PageTableFlags::WRITE_THROUGH, 't'),
            (PageTableFlags::NO_CACHE, 'c'),
            (PageTableFlags::ACCESSED, 'a'),
            (PageTableFlags::DIRTY, 'd'),
            (PageTableFlags::HUGE_PAGE, 'h'),
            (PageTableFlags::GLOBAL, 'g'),
            (PageTableFlags::NO_EXECUTE, 'n'),
        ] {
            f.write_char(if flags.contains(flag) { letter } else { '-' })?;
        }
        Ok(())
    }
}

fn memory(arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    arguments.end()?;
    for region in boot::info().regions() {
        let kind = match region.kind {
            RegionKind::Usable => "usable",
            RegionKind::Bootloader => "boot loader's",
            RegionKind::Image => "kernel's image",
            RegionKind::Acpi => "ACPI tables",
            RegionKind::Other => "no memory",
        };
        let (start, end) = (region.start.as_u64(), region.end.as_u64());
        let bytes = (end - start) >> 10;
        writeln!(out, "  {start:#014x}..{end:#014x} {bytes:10} KiB  {kind}")?;
    }
    for (what, range) in [
        ("text", image::text()),
        ("constants", image::rodata()),
        ("variables", image::data()),
    ] {
        let (start, end) = (range.start.as_u64(), range.end.as_u64());
        writeln!(out, "  {what}: {start:#018x}..{end:#018x}")?;
    }
    match frames::free_bytes_now() {
        Some(bytes) => writeln!(out, "  free: {} KiB", bytes >> 10)?,
        None => writeln!(out, "  free: not known, a core is changing it")?,
    }
    Ok(())
}
