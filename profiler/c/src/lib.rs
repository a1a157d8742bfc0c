//! The sampler for kernels in C: what `pmiscope.h` declares.
//!
//! `types` and `api` are that header, which a test makes of them; `kernel` is the kernel as the
//! sampler sees it, by the caller's functions, `wire` its port; `text` has strings from and to C.
//!
//! `build.sh` makes the library, whose only global symbols are those of the header.

#![cfg_attr(target_os = "none", no_std)]
// There is no heap to put them on.
#![allow(clippy::result_large_err)]

#[cfg(target_os = "none")]
mod api;
#[cfg(target_os = "none")]
mod kernel;
#[cfg(target_os = "none")]
mod text;
#[cfg(target_os = "none")]
mod types;
#[cfg(target_os = "none")]
mod wire;
