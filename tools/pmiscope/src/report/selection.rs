//! Which of a profile's samples are counted.

use std::ops::Range;
use std::rc::Rc;

use super::Only;
use crate::profile::{ChainCount, Reading};

/// Which of a profile's samples are counted: all that is said holds of each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    pub cores: Only<u32>,
    /// By their numbers.
    pub events: Only<u8>,
    /// Only those whose number of a task is true here.
    pub tasks: Option<Rc<[bool]>>,
    /// Only those of this time, in ticks of the run.
    pub time: Option<Range<u64>>,
    /// Only those whose stack, by its number in the profile, is true here.
    pub stacks: Option<Rc<[bool]>>,
    /// What of this cores and events do not say, for people.
    pub said: Vec<String>,
}

impl Selection {
    pub(crate) fn has_core(&self, core: u32) -> bool {
        self.cores.has(core)
    }

    pub(crate) fn has_event(&self, event: u8) -> bool {
        self.events.has(event)
    }

    /// Returns true if nothing but the core and the event of a sample says whether it is counted.
    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        self.tasks.is_none() && self.time.is_none() && self.stacks.is_none()
    }

    /// What has to be read of samples to tell whether they are counted.
    pub(crate) const fn reading(&self) -> Reading {
        match self.time {
            Some(_) => Reading::Times,
            None => Reading::Counts,
        }
    }

    /// Whether a sample of a core and an event that are counted is counted.
    #[inline]
    pub(crate) fn has(&self, stack: u32, task: u16, time: u64) -> bool {
        let is_in = |marks: &Option<Rc<[bool]>>, number: usize| {
            let mark = marks.as_ref().map(|marks| marks.get(number));
            mark.is_none_or(|mark| mark == Some(&true))
        };
        is_in(&self.stacks, stack as usize)
            && is_in(&self.tasks, task.into())
            && self.time.as_ref().is_none_or(|only| only.contains(&time))
    }

    /// Whether the samples of a chain that was counted in place are counted: they have no times.
    pub(crate) fn has_chain(&self, chain: ChainCount) -> bool {
        self.has_core(chain.core) && self.has_event(chain.event) && self.has_of(chain)
    }

    /// The same of a core and an event that are counted.
    pub(crate) fn has_of(&self, chain: ChainCount) -> bool {
        self.time.is_none() && self.has(chain.stack, chain.task, 0)
    }
}
