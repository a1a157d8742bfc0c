//! Columns: numbers of one kind, one behind the other, packed.
//!
//! ```text
//! 0    coding       u8: 0 to 8 planes; 9 varints; + 0x80 if that is compressed (zstd)
//! 1    count        u32: how many numbers
//! 5    length       u32: bytes of the data in the file
//! 9    base         u64: what is added to each number, modulo 2⁶⁴
//! 17   data         planes: the lowest byte of each number, then the second of each, …
//!                   varints: each number, seven bits a byte, the lowest first (LEB128)
//! ```
//!
//! A column of equal numbers has no planes, and no data.

use std::io;
use std::ops::Range;

use zstd::bulk::{Compressor, Decompressor};

/// Bytes before the data.
const HEADER: usize = 17;

const VARINTS: u8 = 9;
const COMPRESSED: u8 = 0x80;

/// The most numbers of a column: bounds what a crafted file can make a reader allocate.
pub(super) const MAX_COUNT: usize = 1 << 23;

/// The most bytes of a varint.
const MAX_VARINT: usize = 10;

/// Level of zstd: what collects samples has to keep up with the guest.
const LEVEL: i32 = 3;

/// Maps small negative numbers to small ones.
pub(super) const fn zigzag(number: u64) -> u64 {
    let sign = number.cast_signed() >> 63;
    number << 1 ^ sign.cast_unsigned()
}

pub(super) const fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}

/// Packs columns.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    data: Vec<u8>,
}

impl Packer {
    /// # Errors
    ///
    /// There is no memory for it.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(LEVEL)?,
            data: Vec::new(),
        })
    }

    /// Appends a column to `out`, as planes: for numbers of which most are in one range.
    ///
    /// # Errors
    ///
    /// It is too long.
    pub(super) fn planes(&mut self, numbers: &[u64], out: &mut Vec<u8>) -> io::Result<()> {
        let base = numbers.iter().copied().min().unwrap_or(0);
        let most = numbers.iter().copied().max().unwrap_or(0) - base;
        let planes = (u64::BITS - most.leading_zeros()).div_ceil(8);
        self.data.clear();
        for plane in 0..planes {
            let byte = |number: &u64| (number - base).to_le_bytes()[plane as usize];
            self.data.extend(numbers.iter().map(byte));
        }
        #[allow(clippy::cast_possible_truncation)] // at most 8
        self.append(planes as u8, (numbers.len(), base), out)
    }

    /// The same, as varints: for numbers of very different lengths.
    ///
    /// # Errors
    ///
    /// It is too long.
    pub(super) fn varints(&mut self, numbers: &[u64], out: &mut Vec<u8>) -> io::Result<()> {
        self.data.clear();
        for &number in numbers {
            let mut rest = number;
            while rest >= 0x80 {
                self.data.push(rest.to_le_bytes()[0] | 0x80);
                rest >>= 7;
            }
            self.data.push(rest.to_le_bytes()[0]);
        }
        self.append(VARINTS, (numbers.len(), 0), out)
    }

    fn append(
        &mut self,
        coding: u8,
        (count, base): (usize, u64),
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        if count > MAX_COUNT {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "too many numbers for a column",
            ));
        }
        let header = out.len();
        let start = header + HEADER;
        let bound = zstd::zstd_safe::compress_bound(self.data.len());
        out.resize(start + bound, 0);
        let packed = self
            .compressor
            .compress_to_buffer(&self.data, &mut out[start..])?;
        let is_compressed = packed < self.data.len();
        let length = if is_compressed {
            packed
        } else {
            out[start..start + self.data.len()].copy_from_slice(&self.data);
            self.data.len()
        };
        out.truncate(start + length);
        out[header] = coding | if is_compressed { COMPRESSED } else { 0 };
        let [count, length] = [count, length].map(|it| u32::try_from(it).map_err(io::Error::other));
        out[header + 1..header + 5].copy_from_slice(&count?.to_le_bytes());
        out[header + 5..header + 9].copy_from_slice(&length?.to_le_bytes());
        out[header + 9..start].copy_from_slice(&base.to_le_bytes());
        Ok(())
    }
}

/// Columns, one behind the other, still packed.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a>(&'a [u8]);

impl<'a> Columns<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next one; `None` if there is no whole one.
    pub(super) fn next(&mut self) -> Option<Column<'a>> {
        let (header, rest) = self.0.split_first_chunk::<HEADER>()?;
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let [count, length] = [number(1), number(5)].map(usize::try_from);
        let (data, rest) = rest.split_at_checked(length.ok()?)?;
        self.0 = rest;
        Some(Column {
            coding: header[0],
            count: count.ok().filter(|&count| count <= MAX_COUNT)?,
            base: u64::from_le_bytes(std::array::from_fn(|i| header[9 + i])),
            data,
        })
    }

    /// Returns true if there is nothing behind those that were taken.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A column, still packed.
