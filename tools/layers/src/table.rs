//! The table of layers, `layers.toml`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What is checked, and by which rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The rules for imports.
    pub imports: Imports,
    /// The rules for the length of functions and structs.
    pub sizes: Sizes,
    /// The layers, the lowest first.
    #[serde(rename = "layer")]
    pub layers: Vec<Layer>,
    /// What layers must not import although it lies below them.
    #[serde(rename = "ban", default)]
    pub bans: Vec<Ban>,
}

/// The rules for imports.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imports {
    /// The folders whose packages are checked.
    pub folders: Vec<String>,
    /// The most files that may import each other in a circle.
    pub largest_circle: usize,
}

/// The rules for the length of functions and structs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// The folders whose packages are checked.
    pub folders: Vec<String>,
    /// The most lines of a function, from its `fn` to its closing brace.
    pub function_lines: usize,
    /// The most named fields of a struct.
    pub struct_fields: usize,
}

/// A layer: modules that may import each other and what lies below.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its name in messages.
    pub name: String,
    /// Its modules, each with all modules in it that are not listed themselves.
    pub modules: Vec<String>,
}

/// Modules that some layers must not import although they lie below.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ban {
    /// The names of the layers.
    pub layers: Vec<String>,
    /// The modules.
    pub modules: Vec<String>,
}

impl Table {
    /// Reads the table at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let table: Self = toml::from_str(&text)
            .with_context(|| format!("{} is no table of layers", path.display()))?;
        let is_layer = |name: &&String| table.layers.iter().any(|layer| layer.name == **name);
        let mut banned = table.bans.iter().flat_map(|ban| &ban.layers);
        if let Some(unknown) = banned.find(|name| !is_layer(name)) {
            bail!(
                "{}: a ban is for {unknown}, which is no layer",
                path.display()
            );
        }
        Ok(table)
    }

    /// Returns true if `layer` must not import `module`.
    pub fn bans(&self, layer: &Layer, module: &str) -> bool {
        self.bans
            .iter()
            .filter(|ban| ban.layers.contains(&layer.name))
            .any(|ban| ban.modules.iter().any(|entry| covers(entry, module)))
    }

    /// Returns the layer of `module` and its height: that of the longest entry which
    /// covers it.
    pub fn layer_of(&self, module: &str) -> Option<(usize, &Layer)> {
        let longest = |layer: &Layer| {
            let covering = layer.modules.iter().filter(|entry| covers(entry, module));
            covering.map(String::len).max()
        };
        self.layers
            .iter()
            .enumerate()
            .max_by_key(|(_, layer)| longest(layer))
            .filter(|(_, layer)| longest(layer).is_some())
    }
}

/// Returns true if `module` is `entry` or lies in it.
pub fn covers(entry: &str, module: &str) -> bool {
    module
        .strip_prefix(entry)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
