//! Exports and views that have code of programs of the user: whose it is, and where its source is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pmiscope::symbols::build_id;
use profiler::address::UserAddress;
use serde_json::{Value, json};

use crate::command::{pmiscope, report, stderr, stdout, text};
use crate::exports::{Fields, export};
use crate::fixture::{description, folder};
use crate::programs::{Program, Run, in_process};

/// The places of `leaf`, `work` and `_start` in the source of the programs.
const DECLARED: [(&str, u64); 3] = [("leaf", 5), ("work", 6), ("_start", 10)];

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn index_of(number: &Value) -> usize {
    usize::try_from(number.as_u64().unwrap()).unwrap()
}

/// The build-ids of the files whose code is on stacks, by their names.
fn files_of(run: &Run, name: &str) -> [(String, String); 4] {
    let id = |elf: &[u8]| build_id(elf).unwrap().to_string();
    let kernel = pmiscope::symbols::BuildId(description().build_id);
    [
        ("kernel".to_owned(), kernel.to_string()),
        (format!("{name}-one"), id(&run.one.elf)),
        (format!("{name}-two"), id(&run.two.elf)),
        // Of which there is no file.
        ("program 5".to_owned(), String::new()),
    ]
}

#[test]
fn the_firefox_profiler_has_a_library_of_each_program() {
    let run = Run::new("libs");
    let profile = json_of(&export(&run.profile("libs.pmi"), "firefox", &[]));
    let libraries = profile["libs"].as_array().unwrap().iter();
    let libraries: Vec<_> = libraries
        .map(|it| {
            let id = it["codeId"].as_str().unwrap_or_default();
            (it["name"].as_str().unwrap().to_owned(), id.to_owned())
        })
        .collect();
    assert_eq!(libraries, files_of(&run, "libs"));
    let thread = &profile["threads"][0];
    let text_of = |index: &Value| thread["stringArray"][index_of(index)].clone();
    let table = |name: &str| thread[name].clone();
    let [functions, resources, frames] = ["funcTable", "resourceTable", "frameTable"].map(table);
    let mut seen = BTreeSet::new();
    for (frame, function) in frames["func"].as_array().unwrap().iter().enumerate() {
        let function = index_of(function);
        let resource = functions["resource"][function].as_i64().unwrap();
        let resource = usize::try_from(resource).ok();
        let library =
            resource.map(|it| text_of(&resources["name"][it]).as_str().unwrap().to_owned());
        let category = index_of(&frames["category"][frame]);
        let category = profile["meta"]["categories"][category]["name"]
            .as_str()
            .unwrap();
        let name = text_of(&functions["name"][function])
            .as_str()
            .unwrap()
            .to_owned();
        seen.insert((name, library.unwrap_or_default(), category.to_owned()));
    }
    let row = |(name, library, category): (&str, &str, &str)| {
        (name.to_owned(), library.to_owned(), category.to_owned())
    };
    for expected in [
        ("leaf [libs-one]", "libs-one", "User"),
        ("_start [libs-two]", "libs-two", "User"),
        ("0x401234 [program 5]", "program 5", "User"),
        ("[system call]", "", "Kernel"),
        ("idle", "kernel", "Kernel"),
        ("idle", "kernel", "Interrupt"),
        ("[exception 0x0e from user code]", "", "Interrupt"),
    ] {
        assert!(
            seen.contains(&row(expected)),
            "{expected:?} is not in {seen:?}"
        );
    }
    for (name, library, category) in &seen {
        assert_eq!(
            category == "User",
            name.ends_with(&format!("[{library}]")),
            "{name}"
        );
    }
}

/// Perfetto's trace, by the numbers of its fields.
#[test]
fn perfetto_has_a_mapping_of_each_program() {
    let run = Run::new("maps");
    let bytes = fs::read(export(&run.profile("maps.pmi"), "perfetto", &[])).unwrap();
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let [mut names, mut paths, mut ids] = [const { BTreeMap::new() }; 3];
    let mut mappings = BTreeMap::new();
    let mut frames = Vec::new();
    let mut modes = Vec::new();
    for packet in Fields::of(&bytes).bytes(1).map(Fields::of) {
        for data in packet.bytes(12).map(Fields::of) {
            let texts = |field, all: &mut BTreeMap<u64, Vec<u8>>| {
                for it in data.bytes(field).map(Fields::of) {
                    all.insert(it.number(1), it.bytes(2).next().unwrap().to_vec());
                }
            };
            texts(5, &mut names);
            texts(16, &mut ids);
            texts(17, &mut paths);
            for mapping in data.bytes(19).map(Fields::of) {
                let id = mapping.numbers(2).next();
                let place = [4, 5, 7].map(|field| mapping.number(field));
                mappings.insert(mapping.number(1), (id, place));
            }
            for frame in data.bytes(6).map(Fields::of) {
                frames.push([2, 3, 4].map(|field| frame.number(field)));
            }
        }
        let samples = packet.bytes(66).map(Fields::of);
        modes.extend(samples.map(|sample| sample.number(5)));
    }
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let files: Vec<_> = mappings
        .values()
        .map(|(id, [.., path])| {
            let id = id.map_or_else(String::new, |id| hex(&ids[&id]));
            (string(&paths[path]), id)
        })
        .collect();
    assert_eq!(files, files_of(&run, "maps"));
    let (own, mapping) = (
        UserAddress::of_program(run.two.at("leaf")).unwrap().address,
        3,
    );
    let (_, [start, end, _]) = mappings[&mapping];
    assert!(start <= own && own < end, "{start:#x} {own:#x} {end:#x}");
    let leaf = |it: &&[u64; 3]| string(&names[&it[0]]) == "leaf [maps-two]" && it[2] == own - start;
    assert_eq!(frames.iter().find(leaf).unwrap()[1], mapping);
    // Each is in the mapping of its own program.
    for [name, mapping, _] in frames {
        let name = string(&names[&name]);
        let (_, [.., path]) = mappings[&mapping];
        let behind = format!("[{}]", string(&paths[&path]));
        assert_eq!(name.ends_with(&behind), mapping != 1, "{name}");
    }
    modes.sort_unstable();
    let (kernel, user) = (1, 2);
    assert_eq!(modes, [kernel, kernel, user, user, user, user]);
}

