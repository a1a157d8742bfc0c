//! The processed profile of the Firefox Profiler, version 55 of it
//! (<https://github.com/firefox-devtools/profiler/blob/main/docs-developer/CHANGELOG-formats.md>): a track
//! for each core, on which markers say which task ran, and where samples were lost.

use std::io::Write;

use anyhow::Result;
use profiler::format::State;
use serde_json::json;

use self::thread::{Tables, Thread};
use super::Export;
use super::code_files::{CodeFile, CodeFiles};
use super::samples::InTime;
use crate::output::compact_json;

mod thread;

const VERSION: u32 = 55;
/// Ticks of a millisecond: a tick is taken for a nanosecond.
const MILLISECOND: f64 = 1e6;

/// What code was, by which tracks are coloured: the places of [`categories`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Category {
    Other,
    Kernel,
    Interrupt,
    Idle,
    User,
}

fn categories() -> serde_json::Value {
    let category = |(name, color): (&str, &str)| json!({"name": name, "color": color, "subcategories": ["Other"]});
    [
        ("Other", "grey"),
        ("Kernel", "orange"),
        ("Interrupt", "purple"),
        ("Idle", "transparent"),
        ("User", "yellow"),
    ]
    .map(category)
    .into()
}

#[allow(clippy::cast_precision_loss)] // below 2⁵³ for months
fn milliseconds(ticks: u64) -> f64 {
    ticks as f64 / MILLISECOND
}

/// Writes it.
pub(super) fn write(export: &Export<'_>, out: &mut dyn Write) -> Result<()> {
    let mut cores: Vec<_> = (0..export.profile.cores()).map(Thread::new).collect();
    export.for_each_in_time(|seen| {
        add(export, &mut cores[seen.sample.core as usize], seen);
        Ok(())
    })?;
    cores.retain(|thread| !thread.is_empty());
    out.write_all(b"{\"meta\":")?;
    compact_json(&mut *out, &meta(export, cores.len()))?;
    out.write_all(b",\"libs\":")?;
    let files = CodeFiles::new(export);
    let libraries: Vec<_> = files.all.iter().map(library).collect();
    compact_json(&mut *out, &libraries)?;
    out.write_all(b",\"pages\":[],\"profilerOverhead\":[],\"counters\":[],\"threads\":[")?;
    let idle = idle_leaves(export);
    let names: Vec<_> = export.tasks().collect();
    for (place, thread) in cores.into_iter().enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        let tables = Tables::new((export, &files), &thread, &idle);
        thread.write(tables, &names, out)?;
    }
    out.write_all(b"]}\n")?;
    Ok(())
}

fn add(export: &Export<'_>, thread: &mut Thread, seen: &InTime) {
    if let Some(leaf) = export.tree.leaf(seen.sample.stack) {
        thread.add(leaf, seen);
    }
}

/// Which nodes are of cores that were halted.
fn idle_leaves(export: &Export<'_>) -> Vec<bool> {
    let mut idle = vec![false; export.tree.len()];
    for (number, stack) in export.tally.numbered_stacks() {
        if let Some(leaf) = export.tree.leaf(number) {
            idle[leaf as usize] |= stack.state.has(State::IDLE);
        }
    }
    idle
}

fn meta(export: &Export<'_>, threads: usize) -> serde_json::Value {
    let seen = export.events.seen();
    let period = seen.iter().map(|&place| export.events.all[place].period);
    let count = |name: &str, what: &str| {
        json!({
            "name": name,
            "display": ["marker-chart", "marker-table", "timeline-overview"],
            "chartLabel": "{marker.name}",
            "tooltipLabel": "{marker.name}",
            "tableLabel": "{marker.name}",
            "fields": [{"key": "samples", "label": what, "format": "integer"}],
        })
    };
    json!({
        "categories": categories(),
        "debug": false,
        "extensions": {"length": 0, "baseURL": [], "id": [], "name": []},
        "interval": milliseconds(period.min().unwrap_or(1)),
        "preprocessedProfileVersion": VERSION,
        "processType": 0,
        "product": export.title(),
        "sampleUnits": {"time": "ms", "eventDelay": "ms", "threadCPUDelta": "µs"},
        "startTime": 0.0,
        "symbolicated": true,
        "pausedRanges": [],
        // That of profiles which are not processed.
        "version": 24,
        "usesOnlyOneStackType": true,
        "sourceCodeIsNotOnSearchfox": true,
        "markerSchema": [count("Lost", "Samples lost"), count("Task", "Samples")],
        "initialVisibleThreads": (0..threads).collect::<Vec<_>>(),
        "initialSelectedThreads": [0],
    })
}

fn library(file: &CodeFile) -> serde_json::Value {
    let id = file.build_id.map_or_else(String::new, |id| id.to_string());
    let name = &file.name;
    json!({
        "name": name,
        "path": name,
        "debugName": name,
        "debugPath": name,
        "breakpadId": format!("{:0<33}", id.to_uppercase().chars().take(32).collect::<String>()),
        "codeId": file.build_id.map(|_| &id),
        "arch": "x86_64",
    })
}
