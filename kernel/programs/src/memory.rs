//! Memory that a program asks for.

use crate::call::Call;
use crate::{Refused, call};

/// Maps so many bytes, zeros, that can be written to. Returns where.
///
/// # Errors
///
/// If there is no memory.
pub fn map(bytes: u64) -> Result<*mut u8, Refused> {
    let start = call(Call::Map, [bytes, 0, 0])?;
    Ok(core::ptr::with_exposed_provenance_mut(
        usize::try_from(start).unwrap_or(0),
    ))
}

/// Gives back bytes that [`map`] has mapped.
///
/// # Errors
///
/// If they are none of the process's.
///
/// # Safety
///
/// Nothing uses them any more.
pub unsafe fn unmap(start: *mut u8, bytes: u64) -> Result<(), Refused> {
    call(Call::Unmap, [start.addr() as u64, bytes, 0]).map(|_| ())
}
