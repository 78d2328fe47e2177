//! A spec that was parsed once into types that cannot be wrong; the only form in which the rest of the crate sees it.

use std::{collections::BTreeMap, fmt, time::Duration};

use thiserror::Error;

use super::{
    spec::{DeletionPolicy, MtlsHostnameSettings, MtlsHostnameSettingsSpec, SecretKeyRef, SyncMode},
    status::Flags,
};

/// How often the remote is looked at when the object does not say.
pub(crate) const SHORTEST_INTERVAL: Duration = Duration::from_secs(60);
pub(crate) const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Which field cannot be used, its value, and what to do. The CRD refuses all of these; objects that were stored under
/// another CRD can still have them.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field.
    pub field: String,
    /// Value and remedy.
    pub problem: String,
}

impl Invalid {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Namespace and name of an object, for logs and messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One remote list: a zone's or an account's. The id is 32 lower-case hex digits, safe as a URL path segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The list as the zone sees it.
    Zone(Id),
    /// The list as the account sees it.
    Account(Id),
}

/// A zone or account id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        if text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(field, format!("{text:?} is not an id of 32 lower-case hex digits")))
        }
    }
}

impl Scope {
    /// A zone, from its id as Cloudflare shows it.
    ///
    /// # Errors
    /// When the id is not 32 lower-case hex digits.
    pub fn zone(id: &str) -> Result<Self, Invalid> {
        Id::parse("spec.zoneId", id).map(Self::Zone)
    }

    /// An account, from its id as Cloudflare shows it.
    ///
    /// # Errors
    /// When the id is not 32 lower-case hex digits.
    pub fn account(id: &str) -> Result<Self, Invalid> {
        Id::parse("spec.accountId", id).map(Self::Account)
    }

    /// `zones` or `accounts`, the first segment of the API path.
    #[must_use]
    pub const fn collection(&self) -> &'static str {
        match self {
            Self::Zone(_) => "zones",
            Self::Account(_) => "accounts",
        }
    }

    /// The id, the second segment of the API path.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Zone(id) | Self::Account(id) => &id.0,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection(), self.id())
    }
}

/// A lower-case fully qualified hostname, optionally with a leading `*.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(String);

impl Hostname {
    /// Parses what a user wrote.
    ///
    /// # Errors
    /// When it is not a lower-case domain name of at least two labels and at most 253 characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let labels: Vec<&str> = text.strip_prefix("*.").unwrap_or(text).split('.').collect();
        if text.len() <= 253 && labels.len() >= 2 && labels.iter().all(|label| is_label(label)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                "spec.settings[].hostname",
                format!("{text:?} is not a lower-case domain name such as admin.example.com or *.example.com"),
            ))
        }
    }

    /// The hostname as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where in a namespace a credential is kept, and of which kind it is. Objects share a request only when this is equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialRef {
    /// The namespace of the object, and so of its Secrets.
    pub namespace: String,
    /// Kind and place.
    pub key: KeyRef,
}

/// Kind and place of a credential inside a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyRef {
    /// An API token.
    ApiToken(SecretKeyRef),
    /// A global API key and the e-mail address of its owner.
    GlobalApiKey {
        /// The key.
        key: SecretKeyRef,
        /// The address, or where it is.
        email: EmailRef,
    },
}

/// An e-mail address in the object, or in a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EmailRef {
    /// As the object has it.
    Inline(String),
    /// In a Secret.
    Secret(SecretKeyRef),
}

/// A spec without contradictions.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidSpec {
    /// The remote list.
    pub scope: Scope,
    /// The credential to use.
    pub credential: CredentialRef,
    /// What each listed hostname shall be.
    pub settings: BTreeMap<Hostname, Flags>,
    /// How far to go.
    pub mode: SyncMode,
    /// What to do when a hostname is let go.
    pub deletion_policy: DeletionPolicy,
    /// How often to look; `None` leaves it to the operator's default.
    pub interval: Option<Duration>,
    /// Whether to leave the object alone.
    pub suspend: bool,
}

impl ValidSpec {
    /// Parses an object that the API server stored.
    ///
    /// # Errors
    /// Names the first field that cannot be used, its value and the remedy.
    pub fn parse(object: &MtlsHostnameSettings) -> Result<Self, Invalid> {
        let spec = &object.spec;
        let namespace = object
            .metadata
            .namespace
            .clone()
            .ok_or_else(|| Invalid::new("metadata.namespace", "the object has no namespace"))?;
        Ok(Self {
            scope: scope(spec)?,
            credential: CredentialRef { namespace, key: key_ref(spec)? },
            settings: settings(spec)?,
            mode: spec.sync_mode.unwrap_or_default(),
            deletion_policy: spec.deletion_policy.unwrap_or_default(),
            interval: spec.interval.as_deref().map(interval).transpose()?,
            suspend: spec.suspend.unwrap_or_default(),
        })
    }
}

