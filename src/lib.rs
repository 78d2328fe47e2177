//! A Kubernetes operator for Cloudflare Access mTLS hostname settings.

pub mod api;
pub mod cli;
pub mod cloudflare;
pub mod controller;
pub mod ops;
pub mod sync;
