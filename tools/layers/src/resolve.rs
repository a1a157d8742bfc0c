//! From a path in a module to the module that defines what it names.

use crate::tree::{ModuleId, Tree};

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A module.
    Module(ModuleId),
    /// An item that the module defines, or seems to: macros define what is not seen.
    ItemOf(ModuleId),
}

/// The most names that are followed from one path, as imports may go round.
const MAX_DEPTH: usize = 32;

impl Found {
    /// Returns the module that it is or that defines it.
    pub fn module(self) -> ModuleId {
        match self {
            Self::Module(module) | Self::ItemOf(module) => module,
        }
    }
}

impl Tree {
    /// Returns what `path` names in `module`, whatever exports it on the way; `None` for
    /// what lies elsewhere.
    pub fn resolve(&self, module: ModuleId, path: &[String]) -> Option<Found> {
        self.find(module, path, None, MAX_DEPTH)
    }

    /// Returns true if `path` is one name that `module` has from elsewhere, or several.
    pub fn may_be_import(&self, module: ModuleId, path: &[String]) -> bool {
        path.len() > 1 || self.modules[module].names.aliases.contains_key(&path[0])
    }

    /// `alias` is the name whose path this is: it does not stand for itself in it.
    fn find(
        &self,
        from: ModuleId,
        path: &[String],
        alias: Option<&str>,
        depth: usize,
    ) -> Option<Found> {
        let depth = depth.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Found::Module(self.modules[from].root),
            "self" => Found::Module(from),
            "super" => Found::Module(self.modules[from].parent?),
            "::" => {
                let (name, rest) = rest.split_first()?;
                let library = Found::Module(*self.libraries.get(name)?);
                return self.follow(library, rest, depth);
            }
            name => {
                let local = if alias == Some(name) {
                    None
                } else {
                    self.look_up(from, name, depth)
                };
                let library = || self.libraries.get(name).copied().map(Found::Module);
                local.or_else(library)?
            }
        };
        self.follow(start, rest, depth)
    }

    fn follow(&self, start: Found, rest: &[String], depth: usize) -> Option<Found> {
        let mut found = start;
        for name in rest {
            let Found::Module(module) = found else {
                break;
            };
            found = match name.as_str() {
                "self" => found,
                "super" => Found::Module(self.modules[module].parent?),
                name => self
                    .look_up(module, name, depth)
                    .unwrap_or(Found::ItemOf(module)),
            };
        }
        Some(found)
    }

    /// Looks for a name among what `module` declares, imports and imports by globs.
    fn look_up(&self, module: ModuleId, name: &str, depth: usize) -> Option<Found> {
        let depth = depth.checked_sub(1)?;
        let scope = &self.modules[module];
        if let Some(child) = scope.children.get(name) {
            return Some(Found::Module(*child));
        }
        if scope.items.contains(name) {
            return Some(Found::ItemOf(module));
        }
        if let Some(path) = scope.names.aliases.get(name) {
            return self.find(module, path, Some(name), depth);
        }
        scope
            .names
            .globs
            .iter()
            .find_map(|path| match self.find(module, path, None, depth)? {
                Found::Module(target) if target != module => self.look_up(target, name, depth),
                _ => None,
            })
    }
}
