//! The region of memory that the kernel and the host tool share: one header page,
//! then a ring for each core, and a table if equal chains are counted in place.
//!
//! ```text
//! 0         header page: magic, version, state, the run's description
//! 4096      ring of core 0: one page of control, then its words, then its table
//! …         ring of core 1, and so on, each as long
//! ```
//!
//! The kernel makes the region, physically contiguous and page-aligned; the host
//! finds it by its magic in the file that backs the guest's memory, while the guest
//! runs or afterwards, or in an ELF core of the guest (`pmiscope attach`).
//!
//! A kernel that refuses the run says why in the header page ([`Region::refuse`]); that
//! may be all there is of a region ([`Region::create_refused`]).
//!
//! Every word that both sides may touch at a time is an atomic; the description
//! is written before the magic, and the magic is written once.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64 as PlainAtomicU64, Ordering as PlainOrdering};

use super::account::{ACCOUNT_ROWS, AccountCounters};
use super::description::{DESCRIPTION_BYTES, DescriptionError};
use super::process::{PROCESS_ROWS, ProcessWord};
use super::table::{Chains, TABLE_BYTES, Table};
use super::{Description, Text, VERSION, named, ring};
use crate::address::CodeRange;
use crate::sync;

/// Bytes of a page, to which a region is aligned.
pub const PAGE: usize = 4096;

/// What the header page starts with.
pub const MAGIC: [u8; 16] = *b"\x93pmiscope rings\n";

named! {
    /// The state of a run.
    ///
    /// ```
    /// use profiler::format::region::RunState;
    ///
    /// assert_eq!(RunState::try_from(2), Ok(RunState::Finished));
    /// assert_eq!(RunState::Refused.name(), "refused");
    /// ```
    RunState {
        /// Some cores do not sample yet.
        Starting = 0, "starting";
        /// All cores sample.
        Sampling = 1, "sampling";
        /// Every core has taken its last sample.
        Finished = 2, "finished";
        /// The kernel met a fault or a panic; what the rings hold is still true.
        Failed = 3, "failed";
        /// The cores sample nothing until the host asks for it.
        Paused = 4, "paused";
        /// The kernel refuses the run: see [`Region::refusal`].
        Refused = 5, "refused";
        /// A reset has cut the run, as the next boot has found: what the rings hold is still true.
        Cut = 6, "cut";
    }
}

/// The header page.
#[repr(C, align(4096))]
struct HeaderPage {
    /// [`MAGIC`], written last.
    magic: [PlainAtomicU64; 2],
    /// [`VERSION`].
    version: AtomicU32,
    /// A [`RunState`].
    state: AtomicU32,
    /// An encoded [`Description`].
    description: [PlainAtomicU64; DESCRIPTION_BYTES / 8],
    /// Requests of the host.
    mailbox: MailboxWords,
    /// [`HAS_LEFT`] once somebody has all that there is in the region.
    left: PlainAtomicU64,
}

impl RunState {
    /// Returns true if the run does not go on.
    ///
    /// ```
    /// use profiler::format::region::RunState;
    ///
    /// assert!(RunState::Cut.has_ended() && !RunState::Paused.has_ended());
    /// ```
    #[must_use]
    pub const fn has_ended(self) -> bool {
        !matches!(self, Self::Starting | Self::Sampling | Self::Paused)
    }
}

/// A word that is there by no accident: kernels before this field have left it as it was.
const HAS_LEFT: u64 = u64::from_le_bytes(*b"has left");

impl HeaderPage {
    /// Lets readers in: all else is written.
    fn publish(&self) {
        self.version.store(VERSION, PlainOrdering::Relaxed);
        for (word, bytes) in self.magic.iter().zip(MAGIC.as_chunks().0) {
            word.store(u64::from_le_bytes(*bytes), PlainOrdering::Release);
        }
    }

    /// Checks that the page is a header of this version.
    fn check(&self) -> Result<(), RegionError> {
        for (word, bytes) in self.magic.iter().zip(MAGIC.as_chunks().0) {
            if word.load(PlainOrdering::Acquire) != u64::from_le_bytes(*bytes) {
                return Err(RegionError::Magic);
            }
        }
        match self.version.load(PlainOrdering::Relaxed) {
            VERSION => Ok(()),
            other => Err(RegionError::Version(other)),
        }
    }

    /// The words of a refusal's reason: the description's last ones, which are of no use
    /// in a run that is refused. A reader that is just reading the description still finds
    /// the kernel's build-id and the number of its cores right.
    fn refusal_words(&self) -> &[PlainAtomicU64] {
        let words = &self.description;
        &words[words.len() - REFUSAL_BYTES / 8..]
    }

