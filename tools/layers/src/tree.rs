//! The modules of packages, as files and names.
//!
//! What is compiled for tests alone is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use syn::punctuated::Punctuated;
use syn::visit::Visit;
use syn::{Attribute, Expr, ExprLit, ForeignItem, Item, Lit, Meta, Token};
use walkdir::WalkDir;

use crate::collect::Collector;

/// Index of a module in [`Tree::modules`].
pub type ModuleId = usize;
/// Index of a file in [`Tree::files`].
pub type FileId = usize;

/// The modules of some packages.
#[derive(Debug, Default)]
pub struct Tree {
    /// The files, relative to the workspace.
    pub files: Vec<PathBuf>,
    /// The modules, parents before their children.
    pub modules: Vec<Module>,
    /// The root modules of libraries by the names that others import them by.
    pub libraries: BTreeMap<String, ModuleId>,
    /// The functions of all files.
    pub functions: Vec<Measured>,
    /// The structs of all files.
    pub structs: Vec<Measured>,
}

/// A module: a file, or a `mod name { … }` in one.
#[derive(Debug)]
pub struct Module {
    /// Its path from its crate's name on, such as `kernel::cpu::apic`.
    pub path: String,
    /// The file that it is in.
    pub file: FileId,
    /// The module that declares it; `None` for a crate's root.
    pub parent: Option<ModuleId>,
    /// Its crate's root.
    pub root: ModuleId,
    /// The modules that it declares.
    pub children: BTreeMap<String, ModuleId>,
    /// The names of the items that it defines.
    pub items: BTreeSet<String>,
    /// What it names from elsewhere.
    pub names: Names,
}

/// What a module names from elsewhere.
#[derive(Debug, Default)]
pub struct Names {
    /// The names that it has by `use`, with their paths.
    pub aliases: BTreeMap<String, Vec<String>>,
    /// The paths whose names it has by `use path::*`.
    pub globs: Vec<Vec<String>>,
    /// Every path that it names.
    pub references: Vec<Reference>,
}

/// A path, where it is named.
#[derive(Debug)]
pub struct Reference {
    /// Its segments; the first is `::` if it begins with a crate's name for certain.
    pub path: Vec<String>,
    /// The line.
    pub line: usize,
    /// It is in a `pub use`.
    pub is_export: bool,
    /// It is in a `use`, before `::*`.
    pub is_glob: bool,
}

/// Something that has a length.
#[derive(Debug)]
pub struct Measured {
    /// The file that it is in.
    pub file: FileId,
    /// The line that it begins in.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// The number of its lines or fields.
    pub size: usize,
}

#[derive(Deserialize)]
struct Manifest {
    package: Option<Target>,
    lib: Option<Target>,
    #[serde(default)]
    bin: Vec<Target>,
}

#[derive(Deserialize, Default)]
struct Target {
    name: Option<String>,
    path: Option<PathBuf>,
}

impl Tree {
    /// Reads all packages in `folders` of `workspace`.
    pub fn read(workspace: &Path, folders: &[String]) -> Result<Self> {
        let mut tree = Self::default();
        for folder in folders {
            let entries = WalkDir::new(workspace.join(folder)).sort_by_file_name();
            let entries = entries
                .into_iter()
                .filter_entry(|entry| entry.file_name() != "target");
            for entry in entries {
                let entry = entry?;
                if entry.file_name() == "Cargo.toml" {
                    tree.read_package(workspace, entry.path())?;
                }
            }
        }
        Ok(tree)
    }

    /// Returns the file of `module`.
    pub fn file(&self, module: ModuleId) -> &Path {
        &self.files[self.modules[module].file]
    }

    fn read_package(&mut self, workspace: &Path, manifest: &Path) -> Result<()> {
        let text = std::fs::read_to_string(manifest)?;
        let parsed: Manifest =
            toml::from_str(&text).with_context(|| format!("in {}", manifest.display()))?;
        let folder = manifest.parent().unwrap_or(workspace);
        let Some(package) = parsed.package else {
            return Ok(());
        };
        let package = package.name.unwrap_or_default().replace('-', "_");
        let existing = |target: &Target, default: &str| {
            let path = folder.join(target.path.as_deref().unwrap_or(Path::new(default)));
            path.is_file().then_some(path)
        };

        let library = parsed.lib.unwrap_or_default();
        let name = library.name.clone().unwrap_or(package).replace('-', "_");
        let has_library = if let Some(path) = existing(&library, "src/lib.rs") {
            let root = self.read_file(workspace, &path, name.clone(), None)?;
            self.libraries.insert(name.clone(), root);
            true
        } else {
            false
        };
        let mut programs = parsed.bin;
        if programs.is_empty() {
            programs.push(Target::default());
        }
        for program in programs {
            if let Some(path) = existing(&program, "src/main.rs") {
                let program = program.name.unwrap_or_else(|| name.clone());
                // A program beside a library of its name is told apart by `bin`.
                let program = if has_library {
                    format!("{name}::bin")
                } else {
                    program.replace('-', "_")
                };
                self.read_file(workspace, &path, program, None)?;
            }
        }
        Ok(())
    }

