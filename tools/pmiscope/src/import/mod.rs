//! Reads a region that has left its machine byte by byte: from a file that has what came, or from
//! a serial port, where what is missing is asked for again.
//!
//! [`arrived`] collects the blocks of a run; [`image`] makes a region of them, which is then read
//! as any other; [`line`] is the port.

mod arrived;
mod image;
mod line;
mod missing;
mod said;

pub use arrived::{Arrived, Blocks};
pub use image::{Image, ImageError};
pub use line::{Line, wait_for};
pub use missing::Missing;
