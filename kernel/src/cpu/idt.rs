//! Interrupt descriptor tables: one for all cores, a gate per vector, and others for the time
//! until it can be used.
//!
//! Every gate is an interrupt gate: the processor clears the interrupt flag on
//! the way in, so that an entry's first instructions are not interrupted. What the
//! gates lead to is the caller's: a function from vectors to addresses, each of code
//! that follows the processor's convention for its vector.

use spin::Once;
use x86_64::instructions::tables;
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::idt::{Entry, ExceptionVector, HandlerFunc};
use x86_64::{PrivilegeLevel, VirtAddr};

use super::descriptors::InterruptStack;

/// On a page of its own: where programs are isolated their page tables have it too.
#[repr(align(4096))]
struct Table([Entry<HandlerFunc>; 256]);

/// The bytes of a table.
pub const TABLE_BYTES: u64 = size_of::<Table>() as u64;

/// What a vector's gate leads to.
pub type Entries = fn(u8) -> VirtAddr;

/// Vectors whose handlers have a stack of their own.
const STACKS: [(ExceptionVector, InterruptStack); 4] = [
    (ExceptionVector::NonMaskableInterrupt, InterruptStack::Nmi),
    (ExceptionVector::Double, InterruptStack::DoubleFault),
    (ExceptionVector::Debug, InterruptStack::Debug),
    (ExceptionVector::MachineCheck, InterruptStack::MachineCheck),
];

/// Gates to the entries of all vectors, in the code segment that is in use; those in
/// `stacks` switch to a stack of their own, those in `calls` user mode may call.
fn table(entries: Entries, stacks: &[(ExceptionVector, InterruptStack)], calls: &[u8]) -> Table {
    let mut table = Table([const { Entry::missing() }; 256]);
    for (vector, gate) in (0..=u8::MAX).zip(&mut table.0) {
        // SAFETY: `entries` gives code that follows the processor's convention.
        let options = unsafe { gate.set_handler_addr(entries(vector)) };
        let own = stacks.iter().find(|(own, _)| *own as u8 == vector);
        if let Some(&(_, stack)) = own {
            // SAFETY: each core has this stack, for this vector alone. The crate counts
            // from 0.
            unsafe { options.set_stack_index(stack as u16 - 1) };
        }
        if calls.contains(&vector) {
            options.set_privilege_level(PrivilegeLevel::Ring3);
        }
    }
    table
}

fn load_table(table: &'static Table) {
    #[expect(clippy::cast_possible_truncation, reason = "4096 bytes")]
    let pointer = DescriptorTablePointer {
        limit: (size_of::<Table>() - 1) as u16,
        base: VirtAddr::from_ptr(table),
    };
    // SAFETY: the table lives for ever, and each of its gates leads to code that
    // follows the processor's convention for that vector.
    unsafe { tables::lidt(&pointer) };
}

/// Loads a table for the time before the first core has its own segments and
/// stacks: a trap then uses what the boot loader left, but it is reported.
pub fn load_early(entries: Entries) {
    static EARLY: Once<Table> = Once::new();
    load_table(EARLY.call_once(|| table(entries, &[], &[])));
}

/// A table that cores share, made when the first of them loads it.
pub struct SharedTable(Once<Table>);

impl SharedTable {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Once::new())
    }

    /// Where it is.
    ///
    /// # Panics
    ///
    /// If no core has loaded it.
    #[must_use]
    pub fn start(&'static self) -> VirtAddr {
        VirtAddr::from_ptr(self.0.get().expect("a table that is loaded"))
    }

    /// Loads it on the running core, which has its own segments and stacks. `entries` are the
    /// same each time, and so are the vectors that user mode may call.
    pub fn load(&'static self, entries: Entries, calls: &[u8]) {
        load_table(self.0.call_once(|| table(entries, &STACKS, calls)));
    }
}