    fn refuse(&self, reason: &str) {
        self.mailbox.closed.store(1, PlainOrdering::Release);
        store_text::<REFUSAL_BYTES>(self.refusal_words(), &Text::new(reason));
        let refused = RunState::Refused as u32;
        self.state.store(refused, PlainOrdering::Release);
    }

    fn refusal(&self) -> Option<RefusalText> {
        let state = self.state.load(PlainOrdering::Acquire);
        let is_refused = state == RunState::Refused as u32;
        is_refused.then(|| load_text(self.refusal_words()))
    }
}

/// Writes a text into words, with zeros behind it.
fn store_text<const N: usize>(words: &[PlainAtomicU64], text: &Text<N>) {
    let mut bytes = [0; N];
    let text = text.as_str().as_bytes();
    bytes[..text.len()].copy_from_slice(text);
    for (word, bytes) in words.iter().zip(bytes.as_chunks().0) {
        word.store(u64::from_le_bytes(*bytes), PlainOrdering::Relaxed);
    }
}

/// The text in words up to its first zero, or an empty one if that is no UTF-8: the other
/// side may have written anything.
fn load_text<const N: usize>(words: &[PlainAtomicU64]) -> Text<N> {
    let mut bytes = [0; N];
    for (word, bytes) in words.iter().zip(bytes.as_chunks_mut().0) {
        *bytes = word.load(PlainOrdering::Relaxed).to_le_bytes();
    }
    let end = bytes.iter().position(|&byte| byte == 0);
    let text = core::str::from_utf8(&bytes[..end.unwrap_or(N)]);
    Text::new(text.unwrap_or_default())
}

/// The header page at the start of `memory`.
///
/// # Panics
///
/// If the memory is not aligned to a page.
///
/// # Safety
///
/// The memory is a page long or longer, and valid for reads and writes as long as
/// `'region` lasts.
unsafe fn header_of<'region>(memory: NonNull<[u8]>) -> &'region HeaderPage {
    let base = memory.cast::<HeaderPage>();
    assert!(base.is_aligned(), "region not aligned");
    // SAFETY: aligned (asserted), long enough and valid (the caller's promise), and any
    // bytes are valid atomics.
    unsafe { base.as_ref() }
}

/// Bytes of the text of a request or an answer.
pub(crate) const MAILBOX_TEXT_BYTES: usize = 240;

/// The text of a request or an answer.
pub type MailboxText = Text<MAILBOX_TEXT_BYTES>;

/// Bytes of the reason of a refusal.
const REFUSAL_BYTES: usize = 1024;

/// Why the kernel refuses a run.
pub type RefusalText = Text<REFUSAL_BYTES>;

/// The words of the mailbox: `contract::mailbox` defines what they mean. All zero:
/// there was no request.
///
/// ```
/// use profiler::contract::mailbox::Mailbox;
/// use profiler::format::region::MailboxWords;
///
/// let words = MailboxWords::default();
/// assert!(!Mailbox::new(&words).has_request());
/// ```
#[derive(Default)]
#[repr(C)]
pub struct MailboxWords {
    /// The number of the newest request, written last; 0: there was none.
    pub(crate) requested: AtomicU32,
    /// The number of the newest request that was answered, written last.
    pub(crate) answered: AtomicU32,
    /// What is asked for.
    pub(crate) command: AtomicU32,
    /// 1 if the answer is a refusal, and the text its reason.
    pub(crate) refused: AtomicU32,
    /// 1 once nothing is answered any more.
    pub(crate) closed: AtomicU32,
    pub(crate) period: PlainAtomicU64,
    pub(crate) text: [PlainAtomicU64; MAILBOX_TEXT_BYTES / 8],
}

impl MailboxWords {
    /// Words without a request.
    pub(crate) const fn new() -> Self {
        Self {
            requested: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            command: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            period: PlainAtomicU64::new(0),
            text: [const { PlainAtomicU64::new(0) }; MAILBOX_TEXT_BYTES / 8],
        }
    }

    /// Zeroes all words.
    pub(crate) fn clear(&self) {
        for word in [
            &self.requested,
            &self.answered,
            &self.command,
            &self.refused,
            &self.closed,
        ] {
            word.store(0, PlainOrdering::Relaxed);
        }
        self.period.store(0, PlainOrdering::Relaxed);
        self.set_text(&MailboxText::EMPTY);
    }

    pub(crate) fn set_text(&self, text: &MailboxText) {
        store_text(&self.text, text);
    }

    pub(crate) fn text(&self) -> MailboxText {
        load_text(&self.text)
    }
}

