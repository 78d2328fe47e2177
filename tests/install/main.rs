//! The ways in which people install the operator, each really gone: the chart with Helm 3 and 4, and the plain manifests.

// A failed expectation is how a test fails; the helpers here are tests too, though not marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "where a long test is, for who runs it with --nocapture")]

mod crd;
mod documents;
mod lifecycle;
mod manifests;
mod oncall;
mod readme;
mod reference;
mod render;
mod site;
mod values;
mod versions;
mod wait;
mod workflows;
