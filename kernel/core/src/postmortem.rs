//! What the tool has to know of a kernel that it finds dead: where in memory things are.
//!
//! The kernel makes one [`Block`] of pages: the *root*, and behind it the ring of the log. The root
//! says where the cores' blocks, the tasks and the stacks are, by addresses, strides and offsets, so
//! the tool needs no debug information of private types, and where the page tables are, so it
//! can follow addresses. All numbers are 64-bit words in the processor's order.
//!
//! A reader believes a root whose checksum is right and which lies at the physical address that it
//! names itself: a copy elsewhere is none.

use core::array;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::log_ring::LogRing;

/// What a root begins with.
pub const MAGIC: [u8; 8] = *b"\x93pmiroot";
/// Changes with any of the words below.
pub const VERSION: u64 = 1;
/// Bytes of a page, to which a block is aligned.
pub const PAGE: usize = 4096;
/// Where the ring of the log lies in the block.
pub const LOG_OFFSET: u64 = PAGE as u64;

/// States of a task, as [`Tasks::state`] leads to them.
pub const TASK_FREE: u8 = 0;
/// The same: it waits to be woken.
pub const TASK_BLOCKED: u8 = 2;
/// Words that a task which does not run has on top of its stack: five registers, then the frame
/// pointer and the return address.
pub const SAVED_BEFORE_FRAME: u64 = 5;
/// What [`Variables::current_task`] leads to where no task runs.
pub const NO_TASK: u16 = u16::MAX;
/// The most names of tasks.
pub const NAMES: usize = 64;
/// The most bytes of one.
pub const NAME_BYTES: usize = 24;
const NAME_WORDS: usize = NAME_BYTES / 8;

/// A part of the root: words, in this order.
macro_rules! words {
    ($(#[$attribute:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident,)* }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct $name {
            $($(#[$of_field])* pub $field: u64,)*
        }

        impl $name {
            const WORDS: usize = [$(stringify!($field)),*].len();

            fn to_words(self) -> [u64; Self::WORDS] {
                [$(self.$field),*]
            }

            fn take(words: &mut impl Iterator<Item = u64>) -> Self {
                Self { $($field: words.next().unwrap_or_default(),)* }
            }
        }
    };
}

words! {
    /// The kernel's image, and the page tables.
    Image {
        /// The block's own physical address.
        block_physical,
        /// Its virtual one.
        block,
        /// The text.
        text_start,
        /// The first address past it.
        text_end,
        /// The physical address of the root of the page tables, of four levels.
        page_tables,
        /// The GNU build-id, its bytes in their order.
        build_id_0,
        /// The next.
        build_id_1,
        /// The last.
        build_id_2,
    }
}

words! {
    /// The cores' blocks.
    Cores {
        /// The address of as many pointers to blocks as there are cores.
        pointers,
        /// How many there are.
        count,
        /// In a block: its index and its APIC id, of four bytes.
        index,
        /// The same.
        apic_id,
        /// In a block, a byte: it is up.
        online,
        /// In a block: how far the core's variables are from the template's.
        distance,
    }
}

words! {
    /// Variables of which each core has its own, by their addresses in the template.
    Variables {
        /// Three words: program counter, stack pointer and frame pointer of where the core was
        /// stopped or has failed; a program counter of 0: neither.
        left_registers,
        /// A byte: the core fails, or has failed.
        fails,
        /// A byte: a [`CoreState`](crate::rest::CoreState).
        state,
        /// Two bytes: the number of the task that runs, or [`NO_TASK`].
        current_task,
    }
}

words! {
    /// The table of tasks.
    Tasks {
        /// The first task.
        table,
        /// How many there are.
        count,
        /// From one to the next.
        stride,
        /// In a task: its stack pointer while it does not run.
        sp,
        /// A byte: [`TASK_FREE`], [`TASK_BLOCKED`], or it is ready or runs.
        state,
        /// Two bytes: the number of its name.
        name,
        /// Four bytes: its core.
        home,
    }
}

words! {
    /// Where stacks are: each at the end of a slot of addresses.
    Stacks {
        /// The first core's slots, and how far the next core's are.
        cores,
        /// From a core to the next.
        core_stride,
        /// Bytes of a slot.
        slot,
        /// The bytes of each kind of stack that a core has, a byte each, in KiB.
        kibibytes,
        /// The first task's slot, and the bytes of a task's stack.
        tasks,
        /// The same.
        task_bytes,
        /// The address of two bytes: slots of tasks that have a stack.
        made,
    }
}

words! {
    /// Where the walk over stacks needs more than frame pointers.
    Code {
        /// The assembly.
        assembly_start,
        /// The first address past it.
        assembly_end,
        /// Functions that entry stubs call.
        calls_start,
        /// The same.
        calls_end,
        /// The table of rules ([`profiler::unwind::assembly`]).
        rules_start,
        /// The same.
        rules_end,
        /// The entry stubs ([`crate::stub`]).
        stubs,
    }
}

/// What there is to be known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Root {
    /// The image.
    pub image: Image,
    /// The cores.
    pub cores: Cores,
    /// Their variables.
    pub variables: Variables,
    /// The tasks.
    pub tasks: Tasks,
    /// The stacks.
    pub stacks: Stacks,
    /// The code that is assembly.
    pub code: Code,
    /// What tasks are called, by the numbers of names, filled up with zeros.
    pub names: [[u8; NAME_BYTES]; NAMES],
}

impl Default for Root {
    fn default() -> Self {
        Self {
            image: Image::default(),
            cores: Cores::default(),
            variables: Variables::default(),
            tasks: Tasks::default(),
            stacks: Stacks::default(),
            code: Code::default(),
            names: [[0; NAME_BYTES]; NAMES],
        }
    }
}

/// The words of a root: magic, version, checksum of what follows, and that.
const HEADER_WORDS: usize = 3;
const BODY_WORDS: usize = Image::WORDS
    + Cores::WORDS
    + Variables::WORDS
    + Tasks::WORDS
    + Stacks::WORDS
    + Code::WORDS
    + NAMES * NAME_WORDS;
const ROOT_WORDS: usize = HEADER_WORDS + BODY_WORDS;
/// Bytes of a root.
pub const ROOT_BYTES: usize = ROOT_WORDS * 8;
const _: () = assert!(ROOT_BYTES <= PAGE);

/// Why bytes are no root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRoot {
    /// They do not begin with the magic.
    Other,
    /// They are of another version.
    Version(u64),
    /// They are cut, or have changed.
    Damaged,
}