/// What a core counts beside its samples.
///
/// ```
/// use std::sync::atomic::Ordering;
/// use profiler::format::region::CoreCounters;
///
/// fn samples_and_losses(counters: &CoreCounters) -> (u64, u64) {
///     let stored = counters.stored.load(Ordering::Relaxed);
///     (stored, counters.taken.load(Ordering::Relaxed) - stored)
/// }
/// ```
#[repr(C, align(64))]
pub struct CoreCounters {
    /// The id of the core's local APIC.
    pub apic_id: PlainAtomicU64,
    /// Overflow interrupts that the core has taken, but for those of the fast handler
    /// ([`Control::fast`](super::ring::Control::fast)).
    pub taken: PlainAtomicU64,
    /// Records that were written to the ring, but for those of the fast handler.
    pub stored: PlainAtomicU64,
    /// Interrupts that found no overflow to account for.
    pub unclaimed: PlainAtomicU64,
    /// Interrupts that nested inside another handler.
    pub nested: PlainAtomicU64,
    /// Interrupts of performance counters whose overflow an earlier handler has handled.
    pub late: PlainAtomicU64,
    /// Interrupts that came before their overflow was due.
    pub early: PlainAtomicU64,
    /// Overflows merged into the one before them.
    pub missed: PlainAtomicU64,
    /// Interrupts that the core has sent itself to see what one costs: no overflows, and none
    /// of `taken` if they came as they should.
    pub checks: PlainAtomicU64,
    /// System management interrupts since the core began to sample, and one more; 0 where that
    /// is not known.
    pub smis: PlainAtomicU64,
    /// Who made its counters, a [`Maker`]; 0 where that is not known, or it has none.
    pub maker: PlainAtomicU64,
    /// What kind of core it is ([`crate::pmu::detect::CoreKind::number`]); 0 where there is one kind
    /// only, or that is not known.
    pub kind: PlainAtomicU64,
}

named! {
    /// Who made a processor's counters.
    ///
    /// ```
    /// use profiler::format::region::Maker;
    ///
    /// assert_eq!(Maker::try_from(2), Ok(Maker::Amd));
    /// ```
    Maker {
        /// Intel.
        Intel = 1, "intel";
        /// AMD.
        Amd = 2, "amd";
    }
}

/// The events of a run of which is kept what an interrupt costs in them, by their numbers.
pub const OVERHEAD_ROWS: usize = 32;

/// What an interrupt of a core costs in one event: in a counter's, from the way out of a
/// handler to the way into the next one.
///
/// ```
/// use profiler::format::region::OverheadCounters;
///
/// let overhead = OverheadCounters::default();
/// overhead.calibrate(557, 561, 4, 0);
/// overhead.add_check(720);
/// overhead.add_check(700);
/// assert_eq!(overhead.load().mean(), Some(710));
/// ```
#[derive(Default)]
#[repr(C)]
pub struct OverheadCounters {
    /// As measured before, in the mean, while the other cores halt.
    pub rest: PlainAtomicU64,
    /// The same while all cores take interrupts. This is subtracted.
    pub busy: PlainAtomicU64,
    /// The longest of those less the shortest.
    pub spread: PlainAtomicU64,
    /// [`CoreCounters::taken`] when the event began to be counted.
    pub since: PlainAtomicU64,
    /// How often it was measured since then, while the run went on.
    pub checks: PlainAtomicU64,
    /// All of these together.
    pub sum: PlainAtomicU64,
    /// The shortest; 0 without any.
    pub min: PlainAtomicU64,
    /// The longest.
    pub max: PlainAtomicU64,
}

impl OverheadCounters {
    /// What was measured before the event is counted.
    pub fn calibrate(&self, rest: u64, busy: u64, spread: u64, since: u64) {
        for (word, value) in [
            (&self.rest, rest),
            (&self.busy, busy),
            (&self.spread, spread),
            (&self.since, since),
        ] {
            word.store(value, PlainOrdering::Relaxed);
        }
    }

    /// What they hold.
    #[must_use]
    pub fn load(&self) -> Overhead {
        let load = |word: &PlainAtomicU64| word.load(PlainOrdering::Relaxed);
        Overhead {
            rest: load(&self.rest),
            busy: load(&self.busy),
            spread: load(&self.spread),
            since: load(&self.since),
            checks: load(&self.checks),
            sum: load(&self.sum),
            min: load(&self.min),
            max: load(&self.max),
        }
    }

    /// What a check has counted, on the core itself.
    pub fn add_check(&self, counted: u64) {
        let checks = self.checks.fetch_add(1, PlainOrdering::Relaxed);
        self.sum.fetch_add(counted, PlainOrdering::Relaxed);
        self.max.fetch_max(counted, PlainOrdering::Relaxed);
        if checks == 0 {
            self.min.store(counted, PlainOrdering::Relaxed);
        } else {
            self.min.fetch_min(counted, PlainOrdering::Relaxed);
        }
    }
}

