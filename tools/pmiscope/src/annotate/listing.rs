//! The instructions of functions.

use std::collections::BTreeMap;
use std::ops::Range;

use clap::ValueEnum;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Formatter, FormatterOutput, FormatterTextKind,
};
use iced_x86::{GasFormatter, Instruction as Decoded, IntelFormatter};
use profiler::address::CodeAddress;

use crate::symbols::{Lines, SourceLine, Symbols};

/// How instructions are written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum Syntax {
    /// `mov rax, [rdi]`, as the processors' manuals have it
    #[default]
    Intel,
    /// `mov (%rdi),%rax`, as binutils and perf have it
    Att,
}

/// An instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Instruction {
    /// How far it is behind the first.
    pub offset: u64,
    pub length: u64,
    pub text: String,
    /// Where it jumps to in the same listing.
    pub target: Option<u64>,
    /// Its functions, innermost first, and the line of each that it is of: one or more.
    pub frames: Vec<(String, Option<SourceLine>)>,
}

/// The code that one symbol names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listing {
    pub name: String,
    /// Where it begins: see [`Symbols::place`].
    pub start: u64,
    pub size: u64,
    pub instructions: Vec<Instruction>,
}

impl Instruction {
    /// Returns true if it is of this function, or of one that is inlined into it.
    pub(crate) fn is_of(&self, name: &str) -> bool {
        self.frames.iter().any(|frame| frame.0 == name)
    }
}

impl Listing {
    /// The instruction at this place.
    pub(crate) fn index_of(&self, address: u64) -> Option<usize> {
        let offset = address.checked_sub(self.start)?;
        let behind = self.instructions.partition_point(|it| it.offset <= offset);
        let index = behind.checked_sub(1)?;
        let it = &self.instructions[index];
        (offset < it.offset + it.length).then_some(index)
    }

    /// Returns true if some of it is code of this function.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.instructions.iter().any(|it| it.is_of(name))
    }
}

/// The listings of functions that have samples, in the order of their addresses.
#[derive(Default)]
pub(crate) struct Listings(Vec<Listing>);

impl Listings {
    /// Those of functions that have any of these addresses, with how often each was seen: as many as
    /// `most` instructions are, those that were seen most often first.
    pub(crate) fn new(
        addresses: impl Iterator<Item = (CodeAddress, u64)>,
        (symbols, lines): (&mut Symbols, &Lines),
        (syntax, most): (Syntax, usize),
    ) -> Self {
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        for (address, samples) in addresses {
            if let Some(code) = symbols.code_around(symbols.of_any_process(address)) {
                *seen
                    .entry(code.start.0.wrapping_add(code.moved_by))
                    .or_default() += samples;
            }
        }
        let mut seen: Vec<_> = seen.into_iter().collect();
        seen.sort_by_key(|&(start, samples)| (std::cmp::Reverse(samples), start));
        let mut listings = Self::default();
        let mut left = most;
        for (start, _) in seen {
            let listing = listing(CodeAddress(start), (symbols, lines), syntax);
            let Some(listing) = listing.filter(|it| it.instructions.len() <= left) else {
                continue;
            };
            left -= listing.instructions.len();
            listings.0.push(listing);
        }
        listings.0.sort_by_key(|listing| listing.start);
        listings
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Listing> {
        self.0.iter()
    }
}

/// The function that starts there, where it ran.
fn listing(
    ran_at: CodeAddress,
    (symbols, lines): (&mut Symbols, &Lines),
    syntax: Syntax,
) -> Option<Listing> {
    let code = symbols.code_around(ran_at)?;
    let (start, size) = (code.start, code.bytes.len() as u64);
    let decoder = Decoder::with_ip(64, code.bytes, start.0, DecoderOptions::NONE);
    let decoded: Vec<_> = decoder.into_iter().collect();
    let moved_by = code.moved_by;
    let at = |it: &Decoded| CodeAddress(it.ip().wrapping_add(moved_by));
    symbols.resolve(decoded.iter().map(at));
    let mut format = Format::new(syntax);
    let instructions = decoded.iter().map(|it| {
        let target = it.near_branch_target().wrapping_sub(start.0);
        let is_near = it.near_branch_target() != 0;
        Instruction {
            offset: it.ip() - start.0,
            length: it.len() as u64,
            text: format.text(it, symbols, (start.0..start.0 + size, moved_by)),
            target: (is_near && target < size).then_some(target),
            frames: frames(at(it), symbols, lines),
        }
    });
    let instructions = instructions.collect();
    Some(Listing {
        name: symbols
            .frames(ran_at)
            .last()
            .map(|it| symbols.label(it.function).to_owned())?,
        start: symbols.place(ran_at),
        size,
        instructions,
    })
}

fn frames(
    address: CodeAddress,
    symbols: &Symbols,
    lines: &Lines,
) -> Vec<(String, Option<SourceLine>)> {
    let frames = symbols.frames(address);
    let named = frames.iter().zip(lines.of_code(address, symbols));
    named
        .map(|(frame, line)| (symbols.label(frame.function).to_owned(), line))
        .collect()
}

/// Writes instructions.
struct Format(Box<dyn Formatter>);

/// The text of an instruction.
#[derive(Default)]
struct Text(String);

impl FormatterOutput for Text {
    fn write(&mut self, text: &str, _kind: FormatterTextKind) {
        self.0.push_str(text);
    }
}

impl Format {
    fn new(syntax: Syntax) -> Self {
        let mut formatter: Box<dyn Formatter> = match syntax {
            Syntax::Intel => Box::new(IntelFormatter::new()),
            Syntax::Att => Box::new(GasFormatter::new()),
        };
        let options = formatter.options_mut();
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_uppercase_hex(false);
        options.set_small_hex_numbers_in_decimal(true);
        options.set_space_after_operand_separator(syntax == Syntax::Intel);
        options.set_branch_leading_zeros(false);
        options.set_show_branch_size(false);
        options.set_first_operand_char_index(8);
        options.set_rip_relative_addresses(true);
        Self(formatter)
    }

    /// An instruction of the code in `own`. What it jumps to or calls elsewhere has its name.
    fn text(
        &mut self,
        it: &Decoded,
        symbols: &Symbols,
        (own, moved_by): (Range<u64>, u64),
    ) -> String {
        let target = it.near_branch_target();
        let is_call = matches!(it.flow_control(), FlowControl::Call);
        let mut text = Text::default();
        if target != 0 && (is_call || !own.contains(&target)) {
            let ran_at = CodeAddress(target.wrapping_add(moved_by));
            if let Some(name) = symbols.name_of_code(ran_at) {
                self.0.format_mnemonic(it, &mut text);
                return format!("{:<7} {name}", text.0);
            }
        }
        self.0.format(it, &mut text);
        text.0
    }
}
