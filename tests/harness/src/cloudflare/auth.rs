//! Who is asking, and what they may do: registered tokens and e-mail and key pairs with their rights.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};

use super::codes::Refusal;
use super::scope::Scope;

/// What a credential may do in a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// GET.
    Read,
    /// GET and PUT.
    Write,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Secret {
    Token(String),
    Key { email: String, key: String },
}

/// One registered credential.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: String,
    secret: Secret,
    pub(super) everywhere: Option<Right>,
    pub(super) rights: BTreeMap<Scope, Right>,
    pub(super) revoked: bool,
    /// Refuses every request, whatever the rights say: an address filter, an expiry.
    pub(super) refusal: Option<Refusal>,
}

impl Record {
    pub(super) fn give(&mut self, scope: &Scope, right: Right) {
        self.rights.insert(scope.clone(), right);
    }

    /// Whether a verify endpoint knows this credential: the user's, or that of an account. Tokens without a prefix are
    /// older than the difference and known to both; keys to none.
    pub(super) fn is_verified_at(&self, account: bool) -> bool {
        match &self.secret {
            Secret::Token(token) if token.starts_with("cfat_") => account,
            Secret::Token(token) if token.starts_with("cfut_") => !account,
            Secret::Token(_) => true,
            Secret::Key { .. } => false,
        }
    }

    /// Whether this credential may do a method in a scope.
    pub(super) fn authorise(&self, scope: &Scope, writes: bool) -> Result<(), Refusal> {
        let right = self.rights.get(scope).copied().max(self.everywhere);
        match right {
            None => Err(Refusal::known(10000)),
            Some(Right::Read) if writes => Err(Refusal::known(0).with_message(format!(
                "Actor 'com.cloudflare.api.token.{}' requires permission \
                 'com.cloudflare.api.account.access.mtls.write' to write {scope}",
                self.name
            ))),
            Some(_) => Ok(()),
        }
    }
}

/// All registered credentials.
#[derive(Debug, Default)]
pub(super) struct Register {
    records: Vec<Record>,
    failures: u32,
}

impl Register {
    /// Adds a credential, or finds the one with the same secret. Returns its name.
    pub(super) fn add(&mut self, secret: Secret, name: Option<String>) -> String {
        if let Some(known) = self.records.iter().find(|record| record.secret == secret) {
            return known.name.clone();
        }
        let kind = match secret {
            Secret::Token(_) => "token",
            Secret::Key { .. } => "key",
        };
        let name = name.unwrap_or_else(|| format!("{kind}-{}", self.records.len() + 1));
        self.records.push(Record {
            name: name.clone(),
            secret,
            everywhere: None,
            rights: BTreeMap::new(),
            revoked: false,
            refusal: None,
        });
        name
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Record> {
        self.records.iter_mut().find(|record| record.name == name)
    }

    pub(super) fn all(&self) -> &[Record] {
        &self.records
    }

    /// Finds out who is asking. The name is there even for a credential that is refused, if it is a registered one.
    pub(super) fn identify(&self, headers: &HeaderMap) -> (Option<String>, Result<&Record, Refusal>) {
        let found = if headers.contains_key(AUTHORIZATION) { self.by_token(headers) } else { self.by_key(headers) };
        match found {
            Err(refusal) => (None, Err(refusal)),
            Ok(record) => {
                let verdict = match &record.refusal {
                    _ if record.revoked => Err(Refusal::known(match record.secret {
                        Secret::Token(_) => 9109,
                        Secret::Key { .. } => 9103,
                    })),
                    Some(refusal) => Err(refusal.clone()),
                    None => Ok(record),
                };
                (Some(record.name.clone()), verdict)
            }
        }
    }

    /// Counts refusals in a row; past the limit every further request is refused.
    pub(super) fn count(&mut self, refused: bool, limit: Option<u32>) -> Result<(), Refusal> {
        let Some(limit) = limit else { return Ok(()) };
        if self.failures >= limit {
            self.failures += 1;
            return Err(Refusal::known(10502));
        }
        self.failures = if refused { self.failures + 1 } else { 0 };
        Ok(())
    }

    pub(super) fn forget_failures(&mut self) {
        self.failures = 0;
    }

    fn by_token(&self, headers: &HeaderMap) -> Result<&Record, Refusal> {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        let registered = token.and_then(|token| {
            self.records.iter().find(|record| matches!(&record.secret, Secret::Token(known) if known == token))
        });
        match (registered, token) {
            (Some(record), _) => Ok(record),
            (None, Some(token)) if is_token(token) => Err(Refusal::known(9109)),
            _ => Err(Refusal::known(6003)),
        }
    }

    fn by_key(&self, headers: &HeaderMap) -> Result<&Record, Refusal> {
        let (Some(email), Some(key)) = (headers.get("x-auth-email"), headers.get("x-auth-key")) else {
            return Err(Refusal::known(9106));
        };
        let (email, key) = (email.to_str().unwrap_or_default(), key.to_str().unwrap_or_default());
        let registered = self.records.iter().find(|record| {
            matches!(&record.secret, Secret::Key { email: known, key: secret } if known == email && secret == key)
        });
        let is_known_key =
            self.records.iter().any(|record| matches!(&record.secret, Secret::Key { key: known, .. } if known == key));
        match registered {
            Some(record) => Ok(record),
            None if !email.contains('@') => Err(malformed(6102, "Invalid format for X-Auth-Email header")),
            None if is_known_key || is_key(key) => Err(Refusal::known(9103)),
            None => Err(malformed(6103, "Invalid format for X-Auth-Key header")),
        }
    }
}

fn malformed(code: i64, message: &str) -> Refusal {
    let mut refusal = Refusal::known(6003);
    refusal.chain = vec![(code, message.to_owned())];
    refusal
}

/// Whether a text has the form of an API token: base64 with padding, blanks or a byte order mark do not.
fn is_token(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Whether a text has the form of a global key: 37 hexadecimal digits, or the newer prefix.
fn is_key(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (text.len() == 37 && digits(text)) || text.strip_prefix("cfk_").is_some_and(|rest| !rest.is_empty())
}