/// What [`OverheadCounters`] hold.
///
/// ```
/// use profiler::format::region::{Accuracy, Overhead};
///
/// let overhead = Overhead {
///     rest: 557,
///     busy: 561,
///     spread: 4,
///     checks: 812,
///     sum: 720 * 812,
///     min: 700,
///     max: 801,
///     ..Overhead::default()
/// };
/// // 561 are taken off of each period, and it is 720 that an interrupt costs.
/// assert_eq!(overhead.excess(), Some(159));
/// let known = Accuracy { mean: 163, each: 244 };
/// assert_eq!(overhead.accuracy(1000, 1000, 1), Some(known));
/// // As many interrupts again were for another event, up to nine of them in one period.
/// let known = Accuracy { mean: 326, each: 2440 };
/// assert_eq!(overhead.accuracy(2000, 1000, 10), Some(known));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Overhead {
    /// [`OverheadCounters::rest`].
    pub rest: u64,
    /// [`OverheadCounters::busy`].
    pub busy: u64,
    /// [`OverheadCounters::spread`].
    pub spread: u64,
    /// [`OverheadCounters::since`].
    pub since: u64,
    /// [`OverheadCounters::checks`].
    pub checks: u64,
    /// [`OverheadCounters::sum`].
    pub sum: u64,
    /// [`OverheadCounters::min`].
    pub min: u64,
    /// [`OverheadCounters::max`].
    pub max: u64,
}

/// Within how many events periods are known.
///
/// ```
/// use profiler::format::region::{Accuracy, Overhead};
///
/// // Whatever was checked cost what is taken off.
/// let exact = Overhead { busy: 70, checks: 3, sum: 210, min: 70, max: 70, ..Overhead::default() };
/// assert_eq!(exact.accuracy(500, 500, 1), Some(Accuracy { mean: 0, each: 0 }));
/// assert_eq!(Overhead { checks: 0, ..exact }.accuracy(500, 500, 1), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Accuracy {
    /// The mean of many.
    pub mean: u64,
    /// Each of them, as far as checks have seen what an interrupt can cost.
    pub each: u64,
}

impl Overhead {
    /// What an interrupt has cost while the run went on, in the mean; `None` if that was not
    /// checked.
    #[must_use]
    pub const fn mean(&self) -> Option<u64> {
        self.sum
            .saturating_add(self.checks / 2)
            .checked_div(self.checks)
    }

    /// By how much that is more than what is subtracted: so much too much is each period said
    /// to be.
    #[must_use]
    pub fn excess(&self) -> Option<i64> {
        let excess = i128::from(self.mean()?) - i128::from(self.busy);
        let nearest = if excess < 0 { i64::MIN } else { i64::MAX };
        Some(i64::try_from(excess).unwrap_or(nearest))
    }

    /// Within how many events periods are known, of `samples` samples, between which the core
    /// took `interrupts` interrupts, and `most` between two of them; `None` if nothing was
    /// checked. For each interrupt one is off by what that costs more or less than is
    /// subtracted, and by as much as it varied before.
    #[must_use]
    pub fn accuracy(&self, interrupts: u64, samples: u64, most: u64) -> Option<Accuracy> {
        let checks = (self.checks > 0).then_some(u128::from(self.checks))?;
        let all = checks * u128::from(self.busy);
        let excess = u128::from(self.sum).abs_diff(all).div_ceil(checks);
        let furthest = self
            .max
            .abs_diff(self.busy)
            .max(self.min.abs_diff(self.busy));
        let samples = u128::from(samples.max(1));
        let interrupts = samples.max(interrupts.into());
        let each = u128::from(furthest) + u128::from(self.spread);
        let mean = excess + u128::from(self.spread);
        let each = each.saturating_mul(most.into());
        let mean = mean.saturating_mul(interrupts).div_ceil(samples);
        let events = |events: u128| u64::try_from(events).unwrap_or(u64::MAX);
        Some(Accuracy {
            mean: events(mean.min(each)),
            each: events(each),
        })
    }

    /// Returns true if what it costs while the run goes on was not within what was measured
    /// before.
    #[must_use]
    pub fn is_out_of_range(&self) -> bool {
        self.excess()
            .is_some_and(|excess| excess.unsigned_abs() > self.spread)
    }
}

/// The control page of a core's ring.
#[repr(C, align(4096))]
struct RingPage {
    control: ring::Control,
    counters: CoreCounters,
    overheads: [OverheadCounters; OVERHEAD_ROWS],
    /// The words of the core's table that its entries take.
    table_used: PlainAtomicU64,
    /// What it has spent its time on.
    accounts: [AccountCounters; ACCOUNT_ROWS],
    /// Processes that it has announced.
    processes: [ProcessWord; PROCESS_ROWS],
}

