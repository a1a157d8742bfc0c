//! The functions that addresses were found to be in, each once.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use hashbrown::HashMap;

use super::demangle::demangle;
use super::slide::LinkAddress;
use super::{Function, FunctionId, path};
use crate::profile::names::NamedFunction;

/// What makes two functions one: not all that has one name is.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Identity {
    pub name: String,
    /// Where it is declared, with all folders.
    pub path: Option<PathBuf>,
    pub line: Option<u32>,
    /// Where it starts, if only that tells it from another of its name.
    pub start: Option<LinkAddress>,
}

impl Hash for Identity {
    /// Of names and lines, which few have in common; a path would take as long as both.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.name.hash(hasher);
        self.line.hash(hasher);
    }
}

/// One function each.
#[derive(Default)]
pub(super) struct Functions {
    /// Names by those that are linked: an inlined function has an entry for each call.
    demangled: HashMap<String, String>,
    ids: HashMap<Identity, FunctionId>,
    all: Vec<Interned>,
}

/// A function, and what is shown of it.
struct Interned {
    identity: Identity,
    /// The file, as short as it can be.
    file: Option<String>,
    shown: Function,
    /// The name, with more behind it if another function has the same.
    label: String,
}

impl Functions {
    /// The name of a function as people write it.
    pub(super) fn demangled(&mut self, linked: &str) -> String {
        if let Some(known) = self.demangled.get(linked) {
            return known.clone();
        }
        let name = demangle(linked);
        self.demangled.insert(linked.to_owned(), name.clone());
        name
    }

    /// The function that is this one; `file` is its path, shortened.
    pub(super) fn intern(&mut self, mut identity: Identity, file: Option<String>) -> FunctionId {
        if identity.name.chars().all(char::is_whitespace) {
            // Nobody would see it.
            identity.name = format!("{:?}", identity.name);
        }
        if let Some(&id) = self.ids.get(&identity) {
            return id;
        }
        let id = FunctionId(u32::try_from(self.all.len()).expect("fewer functions than 2³²"));
        self.ids.insert(identity.clone(), id);
        self.all.push(Interned {
            shown: Function {
                name: identity.name.clone(),
                file: file.clone(),
                line: identity.line,
            },
            label: identity.name.clone(),
            file,
            identity,
        });
        id
    }

    /// All of them, by their numbers, as a profile has them.
    pub(super) fn named(&self) -> impl Iterator<Item = NamedFunction> {
        self.all.iter().map(|known| NamedFunction {
            name: known.identity.name.clone(),
            path: known
                .identity
                .path
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
            file: known.file.clone(),
            line: known.identity.line,
            start: known.identity.start.map(|start| start.0),
        })
    }

    pub(super) fn get(&self, id: FunctionId) -> &Function {
        &self.all[id.0 as usize].shown
    }

    /// What makes a function one, and the file in which it is declared, shortened.
    pub(super) fn identity(&self, id: FunctionId) -> (&Identity, Option<&str>) {
        let known = &self.all[id.0 as usize];
        (&known.identity, known.file.as_deref())
    }

    pub(super) fn label(&self, id: FunctionId) -> &str {
        &self.all[id.0 as usize].label
    }

    /// Says of functions that look alike as much as tells them apart: the folders of their files,
    /// or else their addresses.
    pub(super) fn tell_apart(&mut self) {
        let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, known) in self.all.iter().enumerate() {
            groups.entry(&known.identity.name).or_default().push(index);
        }
        let groups = groups.into_values().filter(|group| group.len() > 1);
        for group in groups.collect::<Vec<_>>() {
            let same_place =
                self.repeated(&group, |known| (known.file.clone(), known.identity.line));
            let is_alike =
                |known: &Interned| same_place.contains(&(known.file.clone(), known.identity.line));
            let alike = group.iter().filter(|&&index| is_alike(&self.all[index]));
            let alike: Vec<_> = alike.copied().collect();
            let paths = alike
                .iter()
                .map(|&index| self.all[index].identity.path.as_deref());
            let longer = path::lengthen(&paths.flatten().collect::<Vec<_>>());
            let has_path = |&index: &usize| self.all[index].identity.path.is_some();
            let with_path: Vec<_> = alike.into_iter().filter(has_path).collect();
            for (index, file) in with_path.into_iter().zip(longer) {
                self.all[index].shown.file = Some(file);
            }
            let place = |known: &Interned| (known.shown.file.clone(), known.shown.line);
            let same_place = self.repeated(&group, place);
            for &index in &group {
                let known = &mut self.all[index];
                known.name(same_place.contains(&place(known)));
            }
        }
    }

    /// What more than one of a group has.
    fn repeated<T: Ord>(&self, group: &[usize], of: impl Fn(&Interned) -> T) -> BTreeSet<T> {
        let mut met = BTreeSet::new();
        let mut repeated = BTreeSet::new();
        for &index in group {
            if let Some(again) = met.replace(of(&self.all[index])) {
                repeated.insert(again);
            }
        }
        repeated
    }
}

impl Interned {
    fn name(&mut self, by_address: bool) {
        let name = &self.identity.name;
        self.label = match (self.identity.start, &self.shown.file, self.shown.line) {
            (Some(start), ..) if by_address => {
                self.shown.name = format!("{name} ({:#x})", start.0);
                self.shown.name.clone()
            }
            (_, Some(file), Some(line)) => format!("{name} ({file}:{line})"),
            (_, Some(file), None) => format!("{name} ({file})"),
            (Some(start), None, _) => format!("{name} ({:#x})", start.0),
            (None, None, _) => name.clone(),
        };
    }
}
