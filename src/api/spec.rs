//! `spec` of the custom resource: the types that kube-derive turns into the CRD, with every rule as schema or CEL.

// The lint takes the members of several printcolumn attributes for one.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::MtlsHostnameSettingsStatus;

/// What this object wants Cloudflare to do with client certificates, hostname by hostname.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cloudflare-mtls.dev",
    version = "v1alpha1",
    kind = "MtlsHostnameSettings",
    plural = "mtlshostnamesettings",
    singular = "mtlshostnamesettings",
    shortname = "mhs",
    category = "cloudflare",
    namespaced,
    status = "MtlsHostnameSettingsStatus",
    derive = "PartialEq",
    doc = "MtlsHostnameSettings keeps Cloudflare Access mTLS hostname settings in the state that its spec lists, and shows in its status what Cloudflare answered.",
    selectable = ".spec.zoneId",
    selectable = ".spec.accountId",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "True when a read after the last write showed the wanted state"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why Ready is what it is"
    ),
    printcolumn(
        name = "Hostnames",
        type_ = "string",
        json_path = ".status.summary",
        description = "Hostnames in sync of hostnames listed"
    ),
    printcolumn(
        name = "Code",
        type_ = "integer",
        json_path = ".status.lastResponse.errors[0].code",
        description = "First error code of Cloudflare's last answer"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    ),
    printcolumn(
        name = "Zone",
        type_ = "string",
        json_path = ".spec.zoneId",
        description = "Cloudflare zone",
        priority = 1
    ),
    printcolumn(
        name = "Account",
        type_ = "string",
        json_path = ".spec.accountId",
        description = "Cloudflare account",
        priority = 1
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.syncMode",
        description = "Enforce, Warn or Observe; empty means Enforce",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        description = "What happened, and what to do",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.zoneId) != has(self.accountId)").message("set exactly one of zoneId and accountId"),
    validation = Rule::new("has(self.zoneId) == has(oldSelf.zoneId) && (!has(self.zoneId) || self.zoneId == oldSelf.zoneId)").field_path(".zoneId").message("zoneId is immutable: leave it as it was, or delete this object and create one for the other zone"),
    validation = Rule::new("has(self.accountId) == has(oldSelf.accountId) && (!has(self.accountId) || self.accountId == oldSelf.accountId)").field_path(".accountId").message("accountId is immutable: leave it as it was, or delete this object and create one for the other account"),
)]
pub struct MtlsHostnameSettingsSpec {
    /// Id of the Cloudflare zone whose hostname settings this object manages: 32 lower-case hex digits, shown on the
    /// zone's overview page in the dashboard. Set exactly one of `zoneId` and `accountId`. Immutable. No default.
    /// Example: `023e105f4ecef8ad9ca31a8372d0c353`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{32}$')").message("zoneId must be 32 lower-case hex digits, as the zone's overview page in the Cloudflare dashboard shows it"))]
    pub zone_id: Option<String>,

    /// Id of the Cloudflare account whose hostname settings this object manages: 32 lower-case hex digits, shown in the
    /// dashboard's address bar and on the account's home page. Set exactly one of `zoneId` and `accountId`. Immutable.
    /// No default. Example: `699d98642c564d2e855e9661899b7252`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{32}$')").message("accountId must be 32 lower-case hex digits, as the Cloudflare dashboard shows it"))]
    pub account_id: Option<String>,

    /// Where the Cloudflare credential is kept: exactly one of `apiToken` and `globalApiKey`, each naming a Secret in
    /// this object's own namespace. A changed Secret is noticed within a minute. Required.
    /// Example: `{apiToken: {secretKeyRef: {name: cloudflare, key: token}}}`.
    pub credentials: CredentialSource,

    /// The hostnames that this object owns and what each of them shall be: 1 to 1000 entries, each hostname once.
    /// Hostnames that no object lists are never written. Required.
    /// Example: `[{hostname: admin.example.com, clientCertificateForwarding: true}]`.
    #[schemars(length(min = 1, max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["hostname".into()]))]
    pub settings: Vec<HostnameSetting>,

    /// How far the operator goes. `Enforce` writes on a change of this spec and repairs drift; `Warn` writes on a
    /// change of this spec and only reports drift; `Observe` never writes and only reports what differs.
    /// Default: `Enforce`. Example: `Observe`, as the first step of a migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_mode: Option<SyncMode>,