/// Pages fit what they hold.
const _: () = assert!(size_of::<HeaderPage>() == PAGE);
#[cfg(not(all(test, loom)))] // loom's atomics are larger
const _: () = assert!(size_of::<RingPage>() == PAGE);

/// The length of a region, and where its rings lie.
///
/// ```
/// use profiler::format::region::RegionLayout;
///
/// // The header page; for each core a page, and 64 KiB of records.
/// let layout = RegionLayout { cores: 2, ring_words: 8192 };
/// assert_eq!(layout.bytes(), Some(4096 + 2 * (4096 + 65536)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegionLayout {
    /// Cores, each with a ring.
    pub cores: u32,
    /// Words of each ring, a power of two.
    pub ring_words: u64,
}

impl RegionLayout {
    /// The bytes of the whole region, a multiple of [`PAGE`]; `None` if they do not fit a
    /// `usize`.
    #[must_use]
    pub const fn bytes(&self) -> Option<usize> {
        self.bytes_with(0)
    }

    /// The same where each core has a table of so many bytes behind its ring, one of
    /// [`TABLE_BYTES`], or 0.
    ///
    /// ```
    /// use profiler::format::region::RegionLayout;
    ///
    /// let layout = RegionLayout { cores: 2, ring_words: 8192 };
    /// let tables = 2 * (1 << 20);
    /// assert_eq!(layout.bytes_with(1 << 20), Some(layout.bytes().unwrap() + tables));
    /// ```
    #[must_use]
    pub const fn bytes_with(&self, table_bytes: u64) -> Option<usize> {
        self.ring_offset(self.cores, table_bytes)
    }

    /// Where the ring of `core` begins, in bytes.
    const fn ring_offset(&self, core: u32, table_bytes: u64) -> Option<usize> {
        const MAX_WORDS: u64 = (usize::MAX / 16) as u64;
        if self.ring_words > MAX_WORDS {
            return None;
        }
        // It is at most `MAX_WORDS`, which is far enough from the largest usize.
        #[allow(clippy::cast_possible_truncation)]
        let data = self.ring_words as usize * 8;
        if table_bytes > *TABLE_BYTES.end() {
            return None;
        }
        #[allow(clippy::cast_possible_truncation)] // likewise
        let table = table_bytes as usize;
        let stride = data.next_multiple_of(PAGE) + PAGE + table.next_multiple_of(PAGE);
        match stride.checked_mul(core as usize) {
            Some(rings) => rings.checked_add(PAGE),
            None => None,
        }
    }
}

/// A region: one header page, and a ring for each core.
///
/// ```
/// use std::ptr::NonNull;
/// use profiler::address::{CodeAddress, CodeRange};
/// use profiler::format::region::{Region, RegionLayout, RunState};
/// use profiler::format::Description;
/// use profiler::format::sample::MAX_WORDS;
///
/// #[repr(align(4096))]
/// #[derive(Clone)]
/// struct Page([u8; 4096]);
///
/// let layout = RegionLayout { cores: 1, ring_words: 8192 };
/// let bytes = layout.bytes().unwrap();
/// let mut pages = vec![Page([0; 4096]); bytes / 4096];
/// let start = NonNull::new(pages.as_mut_ptr().cast::<u8>()).unwrap();
/// let memory = NonNull::slice_from_raw_parts(start, bytes);
///
/// // The kernel.
/// let text = CodeRange { start: CodeAddress(0x1000), end: CodeAddress(0x2000) };
/// let description = Description::new([7; 20], text, 1, 8192);
/// // SAFETY: the memory lives to the end, and both sides use it by `Region` alone.
/// let kernel = unsafe { Region::create(memory, &description) };
/// // SAFETY: one thread.
/// let writer = unsafe { kernel.writer(0) };
/// kernel.set_state(RunState::Sampling);
/// writer.write(&[0x0208, 7, 9, 9]).unwrap();
/// kernel.set_state(RunState::Finished);
///
/// // The host.
/// // SAFETY: as above.
/// let (host, found) = unsafe { Region::open(memory) }.unwrap();
/// assert_eq!(found, description);
/// assert_eq!(host.state(), RunState::Finished);
/// let mut record = [0; MAX_WORDS];
/// let words = host.reader(0).read(&mut record).unwrap();
/// assert_eq!(record[..words.unwrap()], [0x0208, 7, 9, 9]);
/// ```
#[derive(Clone, Copy)]
pub struct Region<'region> {
    header: &'region HeaderPage,
    base: NonNull<u8>,
    layout: RegionLayout,
    /// Of each core; 0: there are none.
    table_bytes: u64,
    /// The kernel's text, which compact samples have offsets into.
    text: CodeRange,
}

