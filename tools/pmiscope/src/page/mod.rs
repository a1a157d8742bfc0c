//! One page of HTML that shows a profile: flame graph, functions, callers, a timeline, code. It has
//! all of it in itself and loads nothing, so that it can be kept and sent.
//!
//! `data` says what the page is given, `rows` and `timeline` count it, `pack` makes one text of it,
//! `html` puts that into the page. The page itself is in `web/`: what a person selects there
//! is counted there, from the same rows, so every number is the report's.

mod code;
mod data;
mod html;
mod pack;
mod rows;
mod server;
mod timeline;

pub(crate) use server::{Answer, Request, Server};

use anyhow::Result;

use crate::annotate::{Listings, Sources};
use crate::export::Export;
use crate::report::Report;

/// Returns the page of a profile, or of two: the first is then what the second is compared with.
///
/// # Errors
///
/// Samples cannot be read.
pub(crate) fn page(profiles: &[Shown<'_>]) -> Result<String> {
    html::page(Some(&blob(profiles)?))
}

/// Returns a page that asks for its data, again and again.
///
/// # Errors
///
/// None that data can cause.
pub(crate) fn live() -> Result<String> {
    html::page(None)
}

/// Returns what the page is given, as it is sent to a page that is open.
///
/// # Errors
///
/// Samples cannot be read.
pub(crate) fn blob(profiles: &[Shown<'_>]) -> Result<Vec<u8>> {
    let mut packed = pack::Pack::default();
    for shown in profiles {
        packed.add(data::Data::new(shown)?)?;
    }
    packed.finish()
}

/// A profile, and what it is called.
pub(crate) struct Shown<'a> {
    pub name: String,
    pub export: &'a Export<'a>,
    pub report: &'a Report,
    pub listings: &'a Listings,
    pub sources: &'a Sources<'a>,
}
