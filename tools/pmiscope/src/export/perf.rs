//! `perf.data`, as `perf record` writes it: tools/perf/Documentation/perf.data-file-format.txt of
//! Linux, and `enum perf_event_type` of its include/uapi/linux/perf_event.h.
//!
//! Addresses of the kernel are those of its ELF file, which perf takes names, lines and code from; those of
//! the user's programs stand behind the mark of their context, as perf has them, in files that their
//! processes have mapped. A caller's is within its call, where perf would look up what is behind it. The
//! period of a sample is that which was asked for, so that shares are shares of samples.

mod processes;

use std::io::Write;

use anyhow::{Result, ensure};
use object::{Object as _, ObjectSymbol as _, SymbolKind};

use super::Export;
use super::samples::InTime;
use super::tree::Kind;
use crate::symbols::in_its_file;
pub(crate) use processes::MappedProgram;
use processes::{Mapping, Processes, Thread};

/// The version of perf that a file says it is of is ours, and its callers are calls.
pub(crate) const VERSION: &str = "pmiscope ";

const MAGIC: &[u8; 8] = b"PERFILE2";
const FILE_HEADER: u64 = 104;
const ATTRIBUTE: u32 = 112;
/// An attribute, and where its ids are.
const FILE_ATTRIBUTE: u64 = ATTRIBUTE as u64 + 16;

// Of a sample: IP, TID, TIME, CALLCHAIN, CPU, PERIOD, IDENTIFIER.
const SAMPLE_TYPE: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 16;
/// Nothing of a hypervisor's; records of mappings and names; all have what samples have.
const ATTRIBUTE_FLAGS: u64 = 1 << 6 | 1 << 8 | 1 << 9 | 1 << 18;
/// Nor of a user's.
const EXCLUDE_USER: u64 = 1 << 4;
/// Of kernel code; of a program's.
const MISC_KERNEL: u16 = 1;
const MISC_USER: u16 = 2;
const CONTEXT_KERNEL: u64 = -128_i64 as u64;
const CONTEXT_USER: u64 = -512_i64 as u64;

const RECORD_MMAP: u32 = 1;
const RECORD_COMM: u32 = 3;
const RECORD_SAMPLE: u32 = 9;
/// All before it are in order with all behind it: perf need not hold them back.
const RECORD_FINISHED_ROUND: u32 = 68;
const SAMPLES_IN_ROUND: u64 = 1 << 16;

// What a file has behind its records, by the bits that say so.
const BUILD_ID: u32 = 2;
const PERF_VERSION: u32 = 5;
const ARCH: u32 = 6;
const EVENT_DESC: u32 = 12;

/// What perf calls code of a kernel, whatever file it is in.
const KERNEL: &str = "[kernel.kallsyms]";

/// A symbol by which perf sees that the kernel ran where its ELF file has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Anchor {
    name: String,
    address: u64,
}

impl Anchor {
    /// A function of an ELF file whose name no other symbol has; the shortest, to repeat.
    pub(crate) fn of_elf(elf: &[u8]) -> Option<Self> {
        let file = object::File::parse(elf).ok()?;
        let functions = file.symbols().filter(|symbol| {
            symbol.kind() == SymbolKind::Text && symbol.is_global() && symbol.address() != 0
        });
        let named = functions.filter_map(|symbol| Some((symbol.name().ok()?, symbol.address())));
        let named = named.filter(|(name, _)| !name.is_empty());
        let (name, address) = named.min_by_key(|&(name, address)| (name.len(), name, address))?;
        Some(Self {
            name: name.to_owned(),
            address,
        })
    }
}

/// Bytes of a record or of a part of the file.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, number: u16) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    /// A text with a zero behind it, and zeros up to a whole word.
    fn text(&mut self, text: &str) -> &mut Self {
        // What a zero is in would be cut there.
        self.0.extend(text.bytes().filter(|&byte| byte != 0));
        self.0.push(0);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }

    /// The same behind its length.
    fn counted_text(&mut self, text: &str) -> &mut Self {
        let mut padded = Self::default();
        padded.text(text);
        self.u32(length(&padded));
        self.0.extend(padded.0);
        self
    }
}

fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.0.len()).unwrap_or(u32::MAX)
}

/// A record, whose `body` is what is behind its header.
fn record(kind: u32, misc: u16, body: &Bytes) -> Result<Vec<u8>> {
    let size = u16::try_from(body.0.len() + 8);
    let size = size.map_err(|_| anyhow::anyhow!("a name is too long for a record of perf.data"))?;
    let mut all = Bytes::default();
    all.u32(kind).u16(misc).u16(size);
    all.0.extend(&body.0);
    Ok(all.0)
}

/// Who ran: process 0 is the idle task to perf.
fn pid(task: u16) -> u32 {
    u32::from(task) + 1
}

/// Writes the file.
pub(super) fn write(export: &Export<'_>, out: &mut dyn Write) -> Result<()> {
    let writer = PerfData {
        export,
        seen: export.events.seen(),
        processes: Processes::new(export)?,
    };
    let first = writer.first_records()?;
    let data = first.len() as u64 + writer.sample_bytes()?;
    out.write_all(&writer.head(data).0)?;
    out.write_all(&first)?;
    let mut written = first.len() as u64;
    writer.samples(&mut |bytes| {
        written += bytes.len() as u64;
        Ok(out.write_all(bytes)?)
    })?;
    // The header has said it.
    ensure!(
        written == data,
        "the profile has other samples than it says: run pmiscope again"
    );
    let data_end = writer.data_start() + data;
    out.write_all(&writer.features(data_end).0)?;
    Ok(())
}

struct PerfData<'a> {
    export: &'a Export<'a>,
    processes: Processes,
    /// The events that have samples.
    seen: Vec<usize>,
}

