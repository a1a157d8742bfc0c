//! Functions as code: source and instructions, each with its samples. [`meant`] chooses, [`listing`] decodes,
//! [`source`] finds the files, [`counts`] counts, [`text`] shows it in a terminal.

mod counts;
mod listing;
mod meant;
mod source;
mod text;

pub(crate) use counts::annotate;
pub(crate) use listing::{Instruction, Listing, Listings, Syntax};
pub(crate) use meant::Meant;
pub(crate) use source::Sources;
pub(crate) use text::text;
