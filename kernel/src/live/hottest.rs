//! `prof top`: the profile of what the rings still have, made here.

use core::fmt;

use kernel_core::monitor::Problem;
use kernel_core::profile::{Caller, Function, Names, Profile, Shown};
use profiler::format::description::MAX_TASKS;
use profiler::format::sample::MAX_WORDS;
use profiler::format::{ChainEnd, ChainEntry, Sample, State};
use spin::{Mutex, MutexGuard};

use super::status;
use crate::memory::image;
use crate::profiling::sampler;
use crate::trap::backtrace::CallerPlace;
use crate::watch::LockSamples;
use crate::{sync, workload};

/// By what samples are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    Nothing,
    Task,
    Core,
    Lock,
}

/// Functions that were looked for last, by the low bits of the address.
const KNOWN: usize = 1024;

/// A profile that is being made.
struct Making {
    profile: Profile,
    /// An address, and what function is there.
    known: [(u64, Function); KNOWN],
    /// An address, and where code there has its caller.
    places: [(u64, CallerPlace); KNOWN],
}

static MAKING: Mutex<Making> = Mutex::new(Making {
    profile: Profile::new(),
    known: [(0, Function::Unnamed); KNOWN],
    places: [(0, CallerPlace::OnTop(0)); KNOWN],
});

/// What was read of the rings.
#[derive(Default)]
struct Read {
    /// Bytes that were written over while they were read.
    skipped_bytes: u64,
    /// Records and chains that are none.
    damaged: u64,
}

/// Shows the hottest functions, so many of each group.
pub(super) fn show(rows: usize, by: By, to: &mut dyn fmt::Write) -> Result<(), Problem> {
    let Some(look) = sampler().look() else {
        return Err(status::nothing_sampled());
    };
    if look.period == 0 {
        return Err(Problem::new(format_args!(
            "this run counts events and takes no samples"
        )));
    }
    if by == By::Lock && !workload::are_locks_named() {
        return Err(Problem::new(format_args!(
            "samples do not say which locks are held: start with locks=on on the command line"
        )));
    }
    let (making, read) = made(by, look.cores)?;
    let cores = (0..look.cores).filter_map(|core| sampler().look_at(core));
    let (taken, lost) = cores.fold((0, 0), |(taken, lost), core| {
        (taken + core.taken, lost + core.lost)
    });
    let total = making.profile.total();
    write!(
        to,
        "{total} samples that are still in memory, of {taken} taken, {lost} lost"
    )?;
    if read.skipped_bytes > 0 {
        write!(
            to,
            "; {} bytes were written over meanwhile",
            read.skipped_bytes
        )?;
    }
    if read.damaged > 0 {
        write!(to, "; {} records cannot be read", read.damaged)?;
    }
    writeln!(to)?;
    if total > 0 {
        let shown = Shown {
            profile: &making.profile,
            rows,
            by_group: by != By::Nothing,
            names: &KernelNames(by),
        };
        shown.write(to)?;
    }
    Ok(())
}

/// The profile of all samples of so many cores that are in memory.
fn made(by: By, cores: u32) -> Result<(MutexGuard<'static, Making>, Read), Problem> {
    // Somebody else's command: it was interrupted, or runs on another core.
    let Some(mut making) = MAKING.try_lock() else {
        return Err(Problem::new(format_args!(
            "another profile is not done yet: ask again"
        )));
    };
    making.profile.clear();
    let mut read = Read::default();
    for core in 0..cores {
        making.count_core(core, by, &mut read);
    }
    Ok((making, read))
}

/// In how many samples that are in memory each lock was held; `None` if samples do not say it, or
/// another command counts.
pub fn lock_samples() -> Option<LockSamples> {
    let look = sampler().look().filter(|look| look.period != 0)?;
    if !workload::are_locks_named() {
        return None;
    }
    let (making, _) = made(By::Lock, look.cores).ok()?;
    let mut by_lock = [0; MAX_TASKS];
    for (group, samples) in making.profile.groups() {
        let lock = usize::from(group).checked_sub(1);
        if let Some(place) = lock.and_then(|lock| by_lock.get_mut(lock)) {
            *place = samples;
        }
    }
    let all = making.profile.total();
    (all > 0).then_some(LockSamples { by_lock, all })
}