    fn read_file(
        &mut self,
        workspace: &Path,
        path: &Path,
        name: String,
        parent: Option<ModuleId>,
    ) -> Result<ModuleId> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let parsed = syn::parse_file(&text).map_err(|error| {
            anyhow::anyhow!("{}:{}: {error}", path.display(), error.span().start().line)
        })?;
        self.files
            .push(path.strip_prefix(workspace).unwrap_or(path).to_owned());
        let module = self.add_module(name, self.files.len() - 1, parent);
        let folder = path.parent().unwrap_or(workspace);
        let stem = path.file_stem().unwrap_or_default();
        let children = if parent.is_none() || stem == "mod" {
            folder.to_owned()
        } else {
            folder.join(stem)
        };
        self.read_items(workspace, module, &parsed.items, &children)?;
        Ok(module)
    }

    fn add_module(&mut self, path: String, file: FileId, parent: Option<ModuleId>) -> ModuleId {
        let id = self.modules.len();
        self.modules.push(Module {
            path,
            file,
            parent,
            root: parent.map_or(id, |parent| self.modules[parent].root),
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            names: Names::default(),
        });
        id
    }

    /// Reads the items of `module`, whose children's files are in `folder`.
    fn read_items(
        &mut self,
        workspace: &Path,
        module: ModuleId,
        items: &[Item],
        folder: &Path,
    ) -> Result<()> {
        for item in items {
            if let Item::Mod(item) = item {
                if !is_for_tests(&item.attrs) {
                    self.read_module(workspace, module, item, folder)?;
                }
                continue;
            }
            let exported = matches!(item, Item::Macro(item) if has(&item.attrs, "macro_export"));
            let names = defined_by(item);
            if exported {
                let root = self.modules[module].root;
                let home = self.modules[module]
                    .path
                    .split("::")
                    .skip(1)
                    .map(String::from);
                let home: Vec<String> = std::iter::once("crate".to_owned()).chain(home).collect();
                for name in &names {
                    let path = home.iter().cloned().chain([name.clone()]).collect();
                    self.modules[root].names.aliases.insert(name.clone(), path);
                }
            }
            self.modules[module].items.extend(names);
        }
        let mut collector = Collector::new(self.modules[module].file);
        for item in items {
            if !matches!(item, Item::Mod(_)) {
                collector.visit_item(item);
            }
        }
        let names = &mut self.modules[module].names;
        names.aliases.extend(collector.names.aliases);
        names.globs = collector.names.globs;
        names.references = collector.names.references;
        self.functions.extend(collector.functions);
        self.structs.extend(collector.structs);
        Ok(())
    }

    fn read_module(
        &mut self,
        workspace: &Path,
        parent: ModuleId,
        item: &syn::ItemMod,
        folder: &Path,
    ) -> Result<()> {
        let name = item.ident.to_string();
        let path = format!("{}::{name}", self.modules[parent].path);
        let child = if let Some((_, items)) = &item.content {
            let child = self.add_module(path, self.modules[parent].file, Some(parent));
            self.read_items(workspace, child, items, &folder.join(&name))?;
            child
        } else {
            let file = if let Some(elsewhere) = path_attribute(&item.attrs) {
                let declaring = workspace.join(self.file(parent));
                declaring.with_file_name(elsewhere)
            } else {
                let beside = folder.join(format!("{name}.rs"));
                let inside = folder.join(&name).join("mod.rs");
                if beside.is_file() { beside } else { inside }
            };
            self.read_file(workspace, &file, path, Some(parent))?
        };
        self.modules[parent].children.insert(name, child);
        Ok(())
    }
}

fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident(name))
}

/// Returns the file that `#[path = "…"]` says, from the folder of the declaring file.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let mut attributes = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("path"));
    let Meta::NameValue(pair) = &attributes.next()?.meta else {
        return None;
    };
    match &pair.value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(path),
            ..
        }) => Some(path.value()),
        _ => None,
    }
}

/// Returns the names that `item` defines.
fn defined_by(item: &Item) -> Vec<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Macro(item) => match &item.ident {
            Some(name) => name,
            None => return Vec::new(),
        },
        Item::ForeignMod(block) => {
            let names = block.items.iter().filter_map(|item| match item {
                ForeignItem::Fn(item) => Some(item.sig.ident.to_string()),
                ForeignItem::Static(item) => Some(item.ident.to_string()),
                _ => None,
            });
            return names.collect();
        }
        _ => return Vec::new(),
    };
    vec![name.to_string()]
}

/// Returns true if a `cfg` among `attributes` keeps what they are on out of all builds
/// but tests.
pub fn is_for_tests(attributes: &[Attribute]) -> bool {
    let mut conditions = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"));
    conditions.any(|cfg| {
        cfg.parse_args::<Meta>()
            .is_ok_and(|condition| without_tests(&condition) == Some(false))
    })
}

/// Evaluates a condition where `test` is false; `None` if it depends on more.
fn without_tests(condition: &Meta) -> Option<bool> {
    if condition.path().is_ident("test") {
        return Some(false);
    }
    let Meta::List(list) = condition else {
        return None;
    };
    let inner = list
        .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
        .ok()?;
    let mut values = inner.iter().map(without_tests);
    if list.path.is_ident("not") {
        values.next()?.map(|value| !value)
    } else if list.path.is_ident("all") {
        values.any(|value| value == Some(false)).then_some(false)
    } else if list.path.is_ident("any") {
        values.all(|value| value == Some(false)).then_some(false)
    } else {
        None
    }
}