// SAFETY: everything behind the references and the pointer is atomics, valid for
// `'region` on every core (conditions 1 and 2 of the constructors).
unsafe impl Send for Region<'_> {}
// SAFETY: as above.
unsafe impl Sync for Region<'_> {}

/// Why memory is not a region that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionError {
    /// It does not start with the magic.
    Magic,
    /// It is of another version.
    Version(u32),
    /// Its description is not valid.
    Description(DescriptionError),
    /// It is shorter than its description says; the number of bytes that it needs.
    Truncated(usize),
    /// The kernel has refused the run: see [`Region::refusal_in`].
    Refused,
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("no magic"),
            Self::Version(found) => write!(
                f,
                "the kernel writes version {found} of the region and this tool reads version {VERSION}: build it with the library of this tool's release"
            ),
            Self::Description(bad) => bad.fmt(f),
            Self::Truncated(needed) => {
                write!(f, "the rings need {needed} bytes, the memory ends before")
            }
            Self::Refused => f.write_str("the kernel has refused the run"),
        }
    }
}

impl core::error::Error for RegionError {}

impl<'region> Region<'region> {
    /// Makes a region of memory with any content: writes the description and empty rings,
    /// then the magic, which lets a reader in.
    ///
    /// # Panics
    ///
    /// If the memory is shorter than the description's layout needs, or not
    /// aligned to a page.
    ///
    /// # Safety
    ///
    /// 1. `memory` is valid for reads and writes as long as `'region` lasts.
    /// 2. From now on it is accessed through `Region` only, by this program and by
    ///    any other that maps it.
    #[must_use]
    pub unsafe fn create(memory: NonNull<[u8]>, description: &Description) -> Self {
        let layout = RegionLayout {
            cores: description.cores,
            ring_words: description.ring_words,
        };
        let bytes = layout.bytes_with(description.table_bytes);
        assert!(
            bytes.is_some_and(|bytes| bytes <= memory.len()),
            "region too short"
        );
        // SAFETY: the region is long enough (asserted), valid for `'region` (1).
        let header = unsafe { header_of::<'region>(memory) };
        let shared = Self {
            header,
            base: memory.cast(),
            layout,
            table_bytes: description.table_bytes,
            text: description.text,
        };
        header.magic[0].store(0, PlainOrdering::Relaxed);
        header.mailbox.clear();
        header.left.store(0, PlainOrdering::Relaxed);
        shared.set_state(RunState::Starting);
        for core in 0..layout.cores {
            shared.clear_ring_page(core);
            if let Some(table) = shared.table(core) {
                table.clear();
            }
        }
        let bytes = description.encode();
        for (word, bytes) in header.description.iter().zip(bytes.as_chunks().0) {
            word.store(u64::from_le_bytes(*bytes), PlainOrdering::Relaxed);
        }
        header.publish();
        shared
    }

    /// Makes a region out of one page that holds anything, to say no more than that the
    /// run is refused, and why: for a kernel that cannot make the run's own region.
    /// A kernel that has made it calls [`Self::refuse`].
    ///
    /// # Panics
    ///
    /// If the memory is shorter than a page, or not aligned to one.
    ///
    /// # Safety
    ///
    /// As for [`Self::create`], as long as the program runs.
    pub unsafe fn create_refused(memory: NonNull<[u8]>, reason: &str) {
        assert!(memory.len() >= PAGE, "region too short");
        // SAFETY: a page long (asserted), valid (the caller's promise).
        let header = unsafe { header_of(memory) };
        header.magic[0].store(0, PlainOrdering::Relaxed);
        header.mailbox.clear();
        header.refuse(reason);
        header.publish();
    }

    /// The reason of a refusal, if the memory is a region whose kernel has refused the
    /// run: that of [`Self::refuse`] or [`Self::create_refused`].
    ///
    /// # Panics
    ///
    /// If the memory is not aligned to a page.
    ///
    /// # Safety
    ///
    /// As for [`Self::open`].
    #[must_use]
    pub unsafe fn refusal_in(memory: NonNull<[u8]>) -> Option<RefusalText> {
        if memory.len() < PAGE {
            return None;
        }
        // SAFETY: a page long (checked), valid (the caller's promise).
        let header = unsafe { header_of(memory) };
        header.check().ok()?;
        header.refusal()
    }

    /// Opens a region that a kernel made.
    ///
    /// # Errors
    ///
    /// [`RegionError`] if the memory is none.
    ///
    /// # Panics
    ///
    /// If the memory is not aligned to a page.
    ///
    /// # Safety
    ///
    /// 1. `memory` is valid for reads and writes as long as `'region` lasts.
    /// 2. While it does, no reference to any of it exists in this program other
    ///    than through `Region`. (Another program, the guest, may write anything
    ///    to it at any time: every access is atomic and every value is checked.)
    pub unsafe fn open(memory: NonNull<[u8]>) -> Result<(Self, Description), RegionError> {
        if memory.len() < PAGE {
            return Err(RegionError::Truncated(PAGE));
        }
        // SAFETY: a page long (checked), valid for `'region` (1).
        let header = unsafe { header_of::<'region>(memory) };
        header.check()?;
        if header.refusal().is_some() {
            return Err(RegionError::Refused);
        }
        let mut bytes = [0; DESCRIPTION_BYTES];
        for (word, bytes) in header.description.iter().zip(bytes.as_chunks_mut().0) {
            *bytes = word.load(PlainOrdering::Relaxed).to_le_bytes();
        }
        let description = Description::decode(&bytes).map_err(RegionError::Description)?;
        let layout = RegionLayout {
            cores: description.cores,
            ring_words: description.ring_words,
        };
        let needed = layout.bytes_with(description.table_bytes);
        let needed = needed.unwrap_or(usize::MAX);
        if needed > memory.len() {
            return Err(RegionError::Truncated(needed));
        }
        let shared = Self {
            header,
            base: memory.cast(),
            layout,
            table_bytes: description.table_bytes,
            text: description.text,
        };
        Ok((shared, description))
    }

    /// The state of the run. An unknown value counts as failed.
    #[must_use]
    pub fn state(&self) -> RunState {
        let number = self.header.state.load(PlainOrdering::Acquire);
        let state = u8::try_from(number).ok();
        let state = state.and_then(|number| RunState::try_from(number).ok());
        state.unwrap_or(RunState::Failed)
    }

    /// Sets the state of the run; what was written before is visible first.
    pub fn set_state(&self, state: RunState) {
        self.header
            .state
            .store(state as u32, PlainOrdering::Release);
    }

    /// Kernel: somebody has all that there is in the region, as where the other side of a wire has
    /// said so ([`Sent::is_confirmed`](super::wire::Sent::is_confirmed)). The next boot keeps
    /// nothing of it then: see [`super::kept`].
    pub fn set_left(&self) {
        self.header.left.store(HAS_LEFT, PlainOrdering::Release);
    }

    /// Returns true if that was said.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.header.left.load(PlainOrdering::Acquire) == HAS_LEFT
    }

    /// Kernel: makes the memory no region any more, which nobody finds.
    pub fn forget(&self) {
        self.header.magic[0].store(0, PlainOrdering::Release);
    }

    /// The bytes of the region.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes = self.layout.bytes_with(self.table_bytes);
        bytes.expect("the layout was computed before")
    }

