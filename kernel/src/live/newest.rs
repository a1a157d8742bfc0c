//! `trace`: the newest samples of all cores.

use core::fmt;

use kernel_core::monitor::Problem;
use profiler::format::ring::Recent;
use profiler::format::sample::MAX_WORDS;
use profiler::format::{Sample, State};
use spin::Mutex;

use super::status;
use crate::profiling::sampler;
use crate::trap::backtrace::Sampled;
use crate::workload;

/// The most samples that are shown.
const MOST: usize = 64;

/// Where a sample is.
struct Bookmark {
    time: u64,
    core: u32,
    /// It is the next one there.
    at: Recent<'static>,
}

/// The newest samples so far, the oldest first, behind places that are free.
struct Newest {
    marks: [Option<Bookmark>; MOST],
    wanted: usize,
}

static NEWEST: Mutex<Newest> = Mutex::new(Newest {
    marks: [const { None }; MOST],
    wanted: 0,
});

/// Shows so many samples.
pub(super) fn show(samples: u64, to: &mut dyn fmt::Write) -> Result<(), Problem> {
    let Some(look) = sampler().look() else {
        return Err(status::nothing_sampled());
    };
    let wanted = usize::try_from(samples).unwrap_or(usize::MAX);
    if wanted == 0 || wanted > MOST {
        return Err(Problem::new(format_args!(
            "N is a number from 1 to {MOST}, not {samples}"
        )));
    }
    let Some(mut newest) = NEWEST.try_lock() else {
        return Err(Problem::new(format_args!(
            "another `trace` is not done yet: ask again"
        )));
    };
    newest.marks.fill_with(|| None);
    newest.wanted = wanted;
    for core in 0..look.cores {
        newest.look_at(core);
    }
    if look.keeps_chains {
        writeln!(
            to,
            "equal chains are counted in place (keep=chains): there are only the samples that had no room there"
        )?;
    }
    let mut is_any = false;
    for mark in newest.marks.iter_mut().flatten() {
        is_any = true;
        write_sample(mark, to)?;
    }
    if !is_any {
        writeln!(to, "no samples are in memory")?;
    }
    Ok(())
}

impl Newest {
    fn look_at(&mut self, core: u32) {
        let Some(mut recent) = sampler().recent(core) else {
            return;
        };
        let mut record = [0; MAX_WORDS];
        loop {
            let at = recent.clone();
            match recent.read(&mut record) {
                Ok(None) => return,
                Ok(Some(words)) => {
                    if let Ok(sample) = Sample::decode(&record[..words]) {
                        let time = sample.time;
                        self.add(Bookmark { time, core, at });
                    }
                }
                // What was there is older than all that follows.
                Err(_) => {}
            }
        }
    }

    /// Takes the place of the oldest one, if it is newer.
    fn add(&mut self, new: Bookmark) {
        let kept = &mut self.marks[..self.wanted];
        let is_older =
            |mark: &Option<Bookmark>| mark.as_ref().is_none_or(|mark| mark.time <= new.time);
        let behind = kept.partition_point(is_older);
        let Some(place) = behind.checked_sub(1) else {
            return;
        };
        kept[..=place].rotate_left(1);
        kept[place] = Some(new);
    }
}

fn write_sample(mark: &mut Bookmark, to: &mut dyn fmt::Write) -> Result<(), Problem> {
    let core = mark.core;
    let mut record = [0; MAX_WORDS];
    let read = mark.at.read(&mut record);
    let words = read.ok().flatten().and_then(|words| record.get(..words));
    let Some(sample) = words.and_then(|words| Sample::decode(words).ok()) else {
        writeln!(to, "core {core}: a sample that was written over meanwhile")?;
        return Ok(());
    };
    let Sample {
        time,
        period,
        sequence,
        state,
        ..
    } = sample;
    write!(
        to,
        "core {core}: sample {sequence} at {time}, period {period}, task "
    )?;
    match workload::task_name(sample.task) {
        "" => write!(to, "{}", sample.task)?,
        name => to.write_str(name)?,
    }
    if !state.has(State::INTERRUPTS_ON) {
        to.write_str(", interrupts off")?;
    }
    if state.has(State::IDLE) {
        to.write_str(", halted")?;
    }
    writeln!(to)?;
    writeln!(to, "{}", Sampled(&sample))?;
    Ok(())
}