impl Root {
    /// The build-id.
    #[must_use]
    pub fn build_id(&self) -> [u8; 20] {
        let image = &self.image;
        let words = [image.build_id_0, image.build_id_1, image.build_id_2];
        let mut bytes = words.into_iter().flat_map(u64::to_le_bytes);
        array::from_fn(|_| bytes.next().unwrap_or_default())
    }

    /// Sets the build-id.
    pub fn set_build_id(&mut self, id: [u8; 20]) {
        let mut bytes = id.into_iter().chain(core::iter::repeat(0));
        let mut word = || u64::from_le_bytes(array::from_fn(|_| bytes.next().unwrap_or(0)));
        self.image.build_id_0 = word();
        self.image.build_id_1 = word();
        self.image.build_id_2 = word();
    }

    /// Sets what the name with this number is, as far as there is room.
    pub fn set_name(&mut self, number: usize, name: &str) {
        if let Some(place) = self.names.get_mut(number) {
            *place = [0; NAME_BYTES];
            place
                .iter_mut()
                .zip(name.as_bytes())
                .for_each(|(to, from)| *to = *from);
        }
    }

    /// What the name with this number is; `None` if there is none.
    #[must_use]
    pub fn name(&self, number: u16) -> Option<&str> {
        let name = self.names.get(usize::from(number))?;
        let end = name.iter().position(|&byte| byte == 0);
        let name = core::str::from_utf8(&name[..end.unwrap_or(NAME_BYTES)]).ok()?;
        (!name.is_empty()).then_some(name)
    }

    fn body(&self) -> [u64; BODY_WORDS] {
        let names = self.names.iter().flat_map(|name| name.chunks_exact(8));
        let names = names.map(|part| part.try_into().map_or(0, u64::from_le_bytes));
        let mut words = (self.image.to_words().into_iter())
            .chain(self.cores.to_words())
            .chain(self.variables.to_words())
            .chain(self.tasks.to_words())
            .chain(self.stacks.to_words())
            .chain(self.code.to_words())
            .chain(names);
        array::from_fn(|_| words.next().unwrap_or_default())
    }

