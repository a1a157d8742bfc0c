//! Gates for kernels that have no entries of their own to lead to the sampler.

use super::{vector, wait};
use crate::entry::{self, nmi, overflow, switched, vectors};

/// Defines the entries and handlers of all interrupts of the sampler, once in a kernel:
///
/// ```no_run,standalone_crate
/// # use profiler::address::StackAddress;
/// # use profiler::unwind::StackBounds;
/// # struct ThisKernel;
/// # // SAFETY: it names no stack.
/// # unsafe impl profiler::sampler::Target for ThisKernel {
/// #     fn stack_of(&self, _: u32, _: StackAddress) -> Option<StackBounds> { None }
/// # }
/// use profiler::entry::stacks::TrapStacks;
/// use profiler::sampler::{Sampler, gates};
///
/// static SAMPLER: Sampler<ThisKernel> = Sampler::new(ThisKernel);
/// static STACKS: TrapStacks<4> = TrapStacks::new();
/// profiler::sampler_gates!(SAMPLER, STACKS);
/// # fn main() {}
/// ```
///
/// The kernel then sets what [`gates`](crate::sampler::gates()) returns in its interrupt
/// table, and what `STACKS.set_up(core)` returns in each core's TSS.
#[macro_export]
macro_rules! sampler_gates {
    ($sampler:ident, $stacks:ident) => {
        mod sampler_gates {
            use super::{$sampler, $stacks};
            use $crate::entry::stacks::Block;
            use $crate::entry::{TrapFrame, end_of_call};
            use $crate::sampler::{Interrupted, Target};

            #[unsafe(link_section = ".pmiscope.calls")]
            extern "C" fn on_nmi(frame: &mut TrapFrame, block: &'static Block, entry_tsc: u64) {
                let mut interrupted = Interrupted::from(&*frame);
                // What a program of the user has in its stack pointer means nothing.
                interrupted.is_nested =
                    interrupted.privilege == 0 && block.is_in_handler(frame.rsp);
                if !$sampler.on_nmi(block.core(), &mut interrupted, entry_tsc) {
                    Target::other_nmi($sampler.target(), block.core(), &mut interrupted);
                }
                interrupted.resume(frame);
                end_of_call();
            }

            #[unsafe(link_section = ".pmiscope.calls")]
            extern "C" fn on_debug(frame: &mut TrapFrame) {
                let address = ::core::ptr::from_ref(frame).addr() as u64;
                if let Some(block) = $stacks.block_of(address) {
                    let mut interrupted = Interrupted::from(&*frame);
                    if !$sampler.on_debug(block.core(), &mut interrupted) {
                        Target::other_debug($sampler.target(), block.core(), &mut interrupted);
                    }
                    interrupted.resume(frame);
                }
                end_of_call();
            }

            #[unsafe(link_section = ".pmiscope.calls")]
            extern "C" fn on_overflow(frame: &mut TrapFrame, entry_tsc: u64) {
                let mut interrupted = Interrupted::from(&*frame);
                if let Some(core) = $sampler.running_core() {
                    $sampler.on_overflow(core, &mut interrupted, entry_tsc);
                }
                end_of_call();
            }

            #[unsafe(link_section = ".pmiscope.calls")]
            extern "C" fn on_interrupt(frame: &mut TrapFrame) {
                let mut interrupted = Interrupted::from(&*frame);
                $sampler.on_interrupt_here(frame.vector, &mut interrupted);
                end_of_call();
            }

            $crate::nmi_entry! { handler: on_nmi, layout: $crate::entry::stacks::LAYOUT }
            $crate::switched_entries! { handler: on_debug }
            $crate::overflow_entry! {
                handler: on_overflow,
                vector: $crate::sampler::vector::OVERFLOW
            }
            $crate::vector_entries! {
                handler: on_interrupt,
                first: *$crate::sampler::vector::HANDLED.start(),
                count: $crate::sampler::vector::HANDLED_COUNT
            }
        }
    };
}

/// A gate of a kernel's interrupt table: an interrupt gate, which keeps maskable
/// interrupts out.
///
/// ```no_run,standalone_crate
/// use profiler::sampler::gates;
///
/// # fn set_gate(vector: u8, entry: u64, stack: Option<u16>) {}
/// // Stacks 0 and 1 of the interrupt stack table are the sampler's.
/// for gate in gates() {
///     set_gate(gate.vector, gate.entry, gate.stack.index(0, 1));
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gate {
    /// The vector.
    pub vector: u8,
    /// The address of the entry.
    pub entry: u64,
    /// The stack that the processor is to switch to.
    pub stack: GateStack,
}

/// The stack of a gate.
///
/// ```
/// use profiler::sampler::GateStack;
///
/// // The interrupt stack table's entry 5 has `Tops::nmi`, its entry 6 `Tops::debug`.
/// assert_eq!(GateStack::Debug.index(5, 6), Some(6));
/// assert_eq!(GateStack::Interrupted.index(5, 6), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateStack {
    /// The one that is interrupted.
    Interrupted,
    /// [`entry::stacks::Tops::nmi`].
    Nmi,
    /// [`entry::stacks::Tops::debug`].
    Debug,
}

impl GateStack {
    /// The stack's index, where the kernel has given these to the sampler's; `None` for the
    /// one that is interrupted.
    #[must_use]
    pub const fn index(self, nmi: u16, debug: u16) -> Option<u16> {
        match self {
            Self::Interrupted => None,
            Self::Nmi => Some(nmi),
            Self::Debug => Some(debug),
        }
    }
}

/// All gates that the sampler needs, of the vectors 1, 2, 0xf0 to 0xf7 and 0xff, where
/// [`sampler_gates!`](crate::sampler_gates) has defined their entries.
pub fn gates() -> impl Iterator<Item = Gate> {
    let own_stacks = [
        (entry::vector::NMI, nmi::entry(), GateStack::Nmi),
        (entry::vector::DEBUG, switched::debug(), GateStack::Debug),
        (vector::WAKE, wait::wake_entry(), GateStack::Interrupted),
        (
            vector::SPURIOUS,
            wait::spurious_entry(),
            GateStack::Interrupted,
        ),
    ];
    let handled = (0..).zip(vector::HANDLED).map(|(number, vector)| {
        let entry = if vector == super::vector::OVERFLOW {
            overflow::entry()
        } else {
            vectors::entry(number)
        };
        (vector, entry, GateStack::Interrupted)
    });
    let all = own_stacks.into_iter().chain(handled);
    all.map(|(vector, entry, stack)| Gate {
        vector,
        entry,
        stack,
    })
}
