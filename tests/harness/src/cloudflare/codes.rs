//! The error codes that Cloudflare was seen to answer with, each with its usual status and text.

use serde_json::{Value, json};

/// A refusal: the HTTP status, the errors of the envelope and the links of `error_chain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status of the answer.
    pub status: u16,
    /// `errors[]`: code and message.
    pub errors: Vec<(i64, String)>,
    /// `errors[0].error_chain[]`: code and message; empty leaves the member out.
    pub chain: Vec<(i64, String)>,
}

/// The text of a 409 while the former change is still being applied.
pub(super) const STILL_UPDATING: &str = "access.api.error.conflict: previous certificate settings still being updated";

impl Refusal {
    /// A refusal with one error.
    pub fn new(status: u16, code: i64, message: impl Into<String>) -> Self {
        Self { status, errors: vec![(code, message.into())], chain: Vec::new() }
    }

    /// What is known of a code: its usual status and text. Unknown codes are a 400 with a made-up text.
    #[must_use]
    pub fn known(code: i64) -> Self {
        let (status, message) = match code {
            0 => (
                403,
                "Actor 'com.cloudflare.api.token' requires permission 'com.cloudflare.api.account.access.mtls.write'",
            ),
            971 => (429, "Please wait and consider throttling your request speed"),
            1000 => (401, "Invalid API Token"),
            6003 => (400, "Invalid request headers"),
            7000 => (400, "No route for that URI"),
            7003 => (404, "Could not route to that path, perhaps your object identifier is invalid?"),
            9103 => (403, "Unknown X-Auth-Key or X-Auth-Email"),
            9106 => (400, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
            9109 => (403, "Invalid access token"),
            9999 => (403, "access.api.error.not_enabled: access is not enabled"),
            10000 => (403, "Authentication error"),
            10001 => (403, "Method not allowed for this API token"),
            10100 => (429, "Rate limited. Please wait and consider throttling your request speed"),
            10502 => (403, "Too many authentication failures. Please try again later."),
            12036 => (400, "access.api.error.hostnames_must_belong_to_your_domain"),
            12130 => (400, "access.api.error.invalid_request"),
            12132 => (409, STILL_UPDATING),
            12133 => (403, "access.api.error.not_permitted: not permitted for this plan"),
            12135 => (404, "access.api.error.not_found"),
            _ => (400, "an error that only this emulator knows"),
        };
        let mut refusal = Self::new(status, code, message);
        if code == 6003 {
            refusal.chain.push((6111, "Invalid format for Authorization header".to_owned()));
        }
        refusal
    }

    /// The refusal of a request body, with the reason that the emulator saw.
    pub(super) fn invalid(reason: impl std::fmt::Display) -> Self {
        Self::new(400, 12130, format!("access.api.error.invalid_request: {reason}"))
    }

    /// The two errors of a path whose identifier is unknown.
    pub(super) fn no_route(path: &str) -> Self {
        let mut refusal =
            Self::new(404, 7003, format!("Could not route to {path}, perhaps your object identifier is invalid?"));
        refusal.errors.push((7000, "No route for that URI".to_owned()));
        refusal
    }

    /// The same refusal under another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same refusal with another text.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        if let Some((_, text)) = self.errors.first_mut() {
            *text = message.into();
        }
        self
    }

    /// The codes of `errors[]`.
    #[must_use]
    pub fn codes(&self) -> Vec<i64> {
        self.errors.iter().map(|(code, _)| *code).collect()
    }

    /// `errors[]` as JSON.
    pub(super) fn errors_json(&self, always_chain: bool) -> Value {
        let mut errors: Vec<Value> =
            self.errors.iter().map(|(code, message)| json!({"code": code, "message": message})).collect();
        let mut chain: Vec<Value> =
            self.chain.iter().map(|(code, message)| json!({"code": code, "message": message})).collect();
        if chain.is_empty() && always_chain {
            chain.push(json!({"code": 1, "message": "caused by something further down"}));
        }
        if let (false, Some(Value::Object(first))) = (chain.is_empty(), errors.first_mut()) {
            first.insert("error_chain".to_owned(), Value::Array(chain));
        }
        Value::Array(errors)
    }
}