    /// Kernel: refuses the run, for a reason that the host shows. What does not fit into
    /// [`RefusalText`] is cut. No request is answered any more.
    pub fn refuse(&self, reason: &str) {
        self.header.refuse(reason);
    }

    /// Host: why the kernel refuses the run, if it does.
    #[must_use]
    pub fn refusal(&self) -> Option<RefusalText> {
        self.header.refusal()
    }

    /// The records that `core` has stored, in its ring or its table, those of the fast handler
    /// included.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub fn stored(&self, core: u32) -> u64 {
        let stored = self.counters(core).stored.load(PlainOrdering::Relaxed);
        stored.wrapping_add(self.control(core).fast())
    }

    /// The words by which the host asks a running kernel for something, and the kernel
    /// answers.
    #[must_use]
    pub fn mailbox(&self) -> &'region MailboxWords {
        &self.header.mailbox
    }

    /// Cores, each with a ring.
    #[must_use]
    pub fn cores(&self) -> u32 {
        self.layout.cores
    }

    /// The counters of `core`.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub fn counters(&self, core: u32) -> &'region CoreCounters {
        &self.ring_page(core).counters
    }

    /// What an interrupt of `core` costs in each event, by the events' numbers.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub fn overheads(&self, core: u32) -> &'region [OverheadCounters; OVERHEAD_ROWS] {
        &self.ring_page(core).overheads
    }

    /// What `core` has spent its time on, if the kernel accounts for that.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub fn accounts(&self, core: u32) -> &'region [AccountCounters; ACCOUNT_ROWS] {
        &self.ring_page(core).accounts
    }

    /// The processes that `core` has announced, and room for further ones.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub fn processes(&self, core: u32) -> &'region [ProcessWord; PROCESS_ROWS] {
        &self.ring_page(core).processes
    }

    /// The control block of the ring of `core`.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub fn control(&self, core: u32) -> &'region ring::Control {
        &self.ring_page(core).control
    }

    /// The writing end of the ring of `core`.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    ///
    /// # Safety
    ///
    /// 1. It is the only writer of that ring, and is used on one core only (any context
    ///    of it: a use may interrupt another, but then ends before that one continues).
    #[must_use]
    pub unsafe fn writer(&self, core: u32) -> ring::Writer<'region> {
        ring::Writer::new(self.control(core), self.ring_data(core), self.text)
    }

    /// The reading end of the ring of `core`.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub fn reader(&self, core: u32) -> ring::Reader<'region> {
        ring::Reader::new(self.control(core), self.ring_data(core), self.text)
    }

    /// What the ring of this writer, one of this region's, still has in its memory.
    #[cfg(not(all(test, loom)))]
    pub(crate) fn recent<'a>(&self, writer: &'a ring::Writer<'region>) -> ring::Recent<'a> {
        ring::Recent::new(writer, self.text)
    }

    /// Returns true if equal chains are counted in tables.
    #[must_use]
    pub fn has_tables(&self) -> bool {
        self.table_bytes != 0
    }

    /// The chains in the table of `core`; none if it has no table.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub fn chains(&self, core: u32) -> Chains<'region> {
        Chains::new(self.table_words(core), self.text)
    }

    /// The writing end of the table of `core`, if it has one. To be used as [`Self::writer`] is.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub(crate) fn table(&self, core: u32) -> Option<Table<'region>> {
        let used = &self.ring_page(core).table_used;
        self.has_tables()
            .then(|| Table::new(self.table_words(core), used))
    }

    /// The table of `core`: no words if it has none.
    pub(super) fn table_words(&self, core: u32) -> &'region [PlainAtomicU64] {
        let ring = size_of_val(self.ring_data(core)).next_multiple_of(PAGE);
        let words = usize::try_from(self.table_bytes / 8);
        let words = words.expect("fits: the region is in memory");
        // SAFETY: the page, the ring, and a table of that size behind them are in the region.
        let start = unsafe { self.ring_start(core).add(PAGE + ring) };
        // SAFETY: as above; aligned to a page; any bytes are valid atomics.
        unsafe { NonNull::slice_from_raw_parts(start.cast(), words).as_ref() }
    }

    fn ring_start(&self, core: u32) -> NonNull<u8> {
        assert!(core < self.layout.cores, "no core {core}");
        let offset = self.layout.ring_offset(core, self.table_bytes);
        let offset = offset.expect("the layout was computed before");
        // SAFETY: the offset is below the layout's length, which the constructors
        // have compared with the memory's.
        unsafe { self.base.add(offset) }
    }

    fn ring_page(&self, core: u32) -> &'region RingPage {
        let page = self.ring_start(core).cast::<RingPage>();
        // SAFETY: page-aligned (the base is, the offset is a multiple of PAGE), in
        // the region, valid for `'region`; any bytes are valid atomics.
        unsafe { page.as_ref() }
    }

    /// Empties the ring of `core` and zeroes its counters.
    fn clear_ring_page(&self, core: u32) {
        for word in self.page_words(core) {
            word.store(0, PlainOrdering::Relaxed);
        }
    }

    /// The control page of the ring of `core`.
    pub(super) fn page_words(&self, core: u32) -> &'region [PlainAtomicU64; PAGE / 8] {
        let page = self.ring_start(core).cast();
        // SAFETY: as in `ring_page`, which is made of such words.
        unsafe { page.as_ref() }
    }

    /// The header page.
    #[cfg(not(all(test, loom)))]
    pub(super) fn header_words(&self) -> &'region [PlainAtomicU64; PAGE / 8] {
        // SAFETY: it is a page, aligned, valid for `'region`, and made of atomics.
        unsafe { self.base.cast().as_ref() }
    }

    /// The kernel's text.
    #[cfg(not(all(test, loom)))]
    pub(super) fn text(&self) -> CodeRange {
        self.text
    }

    pub(super) fn ring_data(&self, core: u32) -> &'region [sync::AtomicU32] {
        // SAFETY: the page and `ring_words` words behind it are in the region.
        let units = unsafe { self.ring_start(core).add(PAGE) }.cast::<sync::AtomicU32>();
        let words = usize::try_from(self.layout.ring_words).expect("fits: the region is in memory");
        // SAFETY: as above, each word two units; aligned to a page; any bytes are valid atomics.
        unsafe { NonNull::slice_from_raw_parts(units, 2 * words).as_ref() }
    }
}

#[cfg(all(test, not(loom)))]
mod documented;
#[cfg(all(test, not(loom)))]
mod tests;
