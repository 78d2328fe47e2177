//! What the tests and the demo run against: a real control plane and an emulated Cloudflare.

pub mod account;
pub mod api_proxy;
pub mod bench;
pub mod canary;
pub mod cloudflare;
pub mod control_plane;
pub mod dashboard;
pub mod demo;
pub mod documents;
pub mod fixture;
pub mod guard;
pub mod helm;
pub mod hosts;
pub mod kubectl;
pub mod manifests;
pub mod operator;
pub mod prometheus;
pub mod shell;
pub mod tools;

mod authority;
mod command;
mod error;
mod gate;

pub use error::{Error, Result};
