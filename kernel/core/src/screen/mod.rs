//! Text on a framebuffer: what a boot loader says of it, and which pixels a text is.
//!
//! Nothing here allocates, and nothing is kept but a [`Cursor`]: a panic draws as well as
//! anything else does.
//!
//! * [`Mode`]: what the boot loader says, of which nothing is believed.
//! * [`Layout`]: what is made of that, or why nothing can be.
//! * [`Surface`]: where the pixels go.
//! * [`write()`], [`write_status`]: the text.

mod format;
mod layout;
mod text;

pub use format::Channel;
pub use layout::{Layout, Mode, Unusable};
pub use text::{Cursor, Surface, clear, write, write_status};

#[cfg(test)]
mod tests;
