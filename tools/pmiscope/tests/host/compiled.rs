//! Small ELF files that tests make from source.

use std::path::PathBuf;
use std::process::Command;

use pmiscope::symbols::Symbols;
use profiler::address::CodeAddress;

use crate::folder::folder;

/// Where their text is.
pub const TEXT: u64 = 0xffff_ffff_8010_0000;

/// A file that a test has compiled.
pub struct Compiled {
    pub path: PathBuf,
    pub elf: Vec<u8>,
}

/// Runs a tool, which is to succeed.
#[track_caller]
pub fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns true if there is such a program.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Links a kernel of one source file; `suffix` says in which language it is.
#[track_caller]
pub fn link(name: &str, suffix: &str, source: &str, flags: &[&str]) -> Compiled {
    link_by("cc", name, suffix, source, flags)
}

/// The same by this compiler.
#[track_caller]
pub fn link_by(compiler: &str, name: &str, suffix: &str, source: &str, flags: &[&str]) -> Compiled {
    let written = folder().join(format!("{name}.{suffix}"));
    std::fs::write(&written, source).unwrap();
    let path = folder().join(name);
    let text = format!("-Wl,-Ttext={TEXT:#x}");
    let [from, to] = [&written, &path].map(|path| path.to_str().unwrap());
    let mut arguments = vec![
        "-ffreestanding",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-fno-pie",
        "-mcmodel=kernel",
        "-Wl,--build-id=sha1",
        "-Wl,-e,0",
        &text,
    ];
    arguments.extend(flags);
    arguments.extend([from, "-o", to]);
    tool(compiler, &arguments);
    let elf = std::fs::read(&path).unwrap();
    Compiled { path, elf }
}

impl Compiled {
    /// The address of a symbol.
    #[track_caller]
    pub fn at(&self, name: &str) -> CodeAddress {
        use object::{Object as _, ObjectSymbol as _};
        let file = object::File::parse(&*self.elf).unwrap();
        let mut symbols = file.symbols();
        let symbol = symbols.find(|symbol| symbol.name_bytes() == Ok(name.as_bytes()));
        let symbol = symbol.unwrap_or_else(|| panic!("no symbol {name}"));
        CodeAddress(symbol.address())
    }

    pub fn symbols(&self) -> Symbols {
        Symbols::new(&self.elf).unwrap()
    }
}

/// The names of the functions at an address, innermost first.
pub fn names(symbols: &mut Symbols, address: CodeAddress) -> Vec<String> {
    symbols.resolve([address]);
    let frames = symbols.frames(address).iter();
    let names = frames.map(|frame| symbols.function(frame.function).name.clone());
    names.collect()
}
