//! What the first core makes the handler of a core do with its counters: a mailbox of one
//! command, and the sampling interrupt to bring it.

use super::{ANSWER_TIMEOUT_TICKS, Pmu};
use crate::format::Delivery;
use crate::hw::control;
use crate::hw::tsc::Deadline;
use crate::sampler::SourceError;
use crate::sampler::per_core::Core;
use crate::sampler::per_core::pmu::Command;
use crate::sampler::per_core::trials::Trial;
use crate::sampler::trial::{self, ARRIVAL_TIMEOUT_TICKS};

/// What came of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CommandOutcome {
    /// There was none.
    None,
    /// The counters are to be started, as the handler's last step.
    Start,
    /// They stand still.
    Stopped,
}

impl Pmu {
    /// Starts the counters of the running core, `core`. It lets the sampling interrupt come
    /// for that: the way out of a handler is what the counters' own start is calibrated
    /// by.
    ///
    /// # Errors
    ///
    /// It does not come.
    pub(crate) fn start(&self, core: &Core) -> Result<(), SourceError> {
        self.command_here(core, Command::Start)
    }

    /// Stops the counters of the running core, `core`, likewise. Its registers are then
    /// as they were before the start.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub(crate) fn stop(&self, core: &Core) -> Result<(), SourceError> {
        self.command_here(core, Command::Stop)
    }

    /// Lets the sampling interrupt come to the running core, `core`, for `command`, and
    /// waits for it.
    fn command_here(&self, core: &Core, command: Command) -> Result<(), SourceError> {
        set_command(core, command);
        match self.delivery {
            // A real one: `int 2` does not keep NMIs out, and an overflow's would come in
            // the landing and overwrite what the first has pushed there.
            Delivery::Nmi => {
                self.interrupt(core);
                let is_done = || !core.pmu.has_command();
                let _ = Deadline::after(ARRIVAL_TIMEOUT_TICKS).wait_for(is_done);
            }
            Delivery::Irq => trial::raise(self.delivery),
        }
        if self.cancel(core) {
            return Err(SourceError::NoneFromItself { core: core.index });
        }
        Ok(())
    }

    /// Asks another core to start its counters. [`crate::sampler::per_core::pmu::CorePmu::fault`] says if it could
    /// not.
    pub(crate) fn ask_to_start(&self, core: &Core) {
        core.pmu.clear_fault();
        self.ask(core, Command::Start);
    }

    /// Asks another core to stop its counters.
    pub(crate) fn ask_to_stop(&self, core: &Core) {
        self.ask(core, Command::Stop);
    }

    /// Takes back what another core was asked for and has not begun. Returns true if there
    /// was such a thing.
    pub(crate) fn cancel(&self, core: &Core) -> bool {
        take_command(core) != Command::None
    }

    pub(super) fn ask(&self, core: &Core, command: Command) {
        set_command(core, command);
        self.interrupt(core);
    }

    /// Waits until `core`, which was asked for something, has done it.
    pub(super) fn await_answer(core: &Core) -> bool {
        Deadline::after(ANSWER_TIMEOUT_TICKS).wait_for(|| core.pmu.trials.is_done())
    }

    /// Executes the pending command of the running core, `core`, in its handler, if it was
    /// not taken back meanwhile.
    pub(crate) fn run_command(&self, core: &Core) -> CommandOutcome {
        let trial = match take_command(core) {
            Command::None => return CommandOutcome::None,
            Command::Start => return CommandOutcome::Start,
            Command::Stop => None,
            Command::TryOverheads => Some(Trial::Overheads),
            Command::TryBusyOverheads => Some(Trial::BusyOverheads),
            Command::TryOverflows => Some(Trial::Overflows(core.pmu.trials.timeout())),
        };
        self.disarm(core);
        if let Some(trial) = trial {
            // Its interrupts are to come in this handler.
            control::allow_nmis();
            self.try_here(core, trial);
        }
        CommandOutcome::Stopped
    }
}

/// Lets the next handler of `core` run `command`, which no fast one does.
fn set_command(core: &Core, command: Command) {
    core.pmu.set_command(command);
    core.overflow.set_commanded(true);
    if !core.pmu.has_command() {
        // A handler that came between the two has taken it.
        core.overflow.set_commanded(false);
    }
}

/// Takes the command of `core`. There is no other before that is done.
fn take_command(core: &Core) -> Command {
    core.overflow.set_commanded(false);
    core.pmu.take_command()
}
