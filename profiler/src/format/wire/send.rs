//! Sends a region by a wire.

use super::cut::{Blocks, Scratch};
use super::frame::{FRAME_BYTES, Frame, Kind, Number, PAYLOAD};
use super::scan::Scanner;
use crate::format::region::Region;

/// How often the summary is sent, one after the other, while nothing comes back.
const ROUNDS: u32 = 3;
/// How many bytes may come one after the other that are no frame.
const MOST_NOISE: u32 = 1 << 20;
/// How often something may be asked for.
const MOST_REQUESTS: u32 = 1 << 16;
/// The bytes of a range in a request.
const RANGE: usize = 8;

/// What sends bytes to the other side, and may have bytes from there.
///
/// ```
/// use profiler::format::wire::Port;
///
/// struct File(Vec<u8>);
///
/// impl Port for File {
///     fn send(&mut self, bytes: &[u8]) {
///         self.0.extend(bytes);
///     }
///     // From a file nothing comes.
///     fn receive(&mut self) -> Option<u8> {
///         None
///     }
/// }
/// ```
pub trait Port {
    /// Sends bytes, however long that takes.
    fn send(&mut self, bytes: &[u8]);

    /// The next byte from the other side. `None` if none comes for a while, half a second or
    /// so, or if nothing can come.
    fn receive(&mut self) -> Option<u8>;
}

/// How sending has ended.
///
/// ```
/// use profiler::format::wire::Sent;
///
/// let sent = Sent { blocks: 100, again: 3, is_confirmed: true };
/// assert!(sent.is_confirmed);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// The blocks of the region.
    pub blocks: u32,
    /// The blocks that were sent again as the other side has asked for them.
    pub again: u32,
    /// Whether the other side has said that it has all that it wants.
    pub is_confirmed: bool,
}

/// The memory that sending takes, some KiB: for a `static`, or a stack that is large enough.
///
/// ```
/// use profiler::format::wire::Sender;
///
/// static SENDER: std::sync::Mutex<Sender> = std::sync::Mutex::new(Sender::new());
/// ```
pub struct Sender {
    scratch: Scratch,
    scanner: Scanner,
}

