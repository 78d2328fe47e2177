//! Credentials in types that cannot be printed, serialised, cloned or compared, and that are wiped when dropped.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Shortest run of credential bytes that is masked in texts from outside.
const MASK_WINDOW: usize = 8;

/// A secret text: printable ASCII without blanks, safe in a header.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secretive(String);

impl fmt::Debug for Secretive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Most bytes of a credential. Cloudflare's are far shorter: whoever stores more has stored something else.
const LONGEST: usize = 1024;

/// What was wrong with a value from a Secret; never says what the value was.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CredentialError {
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// Longer than any credential.
    #[error("is longer than {LONGEST} characters, as no credential is: store the credential alone")]
    TooLong,
    /// `Bearer TOKEN` was pasted as a whole.
    #[error("starts with \"Bearer \": store the token alone")]
    BearerPrefix,
    /// A byte that no credential has.
    #[error(
        "holds something other than printable ASCII, such as a blank, a line break in the middle or a byte order mark: \
         store the credential alone"
    )]
    NotPrintable,
    /// Encoded once more than a Secret's `data` needs.
    #[error("looks base64-encoded twice: put the plain credential under stringData, or encode it once under data")]
    EncodedTwice,
    /// An API token where a global API key belongs.
    #[error("holds an API token, not a global API key: use credentials.apiToken instead of credentials.globalApiKey")]
    TokenAsKey,
    /// A global API key where an API token belongs.
    #[error("holds a global API key, not an API token: make an API token, or use credentials.globalApiKey")]
    KeyAsToken,
    /// Not an address.
    #[error("is not an e-mail address")]
    NotAnEmail,
}

impl Secretive {
    /// Takes a value as it stands in a Secret. ASCII white space around it is dropped.
    ///
    /// # Errors
    /// When what is left is empty, too long or not printable ASCII.
    pub fn parse(bytes: &[u8]) -> Result<Self, CredentialError> {
        let trimmed = bytes.trim_ascii();
        if trimmed.is_empty() {
            return Err(CredentialError::Empty);
        }
        if trimmed.len() > LONGEST {
            return Err(CredentialError::TooLong);
        }
        if trimmed.starts_with(b"Bearer ") {
            return Err(CredentialError::BearerPrefix);
        }
        match std::str::from_utf8(trimmed) {
            Ok(text) if trimmed.iter().all(u8::is_ascii_graphic) => Ok(Self(text.to_owned())),
            _ => Err(CredentialError::NotPrintable),
        }
    }

    fn header(&self, prefix: &str) -> HeaderValue {
        let mut text = zeroize::Zeroizing::new(String::with_capacity(prefix.len() + self.0.len()));
        text.push_str(prefix);
        text.push_str(&self.0);
        // Printable ASCII was checked in `parse`, so the fallback is never taken; it would only fail to authenticate.
        let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

/// What a request authenticates with.
#[derive(Debug)]
pub enum Credential {
    /// `Authorization: Bearer`.
    ApiToken(Secretive),
    /// `X-Auth-Email` and `X-Auth-Key`.
    GlobalApiKey {
        /// Address of the key's owner.
        email: Secretive,
        /// The key.
        key: Secretive,
    },
}

impl Credential {
    /// An API token, from the bytes of a Secret.
    ///
    /// # Errors
    /// When the bytes cannot be a token, or are recognisably a global API key.
    pub fn api_token(bytes: &[u8]) -> Result<Self, CredentialError> {
        let token = Secretive::parse(bytes)?;
        if token.0.starts_with("cfk_") {
            return Err(CredentialError::KeyAsToken);
        }
        refuse_double_base64(&token)?;
        Ok(Self::ApiToken(token))
    }

    /// A global API key and its owner's address.
    ///
    /// # Errors
    /// When the bytes cannot be a key, are recognisably an API token, or the address is none.
    pub fn global_api_key(email: &[u8], key: &[u8]) -> Result<Self, CredentialError> {
        let key = Secretive::parse(key)?;
        if ["cfut_", "cfat_"].iter().any(|prefix| key.0.starts_with(prefix)) {
            return Err(CredentialError::TokenAsKey);
        }
        refuse_double_base64(&key)?;
        let email = Secretive::parse(email)?;
        if !email.0.contains('@') {
            return Err(CredentialError::NotAnEmail);
        }
        Ok(Self::GlobalApiKey { email, key })
    }

    /// Adds the headers of exactly one scheme, marked sensitive.
    pub(super) fn authenticate(&self, headers: &mut HeaderMap) {
        match self {
            Self::ApiToken(token) => {
                headers.insert(AUTHORIZATION, token.header("Bearer "));
            }
            Self::GlobalApiKey { email, key } => {
                headers.insert(HeaderName::from_static("x-auth-email"), email.header(""));
                headers.insert(HeaderName::from_static("x-auth-key"), key.header(""));
            }
        }
    }

    /// A keyed hash that tells whether two credentials are the same, without keeping either.
    #[must_use]
    pub(super) fn fingerprint(&self, hasher: &RandomState) -> u64 {
        match self {
            Self::ApiToken(token) => hasher.hash_one(("token", &token.0)),
            Self::GlobalApiKey { email, key } => hasher.hash_one(("key", &email.0, &key.0)),
        }
    }

    /// Replaces what looks like a piece of this credential in a text that came from outside. Any eight bytes in a row
    /// count; the e-mail address only as a whole, since half of it is an ordinary domain.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        match self {
            Self::ApiToken(token) => mask_pieces(&token.0, text),
            Self::GlobalApiKey { email, key } => mask_pieces(&key.0, text).replace(email.0.as_str(), "***"),
        }
    }
}

