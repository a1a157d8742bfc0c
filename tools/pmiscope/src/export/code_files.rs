//! The files that the code on stacks is of: the kernel's, and those of the user's programs.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use profiler::address::UserAddress;

use super::Export;
use super::tree::Kind;
use crate::symbols::BuildId;

/// Mappings begin and end at whole pages.
const PAGE: u64 = 4096;

/// A file, as far as samples have its code.
pub(super) struct CodeFile {
    pub name: String,
    pub build_id: Option<BuildId>,
    /// Where its code begins and ends, at addresses that the file has.
    pub start: u64,
    pub end: u64,
}

/// The kernel, and behind it the programs whose code is on stacks.
pub(super) struct CodeFiles {
    pub all: Vec<CodeFile>,
    /// The places of programs, by their numbers.
    programs: HashMap<u16, usize>,
}

impl CodeFiles {
    /// Those of an export's stacks.
    pub(super) fn new(export: &Export<'_>) -> Self {
        let places = export.tree.places.iter();
        let places = places.filter_map(|place| place.kind.user());
        let mut seen: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
        for UserAddress { program, address } in places {
            let (first, last) = seen.entry(program).or_insert((address, address));
            (*first, *last) = (address.min(*first), address.max(*last));
        }
        let mut files = Self {
            all: vec![kernel(export)],
            programs: HashMap::new(),
        };
        for (program, (first, last)) in seen {
            let known = export.symbols.programs().find(|it| it.number == program);
            files.programs.insert(program, files.all.len());
            files.all.push(CodeFile {
                name: export.symbols.program_name(program),
                build_id: known.and_then(|it| it.build_id()),
                start: first & !(PAGE - 1),
                end: (last | (PAGE - 1)).saturating_add(1),
            });
        }
        files
    }

    /// The place of the file that code is of, and the address that it has there; `None` of what is no code.
    pub(super) fn of(&self, kind: Kind) -> Option<(usize, u64)> {
        match (kind, kind.user()) {
            (_, Some(user)) => Some((self.programs[&user.program], user.address)),
            (Kind::Code(address), None) => Some((0, address)),
            (Kind::Interrupt(_) | Kind::Border(_) | Kind::Cut(_), None) => None,
        }
    }
}

fn kernel(export: &Export<'_>) -> CodeFile {
    let run = &export.profile.description;
    let start = export.symbols.slide().shown(run.text.start);
    let length = run.text.end.0.wrapping_sub(run.text.start.0);
    CodeFile {
        name: "kernel".to_owned(),
        build_id: Some(BuildId(run.build_id)),
        start,
        end: start.wrapping_add(length),
    }
}
