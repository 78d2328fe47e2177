//! The remote API as far as the operator needs it: one list of hostname settings per zone or account, read and written.
//! `controller` calls it; it knows nothing of Kubernetes.

mod client;
mod credential;
mod error;
mod limits;
mod retry_after;
mod wire;

pub use client::{ApiUrl, Client, Failure, Read};
pub use credential::{Credential, CredentialError, Secretive};
pub use error::{Answer, Body, Refusal, interpret};
pub use limits::Limits;
pub use wire::RemoteList;
