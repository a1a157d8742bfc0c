//! What there is to profile: small programs, each of which stresses one thing,
//! so that a profile of it can be checked against what its file says.
//!
//! | workload         | stresses                          | its profile shows           |
//! |------------------|-----------------------------------|-----------------------------|
//! | `arithmetic`     | the execution units               | leaves with fixed shares    |
//! | `hash`           | loops over memory                 | leaves, inlined functions   |
//! | `recursion`      | the stack walk                    | deep chains, some cut       |
//! | `contention`     | one lock, all cores               | waiting                     |
//! | `copy`           | memcpy, memmove, memset           | string instructions         |
//! | `interrupts-off` | sections that only NMIs see       | both halves, or skid        |
//! | `ping-pong`      | interrupts from core to core      | chains across handlers      |
//! | `heap`           | the allocator and its lock        | a broad, flat profile       |
//! | `idle`           | halting                           | halted samples              |
//! | `yield-storm`    | switches of stacks, the idle loop | shallow and deep switches   |
//! | `layers`         | interrupts in exceptions          | chains across both          |
//! | `corruption`     | the walk, by words gone wrong     | chains cut, each by reason  |
//! | `nmi-storm`      | NMIs from all cores to all        | the same, in parallel       |
//! | `process-…`      | user mode: see [`processes`]      | chains from a program on    |
//! | `processes`      | all of those, in turn             | all of it, by program       |
//! | `mix`            | all above but `corruption`, `nmi-storm` and processes | all of it, by task |
//!
//! # Rules for a workload
//!
//! Work comes in units of some 10,000 to 100,000 instructions, or of a few
//! halts, which every core repeats for ever.
//!
//! 1. **No end.** A core stops for good where its last sample found it, while
//!    others still run. So a unit that waits for another core gives up after a
//!    bounded number of tries, and shared state is whole whenever it is not
//!    locked. Bounds are small: where cores take turns, waiting costs turns. The
//!    waits for the kernel's own locks, the heap's and the scheduler's, have no
//!    bound; they are held with interrupts off, and a core that stops while it holds
//!    one leaves those that want it spinning through the rest of their samples.
//! 2. **Repeatable.** What a unit does follows from the core's index and the
//!    number of the round; nothing reads a clock.
//! 3. **Seen by name.** Functions that a profile should show are not inlined, and
//!    their results pass through `black_box`.
//! 4. **Out of step.** Where cores wait for each other, what they do between
//!    takes longer or shorter each time. If it were always the same, a sampler
//!    whose samples end their turns would see always the same place.
//!
//! The shares that a workload's file names are those of its own samples on four
//! cores, 1000 instructions apart, unless it says otherwise.
//!
//! What is pure logic here is compiled on the host too, where its tests are.

pub mod arithmetic;
pub mod contention;
pub mod copy;
mod corruption;
mod corruption_jobs;
pub mod hash;
pub mod heap;
pub mod recursion;
pub mod scratch;

mod idle;
mod interrupts_off;
mod layers;
mod nmi_storm;
mod ping_pong;
pub mod processes;
mod run;
mod yield_storm;

pub use nmi_storm::set_request;
pub use run::{
    Counted, Workload, are_locks_named, find, find_or_refuse, name_locks, number_with_lock,
    prepare_processes, run, select, set_between, start, task_and_lock, task_name,
};
