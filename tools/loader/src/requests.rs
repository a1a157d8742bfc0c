//! The kernel's requests, which lie anywhere in its loaded image.
//!
//! A request is a row of 64-bit words on a boundary of 8: a magic pair that all
//! requests share, a pair that says what is wanted, the request's revision, room
//! for a pointer to the response, and members of its own. Two markers, if there,
//! tell where to look: after the last start marker, before the first end marker.
//! A base revision tag says which revision of the whole protocol is meant. A kernel
//! of revision 0 may list where its requests are instead, in a section of its own.

use core::ops::Range;

use arrayvec::ArrayVec;
use x86_64::VirtAddr;

use crate::bytes::{string_at, u64_at};
use crate::{Error, Result};

/// What is wanted: the pair behind the common magic.
pub type Id = [u64; 2];

/// The newest base revision that this loader knows.
pub const NEWEST_BASE_REVISION: u64 = 6;

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
    /// The address of its first byte.
    start: u64,
    /// As many as Limine takes.
    found: ArrayVec<Found, 128>,
    base_revision: u64,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    id: Id,
    /// Where it begins.
    offset: usize,
    is_answered: bool,
}

/// An image, and what of it may hold requests.
#[derive(Debug)]
pub struct Image<'a> {
    /// The image; behind what comes from the file it may end early.
    pub bytes: &'a mut [u8],
    /// The address of its first byte.
    pub start: VirtAddr,
    /// How many bytes at its beginning come from the kernel's file.
    pub from_file: usize,
    /// Where the kernel lists its requests, if it does.
    pub list: Option<u64>,
}

impl<'a> Requests<'a> {
    /// Finds the requests in a kernel's image, and answers the base revision tag:
    /// by the revision that applies, and a zero.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateRequest`], [`Error::DuplicateBaseRevision`],
    /// [`Error::BaseRevision`], [`Error::RequestList`], [`Error::TooManyRequests`].
    pub fn scan(image: Image<'a>) -> Result<Self> {
        let marked = marked(&image.bytes[..image.from_file]);
        let mut requests = Self {
            image: image.bytes,
            start: image.start.as_u64(),
            found: ArrayVec::new(),
            base_revision: 0,
        };
        let is_tag = |&offset: &usize| words_at(requests.image, offset, &BASE_REVISION);
        let mut tags = marked.clone().step_by(WORD).filter(is_tag);
        let tag = tags.next();
        if tags.next().is_some() {
            return Err(Error::DuplicateBaseRevision);
        }
        if let Some(tag) = tag
            && let Some(asked) = u64_at(requests.image, tag + 2 * WORD)
        {
            if asked > NEWEST_BASE_REVISION {
                return Err(Error::BaseRevision(asked));
            }
            requests.base_revision = asked;
            requests.write(tag + WORD, asked);
            requests.write(tag + 2 * WORD, 0);
        }
        match image.list {
            Some(list) if requests.base_revision == 0 => requests.add_listed(list)?,
            _ => {
                for offset in marked.step_by(WORD) {
                    if requests.is_request(offset) {
                        requests.add(offset)?;
                    }
                }
            }
        }
        Ok(requests)
    }

    /// Adds the requests of a list, which ends with a zero.
    fn add_listed(&mut self, list: u64) -> Result<()> {
        let word = |number: u64| {
            let address = list.checked_add(number * 8)?;
            u64_at(self.image, self.offset(address)?)
        };
        let mut listed = ArrayVec::<u64, 129>::new();
        for number in 0.. {
            match word(number).ok_or(Error::RequestList)? {
                0 => break,
                address => listed
                    .try_push(address)
                    .map_err(|_| Error::TooManyRequests)?,
            }
        }
        for address in listed {
            let offset = self.offset(address).ok_or(Error::RequestList)?;
            if self.is_request(offset) {
                self.add(offset)?;
            } else if !words_at(self.image, offset, &BASE_REVISION[..1]) {
                return Err(Error::RequestList);
            }
        }
        Ok(())
    }

    fn is_request(&self, offset: usize) -> bool {
        words_at(self.image, offset, &COMMON_MAGIC) && offset + MEMBERS <= self.image.len()
    }

    fn add(&mut self, offset: usize) -> Result<()> {
        let id = [2, 3].map(|word| u64_at(self.image, offset + word * WORD).unwrap_or(0));
        if self.find(id).is_some() {
            return Err(Error::DuplicateRequest(id));
        }
        let found = Found {
            id,
            offset,
            is_answered: false,
        };
        self.found
            .try_push(found)
            .map_err(|_| Error::TooManyRequests)
    }

    /// The base revision that applies: 0 if the kernel names none.
    #[must_use]
    pub fn base_revision(&self) -> u64 {
        self.base_revision
    }

    /// The revision of a request, if the kernel made it.
    #[must_use]
    pub fn revision(&self, id: Id) -> Option<u64> {
        u64_at(self.image, self.find(id)?.offset + REVISION)
    }

    /// A request's own member, the first being number 0, if the kernel made it.
    #[must_use]
    pub fn member(&self, id: Id, number: usize) -> Option<u64> {
        u64_at(self.image, self.find(id)?.offset + MEMBERS + number * WORD)
    }

    /// Tells the kernel where the response is, if it made this request.
    pub fn answer(&mut self, id: Id, response: VirtAddr) {
        if let Some(found) = self.found.iter_mut().find(|found| found.id == id) {
            found.is_answered = true;
            let offset = found.offset + RESPONSE;
            self.write(offset, response.as_u64());
        }
    }

    /// The requests that have no answer, in the order of the image.
    pub fn unanswered(&self) -> impl Iterator<Item = Id> {
        let unanswered = self.found.iter().filter(|found| !found.is_answered);
        unanswered.map(|found| found.id)
    }

    /// The word at an address of the image.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        u64_at(self.image, self.offset(address)?)
    }

    /// The string at an address of the image, without the zero that ends it.
    pub(crate) fn string(&self, address: u64) -> Option<&[u8]> {
        string_at(self.image, self.offset(address)?)
    }

    fn offset(&self, address: u64) -> Option<usize> {
        usize::try_from(address.checked_sub(self.start)?).ok()
    }

    fn find(&self, id: Id) -> Option<Found> {
        self.found.iter().copied().find(|found| found.id == id)
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

#[cfg(test)]
mod tests;
