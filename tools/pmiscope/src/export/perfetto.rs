//! Perfetto's trace (<https://perfetto.dev/docs/reference/trace-packet-proto>): samples of call stacks, as
//! its `linux.perf` data source writes them. Packets that follow each other are one trace.

use std::io::Write;

use anyhow::{Result, bail};
use prost::Message;

use super::Export;
use super::code_files::CodeFiles;
use super::samples::InTime;
use crate::units::grouped;

#[derive(Clone, PartialEq, Message)]
struct Trace {
    #[prost(message, repeated, tag = "1")]
    packet: Vec<TracePacket>,
}

#[derive(Clone, PartialEq, Message)]
struct TracePacket {
    #[prost(message, optional, tag = "2")]
    process_tree: Option<ProcessTree>,
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    trusted_packet_sequence_id: Option<u32>,
    #[prost(message, optional, tag = "12")]
    interned_data: Option<InternedData>,
    #[prost(uint32, optional, tag = "13")]
    sequence_flags: Option<u32>,
    #[prost(message, optional, tag = "59")]
    trace_packet_defaults: Option<TracePacketDefaults>,
    #[prost(message, optional, tag = "66")]
    perf_sample: Option<PerfSample>,
}

#[derive(Clone, PartialEq, Message)]
struct ProcessTree {
    #[prost(message, repeated, tag = "1")]
    processes: Vec<Process>,
    #[prost(message, repeated, tag = "2")]
    threads: Vec<Thread>,
}

