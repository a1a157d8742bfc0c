//! What a kernel's files lack, and what that costs a report.

use std::fmt;

use super::Tally;
use crate::symbols::{Coverage, Symbols};
use crate::units::{counted, percent};

/// What to give the tool where a kernel was stripped.
const GIVE: &str =
    "give `pmiscope report` the unstripped ELF by --elf, or its debug file by --debug-file";

/// What a damaged symbol table is called, and that of its names.
const TABLES: [&str; 2] = [".symtab", ".strtab"];

/// Something that is not there, or cannot be read.
#[derive(Clone, PartialEq, Debug)]
pub enum Lacking {
    /// There is no symbol table.
    Names {
        /// Samples that have no name because of it.
        samples: u64,
        /// All samples.
        of: u64,
        has_debug_info: bool,
        /// Why the separate debug file is not there.
        missed: Vec<String>,
    },
    /// There is no debug information.
    DebugInfo { missed: Vec<String> },
    /// Part of the code has none.
    PartOfDebugInfo {
        samples: u64,
        of: u64,
        sources: Vec<String>,
    },
    /// Code behind the end of what the symbol table has.
    NamesOfCode { samples: u64, of: u64 },
    /// Debug information is in files that were not found.
    Units {
        units: u64,
        samples: u64,
        looked_in: String,
    },
    /// Debug information is damaged.
    UnreadableUnits { units: u64, samples: u64 },
    /// The file that debug information has parts in.
    Supplement(String),
    /// What is damaged.
    Damaged(Damage),
}

/// What is damaged of a kernel's files.
#[derive(Clone, PartialEq, Debug)]
pub struct Damage {
    what: Vec<String>,
    /// Whether a whole file is.
    is_file: bool,
    /// Samples in code without debug information.
    samples: u64,
    /// Samples without a name, if the symbol table is damaged.
    nameless: Option<u64>,
}

impl Lacking {
    /// Returns true if nothing can be believed because of it.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::Damaged(Damage { is_file: true, .. }))
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names {
                samples,
                of,
                has_debug_info,
                missed,
            } => write!(
                f,
                "addresses stand in place of names, in {}: the kernel's ELF has no symbol table, and {} (it was stripped?); {GIVE}{}",
                share(*samples, *of),
                without_names(*has_debug_info),
                reasons(missed)
            ),
            Self::NamesOfCode { samples, of } => write!(
                f,
                "the names of {} are missing or may be wrong: no symbol covers that code, which has the name of the function before it, if there is one (were local symbols stripped, by strip -x?); {GIVE}",
                share(*samples, *of)
            ),
            Self::DebugInfo { missed } => write!(
                f,
                "the kernel's ELF has no debug information: calls that were inlined are counted for the function that they are in, and where functions are declared is not known; compile with -g (Rust: debug = \"limited\"), or {GIVE}{}",
                reasons(missed)
            ),
            Self::PartOfDebugInfo {
                samples,
                of,
                sources,
            } => write!(
                f,
                "inlined calls are not shown in {}: part of the kernel has no debug information; compile all of it with -g (without it: {})",
                share(*samples, *of),
                named(sources, ("and", "other file"))
            ),
            Self::Units {
                units,
                samples,
                looked_in,
            } => write!(
                f,
                "inlined calls of {} of the debug information are missing ({} in such code): it was split off into .dwo files (-gsplit-dwarf), which are not in {looked_in}; put them there, or pack them by dwp and put the .dwp beside the ELF that --elf names",
                counted(*units, "unit"),
                counted(*samples, "sample")
            ),
            Self::UnreadableUnits { units, samples } => write!(
                f,
                "{} of the debug information cannot be read: their functions have the names of the symbol table, and no inlined calls ({} in code without)",
                counted(*units, "unit"),
                counted(*samples, "sample")
            ),
            Self::Supplement(file) => write!(
                f,
                "the debug information has parts in another file (dwz, .gnu_debugaltlink), {file}, which is not found: inlined calls may be missing; give it by --debug-file"
            ),
            Self::Damaged(damage) => damage.fmt(f),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.join(", ");
        write!(f, "damaged, and cannot be read: {what}: ")?;
        if self.is_file {
            f.write_str("what it has of names and callers is missing")?;
        } else if let Some(nameless) = self.nameless {
            let nameless = counted(nameless, "sample");
            write!(f, "the report does without ({nameless} without a name)")?;
        } else {
            let samples = counted(self.samples, "sample");
            write!(
                f,
                "the report does without ({samples} in code without debug information, inlined calls are not shown there)"
            )?;
        }
        f.write_str("; build or copy the file again, and give it by --elf or --debug-file")
    }
}

