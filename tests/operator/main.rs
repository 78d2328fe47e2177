//! The operator, driven from outside: a real API server, an emulated Cloudflare, the program as its own process.

// A failed expectation is how a test fails; the helpers here are tests too, though not marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "what was measured, for who runs a test with --nocapture")]

// Tests begin in the order of their names. `busy`, `calm` and `cluster::away` have one each that takes three minutes,
// beside all others.
mod answers;
mod argocd;
mod behaviour;
mod busy;
mod calm;
mod canary;
mod chart;
mod client;
mod cluster;
mod crd;
mod demo;
mod edges;
mod elsewhere;
mod guard;
mod journey;
mod large;
mod lease;
mod namespace;
mod network;
mod objects;
mod oracle;
mod program;
mod properties;
mod reset;
mod rights;
mod rival;
mod rules;
mod scarce;
mod secrets;
mod seeing;
mod sharding;
mod sharing;
mod tenants;
mod trouble;
mod world;
