//! Reads a guest that somebody else has started: by the file that backs its memory while it
//! runs, by what is left of that file, or by a dump.
//!
//! [`image`] says what kind of file it is, and where the guest's memory lies in it;
//! [`process`] finds the QEMU that maps it; [`regions`] finds the runs in it and chooses one;
//! [`follow`] watches a guest that runs. A live guest's rings are read in place, since their
//! positions have to be moved; all else is copied, and nothing is written.

mod follow;
mod image;
mod process;
mod regions;

pub use follow::{CUT, FAILED, Guest, NO_REGION};
pub use image::Image;
pub use process::{Process, Seen, find};
pub use regions::{Chosen, Copies, Found, Regions};
