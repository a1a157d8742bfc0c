//! Writes the names of a kernel's functions, and where they are in its source, into its image, where
//! its linker script has left room: `symbol-table KERNEL`. `tools/freestanding.sh build` does it behind the linker.
//!
//! Nothing moves, so what the table holds changes no address, and the build-id stays what the
//! linker has made of the file without a table: the table says nothing that is not in there.

mod functions;
mod image;
mod lines;

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tempfile::NamedTempFile;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [kernel] = arguments.as_slice() else {
        eprintln!("usage: symbol-table KERNEL");
        return ExitCode::from(2);
    };
    match run(kernel) {
        Ok(said) => {
            eprintln!("symbol-table: {said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("symbol-table: {}: {error:#}", kernel.display());
            ExitCode::FAILURE
        }
    }
}

/// Writes the table into the file, and returns what there is to say of it.
fn run(kernel: &Path) -> Result<String> {
    let linked = fs::read(kernel).context("cannot be read")?;
    let (named, said) = image::with_table(&linked)?;
    if named != linked {
        replace(kernel, &named).context("cannot be written")?;
    }
    Ok(said)
}

/// Puts a new file in the place of the old one: cargo keeps what the linker has made under
/// another name, and that stays as it is.
fn replace(kernel: &Path, content: &[u8]) -> Result<()> {
    let Some(folder) = kernel.parent() else {
        bail!("it is no file");
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    let permissions = fs::metadata(kernel)?.permissions();
    file.as_file().set_permissions(permissions)?;
    file.persist(kernel)?;
    Ok(())
}
