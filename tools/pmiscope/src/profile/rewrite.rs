//! Writes a profile again with names in place of the kernel's files.

use std::io::{self, Write};

use super::chunk::{Chunks, Kind, Packed};
use super::names::Names;
use super::read::Profile;
use super::write::ChunkWriter;
use super::{FILE_HEADER, VERSION_OF_NAMES};

impl Profile {
    /// Writes this profile, which is whole, with these names in place of its kernel, the debug files
    /// and the programs. All else stays as it is.
    ///
    /// # Errors
    ///
    /// Those of reading the profile and of writing the other one.
    pub(crate) fn write_with_names<W: Write>(&self, names: &Names, out: W) -> io::Result<W> {
        let mut written = ChunkWriter::new(out, VERSION_OF_NAMES)?;
        let mut chunks = Chunks::new(self.source());
        let mut at = FILE_HEADER;
        while let Some(chunk) = chunks.at(at)? {
            at = chunk.end();
            match chunk.kind {
                Kind::Kernel
                | Kind::KernelPart
                | Kind::DebugFile
                | Kind::DebugFilePart
                | Kind::Names => continue,
                // A file that is cut behind it has all that it had.
                Kind::End => written.pack(Kind::Names, 0, &serde_json::to_vec(names)?)?,
                _ => {}
            }
            let payload = Packed::stored(chunks.stored(&chunk), &chunk)?;
            written.append(chunk.kind, chunk.core, payload)?;
        }
        written.into_output()
    }
}