fn scope(spec: &MtlsHostnameSettingsSpec) -> Result<Scope, Invalid> {
    match (&spec.zone_id, &spec.account_id) {
        (Some(id), None) => Scope::zone(id),
        (None, Some(id)) => Scope::account(id),
        _ => Err(Invalid::new("spec", "set exactly one of zoneId and accountId")),
    }
}

fn key_ref(spec: &MtlsHostnameSettingsSpec) -> Result<KeyRef, Invalid> {
    match (&spec.credentials.api_token, &spec.credentials.global_api_key) {
        (Some(token), None) => Ok(KeyRef::ApiToken(secret_ref("apiToken.secretKeyRef", &token.secret_key_ref)?)),
        (None, Some(global)) => {
            let email = match (&global.email, &global.email_secret_key_ref) {
                (Some(email), None) if is_email(email) => EmailRef::Inline(email.clone()),
                (Some(email), None) => {
                    let problem = format!("{email:?} is not an e-mail address such as user@example.com");
                    return Err(Invalid::new("spec.credentials.globalApiKey.email", problem));
                }
                (None, Some(reference)) => EmailRef::Secret(secret_ref("globalApiKey.emailSecretKeyRef", reference)?),
                _ => {
                    let problem = "set exactly one of email and emailSecretKeyRef";
                    return Err(Invalid::new("spec.credentials.globalApiKey", problem));
                }
            };
            Ok(KeyRef::GlobalApiKey { key: secret_ref("globalApiKey.secretKeyRef", &global.secret_key_ref)?, email })
        }
        _ => Err(Invalid::new("spec.credentials", "set exactly one of apiToken and globalApiKey")),
    }
}

/// Names become URL path segments of the Kubernetes API, so they are held to what the CRD promises.
fn secret_ref(field: &str, reference: &SecretKeyRef) -> Result<SecretKeyRef, Invalid> {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let name = reference.name.as_bytes();
    let name_ok = (1..=253).contains(&name.len())
        && name.iter().all(|&b| alphanumeric(b) || b == b'.' || b == b'-')
        && name.first().is_some_and(|&b| alphanumeric(b))
        && name.last().is_some_and(|&b| alphanumeric(b));
    if !name_ok {
        let problem = format!("{:?} is not the name of a Secret", reference.name);
        return Err(Invalid::new(format!("spec.credentials.{field}.name"), problem));
    }
    let key = reference.key.as_bytes();
    let key_ok = (1..=253).contains(&key.len())
        && key.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if key_ok {
        Ok(reference.clone())
    } else {
        let problem = format!("{:?} is not a key of a Secret", reference.key);
        Err(Invalid::new(format!("spec.credentials.{field}.key"), problem))
    }
}

/// Deliberately loose: Cloudflare decides which addresses exist. Printable ASCII keeps it safe in a header.
fn is_email(text: &str) -> bool {
    text.len() <= 254
        && text.bytes().all(|b| b.is_ascii_graphic())
        && text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
}

fn settings(spec: &MtlsHostnameSettingsSpec) -> Result<BTreeMap<Hostname, Flags>, Invalid> {
    if !(1..=1000).contains(&spec.settings.len()) {
        let problem = format!("{} entries; list 1 to 1000 hostnames", spec.settings.len());
        return Err(Invalid::new("spec.settings", problem));
    }
    let mut wanted = BTreeMap::new();
    for setting in &spec.settings {
        let hostname = Hostname::parse(&setting.hostname)?;
        let flags = Flags {
            client_certificate_forwarding: setting.client_certificate_forwarding,
            china_network: setting.china_network.unwrap_or_default(),
        };
        if wanted.insert(hostname, flags).is_some() {
            let problem = format!("{:?} is listed twice; keep one entry", setting.hostname);
            return Err(Invalid::new("spec.settings[].hostname", problem));
        }
    }
    Ok(wanted)
}

fn interval(text: &str) -> Result<Duration, Invalid> {
    parse_interval(text).map_err(|problem| Invalid::new("spec.interval", problem))
}

/// Parses hours, minutes and seconds such as `90s`, `10m` or `1h30m`, from 1 minute to 24 hours.
///
/// # Errors
/// Says what was given and what is accepted.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is not a duration from 1m to 24h such as 90s, 10m or 1h30m");
    let mut rest = text;
    let mut total = Duration::ZERO;
    for (unit, seconds) in [('h', 3600_u64), ('m', 60), ('s', 1)] {
        if let Some((digits, tail)) = rest.split_once(unit) {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let count: u64 = digits.parse().ok().filter(|_| plain).ok_or_else(refused)?;
            let part = count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(refused)?;
            total = total.checked_add(part).ok_or_else(refused)?;
            rest = tail;
        }
    }
    if rest.is_empty() && (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&total) { Ok(total) } else { Err(refused()) }
}
