//! A kernel that writes its region by hand and calls nothing of the sampler: made-up samples,
//! of a period that it has chosen itself, and an end of which its command line says what it
//! is to be (`workload=`; see [`end`]). Only told to (`honours`) it takes its command line.

#![no_std]
#![no_main]

mod boot;
mod machine;

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use profiler::address::{CodeAddress, StackAddress};
use profiler::contract::settings::{Settings, SourceChoice};
use profiler::format::description::DESCRIPTION_BYTES;
use profiler::format::region::{MAGIC, Region, RegionLayout, RunState};
use profiler::format::ring::Writer;
use profiler::format::sample::MAX_WORDS;
use profiler::format::{ChainEnd, Clock, Delivery, Description, Sample, State, Text, VERSION};
use profiler::sampler::Config;

/// What it takes unless it honours its command line.
const SAMPLES: u64 = 300;
const PERIOD: u64 = 500;
/// Words of its ring.
const RING_WORDS: u64 = 1 << 15;

const LAYOUT: RegionLayout = RegionLayout {
    cores: 1,
    ring_words: RING_WORDS,
};
const BYTES: usize = match LAYOUT.bytes() {
    Some(bytes) => bytes,
    None => 0,
};

#[repr(C, align(4096))]
struct Memory(UnsafeCell<[u8; BYTES]>);

// SAFETY: one core, no interrupts.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; BYTES]));

fn memory() -> NonNull<[u8]> {
    let start = NonNull::new(MEMORY.0.get().cast::<u8>()).expect("a static has an address");
    NonNull::slice_from_raw_parts(start, BYTES)
}

#[unsafe(no_mangle)]
extern "C" fn kmain() -> ! {
    let case = boot::case();
    println!("by-hand: {case}");
    let own = description(case);
    match case {
        // No region at all.
        "idle" => {}
        "old" => publish(VERSION - 1, &[0; DESCRIPTION_BYTES]),
        "senseless" => publish(VERSION, &[0; DESCRIPTION_BYTES]),
        "too-long" => publish(
            VERSION,
            &Description {
                cores: 1 << 20,
                ..own
            }
            .encode(),
        ),
        // SAFETY: the memory is for this alone.
        "refused" => unsafe { Region::create_refused(memory(), "no timer that interrupts") },
        _ => run(case, &own),
    }
    machine::halt()
}

/// Writes a header page that no region stands behind.
fn publish(version: u32, description: &[u8; DESCRIPTION_BYTES]) {
    let page: *mut u8 = MEMORY.0.get().cast();
    for (offset, bytes) in [
        (24, &description[..]),
        (16, &version.to_le_bytes()),
        (0, &MAGIC),
    ] {
        for (at, &byte) in (offset..).zip(bytes) {
            // SAFETY: in the first page of the memory, which nothing else uses.
            unsafe { page.add(at).write_volatile(byte) };
        }
    }
}

fn description(case: &str) -> Description {
    let linked = Config::new();
    let build_id = if case == "no-id" {
        [0; 20]
    } else {
        linked.build_id
    };
    let own = Description {
        delivery: Delivery::Irq,
        clock: Clock::Instructions,
        period: PERIOD,
        period_floor: 1,
        samples: SAMPLES,
        workload: Text::new(case),
        command_line: Text::new(boot::command_line()),
        ..Description::new(build_id, linked.text, 1, RING_WORDS)
    };
    match Settings::parse(boot::command_line()) {
        Ok(settings) if case == "honours" => taken(own, &settings),
        _ => own,
    }
}

/// The description of a kernel that takes its settings.
fn taken(own: Description, settings: &Settings<'_>) -> Description {
    Description {
        source: match settings.source {
            SourceChoice::Only(source) => source,
            SourceChoice::Auto => own.source,
        },
        delivery: settings.delivery,
        period: settings.period.unwrap_or(own.period),
        samples: settings.samples,
        aim: settings.aim.map_or(own.aim, Into::into),
        seed: settings.seed,
        jitter: settings.jitter,
        ..own
    }
}

fn run(case: &str, run: &Description) {
    // SAFETY: the memory is for this alone.
    let region = unsafe { Region::create(memory(), run) };
    region.set_state(RunState::Sampling);
    // SAFETY: one core, no interrupts.
    let writer = unsafe { region.writer(0) };
    let is_whole = matches!(
        case,
        "done" | "no-exit" | "odd-value" | "finish-reset" | "stuck" | "honours"
    );
    let samples = if is_whole {
        run.samples
    } else {
        run.samples / 2
    };
    let first = (kmain as *const ()).addr() as u64;
    for number in 0..samples {
        let apart = if case == "stuck" { 0 } else { number % 8 };
        write(&writer, number, run.period, CodeAddress(first + apart));
    }
    let stored = region.counters(0);
    stored.stored.store(samples, Ordering::Relaxed);
    stored.taken.store(samples, Ordering::Relaxed);
    end(case, &region, is_whole);
}

fn write(writer: &Writer<'_>, number: u64, period: u64, pc: CodeAddress) {
    let sample = Sample {
        sequence: number as u32,
        handler_cost: 10,
        event: 0,
        task: 0,
        state: State(State::INTERRUPTS_ON),
        time: number * period,
        period,
        sp: StackAddress(0),
        stack_top: [0; 2],
        pc,
        exact: None,
        end: ChainEnd::Complete,
        chain_words: &[],
    };
    let mut record = [0; MAX_WORDS];
    let words = sample.encode(&mut record);
    let _ = writer.write(&record[..words]);
}

/// Ends as `case` says. All but the named ones halt, with half of the samples.
fn end(case: &str, region: &Region<'_>, is_whole: bool) {
    if is_whole {
        region.set_state(RunState::Finished);
    }
    match case {
        "done" | "stuck" | "honours" | "early" => machine::write_byte(0xf4, 0x10),
        // As kernels write it where the device has four bytes.
        "wide" => write_long(0xf4, 0x10),
        "panic" => {
            println!("by-hand: a panic");
            machine::write_byte(0xf4, 0x12);
        }
        "failed" => {
            region.set_state(RunState::Failed);
            println!("by-hand: a fault");
        }
        "loaders-value" => machine::write_byte(0xf4, 0x20),
        "odd-value" => machine::write_byte(0xf4, 0x2a),
        "reset" | "finish-reset" => machine::reset(),
        "off" => machine::switch_off(),
        _ => {}
    }
}

/// Writes four bytes to a port.
fn write_long(port: u16, value: u32) {
    // SAFETY: the port that QEMU ends by does nothing to this kernel's memory.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)) };
}
