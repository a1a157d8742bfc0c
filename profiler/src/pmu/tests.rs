//! Tests of the parts that touch no register, and of the whole against the model.

mod allocate;
mod checks;
mod cost;
mod counters;
mod detect;
mod encode;
mod fast;
mod ibs;
mod jitter;
mod multiplex;
mod quirks;
mod registers;
mod schedule;
