//! Writes a profile while the guest runs.

use std::io::{self, Write};

use flate2::Compression;

use super::chunk::{self, Kind};
use super::{Head, MAGIC, RunEnd, VERSION};

/// A profile that grows.
pub struct Writer<W: Write> {
    out: W,
    ordinal: u32,
}

impl<W: Write> Writer<W> {
    /// Starts a profile.
    ///
    /// # Errors
    ///
    /// Those of `out`; a kernel too large for one chunk.
    pub fn new(mut out: W, head: &Head<'_>) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&[0; 4])?;
        let mut writer = Self { out, ordinal: 0 };
        let mut payload = head.description.encode().to_vec();
        serde_json::to_writer(&mut payload, head.host)?;
        writer.chunk(Kind::Head, 0, &payload, Compression::default())?;
        writer.chunk(Kind::Kernel, 0, head.kernel, Compression::default())?;
        Ok(writer)
    }

    /// Appends whole records of `core`.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn samples(&mut self, core: u32, words: &[u64]) -> io::Result<()> {
        let payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.chunk(Kind::Samples, core, &payload, Compression::fast())
    }

    /// Ends the profile and gives back the output.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn finish(mut self, end: &RunEnd) -> io::Result<W> {
        let payload = serde_json::to_vec(end)?;
        self.chunk(Kind::End, 0, &payload, Compression::default())?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn chunk(
        &mut self,
        kind: Kind,
        core: u32,
        payload: &[u8],
        level: Compression,
    ) -> io::Result<()> {
        chunk::write(&mut self.out, (kind, self.ordinal, core), payload, level)?;
        self.ordinal += 1;
        Ok(())
    }
}
