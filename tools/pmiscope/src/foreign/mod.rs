//! Profiles that other profilers have recorded: they have names in place of a kernel, and code at
//! addresses that stand for these.

pub(crate) mod folded;
pub(crate) mod perf;
mod table;
mod writer;

pub(crate) use writer::Foreign;
