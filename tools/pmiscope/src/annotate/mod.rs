//! Functions as code: source and instructions, each with its samples. [`listing`] decodes,
//! [`source`] finds the files, [`counts`] counts, [`text`] shows it in a terminal.

mod counts;
mod listing;
mod source;
mod text;

pub(crate) use counts::annotate;
pub(crate) use listing::{Instruction, Listing, Listings, Syntax};
pub(crate) use source::Sources;
pub(crate) use text::text;
