//! A sampling profiler for x86_64 kernels, as a library without a kernel in it.
//!
//! Each core is interrupted every N events or instructions, by an NMI where that can be,
//! and leaves a backtrace in a ring of its own. A reader follows the rings live or finds
//! them later in an image of the memory: that is the host tool, `pmiscope`. The library is
//! `no_std`, has no dependencies and allocates nothing.
//!
//! A kernel gives it the bounds of the stack that an address is on, memory that the reader
//! can see, gates in its interrupt table, #GP's among them, and two calls. `docs/adopt.md` goes through what
//! else its build needs; `tools/adopters/` has whole kernels.
//!
//! # Principles
//!
//! 1. **Nothing here allocates, locks, logs, faults or loops without a bound**
//!    on the path from an overflow to a record in the ring. The code runs in
//!    NMI handlers, on top of anything.
//! 2. **A frame pointer is an allegation.** [`unwind`] alone turns one into a
//!    [`unwind::Slot`], an address that is proven to lie on a known stack, and
//!    only a slot can be loaded from.
//! 3. **Nothing is lost in silence.** What a full ring could not take is counted
//!    in the ring ([`format::ring::Control::lost`]), and why a walk ended stands in
//!    the record ([`format::ChainEnd`]).
//! 4. **One definition for writer and reader.** The kernel and the host tool use
//!    the same types for every byte that they share.
//! 5. **What makes a profile exact is measured, not assumed**: what the clock counts, what
//!    an interrupt costs, whether one arrives.
//!
//! # In a kernel
//!
//! All cores, by NMI where the machine can. The boot loader, the interrupt table and the
//! task state segments are the kernel's own:
//!
//! ```no_run,standalone_crate
//! use profiler::address::StackAddress;
//! use profiler::entry::stacks::TrapStacks;
//! use profiler::sampler::{Config, RegionMemory, Sampler, Target, gates, region_bytes};
//! use profiler::unwind::StackBounds;
//!
//! const MAX_CORES: usize = 16;
//!
//! static SAMPLER: Sampler<ThisKernel> = Sampler::new(ThisKernel);
//! static STACKS: TrapStacks<MAX_CORES> = TrapStacks::new();
//! static MEMORY: RegionMemory<{ region_bytes(MAX_CORES as u32, 2 << 20) }> = RegionMemory::new();
//! profiler::sampler_gates!(SAMPLER, STACKS);
//!
//! struct ThisKernel;
//!
//! // SAFETY: stacks are statics, and looking one up is arithmetic.
//! unsafe impl Target for ThisKernel {
//!     fn stack_of(&self, core: u32, sp: StackAddress) -> Option<StackBounds> {
//!         kernel_stack_of(sp).or_else(|| STACKS.stack_of(core, sp))
//!     }
//!
//!     fn unclaimed_nmis(&self, core: u32) -> u64 {
//!         STACKS.without_room(core)
//!     }
//! }
//!
//! /// On the first core, before any other is started.
//! fn set_up(cores: u32) {
//!     for core in 0..cores {
//!         let tops = STACKS.set_up(core);
//!         set_interrupt_stacks(core, [tops.nmi, tops.debug]);
//!     }
//!     for gate in gates() {
//!         set_gate(gate.vector, gate.entry, gate.stack.index(0, 1));
//!     }
//!     // The sampler tries registers that may not be there.
//!     let kernels = (protection_entry as *const ()).addr() as u64;
//!     set_gate(13, profiler::entry::protection::entry_before(kernels), None);
//! }
//!
//! /// On the first core, the others running. They call `SAMPLER.join(core)`.
//! fn start(command_line: &str, apic_ids: &[u32], xapic: Option<u64>) {
//!     let config = Config { command_line, apic_ids, xapic, ..Config::new() };
//!     if let Err(problem) = SAMPLER.start(MEMORY.take(), &config) {
//!         println!("{problem}");
//!         profiler::hw::exit::exit_qemu(problem.exit_status());
//!     }
//! }
//! # // What a kernel has.
//! # fn kernel_stack_of(_: StackAddress) -> Option<StackBounds> { None }
//! # fn set_interrupt_stacks(_: u32, _: [u64; 2]) {}
//! # fn protection_entry() {}
//! # fn set_gate(_: u8, _: u64, _: Option<u16>) {}
//! # fn main() {}
//! ```
//!
//! # In what order to read
//!
//! * To sample a kernel: [`sampler`], its [`sampler::Target`] and [`sampler::Config`], then
//!   [`sampler_gates!`] or, for a kernel that keeps its own entries, [`entry`].
//! * To have complete chains through assembly: [`unwind::Rule`] and [`assembly!`].
//! * To fill rings without the sampler, or to read them without the tool: [`format`], where
//!   [`format::region::Region`] has a whole example, then [`unwind::walk`]. The same as
//!   tables, for other languages: `docs/region.md`.
//! * To understand the sampler: [`format`], [`unwind`], [`entry::nmi`], [`pmu`], [`sampler`].
//!
//! # Modules
//!
//! A module names only those above it (`tools/layers/layers.toml`):
//!
//! | layer | module | what |
//! |---|---|---|
//! | format | [`address`] | addresses that carry their kind in their type |
//! | | [`format`] | what kernel and tool share byte by byte: samples, the run's description, rings, the region that they lie in |
//! | unwind | [`unwind`] | the bounded walk, and rules for assembly |
//! | | [`linked`] | what the linker knows of the kernel: text, build-id |
//! | hw | [`hw`] | registers, one group a module; the end of a run |
//! | | [`entry`] | entries of interrupts as macros, and stacks for them |
//! | pmu | [`pmu`] | performance counters: events and how they are written; sets of counters |
//! | contract | [`contract`] | the command line, a machine's capabilities, requests to a running kernel |
//! | sampler | [`sampler`] | what interrupts each core every N events, and records where it was |
//!
//! Data flows from an overflow through [`sampler`], [`unwind`], [`format::sample`] and
//! [`format::ring`] to the host, which decodes, symbolizes and shows it. What touches the
//! machine (`entry`, `hw`, `linked`, `sampler`) can be compiled for the host, for tests and
//! examples, but not run there.

#![deny(missing_docs)]
#![deny(
    rustdoc::broken_intra_doc_links,
    rustdoc::private_intra_doc_links,
    rustdoc::bare_urls,
    rustdoc::invalid_codeblock_attributes,
    rustdoc::invalid_rust_codeblocks,
    rustdoc::invalid_html_tags
)]
#![cfg_attr(not(test), no_std)]
// Without the sampler nothing uses its parts.
#![cfg_attr(all(test, loom), allow(dead_code))]

// Its handlers would take more of an NMI's stack than `entry::nmi` makes sure that there is.
#[cfg(pmiscope_unoptimized)]
compile_error!(
    "pmiscope-profiler has to be optimized in debug builds too; add to Cargo.toml: [profile.dev.package.pmiscope-profiler] opt-level = 3"
);

pub mod address;
pub mod contract;
pub mod entry;
pub mod format;
pub mod hw;
pub mod linked;
pub mod pmu;
#[cfg(all(test, not(loom)))]
mod pmu_model;
#[cfg(not(all(test, loom)))]
pub mod sampler;
mod sync;
pub mod unwind;
