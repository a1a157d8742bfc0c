//! Verifies a profile in which every instruction is a sample.
//!
//! Where nothing is left out, the instructions themselves say which calls are
//! open: a call opens one, whatever moves the stack pointer past its return
//! address ends it, an interrupt opens what its end closes. So the true chain of
//! every sample is known (`shadow.rs`), and each chain that the guest has found by
//! frame pointers, repaired as reports show it ([`crate::chain`]), is compared
//! with that, to the last link. Each instruction is also checked to be a possible
//! successor of the one before.
//!
//! Only the callers of a core's first instruction are not verified: they are taken from
//! its chain ([`Assumed`]).

mod border;
mod code;
mod compare;
pub mod contained;
mod difference;
mod place;
mod replay;
pub mod report;
mod shadow;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use profiler::address::CodeAddress;
use profiler::format::{Clock, Delivery, Description, Sample, Source};
use thiserror::Error;

use crate::profile::{Profile, ReadError};
use crate::symbols::Symbols;
pub use border::UserMode;
use code::Code;
use difference::Verdict;
pub use difference::{Difference, Kind};
use place::Mode;
pub use replay::{Assumed, Executed};
use replay::{Replay, Setup};

/// Why a profile cannot be verified.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// Not every instruction is a sample.
    #[error(
        "not every instruction of it is a sample ({0}): record one with `pmiscope run --period 1` or `--source step`"
    )]
    NotEveryInstruction(String),
    /// It has no samples.
    #[error("it has no samples")]
    Empty,
    /// Samples cannot be read that were there when the profile was opened.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its samples are others than those of which its hash was made.
    #[error("its samples are not those of which its hash was made: {0} and not {1}")]
    Hash(String, String),
    /// The kernel in it is damaged.
    #[error("the kernel in it is missing: give it by --elf")]
    NoKernel,
    /// The kernel in it has no code.
    #[error("the kernel has no code")]
    NoCode,
    /// The order of samples is not there.
    #[error(
        "the run kept chains and counts, not samples and their order: run it without --keep chains"
    )]
    Chains,
    /// Nothing says where the code is that was executed.
    #[error(
        "the kernel ran at another address than it is linked for (KASLR?), and by how much cannot be told: describe the text from the start to the end of the section .text, or switch that off"
    )]
    Moved,
}

/// Differences of one kind.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    pub count: u64,
    /// At which instructions, how many.
    pub places: HashMap<CodeAddress, u64>,
    /// The first ones: core and difference.
    pub examples: Vec<(u32, Difference)>,
}

/// What call-frame information is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lacks {
    /// All of it.
    pub frames: bool,
    /// That of the code that interrupts enter: an interrupt is then no successor of the
    /// instruction before it.
    pub entries: bool,
}

/// The result of verifying a profile.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// Instructions, which is samples.
    pub instructions: u64,
    /// Those whose chain is the true one.
    pub exact: u64,
    /// Those whose chain is the true one as far as a record can hold it.
    pub cut: u64,
    /// The others.
    pub differences: BTreeMap<Kind, Differences>,
    /// What was not seen.
    pub assumed: Assumed,
    /// What was executed.
    pub executed: Executed,
    /// What the kernel does not say.
    pub lacks: Lacks,
    /// Instructions of which it is not known where their callers are.
    pub undecided: u64,
    /// Records that this version cannot read.
    pub unreadable: u64,
}

impl Verification {
    /// Instructions whose chain is not the true one.
    #[must_use]
    pub fn different(&self) -> u64 {
        self.differences.values().map(|kind| kind.count).sum()
    }
}

/// Verifies a profile by its kernel's symbols; keeps at most `examples` of each kind of
/// difference.
///
/// # Errors
///
/// [`VerifyError`] if the profile does not have every instruction, or the kernel has not what
/// it takes.
pub fn verify(
    profile: &Profile,
    symbols: &Symbols,
    examples: usize,
) -> Result<Verification, VerifyError> {
    has_every_instruction(&profile.description)?;
    if profile.keeps_chains() {
        return Err(VerifyError::Chains);
    }
    if profile.records() == 0 {
        return Err(VerifyError::Empty);
    }
    if let Some([found, made]) = profile.wrong_hash()? {
        return Err(VerifyError::Hash(found, made));
    }
    if !symbols.slide().has_text() {
        return Err(VerifyError::NoCode);
    }
    let run = &profile.description;
    let is_known = symbols.slide().distance().is_some();
    if !is_known && !symbols.slide().has_code_at(run.text.start) {
        return Err(VerifyError::Moved);
    }
    let callers = symbols.callers();
    let mut code = Code::new(callers.code(), callers);
    let setup = Setup {
        callers,
        code: &mut code,
        text: run.text,
        is_stepped: run.source == Source::Step,
    };
    let cores = usize::try_from(run.cores).unwrap_or(usize::MAX);
    let mut replay = Replay::new(setup, run.stack_slot, cores);
    let mut verification = Verification {
        lacks: Lacks {
            frames: callers.is_empty(),
            entries: !callers.has_entries(),
        },
        ..Verification::default()
    };
    verification.replay(profile, &mut replay, examples)?;
    Ok(verification)
}

/// Checks by the run's description that every instruction is a sample.
fn has_every_instruction(run: &Description) -> Result<(), VerifyError> {
    let why = match (run.source, run.clock, run.delivery) {
        (Source::Step, ..) => return Ok(()),
        (_, Clock::Time | Clock::Ticks, _) => "its clock does not count instructions".to_owned(),
        _ if run.period != 1 => format!("its period is {}", run.period),
        (.., Delivery::Irq) => "code with interrupts off is left out".to_owned(),
        (.., Delivery::Nmi) => return Ok(()),
    };
    Err(VerifyError::NotEveryInstruction(why))
}

impl Verification {
    /// Replays all cores in the order of time.
    fn replay(
        &mut self,
        profile: &Profile,
        replay: &mut Replay<'_>,
        examples: usize,
    ) -> Result<(), ReadError> {
        let mut cores = Vec::new();
        for (core, mut samples) in (0..).zip(profile.samples_of_cores()?) {
            let time = samples.next()?.map(|sample| sample.time);
            cores.push((core, samples, time));
            self.unreadable += profile.unreadable(core);
        }
        while let Some((index, _)) = cores
            .iter()
            .enumerate()
            .filter_map(|(index, &(.., time))| Some((index, time?)))
            .min_by_key(|&(_, time)| time)
        {
            let (core, samples, time) = &mut cores[index];
            if let Some(sample) = samples.sample() {
                let compared = replay.step(index, &sample);
                self.count(compared, *core, &sample, replay, examples);
            }
            *time = samples.next()?.map(|sample| sample.time);
        }
        self.assumed = replay.assumed;
        self.executed = replay.executed;
        Ok(())
    }

    fn count(
        &mut self,
        (verdict, mode): (Verdict, Mode),
        core: u32,
        sample: &Sample<'_>,
        replay: &Replay<'_>,
        examples: usize,
    ) {
        self.instructions += 1;
        self.undecided += u64::from(replay.repaired.undecided > 0);
        match verdict {
            Verdict::Exact => self.exact += 1,
            Verdict::Cut => self.cut += 1,
            Verdict::Different(kind) => {
                let differences = self.differences.entry(kind).or_default();
                differences.count += 1;
                *differences.places.entry(sample.pc).or_default() += 1;
                if differences.examples.len() < examples {
                    let difference = replay.difference(kind, sample, mode);
                    differences.examples.push((core, difference));
                }
            }
        }
    }
}
