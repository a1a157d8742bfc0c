//! A core's track, and the tables that its samples stand on.

use std::io::Write;

use anyhow::Result;
use hashbrown::HashMap;
use serde_json::json;

use super::{Category, milliseconds};
use crate::export::Export;
use crate::export::code_files::CodeFiles;
use crate::export::samples::InTime;
use crate::export::tree::Kind;
use crate::output::compact_json;

/// The most times that a task ran which are shown: a viewer cannot draw more.
const MOST_MARKERS: usize = 100_000;

/// A time in which one task ran, or samples were lost.
struct Marker {
    /// `None` of lost samples.
    task: Option<u16>,
    start: u64,
    end: u64,
    samples: u64,
}

/// What a core's track has.
pub(super) struct Thread {
    core: u32,
    leaves: Vec<u32>,
    times: Vec<u64>,
    /// Of samples that are more than one.
    weights: Vec<(usize, u64)>,
    markers: Vec<Marker>,
    /// Where the marker of the task that runs is.
    running: Option<usize>,
}

impl Thread {
    pub(super) fn new(core: u32) -> Self {
        Self {
            core,
            leaves: Vec::new(),
            times: Vec::new(),
            weights: Vec::new(),
            markers: Vec::new(),
            running: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Adds a sample of the stack with this innermost node.
    pub(super) fn add(&mut self, leaf: u32, seen: &InTime) {
        let (time, samples) = (seen.time, seen.sample.samples);
        if seen.lost_before > 0 {
            let start = self.times.last().copied().unwrap_or_default();
            self.mark(None, (start, time), seen.lost_before.into());
        }
        if samples != 1 {
            self.weights.push((self.leaves.len(), samples));
        }
        self.leaves.push(leaf);
        self.times.push(time);
        let task = seen.sample.task;
        let running = self.running.and_then(|at| self.markers.get_mut(at));
        match running {
            Some(marker) if marker.task == Some(task) => {
                marker.end = time;
                marker.samples += samples;
            }
            before => {
                // It ran until another one did.
                if let Some(before) = before {
                    before.end = time;
                }
                self.running = self.mark(Some(task), (time, time), samples);
            }
        }
    }

    fn mark(&mut self, task: Option<u16>, (start, end): (u64, u64), samples: u64) -> Option<usize> {
        if self.markers.len() == MOST_MARKERS {
            return None;
        }
        self.markers.push(Marker {
            task,
            start,
            end,
            samples,
        });
        Some(self.markers.len() - 1)
    }

    /// Writes the track.
    pub(super) fn write(
        self,
        mut tables: Tables,
        tasks: &[(u16, String)],
        out: &mut dyn Write,
    ) -> Result<()> {
        let markers = self.markers(&mut tables, tasks);
        let end = self.times.last().copied().map(milliseconds);
        write!(
            out,
            "{{\"name\":\"core {0}\",\"tid\":\"{0}\",\"isMainThread\":false,\"pid\":\"0\",\"processName\":\"kernel\",\"processType\":\"default\",\"processStartupTime\":0.0,\"registerTime\":0.0,\"pausedRanges\":[],\"showMarkersInTimeline\":true,\"processShutdownTime\":",
            self.core
        )?;
        compact_json(&mut *out, &end)?;
        out.write_all(b",\"unregisterTime\":")?;
        compact_json(&mut *out, &end)?;
        self.write_samples(&tables, out)?;
        for (name, table) in [
            ("markers", markers),
            ("stackTable", tables.stack_table()),
            ("frameTable", tables.frame_table()),
            ("funcTable", tables.func_table()),
            ("resourceTable", tables.resource_table()),
            (
                "nativeSymbols",
                json!({"length": 0, "address": [], "functionSize": [], "libIndex": [], "name": []}),
            ),
            ("stringArray", json!(tables.strings)),
        ] {
            write!(out, ",\"{name}\":")?;
            compact_json(&mut *out, &table)?;
        }
        out.write_all(b"}")?;
        Ok(())
    }

    fn write_samples(&self, tables: &Tables, out: &mut dyn Write) -> Result<()> {
        write!(
            out,
            ",\"samples\":{{\"length\":{},\"weightType\":\"samples\",\"stack\":",
            self.leaves.len()
        )?;
        list(self.leaves.iter().map(|&leaf| tables.stack_of(leaf)), out)?;
        out.write_all(b",\"timeDeltas\":")?;
        let before = std::iter::once(&0).chain(&self.times);
        let deltas = self.times.iter().zip(before);
        list(
            deltas.map(|(time, before)| milliseconds(time - before)),
            out,
        )?;
        out.write_all(b",\"weight\":")?;
        let mut more = self.weights.iter().peekable();
        let weights = (0..self.leaves.len()).map(|place| {
            let more = more.next_if(|&&(at, _)| at == place);
            more.map_or(1, |&(_, samples)| samples)
        });
        list(weights, out)?;
        // What a core executed is not known to be less than all.
        out.write_all(b",\"threadCPUDelta\":null}")?;
        Ok(())
    }

    fn markers(&self, tables: &mut Tables, tasks: &[(u16, String)]) -> serde_json::Value {
        const INTERVAL: u32 = 1;
        let name = |task: Option<u16>| match task {
            None => "lost samples",
            Some(task) => {
                let known = tasks.iter().find(|(it, _)| *it == task);
                known.map_or("?", |(_, name)| name)
            }
        };
        let all = &self.markers;
        let names: Vec<_> = all
            .iter()
            .map(|marker| tables.string(name(marker.task)))
            .collect();
        let data = |marker: &Marker| {
            let kind = if marker.task.is_some() {
                "Task"
            } else {
                "Lost"
            };
            json!({"type": kind, "samples": marker.samples})
        };
        json!({
            "length": all.len(),
            "category": vec![Category::Other as u32; all.len()],
            "data": all.iter().map(data).collect::<Vec<_>>(),
            "startTime": all.iter().map(|it| milliseconds(it.start)).collect::<Vec<_>>(),
            "endTime": all.iter().map(|it| milliseconds(it.end)).collect::<Vec<_>>(),
            "name": names,
            "phase": vec![INTERVAL; all.len()],
        })
    }
}

/// An array.
fn list(all: impl Iterator<Item = impl std::fmt::Display>, out: &mut dyn Write) -> Result<()> {
    out.write_all(b"[")?;
    for (place, it) in all.enumerate() {
        let comma = if place > 0 { "," } else { "" };
        write!(out, "{comma}{it}")?;
    }
    out.write_all(b"]")?;
    Ok(())
}

/// A frame: which of a place's, and what the code there was.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FrameKey {
    place: u32,
    inlined: usize,
    category: Category,
}

/// A frame of the frame table.
struct FrameRow {
    /// Behind the start of its file's code: a number of JavaScript has no room for the kernel's.
    address: Option<u64>,
    inline_depth: usize,
    category: Category,
    func: usize,
    line: Option<u32>,
}

/// A function of the function table: texts by their numbers.
struct FuncRow {
    name: usize,
    file: Option<usize>,
    line: Option<u32>,
    library: Option<usize>,
}

/// The tables that a core's samples stand on.
#[derive(Default)]
pub(super) struct Tables {
    strings: Vec<String>,
    string_numbers: HashMap<String, usize>,
    funcs: Vec<FuncRow>,
    func_numbers: HashMap<u32, usize>,
    frames: Vec<FrameRow>,
    frame_numbers: HashMap<FrameKey, usize>,
    /// Each with the one further out.
    stacks: Vec<(Option<usize>, usize)>,
    /// By nodes of the tree: the row of its innermost frame.
    rows: Vec<Option<usize>>,
    /// What was interrupted is further out than these nodes.
    in_interrupt: Vec<bool>,
    /// The names of libraries.
    libraries: Vec<usize>,
}

impl Tables {
    /// Those of a core's samples.
    pub(super) fn new(
        (export, files): (&Export<'_>, &CodeFiles),
        thread: &Thread,
        idle: &[bool],
    ) -> Self {
        let tree = &export.tree;
        let mut used = vec![false; tree.len()];
        for &leaf in &thread.leaves {
            let mut node = Some(leaf);
            while let Some(at) = node.filter(|&at| !used[at as usize]) {
                used[at as usize] = true;
                node = tree.parent(at);
            }
        }
        let mut tables = Self {
            rows: vec![None; tree.len()],
            in_interrupt: vec![false; tree.len()],
            ..Self::default()
        };
        let names = files.all.iter().map(|file| tables.string(&file.name));
        tables.libraries = names.collect();
        // Those further out have smaller numbers.
        let used = (0..).zip(used).filter(|&(_, used)| used);
        for (node, _) in used {
            tables.add((export, files), node, idle[node as usize]);
        }
        tables
    }

    /// The row of a stack, by its innermost node.
    fn stack_of(&self, leaf: u32) -> usize {
        self.rows[leaf as usize].unwrap_or_default()
    }

    fn add(&mut self, of: (&Export<'_>, &CodeFiles), node: u32, is_idle: bool) {
        let tree = &of.0.tree;
        let parent = tree.parent(node).map(|parent| parent as usize);
        let number = tree.place_of(node);
        let place = &tree.places[number as usize];
        let is_interrupt = matches!(place.kind, Kind::Interrupt(_) | Kind::Border(Some(_)));
        let is_within = is_interrupt || parent.is_some_and(|parent| self.in_interrupt[parent]);
        self.in_interrupt[node as usize] = is_within;
        let category = match place.kind {
            Kind::Cut(_) => Category::Other,
            kind if kind.user().is_some() => Category::User,
            _ if is_within => Category::Interrupt,
            _ if is_idle => Category::Idle,
            _ => Category::Kernel,
        };
        let mut prefix = parent.and_then(|parent| self.rows[parent]);
        for inlined in (0..place.frames.len()).rev() {
            let key = FrameKey {
                place: number,
                inlined,
                category,
            };
            let frame = self.frame(of, key);
            self.stacks.push((prefix, frame));
            prefix = Some(self.stacks.len() - 1);
        }
        self.rows[node as usize] = prefix;
    }

    fn frame(&mut self, (export, files): (&Export<'_>, &CodeFiles), key: FrameKey) -> usize {
        if let Some(&known) = self.frame_numbers.get(&key) {
            return known;
        }
        let place = &export.tree.places[key.place as usize];
        let frame = place.frames[key.inlined];
        let code = files.of(place.kind);
        let func = self.func(export, frame.function, code.map(|(file, _)| file));
        let address = code.and_then(|(file, address)| address.checked_sub(files.all[file].start));
        self.frames.push(FrameRow {
            address: address.filter(|it| it >> 32 == 0),
            inline_depth: place.frames.len() - 1 - key.inlined,
            category: key.category,
            func,
            line: frame.line.map(|(_, line)| line),
        });
        self.frame_numbers.insert(key, self.frames.len() - 1);
        self.frames.len() - 1
    }

    fn func(&mut self, export: &Export<'_>, function: u32, library: Option<usize>) -> usize {
        if let Some(&known) = self.func_numbers.get(&function) {
            return known;
        }
        let of_tree = &export.tree.functions[function as usize];
        let (file, line) = export.tree.declared(of_tree);
        let name = self.string(&of_tree.name);
        let file = file.map(|file| self.string(file));
        self.funcs.push(FuncRow {
            name,
            file,
            line,
            library,
        });
        self.func_numbers.insert(function, self.funcs.len() - 1);
        self.funcs.len() - 1
    }

    fn string(&mut self, text: &str) -> usize {
        if let Some(&known) = self.string_numbers.get(text) {
            return known;
        }
        self.strings.push(text.to_owned());
        let number = self.strings.len() - 1;
        self.string_numbers.insert(text.to_owned(), number);
        number
    }

    fn stack_table(&self) -> serde_json::Value {
        let all = &self.stacks;
        json!({
            "length": all.len(),
            "prefix": all.iter().map(|it| it.0).collect::<Vec<_>>(),
            "frame": all.iter().map(|it| it.1).collect::<Vec<_>>(),
        })
    }

    fn frame_table(&self) -> serde_json::Value {
        let all = &self.frames;
        let none = || vec![serde_json::Value::Null; all.len()];
        let address = |row: &FrameRow| row.address.map_or(json!(-1), |address| json!(address));
        json!({
            "length": all.len(),
            "address": all.iter().map(address).collect::<Vec<_>>(),
            "inlineDepth": all.iter().map(|it| it.inline_depth).collect::<Vec<_>>(),
            "category": all.iter().map(|it| it.category as u32).collect::<Vec<_>>(),
            "subcategory": vec![0; all.len()],
            "func": all.iter().map(|it| it.func).collect::<Vec<_>>(),
            "nativeSymbol": none(),
            "innerWindowID": vec![0; all.len()],
            "line": all.iter().map(|it| it.line).collect::<Vec<_>>(),
            "column": none(),
        })
    }

    fn func_table(&self) -> serde_json::Value {
        let all = &self.funcs;
        let resource = |library: Option<usize>| library.map_or(json!(-1), |it| json!(it));
        json!({
            "length": all.len(),
            "name": all.iter().map(|it| it.name).collect::<Vec<_>>(),
            "isJS": vec![false; all.len()],
            "relevantForJS": vec![false; all.len()],
            "resource": all.iter().map(|it| resource(it.library)).collect::<Vec<_>>(),
            "fileName": all.iter().map(|it| it.file).collect::<Vec<_>>(),
            "lineNumber": all.iter().map(|it| it.line).collect::<Vec<_>>(),
            "columnNumber": vec![serde_json::Value::Null; all.len()],
        })
    }

    fn resource_table(&self) -> serde_json::Value {
        const LIBRARY: u32 = 1;
        let all = &self.libraries;
        json!({
            "length": all.len(),
            "lib": (0..all.len()).collect::<Vec<_>>(),
            "name": all,
            "host": vec![serde_json::Value::Null; all.len()],
            "type": vec![LIBRARY; all.len()],
        })
    }
}
