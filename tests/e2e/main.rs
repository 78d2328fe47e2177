//! The operator where it is meant to be: in pods from its real image, installed by Helm from its chart, on a real node.
//!
//! `make e2e` makes the node and runs these tests on it, one after the other: some of them take the node away for a while.

// A failed expectation is how a test fails; the helpers here are tests too, though not marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "what was measured and what a user sees, for who runs the tests")]

mod edits;
mod installed;
mod namespaced;
mod node;
mod packages;
mod replaced;
mod replicas;
mod stage;
mod uninstalled;
