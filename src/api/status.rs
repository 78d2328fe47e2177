//! `status` of the custom resource: what the operator found and did, bounded and safe to print.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator found and did. Built afresh each time and applied server-side.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MtlsHostnameSettingsStatus {
    /// The `metadata.generation` that this status describes; `-1` until the object was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The last value of the annotation `cloudflare-mtls.dev/reconcile-at` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,

    /// Hostnames in sync of hostnames listed, such as `3/4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,

    /// `Ready` always; `Reconciling`, `Stalled`, `Conflicted`, `Drifted` and `Suspended` only while true; `WholeList` since
    /// Cloudflare was seen to replace the list: every write to the zone or account carries all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Each listed hostname with its state and what Cloudflare has for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["hostname".into()]))]
    pub hostnames: Vec<HostnameStatus>,

    /// What Cloudflare said last: verbatim but bounded, without anything of the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_response: Option<LastResponse>,
}

/// Type of the condition that remembers, across restarts, that writes replace the remote list.
pub(crate) const WHOLE_LIST: &str = "WholeList";

/// One hostname of the object.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostnameStatus {
    /// The hostname, as the spec lists it.
    pub hostname: String,
    /// `Pending`, `InSync`, `Drifted`, `Conflicted`, `Rejected` or `Resetting`; later versions may add more.
    #[schemars(with = "String")]
    pub state: HostnameState,
    /// Whether it was applied for this object, which then owns it as long as it lists it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub applied: bool,
    /// What Cloudflare had at the last read; absent when Cloudflare lists no entry or was not read yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Flags>,
}

/// Where a hostname stands. In the CRD this is an open string, so that later versions can add states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostnameState {
    /// Not proved yet.
    Pending,
    /// A read showed the wanted state.
    InSync,
    /// A read showed another state, and it is not (or not yet) repaired.
    Drifted,
    /// Another object owns the hostname.
    Conflicted,
    /// Cloudflare refused the entry.
    Rejected,
    /// Both flags are being turned off.
    Resetting,
    /// A state that another version of the operator wrote.
    #[serde(untagged)]
    Other(String),
}

impl HostnameState {
    /// The state as it stands in the status.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "Pending",
            Self::InSync => "InSync",
            Self::Drifted => "Drifted",
            Self::Conflicted => "Conflicted",
            Self::Rejected => "Rejected",
            Self::Resetting => "Resetting",
            Self::Other(state) => state,
        }
    }
}

/// The two flags of a hostname on Cloudflare.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flags {
    /// Whether client certificates are forwarded to the origin.
    pub client_certificate_forwarding: bool,
    /// Whether client certificates are requested on the China network.
    pub china_network: bool,
}

/// What Cloudflare answered to the last request that was made for this object.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastResponse {
    /// Method of the request: `GET` or `PUT`.
    pub method: String,
    /// HTTP status code, such as `403`; absent when there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<i32>,
    /// The answer's `success`; `false` when it had none.
    pub success: bool,
    /// Cloudflare's errors, 16 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ResponseMessage>,
    /// Cloudflare's messages, 16 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<ResponseMessage>,
    /// Cloudflare's ray id (`cf-ray`), which its support asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ray_id: Option<String>,
    /// When the answer arrived, or was given up.
    pub time: Time,
}

/// One entry of Cloudflare's `errors` or `messages`.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseMessage {
    /// Cloudflare's numeric code, such as `12036`; absent when the entry had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Cloudflare's text, 1 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where Cloudflare documents this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    /// Which part of the request is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ErrorSource>,
}

/// Which part of the request an error means.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorSource {
    /// JSON pointer into the request body, such as `/settings/0/hostname`.
    pub pointer: String,
}