/// The base64 forms of the known prefixes `cfut_`, `cfat_` and `cfk_`.
fn refuse_double_base64(value: &Secretive) -> Result<(), CredentialError> {
    let encoded = ["Y2Z1dF", "Y2ZhdF", "Y2ZrX"].iter().any(|prefix| value.0.starts_with(prefix));
    if encoded { Err(CredentialError::EncodedTwice) } else { Ok(()) }
}

fn mask_pieces(secret: &str, text: &str) -> String {
    if secret.len() <= MASK_WINDOW {
        return text.replace(secret, "***");
    }
    let pieces: std::collections::HashSet<&[u8]> = secret.as_bytes().windows(MASK_WINDOW).collect();
    let mut hidden = vec![false; text.len()];
    for (start, window) in text.as_bytes().windows(MASK_WINDOW).enumerate() {
        if pieces.contains(window) {
            hidden.iter_mut().skip(start).take(MASK_WINDOW).for_each(|h| *h = true);
        }
    }
    let mut masked = String::with_capacity(text.len());
    let mut inside = false;
    for (index, character) in text.char_indices() {
        let hide = hidden.get(index).copied().unwrap_or_default();
        if !hide {
            masked.push(character);
        } else if !inside {
            masked.push_str("***");
        }
        inside = hide;
    }
    masked
}

#[cfg(test)]
#[allow(clippy::string_slice, reason = "the credentials here are ASCII")]
mod tests {
    use super::*;

    const TOKEN: &str = "cfut_4bJ9sXq0VtYwLr7Nf2HkPz8Mc5Ga3De6Ru1";

    fn token() -> Credential {
        Credential::api_token(TOKEN.as_bytes()).unwrap()
    }

    #[test]
    fn white_space_around_a_credential_is_dropped() {
        let padded = Credential::api_token(format!(" \t{TOKEN}\r\n").as_bytes()).unwrap();
        let keys = RandomState::new();
        assert_eq!(padded.fingerprint(&keys), token().fingerprint(&keys));
    }

    #[test]
    fn what_no_credential_can_be_is_refused_before_any_request() {
        let token = |bytes: &[u8]| Credential::api_token(bytes).map(|_| ()).unwrap_err();
        assert_eq!(token(b""), CredentialError::Empty);
        assert_eq!(token(b" \n"), CredentialError::Empty);
        assert_eq!(token(&[b'a'; LONGEST + 1]), CredentialError::TooLong);
        assert_eq!(token(b"two words"), CredentialError::NotPrintable);
        assert_eq!(token(b"line\nbreak"), CredentialError::NotPrintable);
        assert_eq!(token(b"\xef\xbb\xbftoken"), CredentialError::NotPrintable);
        assert_eq!(token(b"\xff\xfe"), CredentialError::NotPrintable);
        assert_eq!(token(b"Bearer abc"), CredentialError::BearerPrefix);
        assert_eq!(token(b"Y2Z1dF80Yko5c1hxMFZ0"), CredentialError::EncodedTwice);
        assert_eq!(token(b"cfk_0123456789"), CredentialError::KeyAsToken);
        let key = |bytes: &[u8]| Credential::global_api_key(b"user@example.com", bytes).map(|_| ()).unwrap_err();
        assert_eq!(key(b"cfut_abc"), CredentialError::TokenAsKey);
        assert_eq!(key(b"cfat_abc"), CredentialError::TokenAsKey);
        assert_eq!(Credential::global_api_key(b"user", b"abc").map(|_| ()).unwrap_err(), CredentialError::NotAnEmail);
    }

    #[test]
    fn a_credential_does_not_print_itself() {
        let key = Credential::global_api_key(b"user@example.com", b"0123456789abcdef").unwrap();
        let printed = format!("{:?} {key:?}", token());
        assert!(!printed.contains("cfut") && !printed.contains("0123") && !printed.contains("user@"), "{printed}");
    }

    #[test]
    fn headers_are_of_one_scheme_and_sensitive() {
        let mut bearer = HeaderMap::new();
        token().authenticate(&mut bearer);
        assert_eq!(bearer.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["authorization"]);
        assert_eq!(bearer[AUTHORIZATION], format!("Bearer {TOKEN}"));
        let mut global = HeaderMap::new();
        Credential::global_api_key(b"user@example.com", b"k").unwrap().authenticate(&mut global);
        let mut names: Vec<_> = global.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["x-auth-email", "x-auth-key"]);
        assert!(bearer.values().chain(global.values()).all(HeaderValue::is_sensitive));
    }

    #[test]
    fn pieces_of_a_credential_are_masked_wherever_they_stand() {
        let masked = token().mask(&format!("token {TOKEN} is bad, see …{} too", &TOKEN[10..20]));
        assert_eq!(masked, "token *** is bad, see …*** too");
        let global = Credential::global_api_key(b"user@example.com", b"0123456789abcdef").unwrap();
        assert_eq!(global.mask("user@example.com admin.example.com 456789ab"), "*** admin.example.com ***");
        assert_eq!(Credential::api_token(b"short").unwrap().mask("a short one"), "a *** one");
    }
}