#[derive(Clone, Copy)]
pub(super) struct Column<'a> {
    coding: u8,
    count: usize,
    base: u64,
    data: &'a [u8],
}

impl Column<'_> {
    /// The number of its numbers.
    pub(super) const fn len(&self) -> usize {
        self.count
    }
}

/// The numbers of a column, kept as narrow as they are stored: those of one of equal numbers take
/// no room.
#[derive(Default, Debug)]
pub(super) struct Numbers {
    count: usize,
    base: u64,
    stored: Stored,
    /// Planes, or what the column was packed as.
    bytes: Vec<u8>,
    /// Varints, unpacked.
    all: Vec<u64>,
}

#[derive(Clone, Copy, Default, Debug)]
enum Stored {
    #[default]
    Equal,
    Planes(usize),
    Varints,
}

impl Numbers {
    /// The number of numbers.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The number that all are, if the column is of equal ones.
    pub(super) const fn same(&self) -> Option<u64> {
        match self.stored {
            Stored::Equal => Some(self.base),
            Stored::Planes(_) | Stored::Varints => None,
        }
    }

    /// No number of the column is greater.
    pub(super) fn most(&self) -> u64 {
        let above = match self.stored {
            Stored::Equal => 0,
            Stored::Planes(planes @ 1..8) => (1 << (8 * planes)) - 1,
            Stored::Planes(_) | Stored::Varints => u64::MAX,
        };
        // Beyond that they begin anew from 0.
        self.base.saturating_add(above)
    }

    /// The number at `index`, which the column must have.
    #[inline]
    pub(super) fn at(&self, index: usize) -> u64 {
        match self.stored {
            Stored::Equal => self.base,
            Stored::Planes(planes) => {
                let place = |plane: usize| u64::from(self.bytes[plane * self.count + index]);
                let sum = (0..planes).map(|plane| place(plane) << (8 * plane));
                self.base.wrapping_add(sum.sum())
            }
            Stored::Varints => self.all[index],
        }
    }

    /// Calls `each` with the numbers of these rows, which the column must have, in order. The usual
    /// widths have loops of their own.
    #[inline]
    pub(super) fn for_each(&self, rows: Range<usize>, mut each: impl FnMut(u64)) {
        let base = self.base;
        let plane = |number: usize| {
            let plane = &self.bytes[number * self.count..(number + 1) * self.count];
            plane[rows.clone()].iter().map(|&byte| u64::from(byte))
        };
        match self.stored {
            Stored::Equal => rows.for_each(|_| each(base)),
            Stored::Planes(1) => plane(0).for_each(|low| each(base.wrapping_add(low))),
            Stored::Planes(2) => {
                let both = plane(0).zip(plane(1));
                both.for_each(|(low, high)| each(base.wrapping_add(low | high << 8)));
            }
            Stored::Planes(3) => {
                let all = plane(0).zip(plane(1)).zip(plane(2));
                let join =
                    |((low, middle), high): ((u64, u64), u64)| low | middle << 8 | high << 16;
                all.for_each(|it| each(base.wrapping_add(join(it))));
            }
            Stored::Planes(_) | Stored::Varints => rows.for_each(|row| each(self.at(row))),
        }
    }
}

impl Numbers {
    /// Calls `each` with the numbers of these rows, as [`Self::for_each`] does, and how often each follows
    /// itself, where that is soon told.
    #[inline]
    pub(super) fn for_each_run(&self, rows: Range<usize>, mut each: impl FnMut(u64, u64)) {
        match self.stored {
            Stored::Equal if rows.is_empty() => {}
            Stored::Equal => each(self.base, rows.len() as u64),
            Stored::Planes(1) => {
                for run in self.bytes[rows].chunk_by(|one, other| one == other) {
                    each(self.base.wrapping_add(run[0].into()), run.len() as u64);
                }
            }
            Stored::Planes(_) | Stored::Varints => self.for_each(rows, |number| each(number, 1)),
        }
    }
}

/// Unpacks columns.
pub(super) struct Unpacker {
    decompressor: Decompressor<'static>,
    data: Vec<u8>,
}

