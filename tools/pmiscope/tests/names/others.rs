//! What other tools call the functions at addresses.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// A program that does the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Other {
    Addr2line,
    LlvmSymbolizer,
}

/// The frames at an address, innermost first.
pub type Frames = Vec<String>;

/// What a program does not know.
const UNKNOWN: &str = "??";

impl Other {
    pub const ALL: [Self; 2] = [Self::Addr2line, Self::LlvmSymbolizer];

    fn command(self, elf: &Path, demangled: bool) -> Command {
        match self {
            Self::Addr2line => {
                let mut command = Command::new("addr2line");
                command.args(["--addresses", "--functions", "--inlines", "--exe"]);
                command.arg(elf).args(demangled.then_some("--demangle"));
                command
            }
            Self::LlvmSymbolizer => {
                let mut command = Command::new("llvm-symbolizer");
                let spelling = if demangled {
                    "--demangle"
                } else {
                    "--no-demangle"
                };
                command.args(["--inlines", "--functions=linkage", spelling, "--obj"]);
                command.arg(elf);
                command
            }
        }
    }

    /// The frames at each of these addresses; none where the program knows no name.
    pub fn frames(self, elf: &Path, addresses: &[u64], demangled: bool) -> Vec<Frames> {
        let mut command = self.command(elf, demangled);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{self}: {error}"));
        let mut input = child.stdin.take().expect("it is piped");
        let lines: String = addresses.iter().map(|at| format!("{at:#x}\n")).collect();
        let writer = thread::spawn(move || input.write_all(lines.as_bytes()));
        let output = child.wait_with_output().expect("its output");
        assert!(output.status.success(), "{self}: {}", output.status);
        writer.join().unwrap().expect("it reads all addresses");
        let said = String::from_utf8_lossy(&output.stdout);
        let answers = match self {
            Self::Addr2line => after_addresses(&said),
            Self::LlvmSymbolizer => between_empty_lines(&said),
        };
        assert_eq!(answers.len(), addresses.len(), "{self} has answered all");
        answers
    }
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addr2line => "addr2line",
            Self::LlvmSymbolizer => "llvm-symbolizer",
        })
    }
}

/// Each answer is its address and, for each frame, a line with the name and one with the place.
fn after_addresses(said: &str) -> Vec<Frames> {
    let mut answers = Vec::new();
    let mut lines = said.lines().peekable();
    while let Some(address) = lines.next() {
        assert!(address.starts_with("0x"), "an address: {address}");
        let mut frames = Vec::new();
        while let Some(name) = lines.next_if(|line| !line.starts_with("0x")) {
            lines.next().expect("a name and a place");
            frames.push(name.to_owned());
        }
        answers.push(known(frames));
    }
    answers
}

/// Each answer ends with an empty line.
fn between_empty_lines(said: &str) -> Vec<Frames> {
    let mut answers = Vec::new();
    let mut frames = Vec::new();
    let mut lines = said.lines();
    while let Some(name) = lines.next() {
        if name.is_empty() {
            answers.push(known(std::mem::take(&mut frames)));
            continue;
        }
        lines.next().expect("a name and a place");
        frames.push(name.to_owned());
    }
    answers
}

fn known(frames: Frames) -> Frames {
    if frames.iter().all(|name| name == UNKNOWN) {
        return Vec::new();
    }
    frames
}