impl PerfData<'_> {
    fn ids_start(&self) -> u64 {
        FILE_HEADER + self.seen.len() as u64 * FILE_ATTRIBUTE
    }

    fn data_start(&self) -> u64 {
        self.ids_start() + self.seen.len() as u64 * 8
    }

    /// An event's id, which its samples have.
    fn id(&self, place: usize) -> u64 {
        place as u64 + 1
    }

    fn head(&self, data: u64) -> Bytes {
        let mut head = Bytes::default();
        head.0.extend(MAGIC);
        head.u64(FILE_HEADER).u64(FILE_ATTRIBUTE);
        head.u64(FILE_HEADER)
            .u64(self.seen.len() as u64 * FILE_ATTRIBUTE);
        head.u64(self.data_start()).u64(data);
        // Types of events, which nobody reads any more.
        head.u64(0).u64(0);
        let features = 1 << BUILD_ID | 1 << PERF_VERSION | 1 << ARCH | 1 << EVENT_DESC;
        head.u64(features).u64(0).u64(0).u64(0);
        for (index, &place) in (0_u64..).zip(&self.seen) {
            head.0.extend(self.attribute(place).0);
            head.u64(self.ids_start() + index * 8).u64(8);
        }
        for &place in &self.seen {
            head.u64(self.id(place));
        }
        head
    }

    fn attribute(&self, place: usize) -> Bytes {
        // A clock of perf's own stands for whatever overflowed: its name is among the features.
        const SOFTWARE: u32 = 1;
        const CPU_CLOCK: u64 = 0;
        let mut attribute = Bytes::default();
        attribute.u32(SOFTWARE).u32(ATTRIBUTE).u64(CPU_CLOCK);
        attribute.u64(self.export.events.all[place].period);
        let flags = match self.processes.are_any() {
            true => ATTRIBUTE_FLAGS,
            false => ATTRIBUTE_FLAGS | EXCLUDE_USER,
        };
        attribute.u64(SAMPLE_TYPE).u64(0).u64(flags);
        attribute.0.resize(ATTRIBUTE as usize, 0);
        attribute
    }

    /// What records that are no samples have at their ends.
    fn trailer(&self, body: &mut Bytes, Thread { pid, tid }: Thread) {
        let id = self.seen.first().map_or(1, |&place| self.id(place));
        body.u32(pid).u32(tid).u64(0).u32(0).u32(0).u64(id);
    }

    /// Where the kernel is, and the names of tasks.
    fn first_records(&self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let text = self.export.profile.description.text;
        let start = self.export.symbols.slide().shown(text.start);
        let length = text.end.0.wrapping_sub(text.start.0);
        let anchor = self.export.anchor.as_ref();
        let (name, address) = anchor.map_or(("_text", start), |it| (&*it.name, it.address));
        let mut mapping = Bytes::default();
        mapping.u32(u32::MAX).u32(0).u64(start).u64(length);
        mapping.u64(address).text(&format!("{KERNEL}{name}"));
        self.trailer(&mut mapping, of_task(u32::MAX));
        all.extend(record(RECORD_MMAP, MISC_KERNEL, &mapping)?);
        for (task, name) in self.export.tasks() {
            all.extend(self.command(of_task(pid(task)), &name)?);
        }
        for (process, thread) in self.processes.threads(self.export) {
            let name = self.export.symbols.program_name(process);
            all.extend(self.command(thread, &name)?);
            if thread.tid == thread.pid {
                all.extend(self.mapped(process, thread)?);
            }
        }
        Ok(all)
    }

    /// What a thread is called.
    fn command(&self, thread: Thread, name: &str) -> Result<Vec<u8>> {
        let mut command = Bytes::default();
        command.u32(thread.pid).u32(thread.tid).text(name);
        self.trailer(&mut command, thread);
        record(RECORD_COMM, 0, &command)
    }

    /// Where a process has its program.
    fn mapped(&self, process: u16, thread: Thread) -> Result<Vec<u8>> {
        let number = self.export.symbols.program_of(process);
        let mut programs = self.export.programs.iter();
        let Some(program) = programs.find(|program| program.number == number) else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for Mapping {
            start,
            length,
            offset,
        } in program.mappings()
        {
            let mut mapping = Bytes::default();
            mapping.u32(thread.pid).u32(thread.tid).u64(start);
            mapping.u64(length).u64(offset).text(&program.path);
            self.trailer(&mut mapping, thread);
            all.extend(record(RECORD_MMAP, MISC_USER, &mapping)?);
        }
        Ok(all)
    }

    /// The bytes of all samples.
    fn sample_bytes(&self) -> Result<u64> {
        let export = self.export;
        let size = |stack: u32| {
            let words = self.chain(stack).count() as u64;
            8 * (9 + words)
        };
        let (mut bytes, mut records) = (0, 0);
        let mut add = |stack, count: u64| {
            bytes += size(stack) * count;
            records += count;
        };
        if export.profile.keeps_chains() {
            for counted in export.counted()? {
                add(counted.stack, 1);
            }
        } else {
            for (number, stack) in export.tally.numbered_stacks() {
                add(number, stack.samples);
            }
        }
        Ok(bytes + records / SAMPLES_IN_ROUND * 8)
    }

    /// The addresses of a stack, innermost first, and where the user's program begins the mark of that.
    fn chain(&self, stack: u32) -> impl Iterator<Item = u64> {
        let tree = &self.export.tree;
        let leaf = tree.leaf(stack).into_iter();
        let places = leaf.flat_map(|leaf| tree.places_of(leaf));
        places.filter_map(|place| match place.kind {
            Kind::Code(address) => Some(in_its_file(address)),
            Kind::Border(_) => Some(CONTEXT_USER),
            Kind::Interrupt(_) | Kind::Cut(_) => None,
        })
    }

    fn samples(&self, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut count = 0;
        let mut body = Bytes::default();
        self.export.for_each_in_time(|seen| {
            let (misc, context) = match self.processes.is_user(seen.sample.stack) {
                true => (MISC_USER, CONTEXT_USER),
                false => (MISC_KERNEL, CONTEXT_KERNEL),
            };
            self.sample(seen, context, &mut body);
            write(&record(RECORD_SAMPLE, misc, &body)?)?;
            count += 1;
            if count % SAMPLES_IN_ROUND == 0 {
                write(&record(RECORD_FINISHED_ROUND, 0, &Bytes::default())?)?;
            }
            Ok(())
        })
    }

    fn sample(&self, seen: &InTime, context: u64, body: &mut Bytes) {
        let InTime { sample, time, .. } = seen;
        let period = self.export.events.all[sample.event].period;
        let process = self.processes.of_stack(sample.stack);
        let Thread { pid, tid } = process.map_or_else(
            || of_task(pid(sample.task)),
            |process| self.processes.thread(self.export, (process, sample.task)),
        );
        body.0.clear();
        body.u64(self.id(sample.event));
        body.u64(self.chain(sample.stack).next().unwrap_or_default());
        body.u32(pid).u32(tid).u64(*time).u32(sample.core).u32(0);
        body.u64(period.saturating_mul(sample.samples));
        let count = body.0.len();
        body.u64(0).u64(context);
        let mut words = 1_u64;
        for address in self.chain(sample.stack) {
            body.u64(address);
            words += 1;
        }
        body.0[count..count + 8].copy_from_slice(&words.to_le_bytes());
    }

    /// Where the parts behind the records are, and these.
    fn features(&self, start: u64) -> Bytes {
        let parts = [
            self.build_ids(),
            counted_text(&format!("{VERSION}{}", env!("CARGO_PKG_VERSION"))),
            counted_text("x86_64"),
            self.event_names(),
        ];
        let mut all = Bytes::default();
        let mut at = start + parts.len() as u64 * 16;
        for part in &parts {
            all.u64(at).u64(part.0.len() as u64);
            at += part.0.len() as u64;
        }
        for part in parts {
            all.0.extend(part.0);
        }
        all
    }

    /// Which files code is in: without the kernel's perf takes that of the machine it runs on.
    fn build_ids(&self) -> Bytes {
        let id = self.export.profile.description.build_id;
        let mut part = build_id(MISC_KERNEL, &id, KERNEL);
        for program in &self.export.programs {
            if let Some(id) = program.build_id() {
                part.0.extend(build_id(MISC_USER, &id, &program.path).0);
            }
        }
        part
    }

    fn event_names(&self) -> Bytes {
        let mut part = Bytes::default();
        part.u32(u32::try_from(self.seen.len()).unwrap_or(u32::MAX));
        part.u32(ATTRIBUTE);
        for &place in &self.seen {
            part.0.extend(self.attribute(place).0);
            part.u32(1);
            part.counted_text(&self.export.events.all[place].name);
            part.u64(self.id(place));
        }
        part
    }
}

/// The build-id of a file.
fn build_id(misc: u16, id: &[u8], path: &str) -> Bytes {
    const HAS_SIZE: u16 = 1 << 15;
    // Of a SHA-1, for which there is room.
    const ID_BYTES: usize = 20;
    let id = &id[..id.len().min(ID_BYTES)];
    let mut name = Bytes::default();
    name.text(path);
    let mut part = Bytes::default();
    let size = u16::try_from(8 + 4 + 24 + name.0.len()).unwrap_or(u16::MAX);
    part.u32(0).u16(misc | HAS_SIZE).u16(size);
    part.u32(u32::MAX);
    part.0.extend(id);
    part.0.resize(part.0.len() + ID_BYTES - id.len(), 0);
    part.0
        .extend([u8::try_from(id.len()).unwrap_or(0), 0, 0, 0]);
    part.0.extend(name.0);
    part
}

/// A thread that is a process to perf.
const fn of_task(pid: u32) -> Thread {
    Thread { pid, tid: pid }
}

fn counted_text(text: &str) -> Bytes {
    let mut part = Bytes::default();
    part.counted_text(text);
    part
}
