//! What a request is about: a zone or an account, and one entry of its settings list.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A zone or an account, as the first two segments of an API path name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// `accounts/{id}`
    Account(String),
    /// `zones/{id}`
    Zone(String),
}

impl Scope {
    /// The scope of a zone.
    pub fn zone(id: impl Into<String>) -> Self {
        Self::Zone(id.into())
    }

    /// The scope of an account.
    pub fn account(id: impl Into<String>) -> Self {
        Self::Account(id.into())
    }

    /// Reads two path segments such as `zones` and `023e...`.
    #[must_use]
    pub fn from_segments(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "zones" if !id.is_empty() => Some(Self::zone(id)),
            "accounts" if !id.is_empty() => Some(Self::account(id)),
            _ => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "accounts/{id}"),
            Self::Zone(id) => write!(f, "zones/{id}"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('/')
            .filter(|(_, id)| !id.contains('/'))
            .and_then(|(kind, id)| Self::from_segments(kind, id))
            .ok_or_else(|| format!("`{text}` is no scope: write zones/ID or accounts/ID"))
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One entry of the remote list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The hostname, as it was written.
    pub hostname: String,
    /// Whether client certificates are forwarded to the origin.
    #[serde(default)]
    pub client_certificate_forwarding: bool,
    /// Whether client certificates are asked for in China.
    #[serde(default)]
    pub china_network: bool,
}

impl Setting {
    /// An entry with its two flags, in the order in which the operator's resource names them.
    pub fn new(hostname: impl Into<String>, client_certificate_forwarding: bool, china_network: bool) -> Self {
        Self { hostname: hostname.into(), client_certificate_forwarding, china_network }
    }

    /// Both flags off, which the API treats as absent.
    #[must_use]
    pub fn is_all_false(&self) -> bool {
        !self.client_certificate_forwarding && !self.china_network
    }
}