    /// What happens on Cloudflare when a hostname leaves this object, or the object is deleted. `Retain` leaves the
    /// entry as it is; `Reset` turns both of its flags off, the only form of deletion that Cloudflare has. A
    /// hostname that another object lists is handed over instead. `Reset` holds a deleted object with a finalizer until
    /// that is done.
    /// Default: `Retain`. Example: `Reset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// How often Cloudflare is looked at while nothing changes, as hours, minutes and seconds, from `1m` to `24h`.
    /// Default: `10m`. Examples: `90s`, `1h30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(
        validation = Rule::new("self.matches('^([0-9]{1,2}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$') && size(self) > 0 && duration(self) >= duration('1m') && duration(self) <= duration('24h')").message("interval must be a duration from 1m to 24h in hours, minutes and seconds, such as 90s, 10m or 1h30m")
    )]
    pub interval: Option<String>,

    /// `true` stops all requests to Cloudflare for this object until it is `false` again; what is on Cloudflare stays, unless
    /// the object is deleted under `deletionPolicy: Reset`. Default: `false`. Example: `true`, during an incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// The two flags of one hostname.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostnameSetting {
    /// The hostname: a lower-case fully qualified domain name of at most 253 characters without a trailing dot,
    /// optionally with a leading `*.`, inside the zone or account. An internationalised name is written in its `xn--`
    /// form. Required. Examples: `admin.example.com`, `*.example.com`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(r"self.matches('^([*][.])?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$')").message("hostname must be a lower-case domain name such as admin.example.com or *.example.com: at least two labels of 1 to 63 letters, digits and inner hyphens, no trailing dot, no IP address; write international names as xn--"))]
    pub hostname: String,

    /// Whether Cloudflare forwards the visitor's client certificate to the origin, in the request headers
    /// `Cf-Client-Cert-Der-Base64` and `Cf-Client-Cert-Sha256`. Required, since it decides what origins receive.
    /// Example: `true`.
    pub client_certificate_forwarding: bool,

    /// Whether client certificates are also requested on Cloudflare's China network; only for zones that have it.
    /// Default: `false`. Example: `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub china_network: Option<bool>,
}

/// Where the credential comes from: exactly one kind.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.apiToken) != has(self.globalApiKey)").message("set exactly one of credentials.apiToken and credentials.globalApiKey; an API token is the better choice"))]
pub struct CredentialSource {
    /// A Cloudflare API token with the permission `Access: Mutual TLS Certificates Write` for this zone or account
    /// (`Read` is enough with `syncMode: Observe`). Sent as `Authorization: Bearer`. No default.
    /// Example: `{secretKeyRef: {name: cloudflare, key: token}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_token: Option<ApiTokenSource>,

    /// The older scheme, a user's global API key with the user's e-mail address. It can do everything the user can:
    /// prefer `apiToken`. Sent as `X-Auth-Email` and `X-Auth-Key`. No default.
    /// Example: `{email: user@example.com, secretKeyRef: {name: cloudflare, key: api-key}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_api_key: Option<GlobalApiKeySource>,
}

/// An API token in a Secret.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiTokenSource {
    /// The Secret and its key that hold the token. White space around the token is ignored. Required.
    /// Example: `{name: cloudflare, key: token}`.
    pub secret_key_ref: SecretKeyRef,
}

/// A global API key in a Secret, with the e-mail address that belongs to it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.email) != has(self.emailSecretKeyRef)").message("set exactly one of globalApiKey.email and globalApiKey.emailSecretKeyRef"))]
pub struct GlobalApiKeySource {
    /// E-mail address of the user that owns the key. Set exactly one of `email` and `emailSecretKeyRef`. No default.
    /// Example: `user@example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 254))]
    #[x_kube(validation = Rule::new(r"self.matches('^[!-?A-~]+@[!-?A-~]+$')").message("email must be an e-mail address such as user@example.com"))]
    pub email: Option<String>,

    /// The Secret and its key that hold the e-mail address, for those who keep it out of the object. No default.
    /// Example: `{name: cloudflare, key: email}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_secret_key_ref: Option<SecretKeyRef>,

    /// The Secret and its key that hold the API key. White space around the key is ignored. Required.
    /// Example: `{name: cloudflare, key: api-key}`.
    pub secret_key_ref: SecretKeyRef,
}

/// One key of one Secret in the object's own namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of a Secret in this object's namespace; Secrets elsewhere cannot be named. Required.
    /// Example: `cloudflare`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')").message("name must be the name of a Secret: lower-case letters and digits, with hyphens and single dots between them"))]
    pub name: String,

    /// Key inside the Secret's `data`. Required. Example: `token`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[.]?[A-Za-z0-9_-][A-Za-z0-9._-]*$')").message("key must be a key of the Secret, such as token: letters, digits, hyphens, underscores and dots"))]
    pub key: String,
}

/// How far the operator goes.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
// Without this, the line above takes the place of the field's own description in the CRD.
#[schemars(description = "")]
pub enum SyncMode {
    /// Write on a spec change and repair drift.
    #[default]
    Enforce,
    /// Write on a spec change, report drift.
    Warn,
    /// Never write.
    Observe,
}

/// What happens to a hostname's remote entry when the object lets go of it.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
// As above.
#[schemars(description = "")]
pub enum DeletionPolicy {
    /// Leave the remote entry as it is.
    #[default]
    Retain,
    /// Turn both flags off.
    Reset,
}
