//! What instructions say of where return addresses are, against what call-frame information
//! says: of every instruction of every function of kernels that have it.

use std::path::{Path, PathBuf};

use iced_x86::{Decoder, DecoderOptions};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use pmiscope::internals::Caller;
use pmiscope::symbols::Symbols;
use profiler::address::CodeAddress;

use crate::fixture::built;

/// What was compared in a kernel.
#[derive(Debug, Default)]
struct Compared {
    instructions: usize,
    /// What instructions do not say, of functions that are called.
    unknown: usize,
    /// What they do not say of interrupts' entries: those are not called.
    unknown_entries: usize,
    /// Those behind which the frame is one that was copied.
    copied: usize,
}

/// Compares all instructions of the functions of an ELF file. Nothing may be another answer.
#[track_caller]
fn compare(path: &Path) -> Compared {
    let elf = std::fs::read(path).unwrap();
    let symbols = Symbols::new(&elf).unwrap();
    let callers = symbols.callers();
    let file = object::File::parse(&*elf).unwrap();
    let mut compared = Compared::default();
    let mut wrong = Vec::new();
    let functions = file.symbols().filter(|symbol| {
        symbol.kind() == SymbolKind::Text && symbol.is_definition() && symbol.size() > 0
    });
    let mut functions: Vec<_> = functions
        .map(|it| (it.address(), it.size(), it.name()))
        .collect();
    functions.sort_unstable_by_key(|it| it.0);
    functions.dedup_by_key(|it| it.0);
    // That one is wrong on purpose, and has no caller.
    let is_right = |it: &(_, _, object::Result<&str>)| !matches!(it.2, Ok("founding_idle"));
    // Their last instruction stands on a frame that they have copied, of a program: what they have pushed
    // themselves is not the caller any more.
    let copies_frame =
        |name: &object::Result<&str>| matches!(name, Ok("user_enter" | "isolated_user_enter"));
    for (start, size, name) in functions.into_iter().filter(is_right) {
        let mut sections = file.sections();
        let code = sections.find_map(|it| it.data_range(start, size).ok().flatten());
        let code = code.expect("the function is in a section");
        for instruction in Decoder::with_ip(64, code, start, DecoderOptions::NONE) {
            let pc = CodeAddress(instruction.ip());
            if !callers.has_frames_at(pc) {
                continue;
            }
            compared.instructions += 1;
            match (callers.by_code(pc), callers.of(pc)) {
                (Caller::Unknown, Caller::Pushed(_)) => compared.unknown_entries += 1,
                (Caller::Unknown, _) => compared.unknown += 1,
                (Caller::OutOfReach, Caller::Pushed(_)) if copies_frame(&name) => {
                    compared.copied += 1;
                }
                (said, known) if said == known => {}
                (said, known) => wrong.push(format!(
                    "{:#x} in {}: {said:?}, and not {known:?}",
                    pc.0,
                    name.unwrap_or("?")
                )),
            }
        }
    }
    let shown = wrong
        .iter()
        .take(20)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        wrong.is_empty(),
        "{}: {} of {compared:?}:\n{shown}",
        path.display(),
        wrong.len()
    );
    compared
}

#[test]
fn instructions_never_say_another_thing_than_call_frame_information() {
    let adopters = |name: &str| built("loader").with_file_name("../../adopters").join(name);
    let kernels: [(PathBuf, usize, usize); 3] = [
        (built("kernel"), 10, 1),
        (adopters("c-limine/gcc/c-limine"), 8, 0),
        (adopters("c-limine/clang/c-limine"), 8, 0),
    ];
    for (path, most, copied) in kernels {
        if path.to_string_lossy().contains("/clang/") && !path.is_file() {
            eprintln!("{}: skipped, there was no clang", path.display());
            continue;
        }
        let compared = compare(&path);
        eprintln!("{}: {compared:?}", path.display());
        assert!(compared.instructions > 10_000, "{compared:?}");
        assert_eq!(compared.copied, copied, "{compared:?}");
        assert!(
            compared.unknown * 1000 < compared.instructions * most,
            "{compared:?}"
        );
    }
}