    /// The root that these bytes begin with.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn read(bytes: &[u8]) -> Result<Self, NoRoot> {
        if !bytes.starts_with(&MAGIC) {
            return Err(NoRoot::Other);
        }
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| word.try_into().map_or(0, u64::from_le_bytes))
            .skip(1);
        match words.next() {
            Some(VERSION) => {}
            Some(version) => return Err(NoRoot::Version(version)),
            None => return Err(NoRoot::Damaged),
        }
        let check = words.next();
        if bytes.len() < ROOT_BYTES {
            return Err(NoRoot::Damaged);
        }
        let body: [u64; BODY_WORDS] = array::from_fn(|_| words.next().unwrap_or_default());
        if check != Some(checksum(&body)) {
            return Err(NoRoot::Damaged);
        }
        let mut words = body.into_iter();
        let words = &mut words;
        Ok(Self {
            image: Image::take(words),
            cores: Cores::take(words),
            variables: Variables::take(words),
            tasks: Tasks::take(words),
            stacks: Stacks::take(words),
            code: Code::take(words),
            names: array::from_fn(|_| {
                let mut name = [0; NAME_BYTES];
                for part in name.chunks_exact_mut(8) {
                    part.copy_from_slice(&words.next().unwrap_or_default().to_le_bytes());
                }
                name
            }),
        })
    }
}

/// A hash: whatever single word is another's, it differs.
fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
        (hash ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23)
    })
}

/// What the kernel keeps for whoever finds it dead.
#[repr(C, align(4096))]
pub struct Block {
    root: [AtomicU64; PAGE / 8],
    /// The last messages.
    pub log: LogRing,
}

impl Block {
    /// A block that nothing is known by.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            root: [const { AtomicU64::new(0) }; PAGE / 8],
            log: LogRing::new(),
        }
    }

    /// Sets the root. One core alone calls it, and at boot.
    pub fn publish(&self, root: &Root) {
        let body = root.body();
        let header = [u64::from_le_bytes(MAGIC), VERSION, checksum(&body)];
        for (to, word) in self.root.iter().zip(header.into_iter().chain(body)) {
            to.store(word, Ordering::Relaxed);
        }
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(block: &Block) -> Vec<u8> {
        let words = block.root.iter();
        words
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect()
    }

    fn root() -> Root {
        let mut root = Root::default();
        root.image.block_physical = 0x1000;
        root.code.stubs = 0xffff_ffff_8000_0000;
        root.tasks.home = 9;
        root.set_build_id(array::from_fn(|at| u8::try_from(at).unwrap() + 1));
        root.set_name(0, "kernel");
        root.set_name(NAMES - 1, "a name that is longer than there is room for");
        root
    }

    #[test]
    fn what_is_published_is_read() {
        let block = Box::new(Block::new());
        assert_eq!(Root::read(&bytes(&block)), Err(NoRoot::Other));
        let root = root();
        block.publish(&root);
        let read = Root::read(&bytes(&block)).unwrap();
        assert_eq!(read, root);
        assert_eq!(read.build_id()[..3], [1, 2, 3]);
        assert_eq!(read.build_id()[19], 20);
        assert_eq!(read.name(0), Some("kernel"));
        assert_eq!(read.name(1), None);
        assert_eq!(read.name(63), Some("a name that is longer th"));
        assert_eq!(read.name(64), None);
        assert_eq!(core::mem::offset_of!(Block, log) as u64, LOG_OFFSET);
    }

    #[test]
    fn what_is_cut_or_changed_is_not_believed() {
        let block = Box::new(Block::new());
        block.publish(&root());
        let whole = bytes(&block);
        for length in 8..ROOT_BYTES {
            let read = Root::read(&whole[..length]);
            assert_eq!(read, Err(NoRoot::Damaged), "{length} bytes");
        }
        for at in 16..ROOT_BYTES {
            let mut changed = whole.clone();
            changed[at] ^= 0x40;
            assert_eq!(Root::read(&changed), Err(NoRoot::Damaged), "byte {at}");
        }
        let mut other = whole;
        other[8] = 7;
        assert_eq!(Root::read(&other), Err(NoRoot::Version(7)));
        other[0] = 7;
        assert_eq!(Root::read(&other), Err(NoRoot::Other));
    }
}
