//! The names of a kernel's code, against those that binutils' `addr2line` gives: of all
//! functions of kernels that were built, with the calls that were inlined.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use object::{Object as _, ObjectSymbol as _, SymbolKind};
use pmiscope::symbols::Symbols;
use profiler::address::CodeAddress;

use crate::fixture::built;

/// The first, a middle and the last byte of each function.
fn addresses(elf: &[u8]) -> Vec<u64> {
    let file = object::File::parse(elf).unwrap();
    let is_function = |it: &object::Symbol<'_, '_>| {
        it.kind() == SymbolKind::Text && it.is_definition() && it.size() > 0
    };
    let functions = file.symbols().filter(is_function);
    let places = |it: object::Symbol<'_, '_>| {
        let (start, size) = (it.address(), it.size());
        [start, start + size / 2, start + size - 1]
    };
    let mut addresses: Vec<_> = functions.flat_map(places).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The frames of each address, innermost first, as `addr2line` knows them.
fn by_addr2line(elf: &Path, addresses: &[u64]) -> Vec<Vec<String>> {
    let mut child = Command::new("addr2line")
        .args(["-a", "-f", "-i", "-e"])
        .arg(elf)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("addr2line, which comes with ld");
    let asked: String = addresses.iter().map(|it| format!("{it:#x}\n")).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(asked.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let mut all: Vec<Vec<String>> = Vec::new();
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            all.push(Vec::new());
        } else {
            let name = format!("{:#}", rustc_demangle::demangle(line));
            all.last_mut().unwrap().push(name);
            // Where it is.
            lines.next();
        }
    }
    assert_eq!(all.len(), addresses.len());
    all
}

/// The functions by their symbols: where they start, how long they are, and their names.
fn symbols(elf: &[u8]) -> Vec<(u64, u64, String)> {
    let file = object::File::parse(elf).unwrap();
    let functions = file.symbols().filter(|it| it.kind() == SymbolKind::Text);
    let named = functions.map(|it| {
        let name = format!("{:#}", rustc_demangle::demangle(it.name().unwrap()));
        (it.address(), it.size(), name)
    });
    named.collect()
}

/// Returns true if the names differ in the innermost alone, for which `addr2line` has that of the
/// symbol: it does so where debug information has no linkage name, as line tables have none.
fn is_by_symbol(
    symbols: &[(u64, u64, String)],
    address: u64,
    expected: &[String],
    found: &[String],
) -> bool {
    let differ_in_first = expected.len() == found.len() && expected.get(1..) == found.get(1..);
    differ_in_first
        && symbols.iter().any(|(start, size, name)| {
            (*start..start + size).contains(&address) && *name == expected[0]
        })
}

/// The same by `llvm-symbolizer`, if there is one.
fn by_llvm(elf: &Path, addresses: &[u64]) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("llvm-symbolizer");
    command.args(["--no-demangle", "-e"]).arg(elf);
    command.args(addresses.iter().map(|it| format!("{it:#x}")));
    let output = command.stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8(output.stdout).unwrap();
    // Each is a name and a place for each frame, and an empty line.
    let answers = said.split("\n\n").take(addresses.len());
    let names = |answer: &str| {
        let names = answer.lines().step_by(2);
        names
            .map(|name| format!("{:#}", rustc_demangle::demangle(name)))
            .collect()
    };
    Some(answers.map(names).collect())
}

fn by_symbols(elf: &[u8], addresses: &[u64]) -> Vec<Vec<String>> {
    let mut symbols = Symbols::new(elf).unwrap();
    symbols.resolve(addresses.iter().copied().map(CodeAddress));
    let names = |&address: &u64| {
        let frames = symbols.frames(CodeAddress(address)).iter();
        let names = frames.map(|frame| symbols.function(frame.function).name.clone());
        names.collect()
    };
    addresses.iter().map(names).collect()
}

#[test]
fn names_are_those_of_addr2line() {
    let adopters = built("loader").with_file_name("../../adopters");
    let kernels: [PathBuf; 4] = [
        built("kernel"),
        adopters.join("c-limine/gcc/c-limine"),
        adopters.join("c-limine/clang/c-limine"),
        adopters.join("x86_64-unknown-none/release/rust-smp"),
    ];
    for path in kernels {
        if path.to_string_lossy().contains("/clang/") && !path.is_file() {
            eprintln!("{}: skipped, there was no clang", path.display());
            continue;
        }
        let elf = std::fs::read(&path).unwrap();
        let addresses = addresses(&elf);
        let expected = by_addr2line(&path, &addresses);
        let found = by_symbols(&elf, &addresses);
        let all = addresses.iter().zip(expected.iter().zip(&found));
        let others = all.filter(|(_, (expected, found))| expected != found);
        let others: Vec<_> = others.map(|(&address, names)| (address, names)).collect();
        // binutils misses inlined calls here and there, and then llvm-symbolizer has them.
        let wrong: Vec<_> = match by_llvm(&path, &others.iter().map(|it| it.0).collect::<Vec<_>>())
        {
            Some(llvm) => others
                .iter()
                .zip(llvm)
                .filter(|((_, (_, found)), llvm)| *found != llvm)
                .collect(),
            None => Vec::new(),
        };
        assert!(wrong.is_empty(), "{}: {wrong:#x?}", path.display());
        let (lacking, others): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|(_, (expected, found))| found.ends_with(expected));
        let symbols = symbols(&elf);
        let others: Vec<_> = others
            .into_iter()
            .filter(|(address, (expected, found))| {
                !is_by_symbol(&symbols, *address, expected, found)
            })
            .collect();
        assert!(others.is_empty(), "{}: {others:#x?}", path.display());
        assert!(
            lacking.len() * 500 < addresses.len(),
            "{}: {lacking:#x?}",
            path.display()
        );
        let inlined = found.iter().filter(|frames| frames.len() > 1).count();
        assert!(
            inlined * 5 > addresses.len(),
            "{}: {inlined}",
            path.display()
        );
    }
}
