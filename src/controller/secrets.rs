//! Credentials from Secrets: read by name, with a parser of our own, and never kept longer than a round.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use kube::{Client, core::Request};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{
    api::{CredentialRef, EmailRef, KeyRef, Reason, SecretKeyRef},
    cloudflare::{Credential, CredentialError},
    sync::Problem,
};

/// Why a credential could not be had. Names the Secret and its key, never a value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum SecretError {
    #[error("Secret {0} does not exist in this namespace: create it")]
    NotFound(String),
    #[error("the operator may not read Secret {0}: its role needs the verb get on secrets in this namespace")]
    Forbidden(String),
    #[error("Secret {0} could not be read from the Kubernetes API server; trying again")]
    Unreadable(String),
    #[error("Secret {name} has no key {key}: add it, or name another key in spec.credentials")]
    KeyMissing { name: String, key: String },
    #[error("key {key} of Secret {name} {error}")]
    Invalid { name: String, key: String, error: CredentialError },
}

impl From<&SecretError> for Problem {
    fn from(error: &SecretError) -> Self {
        let reason = match error {
            SecretError::NotFound(_) | SecretError::Forbidden(_) | SecretError::Unreadable(_) => Reason::SecretNotFound,
            SecretError::KeyMissing { .. } | SecretError::Invalid { .. } => Reason::SecretInvalid,
        };
        let gone = matches!(error, SecretError::NotFound(_));
        Self { reason, code: None, wait: None, detail: Some(error.to_string()), gone }
    }
}

/// Just what is needed of a Secret. The values are wiped; kube's own type would print them when it is debugged.
#[derive(Deserialize)]
pub struct SecretData {
    kind: String,
    #[serde(default)]
    data: Option<BTreeMap<String, Option<Zeroizing<String>>>>,
}

impl SecretData {
    /// Reads a Secret's JSON; `None` when it is none, whatever else it may be. There is no error, since serde's would quote
    /// what it stumbled over.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().filter(|secret: &Self| secret.kind == "Secret")
    }

    /// The bytes under a key: `None` when there is no such key, `Some(None)` when they are no base64. Go writes no bytes as
    /// `null`, which must not make the other keys unreadable.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Option<Zeroizing<Vec<u8>>>> {
        let encoded = self.data.as_ref()?.get(key)?.as_ref().map_or("", |encoded| encoded.as_str());
        Some(BASE64_STANDARD.decode(encoded).ok().map(Zeroizing::new))
    }
}

/// How long to wait after the API server could not be read from.
pub(super) const PAUSE: Duration = Duration::from_secs(5);
/// Longest that reading a credential may take, two Secrets included.
const DEADLINE: Duration = Duration::from_secs(15);

/// Reads the credential that an object refers to.
pub(super) async fn read(client: &Client, reference: &CredentialRef) -> Result<Credential, SecretError> {
    let (KeyRef::ApiToken(key) | KeyRef::GlobalApiKey { key, .. }) = &reference.key;
    let late = |_| Err(SecretError::Unreadable(key.name.clone()));
    timeout(DEADLINE, read_now(client, reference)).await.unwrap_or_else(late)
}

async fn read_now(client: &Client, reference: &CredentialRef) -> Result<Credential, SecretError> {
    let namespace = &reference.namespace;
    match &reference.key {
        KeyRef::ApiToken(token) => {
            let bytes = value(&fetch(client, namespace, &token.name).await?, token)?;
            Credential::api_token(&bytes).map_err(|error| invalid(token, error))
        }
        KeyRef::GlobalApiKey { key, email } => {
            let secret = fetch(client, namespace, &key.name).await?;
            let address = match email {
                EmailRef::Inline(address) => Zeroizing::new(address.clone().into_bytes()),
                EmailRef::Secret(at) if at.name == key.name => value(&secret, at)?,
                EmailRef::Secret(at) => value(&fetch(client, namespace, &at.name).await?, at)?,
            };
            let bytes = value(&secret, key)?;
            Credential::global_api_key(&address, &bytes).map_err(|error| match (error, email) {
                (CredentialError::NotAnEmail, EmailRef::Secret(at)) => invalid(at, error),
                _ => invalid(key, error),
            })
        }
    }
}

fn invalid(at: &SecretKeyRef, error: CredentialError) -> SecretError {
    SecretError::Invalid { name: at.name.clone(), key: at.key.clone(), error }
}

async fn fetch(client: &Client, namespace: &str, name: &str) -> Result<SecretData, SecretError> {
    let unreadable = || SecretError::Unreadable(name.to_owned());
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    let request = Request::new(path).get(name, &kube::api::GetParams::default()).map_err(|_| unreadable())?;
    // As text: when an answer does not decode, kube's typed calls log it, and the credential with it.
    let text = client.request_text(request).await.map(Zeroizing::new).map_err(|error| match error {
        kube::Error::Api(status) if status.code == 404 => SecretError::NotFound(name.to_owned()),
        kube::Error::Api(status) if status.code == 403 => SecretError::Forbidden(name.to_owned()),
        _ => unreadable(),
    })?;
    SecretData::parse(&text).ok_or_else(unreadable)
}

fn value(secret: &SecretData, at: &SecretKeyRef) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let missing = || SecretError::KeyMissing { name: at.name.clone(), key: at.key.clone() };
    secret.value(&at.key).ok_or_else(missing)?.ok_or_else(|| SecretError::Unreadable(at.name.clone()))
}
