//! A spec that was parsed once into types that cannot be wrong; the only form in which the rest of the crate sees it.

use std::{borrow::Borrow, fmt, sync::Arc, time::Duration};

use litemap::LiteMap;
use thiserror::Error;

use super::{
    spec::{
        DeletionPolicy, GlobalApiKeySource, MtlsHostnameSettings, MtlsHostnameSettingsSpec, SecretKeyRef, SyncMode,
    },
    status::Flags,
};

/// The bounds of `spec.interval`.
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

    /// The same seen from the object that has the field.
    fn inside(self, parent: impl fmt::Display) -> Self {
        Self { field: format!("{parent}.{}", self.field), ..self }
    }
}

/// A value as it is shown to its author: quoted, on one line, and not longer than a condition message should carry.
fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}... ({} characters)", text.get(..end).unwrap_or_default(), text.chars().count()),
        None => format!("{text:?}"),
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
            let problem = "is not 32 lower-case hex digits; copy it from the Cloudflare dashboard";
            Err(Invalid::new(field, format!("{} {problem}", shown(text))))
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

/// A lower-case fully qualified hostname, optionally with a leading `*.`. Cheap to clone: it is kept in many places.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Parses what a user wrote.
    ///
    /// # Errors
    /// When it is not a lower-case domain name of at least two labels and at most 253 characters, or ends in a label that
    /// starts with a digit, as no top-level domain does and IP addresses do.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let labels: Vec<&str> = text.strip_prefix("*.").unwrap_or(text).split('.').collect();
        let top = labels.last().is_some_and(|label| label.starts_with(|first: char| first.is_ascii_lowercase()));
        if text.len() <= 253 && labels.len() >= 2 && top && labels.iter().all(|label| is_label(label)) {
            Ok(Self(text.into()))
        } else {
            let problem = "is not a lower-case domain name of at most 253 characters, such as admin.example.com or \
                           *.example.com; write international names as xn--";
            Err(Invalid::new("hostname", format!("{} {problem}", shown(text))))
        }
    }

    /// The hostname as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
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

/// What each listed hostname shall be, by hostname: flat, since most objects list a few and there may be many objects.
pub type Settings = LiteMap<Hostname, Flags>;

/// A spec without contradictions.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidSpec {
    /// The remote list.
    pub scope: Scope,
    /// The credential to use; many objects of a scope share it.
    pub credential: Arc<CredentialRef>,
    /// What each listed hostname shall be.
    pub settings: Settings,
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
            credential: Arc::new(CredentialRef { namespace, key: key_ref(spec)? }),
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
        (Some(token), None) => {
            Ok(KeyRef::ApiToken(secret_ref("spec.credentials.apiToken.secretKeyRef", &token.secret_key_ref)?))
        }
        (None, Some(global)) => global_key(global).map_err(|invalid| invalid.inside("spec.credentials")),
        _ => Err(Invalid::new("spec.credentials", "set exactly one of apiToken and globalApiKey")),
    }
}

fn global_key(source: &GlobalApiKeySource) -> Result<KeyRef, Invalid> {
    let email = match (&source.email, &source.email_secret_key_ref) {
        (Some(email), None) if is_email(email) => EmailRef::Inline(email.clone()),
        (Some(email), None) => {
            let problem = format!("{} is not an e-mail address such as user@example.com", shown(email));
            return Err(Invalid::new("globalApiKey.email", problem));
        }
        (None, Some(reference)) => EmailRef::Secret(secret_ref("globalApiKey.emailSecretKeyRef", reference)?),
        _ => return Err(Invalid::new("globalApiKey", "set exactly one of email and emailSecretKeyRef")),
    };
    Ok(KeyRef::GlobalApiKey { key: secret_ref("globalApiKey.secretKeyRef", &source.secret_key_ref)?, email })
}

