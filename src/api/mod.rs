//! The custom resource as users write it and read it: spec, status, reasons. Everything else in the crate depends on
//! this module; it depends on nothing here.

mod crd;
mod reason;
mod spec;
mod status;
mod valid;

pub use crd::{CRD_NAME, crd, crd_yaml};
pub use reason::{Class, Reason};
pub use spec::{
    ApiTokenSource, CredentialSource, DeletionPolicy, GlobalApiKeySource, HostnameSetting, MtlsHostnameSettings,
    MtlsHostnameSettingsSpec, SecretKeyRef, SyncMode,
};
pub(crate) use status::WHOLE_LIST;
pub use status::{
    ErrorSource, Flags, HostnameState, HostnameStatus, LastResponse, MtlsHostnameSettingsStatus, ResponseMessage,
};
pub use valid::{
    CredentialRef, EmailRef, Hostname, Id, Invalid, KeyRef, ObjectKey, Scope, ValidSpec, parse_duration, parse_interval,
};

/// Name of the field manager under which status is applied.
pub const FIELD_MANAGER: &str = "cloudflare-mtls-operator";

/// Finalizer that an object with `deletionPolicy: Reset` carries until its entries are off.
pub const FINALIZER: &str = "cloudflare-mtls.dev/reset";

/// Annotation that asks for a look at Cloudflare now; any new value counts.
pub const RECONCILE_AT: &str = "cloudflare-mtls.dev/reconcile-at";
