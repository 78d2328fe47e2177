//! The ways in which people install the operator, each really gone: the chart with Helm 3 and 4, and the plain manifests.

// A failed expectation is how a test fails; the helpers here are tests too, though not marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(missing_docs)]

mod render;