/// Why debug information does not name code that has no symbol.
const fn without_names(has_debug_info: bool) -> &'static str {
    if has_debug_info {
        "debug information does not know that code"
    } else {
        "no debug information, so inlined calls are not shown"
    }
}

/// A number of samples, and its part of all.
fn share(samples: u64, of: u64) -> String {
    let percent = percent(samples, of);
    format!("{} ({percent:.2}%)", counted(samples, "sample"))
}

/// Why separate files are not there.
fn reasons(missed: &[String]) -> String {
    let reasons = missed.iter().map(|reason| format!("; {reason}"));
    reasons.collect()
}

/// What the kernel's files lack, as far as that costs these samples something.
pub(super) fn lacking(tally: &Tally, symbols: &Symbols) -> Vec<Lacking> {
    let origins = symbols.origins();
    let problems = &origins.problems;
    let missed = problems.missed.clone();
    let unknown = Unknown::count(tally, symbols);
    let of = tally.samples();
    let has_debug_info = origins.debug_info.is_some();
    let mut all = Vec::new();
    let is_of_names = |what: &String| TABLES.iter().any(|table| what.starts_with(table));
    let has_lost_names = problems.damaged.iter().any(is_of_names);
    if !problems.damaged.is_empty() {
        all.push(Lacking::Damaged(Damage {
            what: problems.damaged.clone(),
            is_file: problems.has_lost_file,
            samples: unknown.inlining,
            nameless: has_lost_names.then_some(unknown.names),
        }));
    }
    // A damaged table is why there are none.
    if !has_lost_names && origins.names.is_empty() && unknown.names > 0 {
        all.push(Lacking::Names {
            samples: unknown.names,
            of,
            has_debug_info,
            missed,
        });
    } else if !has_debug_info
        && problems.is_compiled
        && problems.damaged.is_empty()
        && unknown.inlining > 0
    {
        all.push(Lacking::DebugInfo { missed });
    }
    let uncovered = match origins.names[..] {
        [] => 0,
        // A damaged table is why the others have no name.
        [..] if has_lost_names => unknown.uncovered,
        [..] => unknown.names + unknown.uncovered,
    };
    if uncovered > 0 {
        all.push(Lacking::NamesOfCode {
            samples: uncovered,
            of,
        });
    }
    let units = units(symbols, unknown.inlining);
    let is_told =
        !units.is_empty() || problems.supplement.is_some() || !problems.damaged.is_empty();
    all.extend(units);
    all.extend(problems.supplement.clone().map(Lacking::Supplement));
    let sources = &problems.without_debug_info;
    if !is_told && !sources.is_empty() && unknown.inlining > 0 {
        all.push(Lacking::PartOfDebugInfo {
            samples: unknown.inlining,
            of,
            sources: sources.clone(),
        });
    }
    all
}

/// Samples in code of the kernel of which something is not known.
#[derive(Default)]
struct Unknown {
    names: u64,
    /// Those that have the name of the function before.
    uncovered: u64,
    inlining: u64,
}

impl Unknown {
    fn count(tally: &Tally, symbols: &Symbols) -> Self {
        let mut unknown = Self::default();
        for (pc, samples) in tally.places() {
            let Some(Coverage {
                is_named,
                is_covered,
                has_inlining,
            }) = symbols.coverage_at(pc)
            else {
                continue;
            };
            if !is_named {
                unknown.names += samples;
            } else if !is_covered {
                unknown.uncovered += samples;
            }
            if !has_inlining {
                unknown.inlining += samples;
            }
        }
        unknown
    }
}

/// The first of many, and how many more there are.
fn named(all: &[String], (join, others): (&str, &str)) -> String {
    const NAMED: usize = 3;
    let shown = all[..all.len().min(NAMED)].join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} {join} {}", counted(more as u64, others)),
    }
}

fn units(symbols: &Symbols, samples: u64) -> Vec<Lacking> {
    let mut all = Vec::new();
    let (units, looked_in) = symbols.missing_units();
    if units > 0 {
        let looked_in = looked_in.iter().map(|folder| folder.display().to_string());
        let looked_in: Vec<_> = looked_in.collect();
        all.push(Lacking::Units {
            units,
            samples,
            looked_in: named(&looked_in, ("or", "other folder")),
        });
    }
    let units = symbols.unreadable_units();
    if units > 0 {
        all.push(Lacking::UnreadableUnits { units, samples });
    }
    all
}
