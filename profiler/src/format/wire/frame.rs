//! What one frame carries, and its bytes.

use super::crc::Crc;
use super::parity::{self, DATA, WORD};
use crate::format::sample::compact::Context;

/// What a frame starts with. No text has these bytes.
pub(super) const SYNC: [u8; 4] = [0xd5, 0x1a, 0xc3, 0x8e];
/// The code words of a frame; they are interleaved, byte by byte.
pub(super) const LANES: usize = 3;
/// The bytes of a frame behind its [`SYNC`].
pub(super) const BODY: usize = LANES * WORD;
/// The bytes of every frame.
pub const FRAME_BYTES: usize = SYNC.len() + BODY;
/// The bytes of a frame that parity is made of.
const CONTENT: usize = LANES * DATA;
pub(super) const HEAD: usize = 52;
/// The most bytes that a frame carries.
pub(super) const PAYLOAD: usize = CONTENT - HEAD;

/// The version of the wire's frames.
const VERSION: u8 = 1;
/// In the second byte, below the version: the payload is packed.
const IS_PACKED: u8 = 1;
/// Likewise: there is a context.
const HAS_CONTEXT: u8 = 2;

/// What a frame is.
///
/// ```
/// use profiler::format::wire::Kind;
///
/// assert_eq!(Kind::Ring as u8, 3);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A block of the region's header page.
    Header = 1,
    /// A block of the page of a core's ring.
    Page = 2,
    /// A block of the records of a core.
    Ring = 3,
    /// A block of the entries of the table of a core.
    Table = 4,
    /// All blocks were sent.
    Summary = 16,
    /// The host asks for blocks again.
    Again = 17,
    /// The host has all blocks that it wants.
    Done = 18,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Header,
        Self::Page,
        Self::Ring,
        Self::Table,
        Self::Summary,
        Self::Again,
        Self::Done,
    ];

    /// Returns true if it is a block of a region.
    #[must_use]
    pub const fn is_block(self) -> bool {
        matches!(self, Self::Header | Self::Page | Self::Ring | Self::Table)
    }
}

/// Which of a run's blocks.
///
/// ```
/// use profiler::format::wire::Number;
///
/// let last = Number { run: 0x1234, block: 9, of: 10 };
/// assert!(last.block < last.of);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Number {
    /// What the run's blocks have in common: a CRC of all that they carry.
    pub run: u32,
    /// The block's number, from 0.
    pub block: u32,
    /// How many blocks there are.
    pub of: u32,
}

/// Where what a block carries lies in the region.
///
/// ```
/// use profiler::format::wire::{Kind, Part};
///
/// let part = Part { kind: Kind::Ring, core: 1, position: 4096 };
/// assert!(part.kind.is_block());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Of what.
    pub kind: Kind,
    /// Of which core.
    pub core: u16,
    /// Bytes from the start of the page, units of 4 bytes since the start of the ring, or entries
    /// before it in the table's order.
    pub position: u64,
}

/// A frame that has arrived whole.
///
/// ```
/// use profiler::format::wire::{Kind, Scanner, request};
///
/// let mut scanner = Scanner::new();
/// let frames = request(7, &[(0, 2)]).into_iter().filter_map(|byte| scanner.push(byte));
/// let frames: Vec<_> = frames.collect();
/// assert_eq!((frames[0].part.kind, frames[0].number.run), (Kind::Again, 7));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Where it lies.
    pub part: Part,
    /// Which block.
    pub number: Number,
    /// The bytes that it carries, unpacked.
    pub raw_len: u16,
    /// Whether they are packed, as a block of LZ4.
    pub is_packed: bool,
    /// What has to be known of the records before a block of them.
    pub(super) context: Option<Context>,
    /// As long as `payload` is used.
    pub(super) packed_len: u16,
    pub(super) payload: [u8; PAYLOAD],
}

impl Frame {
    /// A frame that carries nothing.
    pub(super) const fn empty(kind: Kind, number: Number) -> Self {
        Self {
            part: Part {
                kind,
                core: 0,
                position: 0,
            },
            number,
            raw_len: 0,
            is_packed: false,
            context: None,
            packed_len: 0,
            payload: [0; PAYLOAD],
        }
    }

