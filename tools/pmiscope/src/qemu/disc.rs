//! A disc image to boot from, and the drive that it goes into.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What a disc image is for the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Drive {
    /// A CD
    Cd,
    /// A hard disk. What the guest writes to it is forgotten with the run
    Hd,
}

/// A disc image, and its drive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disc {
    pub image: PathBuf,
    pub drive: Drive,
}

/// Why an image cannot be booted from.
#[derive(Debug, Error)]
pub enum DiscError {
    /// Its reason is its source.
    #[error("cannot read the disc image")]
    Read(#[from] io::Error),
    #[error("the disc image is not a file")]
    NotAFile,
    #[error("{0}, not a raw image: qemu-img convert -O raw makes one of it")]
    Format(&'static str),
    #[error(
        "nothing boots from it: it is no CD's image (ISO 9660) and has no boot sector; --disc-as says what it is all the same"
    )]
    NotBootable,
    #[error("the image is empty")]
    Empty,
}

/// Where the first descriptor of an ISO 9660 volume has its name (ECMA-119, 6.2.1 and 8.1.2).
const ISO_NAME: (u64, &[u8]) = (16 * 2048 + 1, b"CD001");
/// The end of a boot sector that a BIOS starts.
const BOOT_SIGNATURE: (u64, &[u8]) = (510, &[0x55, 0xaa]);
/// A GUID partition table's header, in sectors of 512 and of 4096 bytes (UEFI, 5.3.2).
const GPT_HEADERS: [(u64, &[u8]); 2] = [(512, b"EFI PART"), (4096, b"EFI PART")];
/// Images that are not the disc's bytes themselves.
const FORMATS: [((u64, &[u8]), &str); 6] = [
    ((0, b"QFI\xfb"), "a qcow2 image"),
    ((0, b"KDMV"), "a VMDK image"),
    ((0, b"# Disk DescriptorFile"), "a VMDK image's description"),
    ((0x40, &[0x7f, 0x10, 0xda, 0xbe]), "a VDI image"),
    ((0, b"vhdxfile"), "a VHDX image"),
    ((0, b"\x1f\x8b\x08"), "compressed by gzip"),
];

impl Disc {
    /// The image, in the drive that was asked for, or else in a CD drive if it is one's: a
    /// hybrid image is both.
    ///
    /// # Errors
    ///
    /// [`DiscError`] if the machine cannot boot from it.
    pub fn new(image: &Path, wanted: Option<Drive>) -> Result<Self, DiscError> {
        let file = File::open(image)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(DiscError::NotAFile);
        }
        if metadata.len() == 0 {
            return Err(DiscError::Empty);
        }
        for (mark, what) in FORMATS {
            if has(&file, mark)? {
                return Err(DiscError::Format(what));
            }
        }
        let drive = match wanted {
            Some(drive) => drive,
            None => found(&file)?.ok_or(DiscError::NotBootable)?,
        };
        Ok(Self {
            image: image.to_owned(),
            drive,
        })
    }
}

/// The drive that an image is for.
fn found(file: &File) -> io::Result<Option<Drive>> {
    if has(file, ISO_NAME)? {
        return Ok(Some(Drive::Cd));
    }
    for mark in [BOOT_SIGNATURE].into_iter().chain(GPT_HEADERS) {
        if has(file, mark)? {
            return Ok(Some(Drive::Hd));
        }
    }
    Ok(None)
}

/// Returns true if the file has these bytes there.
fn has(file: &File, (offset, mark): (u64, &[u8])) -> io::Result<bool> {
    let mut bytes = vec![0; mark.len()];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(bytes == mark),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// What becomes of an image with these bytes at these places.
    fn disc(marks: &[(u64, &[u8])], wanted: Option<Drive>) -> Result<Drive, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; 1024]).unwrap();
        for (offset, mark) in marks {
            file.as_file().write_all_at(mark, *offset).unwrap();
        }
        let disc = Disc::new(file.path(), wanted).map_err(|error| error.to_string())?;
        assert_eq!(disc.image, file.path());
        Ok(disc.drive)
    }

    #[test]
    fn an_image_goes_into_the_drive_that_it_is_for() {
        let hybrid = [ISO_NAME, BOOT_SIGNATURE];
        for (marks, wanted, expected) in [
            (&[ISO_NAME][..], None, Drive::Cd),
            (&hybrid, None, Drive::Cd),
            (&hybrid, Some(Drive::Hd), Drive::Hd),
            (&[BOOT_SIGNATURE], None, Drive::Hd),
            (&[BOOT_SIGNATURE], Some(Drive::Cd), Drive::Cd),
            (&GPT_HEADERS[..1], None, Drive::Hd),
            (&GPT_HEADERS[1..], None, Drive::Hd),
            (&[], Some(Drive::Hd), Drive::Hd),
        ] {
            assert_eq!(disc(marks, wanted), Ok(expected), "{marks:x?} {wanted:?}");
        }
    }

    #[test]
    fn what_the_machine_cannot_boot_from_is_refused_by_name() {
        let said = disc(&[], None).unwrap_err();
        assert!(said.contains("nothing boots from it"), "{said}");
        for (mark, what) in FORMATS {
            let said = disc(&[mark, BOOT_SIGNATURE], Some(Drive::Hd)).unwrap_err();
            assert!(
                said.starts_with(what) && said.contains("qemu-img convert"),
                "{said}"
            );
        }
        let empty = tempfile::NamedTempFile::new().unwrap();
        let said = Disc::new(empty.path(), Some(Drive::Cd))
            .unwrap_err()
            .to_string();
        assert_eq!(said, "the image is empty");
    }
}
