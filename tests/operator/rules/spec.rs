//! Specs from which the table's rows are made: a right one, and changes to it.

use serde_json::{Value, json};

use super::{Row, Verdict};

const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";
pub(super) const ACCOUNT: &str = "699d98642c564d2e855e9661899b7252";

/// A spec in the making; paths are JSON pointers inside `spec`.
#[derive(Clone)]
pub(super) struct Spec(pub(super) Value);

pub(super) fn zone() -> Spec {
    Spec(json!({
        "zoneId": ZONE,
        "credentials": {"apiToken": {"secretKeyRef": {"name": "cloudflare", "key": "token"}}},
        "settings": [{"hostname": "admin.example.com", "clientCertificateForwarding": true}],
    }))
}

pub(super) fn account() -> Spec {
    zone().without("/zoneId").with("/accountId", ACCOUNT)
}

pub(super) fn global_key() -> Spec {
    let secret = json!({"name": "cloudflare", "key": "api-key"});
    zone().with("/credentials", json!({"globalApiKey": {"email": "user@example.com", "secretKeyRef": secret}}))
}

impl Spec {
    pub(super) fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        let (parent, field) = path.rsplit_once('/').unwrap();
        match self.0.pointer_mut(parent).unwrap() {
            Value::Array(list) => list[field.parse::<usize>().unwrap()] = value.into(),
            parent => parent[field] = value.into(),
        }
        self
    }

    pub(super) fn without(mut self, path: &str) -> Self {
        let (parent, field) = path.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        self
    }

    pub(super) fn listing(self, hostnames: impl IntoIterator<Item = String>) -> Self {
        let entry = |hostname| json!({"hostname": hostname, "clientCertificateForwarding": true});
        self.with("/settings", hostnames.into_iter().map(entry).collect::<Value>())
    }

    pub(super) fn row(self, what: impl Into<String>, verdict: Verdict) -> Row {
        Row { what: what.into(), old: None, spec: self.0, verdict }
    }

    pub(super) fn accepted(self, what: impl Into<String>) -> Row {
        self.row(what, Verdict::Accepted)
    }

    pub(super) fn cel(self, what: impl Into<String>, messages: &'static [&'static str]) -> Row {
        self.row(what, Verdict::Cel(messages))
    }

    pub(super) fn schema(self, what: impl Into<String>, part: &'static str) -> Row {
        self.row(what, Verdict::Schema(part))
    }

    /// One row for each value of one field.
    pub(super) fn each(&self, path: &str, verdict: Verdict, values: &[&str]) -> Vec<Row> {
        let row = |value: &&str| self.clone().with(path, *value).row(format!("{path} {value:?}"), verdict);
        values.iter().map(row).collect()
    }

    pub(super) fn turned_into(self, what: &str, new: Self, verdict: Verdict) -> Row {
        Row { what: format!("update: {what}"), old: Some(self.0), spec: new.0, verdict }
    }
}
