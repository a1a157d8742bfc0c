//! The rules: imports that go down, small circles, short functions and structs.

use std::collections::BTreeMap;
use std::fmt;

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use crate::resolve::Found;
use crate::table::{Table, covers};
use crate::tree::{FileId, Measured, ModuleId, Tree};

/// An import, from a module to the one that defines what is imported.
#[derive(Clone, Copy, Debug)]
struct Import {
    from: ModuleId,
    to: ModuleId,
    /// The first line that says so.
    line: usize,
    /// It names items, not the module alone: what is used by the module's name counts
    /// where it is used.
    names_items: bool,
}

/// A line that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence(String);

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns which modules import which, but for those that export what is defined
/// further down.
fn imports(tree: &Tree) -> Vec<Import> {
    let mut imports = BTreeMap::new();
    for (from, module) in tree.modules.iter().enumerate() {
        for reference in &module.names.references {
            if !tree.may_be_import(from, &reference.path) {
                continue;
            }
            let Some(found) = tree.resolve(from, &reference.path) else {
                continue;
            };
            let to = found.module();
            let is_export = reference.is_export && covers(&module.path, &tree.modules[to].path);
            if to == from || is_export {
                continue;
            }
            let line = reference.line;
            let import = imports.entry((from, to)).or_insert(Import {
                from,
                to,
                line,
                names_items: false,
            });
            import.line = import.line.min(line);
            import.names_items |= reference.is_glob || matches!(found, Found::ItemOf(_));
        }
    }
    imports.into_values().collect()
}

/// Checks each import against the layers.
pub fn check_layers(tree: &Tree, table: &Table) -> Vec<Offence> {
    let mut offences = unknown_modules(tree, table);
    for import in imports(tree) {
        // A crate's root without a layer stands over all of them.
        let [from, to] = [import.from, import.to].map(|id| &tree.modules[id].path);
        let Some((height, layer)) = table.layer_of(from) else {
            continue;
        };
        let reason = match table.layer_of(to) {
            None => format!("imports {to}, which has no layer"),
            Some((above, other)) if above > height => {
                format!("imports {to} (layer {}), which is above it", other.name)
            }
            Some(_) if table.bans(layer, to) => format!("imports {to}, which it must never do"),
            Some(_) => continue,
        };
        let file = tree.file(import.from).display();
        let line = import.line;
        offences.push(Offence(format!(
            "{file}:{line}: {from} (layer {}) {reason}",
            layer.name
        )));
    }
    offences
}

/// Compares the table's modules with those that there are.
fn unknown_modules(tree: &Tree, table: &Table) -> Vec<Offence> {
    let exists = |entry: &&String| tree.modules.iter().any(|module| module.path == **entry);
    let banned = table.bans.iter().flat_map(|ban| &ban.modules);
    let listed = table
        .layers
        .iter()
        .flat_map(|layer| &layer.modules)
        .chain(banned);
    let unknown = listed.filter(|entry| !exists(entry));
    let mut offences: Vec<Offence> = unknown
        .map(|entry| {
            Offence(format!(
                "the table lists {entry}, but there is no such module"
            ))
        })
        .collect();

    let children = tree
        .modules
        .iter()
        .enumerate()
        .filter(|(_, module)| module.parent.is_some());
    for (id, module) in children {
        if table.layer_of(&module.path).is_none() {
            let file = tree.file(id).display();
            offences.push(Offence(format!(
                "{file}: {} has no layer in the table",
                module.path
            )));
        }
    }
    offences
}

/// Returns the files that import each other in a circle, the largest circle first.
pub fn circles(tree: &Tree) -> Vec<Vec<FileId>> {
    let file = |module: ModuleId| tree.modules[module].file;
    let imports = imports(tree)
        .into_iter()
        .filter(|import| import.names_items);
    let edges = imports.map(|import| (file(import.from), file(import.to)));
    let graph: DiGraphMap<FileId, ()> = edges.filter(|(from, to)| from != to).collect();
    let mut circles = tarjan_scc(&graph);
    circles.retain(|circle| circle.len() > 1);
    circles
        .iter_mut()
        .for_each(|circle| circle.sort_by_key(|id| &tree.files[*id]));
    circles.sort_by_key(|circle| {
        (
            std::cmp::Reverse(circle.len()),
            tree.files[circle[0]].clone(),
        )
    });
    circles
}

/// Returns a line for each import between files of `circle`: one of them has to go.
pub fn imports_within(tree: &Tree, circle: &[FileId]) -> Vec<String> {
    let file = |module: ModuleId| tree.modules[module].file;
    let is_inside = |import: &Import| {
        let [from, to] = [file(import.from), file(import.to)];
        import.names_items && from != to && circle.contains(&from) && circle.contains(&to)
    };
    let inside = imports(tree).into_iter().filter(is_inside);
    inside
        .map(|import| {
            let [from, to] = [import.from, import.to].map(|id| tree.file(id).display());
            format!("{from}:{} imports from {to}", import.line)
        })
        .collect()
}

/// Returns a line for each of `all` that is larger than `most`, the largest first.
pub fn too_large(tree: &Tree, all: &[Measured], most: usize, unit: &str) -> Vec<Offence> {
    let mut large: Vec<&Measured> = all.iter().filter(|one| one.size > most).collect();
    large.sort_by_key(|one| (std::cmp::Reverse(one.size), &tree.files[one.file], one.line));
    let describe = |one: &&Measured| {
        let file = tree.files[one.file].display();
        Offence(format!(
            "{file}:{}: {} has {} {unit}",
            one.line, one.name, one.size
        ))
    };
    large.iter().map(describe).collect()
}
