//! Strings from and to C.

use core::ffi::{CStr, c_char};
use core::fmt;

/// The string at `text`; an empty one if that is NULL, `None` if it is not UTF-8.
///
/// # Safety
///
/// `text` is NULL, or leads to a string that ends in a zero and is valid and not written
/// for ever.
pub unsafe fn read(text: *const c_char) -> Option<&'static str> {
    if text.is_null() {
        return Some("");
    }
    // SAFETY: of the caller.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().ok()
}

/// Room for a string of C: what does not fit is cut, and it always ends in a zero.
pub struct Room<'a> {
    bytes: &'a mut [u8],
    used: usize,
}

impl<'a> Room<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        if let Some(first) = bytes.first_mut() {
            *first = 0;
        }
        Self { bytes, used: 0 }
    }

    /// The `size` bytes at `text`; none if that is NULL.
    ///
    /// # Safety
    ///
    /// `text` is NULL, or so many bytes there are the caller's.
    pub unsafe fn at(text: *mut c_char, size: usize) -> Self {
        if text.is_null() {
            return Self::new(&mut []);
        }
        // SAFETY: of the caller; any bytes are valid, as what is there is only written.
        Self::new(unsafe { core::slice::from_raw_parts_mut(text.cast(), size) })
    }

    /// Writes `value` as it displays itself.
    pub fn show(&mut self, value: &dyn fmt::Display) {
        // What does not fit is cut: no error.
        let _ = fmt::Write::write_fmt(self, format_args!("{value}"));
    }
}

impl fmt::Write for Room<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let free = self.bytes.len().saturating_sub(self.used + 1);
        let kept = text.floor_char_boundary(text.len().min(free));
        if kept > 0 {
            let end = self.used + kept;
            self.bytes[self.used..end].copy_from_slice(&text.as_bytes()[..kept]);
            self.bytes[end] = 0;
            self.used = end;
        }
        Ok(())
    }
}

/// Calls `take` with `value`, as it displays itself, as a string of C.
pub fn with_c_string(value: &dyn fmt::Display, take: impl FnOnce(*const c_char)) {
    let mut bytes = [0; 512];
    Room::new(&mut bytes).show(value);
    take(bytes.as_ptr().cast());
}
