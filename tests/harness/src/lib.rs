//! What the tests and the demo run against: a real control plane and an emulated Cloudflare.

pub mod cloudflare;
