//! What is said to people: what happened and what to do.

use super::Problem;
use crate::{
    api::{ObjectKey, Reason},
    sync::{Owners, Wish},
};

pub(super) fn conflict_message(wish: &Wish, owners: &Owners, holder: impl Fn(&str) -> Option<ObjectKey>) -> String {
    let lost = wish.spec.settings.keys().find_map(|hostname| {
        let owner = owners.get(hostname).filter(|owner| owner.uid != wish.uid)?;
        Some((hostname, holder(&owner.uid)))
    });
    match lost {
        // The name of an object elsewhere is none of this tenant's business.
        Some((hostname, Some(key))) if key.namespace == wish.key.namespace => {
            format!("{hostname} belongs to {}: remove it there, or here", key.name)
        }
        Some((hostname, _)) => {
            format!("{hostname} belongs to an object in another namespace: remove it there, or here")
        }
        None => "a hostname belongs to another object".to_owned(),
    }
}

pub(super) fn problem_message(problem: &Problem, wish: &Wish) -> String {
    let text = refusal_message(problem.reason, problem.code);
    match (&problem.detail, problem.reason) {
        (Some(detail), Reason::SecretNotFound | Reason::SecretInvalid) => detail.clone(),
        (Some(detail), _) => format!("{text}: {detail}"),
        (None, Reason::AuthenticationFailed | Reason::PermissionDenied) => {
            format!("{text}; the credential comes from Secret {}", secret_name(wish))
        }
        (None, _) => text,
    }
}

fn secret_name(wish: &Wish) -> &str {
    use crate::api::KeyRef::{ApiToken, GlobalApiKey};
    match &wish.spec.credential.key {
        ApiToken(key) | GlobalApiKey { key, .. } => &key.name,
    }
}

/// What happened and what to do, per reason; the table in docs/reference.md says the same at more length.
pub(super) fn refusal_message(reason: Reason, code: Option<i64>) -> String {
    let text = match reason {
        Reason::RemoteBusy => "Cloudflare is still applying earlier settings; trying again",
        Reason::RateLimited => "Cloudflare limits the requests of this credential; trying again when it allows",
        Reason::CloudflareUnavailable => "Cloudflare gave no usable answer; trying again",
        Reason::ConnectionFailed => "Cloudflare was not reached; trying again",
        Reason::AuthenticationFailed => {
            "Cloudflare does not accept the credential: check that it exists, is active, has not expired and may be used \
             from this address, then update the Secret"
        }
        Reason::PermissionDenied => {
            "the credential lacks the permission Access: Mutual TLS Certificates Write for this zone or account"
        }
        Reason::ScopeNotFound => {
            "Cloudflare knows no such zone or account, or hides it from this credential: check the id"
        }
        Reason::NotEntitled => "Access with mutual TLS is not enabled for this account or not part of its plan",
        Reason::HostnameNotInScope => {
            "it lies outside this zone or account: remove it, or list it in an object for the zone that it is in"
        }
        Reason::Rejected => "Cloudflare refused the entry: see status.lastResponse.errors",
        other => return other.to_string(),
    };
    match code {
        Some(code) => format!("{text} (Cloudflare code {code})"),
        None => text.to_owned(),
    }
}
