//! Checks how the parts of the workspace hang together, by `layers.toml`: imports go
//! down the layers, files do not import each other in large circles, functions and
//! structs are short.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use check::{check_layers, circles, imports_within, too_large};
use table::Table;
use tree::{FileId, Tree};

mod check;
mod collect;
mod resolve;
mod table;
#[cfg(test)]
mod tests;
mod tree;

/// Checks imports against the table of layers; lists circles, long functions and
/// structs.
#[derive(Debug, Parser)]
struct Options {
    /// Print what is wrong, but do not fail
    #[arg(long, conflicts_with = "strict")]
    report: bool,
    /// Fail on long functions and structs too
    #[arg(long)]
    strict: bool,
    /// List the imports that hold the circles together
    #[arg(long)]
    imports: bool,
    /// The workspace
    #[arg(long, default_value = ".")]
    workspace: PathBuf,
    /// The table of layers, from the workspace
    #[arg(long, default_value = "tools/layers/layers.toml")]
    table: PathBuf,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let table = Table::read(&options.workspace.join(&options.table))?;
    let imports = check_imports(&options, &table)?;
    let sizes = check_sizes(&options, &table)?;
    let failed = imports > 0 || options.strict && sizes > 0;
    if failed && !options.report {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the offences against layers, and the circles; returns the number of what is wrong.
fn check_imports(options: &Options, table: &Table) -> Result<usize> {
    let tree = Tree::read(&options.workspace, &table.imports.folders)?;
    let offences = check_layers(&tree, table);
    offences.iter().for_each(|offence| println!("{offence}"));

    let most = table.imports.largest_circle;
    let circles = circles(&tree);
    for circle in &circles {
        let verdict = if circle.len() > most {
            ", too many"
        } else {
            ""
        };
        println!(
            "a circle of {} files{verdict}: {}",
            circle.len(),
            list(&tree, circle)
        );
        if options.imports {
            let imports = imports_within(&tree, circle);
            imports.iter().for_each(|import| println!("    {import}"));
        }
    }
    let largest = circles.first().map_or(0, Vec::len);
    println!(
        "layers: {} files; {} offences; {} circles, the largest of {largest} files (at most {most})",
        tree.files.len(),
        offences.len(),
        circles.len(),
    );
    let large = circles.iter().filter(|circle| circle.len() > most);
    Ok(offences.len() + large.count())
}

fn list(tree: &Tree, files: &[FileId]) -> String {
    let names = files.iter().map(|id| tree.files[*id].display().to_string());
    names.collect::<Vec<_>>().join(" ")
}

/// Prints the functions and structs that are too long; returns their number.
fn check_sizes(options: &Options, table: &Table) -> Result<usize> {
    let sizes = &table.sizes;
    let tree = Tree::read(&options.workspace, &sizes.folders)?;
    let functions = too_large(&tree, &tree.functions, sizes.function_lines, "lines");
    let structs = too_large(&tree, &tree.structs, sizes.struct_fields, "fields");
    for offence in functions.iter().chain(&structs) {
        println!("{offence}");
    }
    println!(
        "layers: {} functions of more than {} lines, {} structs of more than {} fields",
        functions.len(),
        sizes.function_lines,
        structs.len(),
        sizes.struct_fields,
    );
    Ok(functions.len() + structs.len())
}