impl Unpacker {
    /// # Errors
    ///
    /// There is no memory for it.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            decompressor: Decompressor::new()?,
            data: Vec::new(),
        })
    }

    /// As [`Self::unpack`], but numbers stay as narrow as they are stored.
    pub(super) fn numbers(&mut self, column: Column<'_>, out: &mut Numbers) -> Option<()> {
        (out.count, out.base) = (column.count, column.base);
        out.stored = match column.coding & !COMPRESSED {
            0 => Stored::Equal,
            planes @ 1..=8 => Stored::Planes(planes.into()),
            VARINTS => Stored::Varints,
            _ => return None,
        };
        if let Stored::Varints = out.stored {
            return self.unpack(column, &mut out.all);
        }
        let length = self.bytes(column, &mut out.bytes)?;
        out.bytes.truncate(length);
        let planes = usize::from(column.coding & !COMPRESSED);
        (length == column.count * planes).then_some(())
    }

    /// Puts a column's bytes at the beginning of `out`, which keeps its length if it is longer. Returns how many they
    /// are; `None` if they do not decompress.
    fn bytes(&mut self, column: Column<'_>, out: &mut Vec<u8>) -> Option<usize> {
        let Column {
            coding,
            count,
            data,
            ..
        } = column;
        if coding & COMPRESSED == 0 {
            out.resize(out.len().max(data.len()), 0);
            out[..data.len()].copy_from_slice(data);
            return Some(data.len());
        }
        let most = match coding & !COMPRESSED {
            VARINTS => count * MAX_VARINT,
            planes => count * usize::from(planes),
        };
        out.resize(out.len().max(most), 0);
        let room = &mut out[..most];
        self.decompressor.decompress_to_buffer(data, room).ok()
    }

    /// Puts a column's numbers into `out`, in place of what that has. Returns `None` if the
    /// column is not valid; what is in `out` then means nothing.
    pub(super) fn unpack(&mut self, column: Column<'_>, out: &mut Vec<u64>) -> Option<()> {
        let mut data = std::mem::take(&mut self.data);
        let length = self.bytes(column, &mut data);
        let whole = length.and_then(|length| numbers(column, &data[..length], out));
        self.data = data;
        whole
    }
}

/// The numbers of a column with these bytes.
fn numbers(column: Column<'_>, bytes: &[u8], out: &mut Vec<u64>) -> Option<()> {
    let Column {
        coding,
        count,
        base,
        ..
    } = column;
    out.clear();
    match coding & !COMPRESSED {
        planes @ 0..=8 => {
            (bytes.len() == count * usize::from(planes)).then_some(())?;
            out.resize(count, base);
            add_planes(bytes, out);
            Some(())
        }
        VARINTS => varints(bytes, count, base, out),
        _ => None,
    }
}

/// Adds planes of as many bytes as there are numbers.
fn add_planes(planes: &[u8], numbers: &mut [u64]) {
    if numbers.is_empty() {
        return;
    }
    for (plane, bytes) in planes.chunks_exact(numbers.len()).enumerate() {
        for (number, byte) in numbers.iter_mut().zip(bytes) {
            *number = number.wrapping_add(u64::from(*byte) << (8 * plane));
        }
    }
}

