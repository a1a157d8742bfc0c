//! What a page is given, as bytes: the length of a JSON text, the text, then numbers, all compressed
//! by zlib, which browsers unpack.
//!
//! A number is in groups of seven bits, the lowest first, of which each but the last has its top
//! bit set (LEB128).

use std::io::Write as _;

use anyhow::Result;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;

use super::data::{Data, Head};

/// What of it the page's scripts know.
const FORMAT: u32 = 1;

#[derive(Default)]
pub(super) struct Pack {
    profiles: Vec<Packed>,
    numbers: Vec<u8>,
}

#[derive(Serialize)]
struct Packed {
    #[serde(flatten)]
    head: Head,
    columns: Vec<Column>,
}

/// A column, and how many numbers it has.
#[derive(Serialize)]
struct Column(&'static str, usize);

#[derive(Serialize)]
struct Text<'a> {
    format: u32,
    version: &'static str,
    profiles: &'a [Packed],
}

impl Pack {
    /// # Errors
    ///
    /// None yet.
    pub(super) fn add(&mut self, data: Data) -> Result<()> {
        let mut columns = Vec::new();
        for (name, numbers) in data.columns {
            for &number in &numbers {
                self.number(number);
            }
            columns.push(Column(name, numbers.len()));
        }
        self.profiles.push(Packed {
            head: data.head,
            columns,
        });
        Ok(())
    }

    #[allow(clippy::cast_possible_truncation)] // seven bits
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.numbers.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.numbers.push(number as u8);
    }

    /// # Errors
    ///
    /// None that data can cause.
    pub(super) fn finish(self) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(&Text {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION"),
            profiles: &self.profiles,
        })?;
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::new(5));
        packed.write_all(&u32::try_from(text.len())?.to_le_bytes())?;
        packed.write_all(&text)?;
        packed.write_all(&self.numbers)?;
        Ok(packed.finish()?)
    }
}
