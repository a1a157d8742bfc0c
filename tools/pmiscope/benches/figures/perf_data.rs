//! The samples of a profile as a file of Linux's perf, so that perf can be compared on them.
//!
//! A `perf.data` is a header, the attributes of each event, and records; the format is that of
//! `tools/perf/Documentation/perf.data-file-format.txt` and of `perf_event.h`. Samples are in
//! the order of time, which spares perf the sorting, and each is what `perf record -g` of a kernel
//! writes: address, thread, time, processor, period and chain of calls.
//! perf is given the kernel's symbols, since our report names functions, too. Without them it
//! takes half as long for its report, and shows names of the host's kernel.

use std::io::{self, Write};

use pmiscope::internals::Profile;
use profiler::format::{ChainEntry, Sample};

const MAGIC: &[u8; 8] = b"PERFILE2";
const HEADER_BYTES: u64 = 104;
/// `perf_event_attr` as Linux 4.8 has it (`PERF_ATTR_SIZE_VER5`), and where its ids are.
const ATTRIBUTE_BYTES: u64 = 112;
const IDS_BYTES: u64 = 16;

/// Types of records.
const MMAP: u32 = 1;
const COMM: u32 = 3;
const SAMPLE: u32 = 9;
const FINISHED_ROUND: u32 = 68;

/// The record is of the kernel.
const KERNEL: u16 = 1;
/// What a chain has before addresses of the kernel.
const CONTEXT_KERNEL: u64 = 0_u64.wrapping_sub(128);

/// `sample_type`: IP, TID, TIME, CALLCHAIN, CPU and PERIOD.
const SAMPLE_TYPE: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 8;
/// The attribute's flags `mmap` and `comm`.
const FLAGS: u64 = 1 << 8 | 1 << 9;
/// `PERF_COUNT_HW_INSTRUCTIONS`, of the type `PERF_TYPE_HARDWARE`, which is 0.
const INSTRUCTIONS: u64 = 1;

/// How many samples perf writes between two marks that all before them is there.
const ROUND: usize = 10_000;

/// Writes the samples of all cores.
pub fn write(profile: &Profile, mut out: impl Write) -> io::Result<()> {
    let samples = samples(profile);
    let mut before = kernel(profile);
    for task in 0..profile.description.tasks.len() {
        before.extend(thread(profile, task));
    }
    let rounds = samples.len().div_ceil(ROUND);
    let records: usize = samples.iter().map(|sample| sample.record.len()).sum();
    let bytes = before.len() + records + rounds * 8;

    out.write_all(&header(bytes as u64, profile.description.period))?;
    out.write_all(&before)?;
    for round in samples.chunks(ROUND) {
        for sample in round {
            out.write_all(&sample.record)?;
        }
        out.write_all(&record(FINISHED_ROUND, 0, &[]))?;
    }
    out.flush()
}

/// All before the records: the header, and the only event.
fn header(data: u64, period: u64) -> Vec<u8> {
    let attributes = HEADER_BYTES;
    let begin = attributes + ATTRIBUTE_BYTES + IDS_BYTES;
    let mut bytes = MAGIC.to_vec();
    let size_of_attribute = ATTRIBUTE_BYTES + IDS_BYTES;
    let sections = [attributes, size_of_attribute, begin, data, 0, 0];
    words(&mut bytes, &[HEADER_BYTES, size_of_attribute]);
    words(&mut bytes, &sections);
    // No features.
    words(&mut bytes, &[0; 4]);

    let type_and_size = ATTRIBUTE_BYTES << 32;
    words(
        &mut bytes,
        &[type_and_size, INSTRUCTIONS, period, SAMPLE_TYPE],
    );
    words(&mut bytes, &[0, FLAGS]);
    // The rest of the attribute, and no ids.
    bytes.resize(usize::try_from(begin).expect("a small header"), 0);
    bytes
}

/// Where the kernel is.
fn kernel(profile: &Profile) -> Vec<u8> {
    let text = &profile.description.text;
    let mut payload = Vec::new();
    // Of all processes: -1.
    words(&mut payload, &[u32::MAX.into()]);
    words(
        &mut payload,
        &[text.start.0, text.end.0 - text.start.0, text.start.0],
    );
    payload.extend_from_slice(b"[kernel.kallsyms]_text\0\0");
    record(MMAP, KERNEL, &payload)
}

/// The name of a task, as a thread.
fn thread(profile: &Profile, task: usize) -> Vec<u8> {
    let name = profile.description.tasks[task].as_str();
    let mut payload = Vec::new();
    words(&mut payload, &[thread_id(task as u64)]);
    payload.extend_from_slice(&name.as_bytes()[..name.len().min(15)]);
    payload.resize(8 + 16, 0);
    record(COMM, 0, &payload)
}

/// Process and thread. 0 are idle ones.
fn thread_id(task: u64) -> u64 {
    let id = task + 1;
    id << 32 | id
}

struct Timed {
    time: u64,
    record: Vec<u8>,
}

/// The records of all samples, in the order of time.
fn samples(profile: &Profile) -> Vec<Timed> {
    let mut samples = Vec::new();
    for core in 0..profile.cores() {
        profile
            .for_each_record(core, |words| {
                if let Ok(sample) = Sample::decode(words) {
                    let record = of_sample(core, &sample);
                    samples.push(Timed {
                        time: sample.time,
                        record,
                    });
                }
            })
            .expect("what the bench has written can be read");
    }
    samples.sort_by_key(|sample| sample.time);
    samples
}

fn of_sample(core: u32, sample: &Sample<'_>) -> Vec<u8> {
    let mut chain = vec![CONTEXT_KERNEL, sample.pc.0];
    chain.extend(sample.chain().map(|entry| match entry {
        ChainEntry::Return(address) => address.0,
        ChainEntry::Crossing { pc, .. } | ChainEntry::Border { pc, .. } => pc.0,
    }));
    let mut payload = Vec::new();
    words(&mut payload, &[sample.pc.0, thread_id(sample.task.into())]);
    words(&mut payload, &[sample.time, core.into(), sample.period]);
    words(&mut payload, &[chain.len() as u64]);
    words(&mut payload, &chain);
    record(SAMPLE, KERNEL, &payload)
}

fn record(kind: u32, misc: u16, payload: &[u8]) -> Vec<u8> {
    let size = u16::try_from(8 + payload.len()).expect("a chain has at most 64 words");
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend_from_slice(&misc.to_le_bytes());
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn words(bytes: &mut Vec<u8>, words: &[u64]) {
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}
