//! The guides for Flux, Argo CD and Secrets, and for when something hangs: their manifests and their commands, tried.
//!
//! Flux' own controllers run as processes against a real API server, with the manifests of `deploy/flux` and
//! `deploy/secrets`. What source-controller and kubelets would do, the tests do: they serve the files, and write into the
//! status of sources and Deployments what is so.

// A failed expectation is how a test fails; the helpers here are tests too, though not marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "what was measured, for who runs a test with --nocapture")]

mod argocd;
mod byhand;
mod cluster;
mod flux;
mod guide;
mod release;
mod repository;
mod secrets;
mod seen;