/// Where functions of programs are declared, by the files of exports.
#[test]
fn functions_of_programs_have_their_declarations_with_files_and_with_names_alone() {
    let profile = Run::new("declared").profile("declared.pmi");
    let named = folder().join("declared-names.pmi");
    pmiscope(&["embed-symbols", text(&profile), "-o", text(&named)]).success();
    for path in [&profile, &named] {
        let speedscope = json_of(&export(path, "speedscope", &[]));
        let frames = speedscope["shared"]["frames"].as_array().unwrap();
        let reported = report(&[text(path)]);
        let rows = reported["functions"].as_array().unwrap();
        for (function, line) in DECLARED {
            let name = format!("{function} [declared-one]");
            for all in [frames, rows] {
                let it = all.iter().find(|it| it["name"] == *name).unwrap();
                assert!(it["file"].as_str().unwrap().ends_with("program.c"), "{it}");
                assert_eq!(it["line"], line, "{it}");
            }
        }
    }
}

/// A program of a file of its own that is called as another one's, compiled in its folder.
fn in_folder(number: u16, name: &str, function: &str) -> Program {
    let at = folder().join(name);
    fs::create_dir_all(at.join("src")).unwrap();
    let source = format!("/* of {name} */\nvoid {function}(void) {{ for (;;) {{}} }}\n");
    fs::write(at.join("src/main.c"), source).unwrap();
    let path = at.join(format!("program-{name}"));
    let entry = format!("-Wl,-e,{function}");
    let compiled = Command::new("cc")
        .current_dir(at.canonicalize().unwrap())
        .args(["-g", "-O1", "-nostdlib", "-static", "-no-pie", "-fno-pie"])
        .args(["-Wl,--build-id=sha1", &entry, "src/main.c", "-o"])
        .arg(&path)
        .output()
        .expect("cc, which Rust links with");
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{said}");
    let elf = fs::read(&path).unwrap();
    Program { number, path, elf }
}

fn of_two_folders(name: &str) -> PathBuf {
    let run = Run::of(in_folder(1, "left", "spin"), in_folder(2, "right", "turn"));
    let at = |program: &Program, name| UserAddress::of_program(program.at(name)).unwrap().address;
    let mut samples = [
        in_process(0, 1, at(&run.one, "spin")),
        in_process(1, 2, at(&run.two, "turn")),
        in_process(2, 2, at(&run.two, "turn")),
    ];
    run.profile_of(name, &mut samples)
}

#[test]
fn files_of_one_short_name_stay_apart() {
    let profile = of_two_folders("folders.pmi");
    let path = text(&profile);
    let rows = |by: &str| {
        let rows = report(&[path, "--by", by])["rows"].clone();
        let rows = rows.as_array().unwrap().iter();
        let rows = rows.map(|row| json!([row[by], row["events"][0]["self"]]));
        rows.collect::<Vec<_>>()
    };
    let expected = [
        json!(["right/src/main.c", 2]),
        json!(["left/src/main.c", 1]),
    ];
    assert_eq!(rows("file"), expected);
    let expected = [
        json!(["right/src/main.c:2", 2]),
        json!(["left/src/main.c:2", 1]),
    ];
    assert_eq!(rows("line"), expected);
    let callgrind = fs::read_to_string(export(&profile, "callgrind", &[])).unwrap();
    for (file, function) in [("left", "spin"), ("right", "turn")] {
        let mut of = callgrind
            .lines()
            .skip_while(|line| !line.ends_with(&format!("{file}/src/main.c")));
        assert!(of.next().unwrap().starts_with("fl="), "{callgrind}");
        let function = format!(" {function} [program-{file}]");
        assert!(of.next().unwrap().ends_with(&function), "{callgrind}");
    }
    // And each has its own source, and is declared there.
    for (name, file) in [("spin", "left"), ("turn", "right")] {
        let function = format!("{name} [program-{file}]");
        let words = ["annotate", path, &function, "--format", "json"];
        let annotated: Value = serde_json::from_str(&stdout(&pmiscope(&words).success())).unwrap();
        let line = &annotated[0]["lines"][0];
        assert_eq!(
            line["text"],
            format!("void {name}(void) {{ for (;;) {{}} }}")
        );
        assert_eq!(annotated[0]["file"], line["file"]);
    }
}

#[test]
fn a_program_that_makes_no_progress_is_named_with_its_own_address() {
    let run = Run::new("stuck");
    let at = UserAddress::of_program(run.one.at("in_leaf"))
        .unwrap()
        .address;
    let mut samples: Vec<_> = (0..200).map(|it| in_process(it, 1, at)).collect();
    let profile = run.profile_of("stuck.pmi", &mut samples);
    let said = stderr(&pmiscope(&["report", text(&profile)]));
    let says = format!(
        "100.00% of the samples are at one instruction of their core, {at:#x} of stuck-one: "
    );
    assert!(said.contains(&says), "{said}");
}