#[derive(Clone, PartialEq, Message)]
struct Process {
    #[prost(int32, optional, tag = "1")]
    pid: Option<i32>,
    #[prost(string, repeated, tag = "3")]
    cmdline: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Thread {
    #[prost(int32, optional, tag = "1")]
    tid: Option<i32>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(int32, optional, tag = "3")]
    tgid: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct InternedData {
    #[prost(message, repeated, tag = "5")]
    function_names: Vec<InternedString>,
    #[prost(message, repeated, tag = "6")]
    frames: Vec<Frame>,
    #[prost(message, repeated, tag = "7")]
    callstacks: Vec<Callstack>,
    #[prost(message, repeated, tag = "16")]
    build_ids: Vec<InternedString>,
    #[prost(message, repeated, tag = "17")]
    mapping_paths: Vec<InternedString>,
    #[prost(message, repeated, tag = "19")]
    mappings: Vec<Mapping>,
}

#[derive(Clone, PartialEq, Message)]
struct InternedString {
    #[prost(uint64, optional, tag = "1")]
    iid: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "2")]
    text: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, optional, tag = "1")]
    iid: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    build_id: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    start: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    end: Option<u64>,
    #[prost(uint64, repeated, packed = "false", tag = "7")]
    path_string_ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(uint64, optional, tag = "1")]
    iid: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    function_name_id: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    mapping_id: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    rel_pc: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Callstack {
    #[prost(uint64, optional, tag = "1")]
    iid: Option<u64>,
    /// Outermost first.
    #[prost(uint64, repeated, packed = "false", tag = "2")]
    frame_ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct TracePacketDefaults {
    #[prost(message, optional, tag = "12")]
    perf_sample_defaults: Option<PerfSampleDefaults>,
    #[prost(uint32, optional, tag = "58")]
    timestamp_clock_id: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct PerfSampleDefaults {
    #[prost(message, optional, tag = "1")]
    timebase: Option<Timebase>,
}

#[derive(Clone, PartialEq, Message)]
struct Timebase {
    #[prost(uint64, optional, tag = "1")]
    period: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    counter: Option<u32>,
    #[prost(string, optional, tag = "10")]
    name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct PerfSample {
    #[prost(uint32, optional, tag = "1")]
    cpu: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pid: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    tid: Option<u32>,
    #[prost(uint64, optional, tag = "4")]
    callstack_iid: Option<u64>,
    #[prost(uint32, optional, tag = "5")]
    cpu_mode: Option<u32>,
    #[prost(uint64, optional, tag = "6")]
    timebase_count: Option<u64>,
}

/// What is known before it in its sequence is not that of another run of it.
const STATE_CLEARED: u32 = 1;
const NEEDS_STATE: u32 = 2;
/// CLOCK_BOOTTIME, which needs nothing to be understood.
const BOOTTIME: u32 = 6;
const MODE_KERNEL: u32 = 1;
const MODE_USER: u32 = 2;
const COUNTER_CPU_CLOCK: u32 = 1;
/// The only process.
const PID: i32 = 1;
/// The most samples of stacks that were counted: each is a packet of about 35 bytes, however few
/// bytes the profile has.
const MOST_COUNTED: u64 = 10_000_000;
/// The parts of a packet.
const AT_ONCE: usize = 4096;

/// Who ran: thread 1 is the process itself.
fn tid(task: u16) -> u32 {
    u32::from(task) + 2
}

fn put(packet: TracePacket, out: &mut dyn Write) -> Result<()> {
    let packet = vec![packet];
    out.write_all(&Trace { packet }.encode_to_vec())?;
    Ok(())
}

/// Writes it.
pub(super) fn write(export: &Export<'_>, out: &mut dyn Write) -> Result<()> {
    let all = export.tally.samples();
    if export.profile.keeps_chains() && all > MOST_COUNTED {
        bail!(
            "stacks were counted, {} samples, and this form has a packet for each, at most {}: choose fewer, or take a form that has weights (firefox, pprof, speedscope, folded)",
            grouped(all),
            grouped(MOST_COUNTED)
        );
    }
    put(tasks(export), out)?;
    for place in export.events.seen() {
        put(defaults(export, place), out)?;
        for data in interned(export) {
            put(
                in_sequence(place, |packet| packet.interned_data = Some(data)),
                out,
            )?;
        }
    }
    let mut counts = vec![vec![0_u64; export.profile.cores() as usize]; export.events.all.len()];
    export.for_each_in_time(|seen| {
        let count = &mut counts[seen.sample.event][seen.sample.core as usize];
        samples(export, seen, count, out)
    })
}

/// A packet of an event's sequence.
fn in_sequence(place: usize, fill: impl FnOnce(&mut TracePacket)) -> TracePacket {
    let mut packet = TracePacket {
        trusted_packet_sequence_id: Some(sequence(place)),
        sequence_flags: Some(NEEDS_STATE),
        ..TracePacket::default()
    };
    fill(&mut packet);
    packet
}

fn sequence(place: usize) -> u32 {
    u32::try_from(place + 1).unwrap_or(u32::MAX)
}

fn tasks(export: &Export<'_>) -> TracePacket {
    let threads = export.tasks().map(|(task, name)| Thread {
        tid: i32::try_from(tid(task)).ok(),
        name: Some(name),
        tgid: Some(PID),
    });
    TracePacket {
        timestamp: Some(0),
        process_tree: Some(ProcessTree {
            processes: vec![Process {
                pid: Some(PID),
                cmdline: vec![export.title()],
            }],
            threads: threads.collect(),
        }),
        trusted_packet_sequence_id: Some(sequence(0)),
        ..TracePacket::default()
    }
}

/// What an event's samples have in common.
fn defaults(export: &Export<'_>, place: usize) -> TracePacket {
    let event = &export.events.all[place];
    let timebase = Timebase {
        period: Some(event.period),
        counter: Some(COUNTER_CPU_CLOCK),
        name: Some(event.name.clone()),
    };
    let defaults = TracePacketDefaults {
        perf_sample_defaults: Some(PerfSampleDefaults {
            timebase: Some(timebase),
        }),
        timestamp_clock_id: Some(BOOTTIME),
    };
    TracePacket {
        timestamp: Some(0),
        sequence_flags: Some(STATE_CLEARED),
        trace_packet_defaults: Some(defaults),
        ..in_sequence(place, |_| {})
    }
}

fn text(number: u64, text: &str) -> InternedString {
    InternedString {
        iid: Some(number),
        text: Some(text.as_bytes().to_vec()),
    }
}

/// Names, frames and stacks, in pieces; stacks by their innermost nodes.
fn interned<'a>(export: &'a Export<'a>) -> impl Iterator<Item = InternedData> + use<'a> {
    let files = CodeFiles::new(export);
    let (frames, first_frames) = frames(export, &files);
    let leaves = leaves(export);
    let pieces = leaves.len().div_ceil(AT_ONCE);
    let stacks = (0..pieces).map(move |piece| {
        let some = leaves.iter().skip(piece * AT_ONCE).take(AT_ONCE);
        let callstack = |&leaf: &u32| Callstack {
            iid: Some(u64::from(leaf) + 1),
            frame_ids: frame_ids(export, leaf, &first_frames),
        };
        InternedData {
            callstacks: some.map(callstack).collect(),
            ..InternedData::default()
        }
    });
    [names(export, &files), frames].into_iter().chain(stacks)
}

/// The names of functions, and the files that these are in.
fn names(export: &Export<'_>, files: &CodeFiles) -> InternedData {
    let numbered = || (1..).zip(&files.all);
    let mappings = numbered().map(|(number, file)| Mapping {
        iid: Some(number),
        build_id: file.build_id.map(|_| number),
        start: Some(file.start),
        end: Some(file.end),
        path_string_ids: vec![number],
    });
    let build_ids = numbered().filter_map(|(number, file)| {
        let build_id = file.build_id?;
        Some(InternedString {
            iid: Some(number),
            text: Some(build_id.0.to_vec()),
        })
    });
    let names = (1..).zip(&export.tree.functions);
    let names = names.map(|(number, function)| text(number, &function.name));
    InternedData {
        function_names: names.collect(),
        build_ids: build_ids.collect(),
        mapping_paths: numbered()
            .map(|(number, file)| text(number, &file.name))
            .collect(),
        mappings: mappings.collect(),
        ..InternedData::default()
    }
}

/// The frames of all places, and the number of each place's first.
fn frames(export: &Export<'_>, files: &CodeFiles) -> (InternedData, Vec<u64>) {
    let places = &export.tree.places;
    let mut first_frames = Vec::with_capacity(places.len());
    let mut frames = Vec::new();
    for place in places {
        first_frames.push(frames.len() as u64 + 1);
        // What is no code stands in the kernel's mapping.
        let (mapping_id, address) = files.of(place.kind).map_or((1, 0), |(file, address)| {
            (file as u64 + 1, address.wrapping_sub(files.all[file].start))
        });
        for frame in &place.frames {
            frames.push(Frame {
                iid: Some(frames.len() as u64 + 1),
                function_name_id: Some(u64::from(frame.function) + 1),
                mapping_id: Some(mapping_id),
                rel_pc: Some(address),
            });
        }
    }
    let frames = InternedData {
        frames,
        ..InternedData::default()
    };
    (frames, first_frames)
}

/// The innermost nodes of all stacks.
fn leaves(export: &Export<'_>) -> Vec<u32> {
    let stacks = export.tally.numbered_stacks();
    let mut leaves: Vec<_> = stacks
        .filter_map(|(number, _)| export.tree.leaf(number))
        .collect();
    leaves.sort_unstable();
    leaves.dedup();
    leaves
}

fn frame_ids(export: &Export<'_>, leaf: u32, first_frames: &[u64]) -> Vec<u64> {
    let tree = &export.tree;
    let nodes = std::iter::successors(Some(leaf), |&node| tree.parent(node));
    let ids = nodes.flat_map(|node| {
        let place = tree.place_of(node) as usize;
        let first = first_frames[place];
        first..first + tree.places[place].frames.len() as u64
    });
    let mut ids: Vec<_> = ids.collect();
    ids.reverse();
    ids
}

/// A sample, or as many as nothing tells apart: there is no weight.
fn samples(export: &Export<'_>, seen: &InTime, count: &mut u64, out: &mut dyn Write) -> Result<()> {
    let InTime { sample, time, .. } = *seen;
    let event = &export.events.all[sample.event];
    let Some(leaf) = export.tree.leaf(sample.stack) else {
        return Ok(());
    };
    let place = export.tree.place_of(leaf) as usize;
    let mode = match export.tree.places[place].kind.user() {
        Some(_) => MODE_USER,
        None => MODE_KERNEL,
    };
    for turn in 0..sample.samples {
        *count = count.saturating_add(event.period);
        let perf_sample = PerfSample {
            cpu: Some(sample.core),
            pid: u32::try_from(PID).ok(),
            tid: Some(tid(sample.task)),
            callstack_iid: Some(u64::from(leaf) + 1),
            cpu_mode: Some(mode),
            timebase_count: Some(*count),
        };
        let packet = in_sequence(sample.event, |packet| {
            packet.timestamp = Some(time.saturating_add(turn.saturating_mul(event.period)));
            packet.perf_sample = Some(perf_sample);
        });
        put(packet, out)?;
    }
    Ok(())
}