fn varints(mut bytes: &[u8], count: usize, base: u64, out: &mut Vec<u64>) -> Option<()> {
    out.reserve(count);
    for _ in 0..count {
        let mut number = 0;
        let mut shift = 0;
        loop {
            let (&byte, rest) = bytes.split_first()?;
            bytes = rest;
            let bits = u64::from(byte & 0x7f);
            // No writer has made one of more than 64 bits.
            (shift < u64::BITS && bits << shift >> shift == bits).then_some(())?;
            number |= bits << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        out.push(base.wrapping_add(number));
    }
    bytes.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Pack = fn(&mut Packer, &[u64], &mut Vec<u8>) -> io::Result<()>;
    const WAYS: [Pack; 2] = [Packer::planes, Packer::varints];

    fn unpacked(bytes: &[u8]) -> Option<Vec<Vec<u64>>> {
        let mut columns = Columns::new(bytes);
        let mut unpacker = Unpacker::new().unwrap();
        let mut all = Vec::new();
        while !columns.is_empty() {
            let mut numbers = vec![7];
            let column = columns.next()?;
            let whole = unpacker.unpack(column, &mut numbers);
            let mut narrow = Numbers::default();
            assert_eq!(unpacker.numbers(column, &mut narrow), whole);
            whole?;
            assert_eq!(column.len(), numbers.len());
            assert_narrow(&narrow, &numbers);
            all.push(numbers);
        }
        Some(all)
    }

    /// Checks what is kept as it is stored, whole and from the middle on.
    fn assert_narrow(narrow: &Numbers, expected: &[u64]) {
        for start in [0, expected.len() / 2] {
            let rows = start..expected.len();
            let mut found = Vec::new();
            narrow.for_each(rows.clone(), |number| found.push(number));
            assert_eq!(found, expected[rows.clone()]);
            assert!(found.iter().all(|&number| number <= narrow.most()));
            let one_by_one: Vec<_> = rows.clone().map(|row| narrow.at(row)).collect();
            assert_eq!(one_by_one, found);
            let mut by_runs = Vec::new();
            narrow.for_each_run(rows, |number, times| {
                by_runs.extend((0..times).map(|_| number));
            });
            assert_eq!(by_runs, found);
        }
        if let Some(same) = narrow.same() {
            assert!(expected.iter().all(|&number| number == same));
        }
    }

    /// Numbers of very different sizes.
    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let number = (any::<u64>(), 0..64_u32, any::<u64>());
        let shifted = number.prop_map(|(number, shift, base)| (number >> shift, base));
        prop::collection::vec(shifted, 0..200).prop_flat_map(|all| {
            let base = all.first().map_or(0, |&(_, base)| base);
            any::<bool>().prop_map(move |is_based| {
                let base = if is_based { base } else { 0 };
                all.iter().map(|&(it, _)| it.wrapping_add(base)).collect()
            })
        })
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(columns in prop::collection::vec(numbers(), 0..4)) {
            let mut packer = Packer::new().unwrap();
            for pack in WAYS {
                let mut bytes = Vec::new();
                for column in &columns {
                    pack(&mut packer, column, &mut bytes).unwrap();
                }
                prop_assert_eq!(unpacked(&bytes), Some(columns.clone()));
            }
        }

        #[test]
        fn any_bytes_unpack_or_do_not(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpacked(&bytes);
        }

        #[test]
        fn small_differences_are_small(number in -(1_i64 << 62)..1 << 62) {
            let coded = zigzag(number.cast_unsigned());
            prop_assert_eq!(unzigzag(coded).cast_signed(), number);
            prop_assert!(coded <= 2 * number.unsigned_abs());
        }
    }

    #[test]
    fn no_number_is_greater_than_what_a_column_can_have() {
        let mut packer = Packer::new().unwrap();
        for (numbers, expected) in [
            (&[7, 7][..], 7),
            (&[3, 3 + 255], 3 + 255),
            (&[3, 3 + 256], 3 + 65_535),
            (&[1, 1 << 56], 1 << 56),
            (&[0, 1 << 56], u64::MAX),
            (&[u64::MAX - 9, u64::MAX], u64::MAX),
        ] {
            let mut bytes = Vec::new();
            packer.planes(numbers, &mut bytes).unwrap();
            let mut narrow = Numbers::default();
            let column = Columns::new(&bytes).next().unwrap();
            Unpacker::new()
                .unwrap()
                .numbers(column, &mut narrow)
                .unwrap();
            assert_eq!(narrow.most(), expected, "{numbers:?}");
        }
    }

    #[test]
    fn equal_numbers_have_no_data() {
        let mut packer = Packer::new().unwrap();
        let mut bytes = Vec::new();
        packer.planes(&[u64::MAX; 1000], &mut bytes).unwrap();
        assert_eq!(bytes.len(), HEADER);
        assert_eq!(unpacked(&bytes), Some(vec![vec![u64::MAX; 1000]]));
    }

    #[test]
    fn a_column_that_is_not_valid_is_refused() {
        let column = |coding: u8, count: u32, data: &[u8]| {
            let mut bytes = vec![coding];
            bytes.extend(count.to_le_bytes());
            bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            bytes.extend(5_u64.to_le_bytes());
            bytes.extend(data);
            unpacked(&bytes)
        };
        assert_eq!(column(1, 2, &[1, 2]), Some(vec![vec![6, 7]]));
        assert_eq!(column(9, 2, &[1, 0x80, 1]), Some(vec![vec![6, 133]]));
        for (coding, count, data) in [
            (1, 2, &[1][..]),    // too short
            (1, 2, &[1, 2, 3]),  // too long
            (10, 1, &[1]),       // no coding
            (0x81, 2, &[1, 2]),  // nothing compressed
            (9, 2, &[1, 0x81]),  // a varint that goes on
            (9, 1, &[1, 2]),     // one too many
            (9, 1, &[0xff; 11]), // more than 64 bits
            (
                9,
                1,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            ),
            (0, u32::MAX, &[]), // too many
        ] {
            assert_eq!(
                column(coding, count, data),
                None,
                "{coding} {count} {data:x?}"
            );
        }
    }
}