impl Making {
    /// Counts all that there is of a core.
    fn count_core(&mut self, core: u32, by: By, read: &mut Read) {
        let mut record = [0; MAX_WORDS];
        let mut recent = sampler().recent(core);
        while let Some(recent) = &mut recent {
            match recent.read(&mut record) {
                Ok(None) => break,
                Ok(Some(words)) => {
                    // Others are counts, and events that have begun.
                    if let Ok(sample) = Sample::decode(&record[..words]) {
                        self.count(core, by, &sample, 1);
                    }
                }
                Err(gap) => read.skipped_bytes += gap.units * 4,
            }
        }
        for chain in sampler().chains(core).into_iter().flatten() {
            let Ok(chain) = chain else {
                read.damaged += 1;
                continue;
            };
            match Sample::decode(chain.record()) {
                Ok(sample) if chain.count > 0 => self.count(core, by, &sample, chain.count),
                Ok(_) => {}
                Err(_) => read.damaged += 1,
            }
        }
    }

    fn count(&mut self, core: u32, by: By, sample: &Sample<'_>, samples: u64) {
        let group = match by {
            By::Nothing => 0,
            By::Task => workload::task_and_lock(sample.task).0,
            By::Lock => workload::task_and_lock(sample.task)
                .1
                .map_or(0, |lock| lock + 1),
            By::Core => u16::try_from(core).unwrap_or(u16::MAX),
        };
        let function = self.function_at(sample.pc.0);
        let caller = self.caller_of(sample);
        self.profile.add(group, function, caller, samples);
    }

    fn caller_of(&mut self, sample: &Sample<'_>) -> Caller {
        if !sample.state.has(State::CALLER_KNOWN) {
            let place = self.place_at(sample.pc.0);
            if let Some(address) = place.address(sample.stack_top) {
                return self.call_before(address);
            }
            if place == CallerPlace::Lost {
                return Caller::Unknown;
            }
        }
        match sample.chain().next() {
            Some(ChainEntry::Return(address)) => self.call_before(address.0),
            Some(ChainEntry::Crossing { pc, .. } | ChainEntry::Border { pc, .. }) => {
                Caller::Interrupted(self.function_at(pc.0))
            }
            None if sample.end == ChainEnd::Complete => Caller::Root,
            None => Caller::Unknown,
        }
    }

    /// The call before a return address may be the last instruction of its function.
    fn call_before(&mut self, address: u64) -> Caller {
        Caller::Call(self.function_at(address.wrapping_sub(1)))
    }

    fn place_at(&mut self, pc: u64) -> CallerPlace {
        #[allow(clippy::cast_possible_truncation)] // the low bits
        let known = &mut self.places[pc as usize % KNOWN];
        if known.0 != pc {
            *known = (pc, CallerPlace::of(pc));
        }
        known.1
    }

    fn function_at(&mut self, address: u64) -> Function {
        #[allow(clippy::cast_possible_truncation)] // the low bits
        let known = &mut self.known[address as usize % KNOWN];
        if known.0 != address {
            *known = (address, look_up(address));
        }
        known.1
    }
}

fn look_up(address: u64) -> Function {
    let text = image::text().start.as_u64();
    let found = image::function_at(address);
    let offset = found.and_then(|found| u32::try_from(found.start.checked_sub(text)?).ok());
    offset.map_or(Function::Unnamed, Function::At)
}

/// The names of functions, and of tasks or cores.
struct KernelNames(By);

impl Names for KernelNames {
    fn function(&self, offset: u32, to: &mut dyn fmt::Write) -> fmt::Result {
        let address = image::text().start.as_u64() + u64::from(offset);
        match image::function_at(address) {
            Some(function) => write!(to, "{}", function.name),
            None => write!(to, "{address:#x}"),
        }
    }

    fn group(&self, group: u16, to: &mut dyn fmt::Write) -> fmt::Result {
        if self.0 == By::Lock {
            let lock = group.checked_sub(1);
            let lock = lock.and_then(|lock| sync::classes().get(usize::from(lock)));
            return write!(
                to,
                "{}",
                lock.map_or("no lock", sync::Class::name_in_samples)
            );
        }
        if self.0 == By::Task {
            let name = workload::task_name(group);
            if !name.is_empty() {
                return write!(to, "task {name}");
            }
            return write!(to, "task {group}");
        }
        write!(to, "core {group}")
    }
}
