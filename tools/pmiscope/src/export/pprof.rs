//! pprof's `profile.proto` (<https://github.com/google/pprof/tree/main/proto>), in gzip. Messages that
//! follow each other are one message with all their parts, so it is written in pieces.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use hashbrown::HashMap;
use prost::Message;

use super::Export;
use super::code_files::{CodeFile, CodeFiles};
use super::samples::Weighted;

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    memory_start: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(int64, tag = "6")]
    build_id: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
    #[prost(bool, tag = "8")]
    has_filenames: bool,
    #[prost(bool, tag = "9")]
    has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    has_inline_frames: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    /// Innermost first.
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
    #[prost(int64, tag = "5")]
    start_line: i64,
}

/// The samples that are written at once.
const AT_ONCE: usize = 4096;

/// Texts by their numbers. The first is empty.
struct Texts {
    all: Vec<String>,
    numbers: HashMap<String, i64>,
}

impl Texts {
    fn new() -> Self {
        let mut texts = Self {
            all: Vec::new(),
            numbers: HashMap::new(),
        };
        texts.number("");
        texts
    }

    fn number(&mut self, text: &str) -> i64 {
        if let Some(&known) = self.numbers.get(text) {
            return known;
        }
        let number = signed(self.all.len() as u64);
        self.all.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Writes it.
pub(super) fn write(export: &Export<'_>, out: &mut dyn Write) -> Result<()> {
    let mut out = GzEncoder::new(out, Compression::fast());
    let mut texts = Texts::new();
    let mut put = |piece: &Profile| out.write_all(&piece.encode_to_vec());
    let files = CodeFiles::new(export);
    put(&head(export, &files, &mut texts))?;
    put(&functions(export, &mut texts))?;
    put(&locations(export, &files))?;
    let labels = Labels::new(export, &mut texts);
    put(&Profile {
        string_table: texts.all,
        ..Profile::default()
    })?;
    let seen = export.events.seen();
    for some in export.counted()?.chunks(AT_ONCE) {
        let sample = some
            .iter()
            .filter_map(|it| labels.sample(export, &seen, it));
        put(&Profile {
            sample: sample.collect(),
            ..Profile::default()
        })?;
    }
    out.finish()?;
    Ok(())
}

/// What values mean, and the files that code is of.
fn head(export: &Export<'_>, files: &CodeFiles, texts: &mut Texts) -> Profile {
    let seen = export.events.seen();
    let unit = texts.number("count");
    let events = seen.iter().map(|&place| &export.events.all[place]);
    let mut sample_type = Vec::new();
    for event in events.clone() {
        let name = match seen.len() {
            1 => "samples",
            _ => &event.name,
        };
        let kind = texts.number(name);
        sample_type.push(ValueType { kind, unit });
    }
    let first = events.clone().next();
    let period_type = first.map(|event| ValueType {
        kind: texts.number(&event.name),
        unit,
    });
    Profile {
        sample_type,
        period_type,
        period: first.map_or(0, |event| signed(event.period)),
        comment: vec![texts.number(&export.title())],
        mapping: mappings(files, texts),
        ..Profile::default()
    }
}

/// The files, as mappings with these numbers.
fn mappings(files: &CodeFiles, texts: &mut Texts) -> Vec<Mapping> {
    let files = (1..).zip(&files.all);
    let mapping = |(id, file): (u64, &CodeFile)| {
        let build_id = file.build_id.map_or_else(String::new, |it| it.to_string());
        Mapping {
            id,
            memory_start: file.start,
            memory_limit: file.end,
            filename: texts.number(&file.name),
            build_id: texts.number(&build_id),
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        }
    };
    files.map(mapping).collect()
}

fn functions(export: &Export<'_>, texts: &mut Texts) -> Profile {
    let tree = &export.tree;
    let functions = (1..).zip(&tree.functions).map(|(id, function)| {
        let (file, line) = tree.declared(function);
        let name = texts.number(&function.name);
        Function {
            id,
            name,
            system_name: name,
            filename: texts.number(file.unwrap_or_default()),
            start_line: line.unwrap_or_default().into(),
        }
    });
    Profile {
        function: functions.collect(),
        ..Profile::default()
    }
}

fn locations(export: &Export<'_>, files: &CodeFiles) -> Profile {
    let locations = (1..).zip(&export.tree.places).map(|(id, place)| {
        let code = files.of(place.kind);
        let (mapping_id, address) =
            code.map_or((0, 0), |(file, address)| (file as u64 + 1, address));
        let lines = place.frames.iter().map(|frame| Line {
            function_id: u64::from(frame.function) + 1,
            line: frame.line.map_or(0, |(_, line)| line.into()),
        });
        Location {
            id,
            mapping_id,
            address,
            line: lines.collect(),
        }
    });
    Profile {
        location: locations.collect(),
        ..Profile::default()
    }
}

/// What samples are told apart by.
struct Labels {
    core: i64,
    cores: Vec<i64>,
    task: i64,
    tasks: HashMap<u16, i64>,
}

impl Labels {
    fn new(export: &Export<'_>, texts: &mut Texts) -> Self {
        let cores = (0..export.profile.cores()).map(|core| texts.number(&core.to_string()));
        Self {
            cores: cores.collect(),
            core: texts.number("core"),
            task: texts.number("task"),
            tasks: export
                .tasks()
                .map(|(task, name)| (task, texts.number(&name)))
                .collect(),
        }
    }

    /// `seen` are the events that values are of.
    fn sample(&self, export: &Export<'_>, seen: &[usize], it: &Weighted) -> Option<Sample> {
        let tree = &export.tree;
        let nodes = std::iter::successors(Some(tree.leaf(it.stack)?), |&node| tree.parent(node));
        let value = |&place: &usize| match place == it.event {
            true => signed(it.samples),
            false => 0,
        };
        let label = |key, text: Option<&i64>| Label {
            key,
            text: text.copied().unwrap_or_default(),
        };
        Some(Sample {
            location_id: nodes
                .map(|node| u64::from(tree.place_of(node)) + 1)
                .collect(),
            value: seen.iter().map(value).collect(),
            label: vec![
                label(self.core, self.cores.get(it.core as usize)),
                label(self.task, self.tasks.get(&it.task)),
            ],
        })
    }
}