/// Names become URL path segments of the Kubernetes API, so they are held to what the CRD promises.
fn secret_ref(field: &str, reference: &SecretKeyRef) -> Result<SecretKeyRef, Invalid> {
    let name = &reference.name;
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_part = |part: &[u8]| {
        part.iter().all(|&b| alphanumeric(b) || b == b'-')
            && part.first().is_some_and(|&b| alphanumeric(b))
            && part.last().is_some_and(|&b| alphanumeric(b))
    };
    if name.len() > 253 || !name.as_bytes().split(|&b| b == b'.').all(is_part) {
        let problem = format!("{} is not the name of a Secret, such as cloudflare", shown(name));
        return Err(Invalid::new(format!("{field}.name"), problem));
    }
    let key = &reference.key;
    let key_ok = (1..=253).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && key != "."
        && !key.starts_with("..");
    if key_ok {
        Ok(reference.clone())
    } else {
        Err(Invalid::new(format!("{field}.key"), format!("{} is not a key of a Secret, such as token", shown(key))))
    }
}

/// Deliberately loose: Cloudflare decides which addresses exist. Printable ASCII keeps it safe in a header.
fn is_email(text: &str) -> bool {
    text.len() <= 254
        && text.bytes().all(|b| b.is_ascii_graphic())
        && text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
}

fn settings(spec: &MtlsHostnameSettingsSpec) -> Result<Settings, Invalid> {
    if !(1..=1000).contains(&spec.settings.len()) {
        let problem = format!("{} entries; list 1 to 1000 hostnames", spec.settings.len());
        return Err(Invalid::new("spec.settings", problem));
    }
    let mut wanted = Settings::with_capacity(spec.settings.len());
    for (index, setting) in spec.settings.iter().enumerate() {
        let field = format!("spec.settings[{index}]");
        let hostname = Hostname::parse(&setting.hostname).map_err(|invalid| invalid.inside(&field))?;
        let flags = Flags {
            client_certificate_forwarding: setting.client_certificate_forwarding,
            china_network: setting.china_network.unwrap_or_default(),
        };
        if wanted.insert(hostname, flags).is_some() {
            return Err(Invalid::new(field, format!("{:?} is listed twice; keep one entry", setting.hostname)));
        }
    }
    Ok(wanted)
}

fn interval(text: &str) -> Result<Duration, Invalid> {
    parse_interval(text).map_err(|problem| Invalid::new("spec.interval", problem))
}

/// Parses hours, minutes and seconds such as `90s`, `10m` or `1h30m`.
///
/// # Errors
/// Says what was given and which durations are accepted.
pub fn parse_duration(text: &str, shortest: Duration, longest: Duration) -> Result<Duration, String> {
    let refused = || {
        let (shortest, longest) = (spelt(shortest), spelt(longest));
        format!("{} is not a duration from {shortest} to {longest} such as 90s, 10m or 1h30m", shown(text))
    };
    let mut rest = text;
    let mut total = Duration::ZERO;
    // So many digits reach past 24 hours in each unit, and their sum never overflows.
    for (unit, seconds, digits_at_most) in [('h', 3600, 2), ('m', 60, 4), ('s', 1, 5)] {
        if let Some((digits, tail)) = rest.split_once(unit) {
            let plain = (1..=digits_at_most).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            let count: u64 = digits.parse().ok().filter(|_| plain).ok_or_else(refused)?;
            total += Duration::from_secs(count * seconds);
            rest = tail;
        }
    }
    if rest.is_empty() && (shortest..=longest).contains(&total) { Ok(total) } else { Err(refused()) }
}

/// A bound in the largest unit that fits it.
fn spelt(bound: Duration) -> String {
    match bound.as_secs() {
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// Parses `spec.interval` and the flag that stands in for it: from 1 minute to 24 hours.
///
/// # Errors
/// As [`parse_duration`].
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    parse_duration(text, SHORTEST_INTERVAL, LONGEST_INTERVAL)
}

#[cfg(test)]
mod tests;
