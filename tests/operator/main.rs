//! The operator, driven from outside: a real API server, an emulated Cloudflare, the program as its own process.

// A failed expectation is how a test fails; the helpers here are tests too, though not marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::print_stdout, reason = "what was measured, for who runs a test with --nocapture")]

mod answers;
mod behaviour;
mod busy;
mod client;
mod crd;
mod demo;
mod guard;
mod journey;
mod large;
mod namespace;
mod objects;
mod program;
mod properties;
mod quiet;
mod reset;
mod rival;
mod rules;
mod secrets;
mod sharing;
mod trouble;
mod world;
