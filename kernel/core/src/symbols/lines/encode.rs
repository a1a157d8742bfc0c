//! Makes a table of lines: on the host, when the kernel was linked.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::super::encode::{EncodeError, append_number, number_of};
use super::{BLOCK, HEAD_BYTES, MAGIC};

/// Where code is from, up to the next row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row<'a> {
    /// Where the code begins, from the start of the text.
    pub start: u32,
    /// The file and the line, which is not 0.
    pub place: Option<(&'a str, u32)>,
}

/// The table of these rows, which come in the order of their addresses. The same rows make the
/// same bytes.
///
/// # Errors
///
/// [`EncodeError`] if they come in another order, or are too many.
pub fn encode(rows: &[Row<'_>]) -> Result<Vec<u8>, EncodeError> {
    let mut rows = rows.to_vec();
    rows.dedup_by(|row, before| row.place == before.place);
    let (paths, numbers) = paths(&rows)?;
    let mut index = Vec::new();
    let mut list = Vec::new();
    let (mut at, mut line, mut file) = (0, 0, 0);
    for (number, row) in rows.iter().enumerate() {
        let starts = number.is_multiple_of(BLOCK);
        if starts {
            index.extend(row.start.to_le_bytes());
            index.extend(number_of(list.len())?.to_le_bytes());
            (at, line) = (row.start, 0);
        }
        let bytes = row.start.checked_sub(at).ok_or(EncodeError)?;
        append_number(&mut list, bytes);
        let (to_file, to_line) = match row.place {
            Some((path, line)) => (numbers[path], line),
            None => (file, 0),
        };
        let is_other = starts || to_file != file;
        let code = signed(to_line, line)?;
        append_number(&mut list, code << 1 | u32::from(is_other));
        if is_other {
            append_number(&mut list, to_file);
        }
        (at, line, file) = (row.start, to_line, to_file);
    }
    let blocks = rows.len().div_ceil(BLOCK);
    let length = HEAD_BYTES + paths.bytes.len() + index.len() + list.len();
    let mut table = MAGIC.to_vec();
    for number in [length, paths.folders, paths.files, blocks] {
        table.extend(number_of(number)?.to_le_bytes());
    }
    for part in [paths.bytes, index, list] {
        table.extend(part);
    }
    Ok(table)
}

/// The difference from `before`, with its sign in the lowest bit. One more bit is still to fit.
fn signed(line: u32, before: u32) -> Result<u32, EncodeError> {
    let (bits, sign) = match line.checked_sub(before) {
        Some(more) => (more, 0),
        None => (before - line - 1, 1),
    };
    if bits >> 30 == 0 {
        Ok(bits << 1 | sign)
    } else {
        Err(EncodeError)
    }
}

/// The paths of a table.
struct Paths {
    folders: usize,
    files: usize,
    /// All that says them.
    bytes: Vec<u8>,
}

/// The paths of all rows, and their numbers.
fn paths<'a>(rows: &[Row<'a>]) -> Result<(Paths, BTreeMap<&'a str, u32>), EncodeError> {
    let mut numbers: BTreeMap<&str, u32> = rows
        .iter()
        .filter_map(|row| Some((row.place?.0, 0)))
        .collect();
    let mut folders: Vec<&str> = Vec::new();
    let (mut folder_ends, mut files) = (Vec::new(), Vec::new());
    let (mut folder_text, mut name_text) = (Vec::new(), Vec::new());
    for (count, (path, number)) in numbers.iter_mut().enumerate() {
        *number = number_of(count)?;
        let (folder, name) = path.split_at(path.rfind('/').map_or(0, |at| at + 1));
        let known = folders.iter().position(|it| *it == folder);
        let known = match known {
            Some(known) => known,
            None => {
                folders.push(folder);
                folder_text.extend(folder.bytes());
                folder_ends.extend(half(folder_text.len())?);
                folders.len() - 1
            }
        };
        name_text.extend(name.bytes());
        files.extend(half(known)?);
        files.extend(half(name_text.len())?);
    }
    let bytes = [folder_ends, files, folder_text, name_text].concat();
    let paths = Paths {
        folders: folders.len(),
        files: numbers.len(),
        bytes,
    };
    Ok((paths, numbers))
}

fn half(number: usize) -> Result<[u8; 2], EncodeError> {
    let number = u16::try_from(number).map_err(|_| EncodeError)?;
    Ok(number.to_le_bytes())
}