    /// What it carries, packed if [`Self::is_packed`].
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload[..self.packed_len.into()]
    }

    /// Of a block of records that has samples before it: the number of the next sample on its
    /// core.
    #[must_use]
    pub fn next_sequence(&self) -> Option<u32> {
        self.context.map(|context| context.next)
    }

    /// All bytes of the frame.
    #[inline(never)]
    pub(super) fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut content = [0; CONTENT];
        let (head, payload) = content.split_at_mut(HEAD);
        self.encode_head(head);
        payload[..self.payload().len()].copy_from_slice(self.payload());
        let crc = checked(&content).to_le_bytes();
        content[CRC_AT..HEAD].copy_from_slice(&crc);
        let mut frame = [0; FRAME_BYTES];
        frame[..SYNC.len()].copy_from_slice(&SYNC);
        for lane in 0..LANES {
            let mut word = [0; WORD];
            word[..DATA].copy_from_slice(&content[lane * DATA..][..DATA]);
            parity::append(&mut word);
            for (place, byte) in word.into_iter().enumerate() {
                frame[SYNC.len() + place * LANES + lane] = byte;
            }
        }
        frame
    }

    fn encode_head(&self, head: &mut [u8]) {
        let context = self.context.unwrap_or_default();
        let packed = if self.is_packed { IS_PACKED } else { 0 };
        let has_context = if self.context.is_some() {
            HAS_CONTEXT
        } else {
            0
        };
        let Number { run, block, of } = self.number;
        let fields: [&[u8]; 11] = [
            &[self.part.kind as u8, VERSION << 4 | packed | has_context],
            &self.part.core.to_le_bytes(),
            &block.to_le_bytes(),
            &of.to_le_bytes(),
            &run.to_le_bytes(),
            &self.part.position.to_le_bytes(),
            &self.raw_len.to_le_bytes(),
            &self.packed_len.to_le_bytes(),
            &context.time.to_le_bytes(),
            &context.sp.to_le_bytes(),
            &context.next.to_le_bytes(),
        ];
        let bytes = fields.into_iter().flatten();
        head.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
    }

    /// The frame with this body, and how many bytes of it were damaged and are mended. `None`
    /// if it is none.
    #[inline(never)]
    pub(super) fn decode(body: &[u8; BODY]) -> Option<(Self, usize)> {
        let mut content = [0; CONTENT];
        let mut mended = 0;
        for lane in 0..LANES {
            let mut word = core::array::from_fn(|place| body[place * LANES + lane]);
            mended += parity::mend(&mut word)?;
            content[lane * DATA..][..DATA].copy_from_slice(&word[..DATA]);
        }
        let crc = u32::from_le_bytes(field(&content, CRC_AT));
        if checked(&content) != crc {
            return None;
        }
        Some((Self::decode_content(&content)?, mended))
    }

    fn decode_content(content: &[u8; CONTENT]) -> Option<Self> {
        let [kind, flags] = field(content, 0);
        let kind = Kind::ALL.into_iter().find(|&it| it as u8 == kind)?;
        let word = |at| u32::from_le_bytes(field(content, at));
        let long = |at| u64::from_le_bytes(field(content, at));
        let short = |at| u16::from_le_bytes(field(content, at));
        let packed_len = short(26);
        if flags >> 4 != VERSION || usize::from(packed_len) > PAYLOAD {
            return None;
        }
        Some(Self {
            part: Part {
                kind,
                core: short(2),
                position: long(16),
            },
            number: Number {
                block: word(4),
                of: word(8),
                run: word(12),
            },
            raw_len: short(24),
            is_packed: flags & IS_PACKED != 0,
            context: (flags & HAS_CONTEXT != 0).then(|| Context {
                time: long(28),
                sp: long(36),
                next: word(44),
            }),
            packed_len,
            payload: field(content, HEAD),
        })
    }
}

/// Where the CRC is.
pub(super) const CRC_AT: usize = HEAD - 4;

/// The CRC of all but itself.
fn checked(content: &[u8; CONTENT]) -> u32 {
    let (head, payload) = content.split_at(HEAD);
    Crc::new().add(&head[..CRC_AT]).add(payload).value()
}

/// Bytes from there on.
fn field<const N: usize>(content: &[u8; CONTENT], at: usize) -> [u8; N] {
    core::array::from_fn(|byte| content[at + byte])
}
