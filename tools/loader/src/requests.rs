//! The kernel's requests, which lie anywhere in its loaded image.
//!
//! A request is a row of 64-bit words on a boundary of 8: a magic pair that all
//! requests share, a pair that says what is wanted, the request's revision, room
//! for a pointer to the response, and members of its own. Two markers, if there,
//! tell where to look: after the last start marker, before the first end marker.
//! A base revision tag says which revision of the whole protocol is meant.

use core::ops::Range;

use arrayvec::ArrayVec;
use x86_64::VirtAddr;

use crate::bytes::u64_at;
use crate::{Error, Result};

/// What is wanted: the pair behind the common magic.
pub type Id = [u64; 2];

/// The newest base revision that this loader knows, as Limine 7.13 and 8.2.
pub const NEWEST_BASE_REVISION: u64 = 2;

const COMMON_MAGIC: [u64; 2] = [0xc7b1_dd30_df4c_8b88, 0x0a82_e883_a194_f07b];
const BASE_REVISION: [u64; 2] = [0xf956_2b2d_5c95_a6c8, 0x6a7b_3849_4453_6bdc];
const START: [u64; 4] = [
    0xf6b8_f4b3_9de7_d1ae,
    0xfab9_1a69_40fc_b9cf,
    0x785c_6ed0_15d3_e316,
    0x181e_920a_7852_b9d9,
];
const END: [u64; 2] = [0xadc0_e053_1bb1_0d03, 0x9572_709f_3176_4c62];

const WORD: usize = 8;
/// Offsets in a request, in bytes.
const REVISION: usize = 4 * WORD;
const RESPONSE: usize = 5 * WORD;
const MEMBERS: usize = 6 * WORD;

/// The requests in an image.
#[derive(Debug)]
pub struct Requests<'a> {
    image: &'a mut [u8],
    /// Where each begins; as many as Limine takes.
    found: ArrayVec<usize, 128>,
    base_revision: u64,
}

impl<'a> Requests<'a> {
    /// Finds the requests in the first `scanned` bytes of the kernel's image, and
    /// answers the base revision tag: a zero in its last word if the revision is
    /// known, else nothing, and the newest known one applies.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateRequest`], [`Error::DuplicateBaseRevision`],
    /// [`Error::TooManyRequests`].
    pub fn scan(image: &'a mut [u8], scanned: usize) -> Result<Self> {
        let mut found = ArrayVec::<usize, 128>::new();
        let mut tag = None;
        for offset in marked(&image[..scanned]).step_by(WORD) {
            if words_at(image, offset, &BASE_REVISION) {
                if tag.replace(offset + 2 * WORD).is_some() {
                    return Err(Error::DuplicateBaseRevision);
                }
            } else if words_at(image, offset, &COMMON_MAGIC) && offset + MEMBERS <= image.len() {
                let id = id_at(image, offset);
                if found.iter().any(|&other| id_at(image, other) == id) {
                    return Err(Error::DuplicateRequest(id));
                }
                found.try_push(offset).map_err(|_| Error::TooManyRequests)?;
            }
        }
        let mut requests = Self {
            image,
            found,
            base_revision: 0,
        };
        if let Some(tag) = tag
            && let Some(wanted) = u64_at(requests.image, tag)
        {
            requests.base_revision = wanted.min(NEWEST_BASE_REVISION);
            if wanted == requests.base_revision {
                requests.write(tag, 0);
            }
        }
        Ok(requests)
    }

    /// The base revision that applies: 0 if the kernel names none.
    #[must_use]
    pub fn base_revision(&self) -> u64 {
        self.base_revision
    }

    /// The revision of a request, if the kernel made it.
    #[must_use]
    pub fn revision(&self, id: Id) -> Option<u64> {
        u64_at(self.image, self.find(id)? + REVISION)
    }

    /// A request's own member, the first being number 0, if the kernel made it.
    #[must_use]
    pub fn member(&self, id: Id, number: usize) -> Option<u64> {
        u64_at(self.image, self.find(id)? + MEMBERS + number * WORD)
    }

    /// Tells the kernel where the response is, if it made this request.
    pub fn answer(&mut self, id: Id, response: VirtAddr) {
        if let Some(offset) = self.find(id) {
            self.write(offset + RESPONSE, response.as_u64());
        }
    }

    fn find(&self, id: Id) -> Option<usize> {
        self.found
            .iter()
            .copied()
            .find(|&offset| id_at(self.image, offset) == id)
    }

    fn write(&mut self, offset: usize, word: u64) {
        self.image[offset..offset + WORD].copy_from_slice(&word.to_le_bytes());
    }
}

/// Where requests may be: between the markers that are there.
fn marked(image: &[u8]) -> Range<usize> {
    let offsets = (0..image.len()).step_by(WORD);
    let end = offsets
        .clone()
        .find(|&offset| words_at(image, offset, &END));
    let end = end.unwrap_or(image.len());
    let start = offsets.take_while(|&offset| offset < end);
    let start = start
        .filter(|&offset| words_at(image, offset, &START))
        .last();
    start.unwrap_or(0)..end
}

fn words_at(image: &[u8], offset: usize, words: &[u64]) -> bool {
    let mut offsets = (offset..).step_by(WORD);
    words
        .iter()
        .all(|&word| offsets.next().and_then(|at| u64_at(image, at)) == Some(word))
}

fn id_at(image: &[u8], request: usize) -> Id {
    [2, 3].map(|word| u64_at(image, request + word * WORD).unwrap_or(0))
}

#[cfg(test)]
mod tests;