impl Sender {
    /// Memory that nothing was sent with.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            scratch: Scratch::new(),
            scanner: Scanner::new(),
        }
    }

    /// Sends what a region has that nobody has read, block by block, and then what the other side
    /// asks for again, until it has all or is silent. To be called after a run's end, where nobody
    /// writes to the region or reads it, and outside of interrupt handlers: it takes as long as the
    /// wire does.
    ///
    /// ```
    /// use profiler::format::region::Region;
    /// use profiler::format::wire::{Port, Sender};
    ///
    /// fn send_all(region: &Region<'_>, port: &mut impl Port) -> bool {
    ///     Sender::new().send(region, port).is_confirmed
    /// }
    /// ```
    #[inline(never)]
    pub fn send(&mut self, region: &Region<'_>, port: &mut impl Port) -> Sent {
        for core in 0..region.cores() {
            if let Some(table) = region.table(core) {
                table.sort();
            }
        }
        let all = Blocks::count(region, &mut self.scratch);
        self.send_blocks(region, all, &[(0, all.of)], port);
        // Without the pages nothing can be read: a file has them twice.
        let pages = self.pages(region, all);
        self.send_blocks(region, all, &[(0, pages)], port);
        let mut sent = Sent {
            blocks: all.of,
            ..Sent::default()
        };
        let (mut silent, mut requests) = (0, 0);
        while silent < ROUNDS && requests < MOST_REQUESTS && !sent.is_confirmed {
            send_frame(&Frame::empty(Kind::Summary, all), port);
            silent += 1;
            while let Some(request) = self.request(all, port) {
                silent = 0;
                requests += 1;
                if request.part.kind == Kind::Done || requests == MOST_REQUESTS {
                    sent.is_confirmed = request.part.kind == Kind::Done;
                    break;
                }
                sent.again += self.send_blocks(region, all, &ranges(&request), port);
                send_frame(&Frame::empty(Kind::Summary, all), port);
            }
        }
        sent
    }

    /// The blocks of pages, which come before those of records.
    fn pages(&mut self, region: &Region<'_>, all: Number) -> u32 {
        let mut blocks = Blocks::new(region, &mut self.scratch);
        let mut pages = 0;
        while let Some(frame) = blocks.next(all)
            && matches!(frame.part.kind, Kind::Header | Kind::Page)
        {
            pages += 1;
        }
        pages
    }

    /// Sends the blocks of these ranges, each once. Returns how many there are.
    #[inline(never)]
    fn send_blocks(
        &mut self,
        region: &Region<'_>,
        all: Number,
        ranges: &[(u32, u32)],
        port: &mut impl Port,
    ) -> u32 {
        // All are cut anew to find where they begin: once, not for each range.
        let mut blocks = Blocks::new(region, &mut self.scratch);
        let end = ranges.iter().map(|&(_, end)| end).max().unwrap_or(0);
        let is_wanted = |block| {
            let mut ranges = ranges.iter();
            ranges.any(|&(first, end)| (first..end).contains(&block))
        };
        let mut sent = 0;
        while let Some(frame) = blocks.next(all)
            && frame.number.block < end
        {
            if is_wanted(frame.number.block) {
                send_frame(&frame, port);
                sent += 1;
            }
        }
        sent
    }

    /// What the other side asks for next; `None` if it is silent.
    #[inline(never)]
    fn request(&mut self, all: Number, port: &mut impl Port) -> Option<Frame> {
        for _ in 0..MOST_NOISE {
            let frame = self.scanner.push(port.receive()?);
            let is_of_run = |frame: &Frame| {
                let is_request = matches!(frame.part.kind, Kind::Again | Kind::Done);
                is_request && frame.number.run == all.run
            };
            if let Some(frame) = frame.filter(is_of_run) {
                return Some(frame);
            }
        }
        None
    }
}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}

#[inline(never)]
fn send_frame(frame: &Frame, port: &mut impl Port) {
    port.send(&frame.encode());
}

/// The ranges of blocks that a request is for; those that it does not use are empty.
fn ranges(request: &Frame) -> [(u32, u32); REQUEST_RANGES] {
    let number = |at: usize| {
        let bytes = request.payload().get(at..at + RANGE / 2);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    };
    core::array::from_fn(|at| (number(at * RANGE), number(at * RANGE + RANGE / 2)))
}

/// How many ranges a request has at most.
pub const REQUEST_RANGES: usize = PAYLOAD / RANGE;

/// The bytes by which the host asks for blocks of a run again: ranges, the ends not included. What
/// is more than [`REQUEST_RANGES`] is left out.
///
/// ```
/// use profiler::format::wire::{FRAME_BYTES, request};
///
/// assert_eq!(request(7, &[(0, 2), (9, 10)]).len(), FRAME_BYTES);
/// ```
#[must_use]
pub fn request(run: u32, ranges: &[(u32, u32)]) -> [u8; FRAME_BYTES] {
    let number = Number {
        run,
        ..Number::default()
    };
    let mut frame = Frame::empty(Kind::Again, number);
    let places = frame.payload.as_chunks_mut::<RANGE>().0.iter_mut();
    for (place, (first, end)) in places.zip(ranges) {
        place[..4].copy_from_slice(&first.to_le_bytes());
        place[4..].copy_from_slice(&end.to_le_bytes());
        frame.packed_len += 8;
    }
    frame.raw_len = frame.packed_len;
    frame.encode()
}

/// The bytes by which the host says that it has all blocks of a run that it wants.
///
/// ```
/// use profiler::format::wire::{FRAME_BYTES, done};
///
/// assert_eq!(done(7).len(), FRAME_BYTES);
/// ```
#[must_use]
pub fn done(run: u32) -> [u8; FRAME_BYTES] {
    let number = Number {
        run,
        ..Number::default()
    };
    Frame::empty(Kind::Done, number).encode()
}
