//! The remote API as far as the operator needs it: one list of hostname settings per zone or account, read and written.
//! `controller` calls it; it knows nothing of Kubernetes.

mod budget;
mod client;
mod credential;
mod error;
mod retry_after;
mod wire;

pub use budget::{Budget, Purpose};
pub use client::{ApiUrl, Client, Failure, Left, Reply};
pub use credential::{Credential, CredentialError, Secretive};
pub(crate) use error::KNOWN_CODES;
pub use error::{Answer, Body, Refusal, interpret};
pub use wire::RemoteList;
