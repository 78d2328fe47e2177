//! Objects as they may be stored, also under another schema than today's: what is accepted cannot be wrong, the rest is
//! refused in words.

use std::time::Duration;

use cloudflare_mtls_operator::api::{EmailRef, KeyRef, MtlsHostnameSettings, SecretKeyRef, ValidSpec};
use proptest::{collection::vec, option, prelude::*, prop_oneof, sample::select, test_runner::TestCaseError};
use serde_json::{Map, Value, json};

use crate::raw::{like, values};

fn or_odd(usual: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![12 => usual, 1 => values(), 1 => like("\\PC{0,300}").prop_map(Value::from)].boxed()
}

fn text(form: &str) -> BoxedStrategy<Value> {
    or_odd(like(form).prop_map(Value::from))
}

/// An object with some of these members.
fn members(of: Vec<(&'static str, f64, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let member = |(name, share, value): (&'static str, f64, BoxedStrategy<Value>)| {
        option::weighted(share.min(0.999), value)
            .prop_map(move |value| value.map(|value| (name.to_owned(), value)))
            .boxed()
    };
    let all = of.into_iter().map(member).collect::<Vec<_>>();
    all.prop_map(|members| Value::Object(members.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

fn secret_key_ref() -> BoxedStrategy<Value> {
    or_odd(members(vec![
        ("name", 0.99, text("[a-z0-9.-]{1,20}|[a-z]{1,8}")),
        ("key", 0.99, text("[A-Za-z0-9._-]{1,20}")),
    ]))
}

fn credentials() -> BoxedStrategy<Value> {
    let token = members(vec![("secretKeyRef", 0.99, secret_key_ref())]);
    let global = members(vec![
        ("email", 0.5, text("[a-z]{1,5}@?[a-z.]{0,8}")),
        ("emailSecretKeyRef", 0.5, secret_key_ref()),
        ("secretKeyRef", 0.99, secret_key_ref()),
    ]);
    or_odd(prop_oneof![
        2 => members(vec![("apiToken", 1.0, token.clone())]),
        1 => members(vec![("globalApiKey", 1.0, global.clone())]),
        1 => members(vec![("apiToken", 0.5, token), ("globalApiKey", 0.5, global)]),
    ])
}

pub(crate) fn objects() -> impl Strategy<Value = Value> {
    let flag = || or_odd(any::<bool>().prop_map(Value::from));
    let entry = members(vec![
        ("hostname", 0.99, text("([*][.])?[a-z0-9-]{1,8}([.][a-z0-9-]{1,5}){0,3}|[a-z]{1,4}[.]com")),
        ("clientCertificateForwarding", 0.99, flag()),
        ("chinaNetwork", 0.3, flag()),
    ]);
    let id = || text("[0-9a-f]{32}|[0-9a-fA-F]{31,33}");
    let mode = or_odd(select(vec!["Enforce", "Warn", "Observe", "enforce", ""]).prop_map(Value::from));
    let policy = or_odd(select(vec!["Retain", "Reset", "Delete"]).prop_map(Value::from));
    let ids = prop_oneof![
        3 => id().prop_map(|id| json!({"zoneId": id})),
        2 => id().prop_map(|id| json!({"accountId": id})),
        1 => (id(), id()).prop_map(|(zone, account)| json!({"zoneId": zone, "accountId": account})),
        1 => Just(json!({})),
    ];
    let rest = members(vec![
        ("credentials", 0.99, credentials()),
        ("settings", 0.99, or_odd(vec(entry, 0..5).prop_map(Value::from))),
        ("syncMode", 0.3, mode),
        ("deletionPolicy", 0.3, policy),
        ("interval", 0.3, text("([0-9]{1,2}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?")),
        ("suspend", 0.3, flag()),
        ("addedLater", 0.1, values().boxed()),
    ]);
    let spec = (ids, rest).prop_map(|(mut spec, rest)| {
        if let (Value::Object(spec), Value::Object(rest)) = (&mut spec, rest) {
            spec.extend(rest);
        }
        spec
    });
    let metadata = members(vec![
        ("name", 0.99, text("[a-z]{1,10}")),
        ("namespace", 0.97, text("[a-z]{1,10}")),
        ("generation", 0.9, or_odd(any::<i64>().prop_map(Value::from))),
    ]);
    let metadata =
        prop_oneof![9 => Just(json!({"name": "a", "namespace": "b", "uid": "1", "generation": 1})), 1 => metadata];
    let status = option::weighted(0.2, values());
    let whole = (spec, metadata, status).prop_map(|(spec, metadata, status)| {
        let mut object = json!({
            "apiVersion": "cloudflare-mtls.dev/v1alpha1", "kind": "MtlsHostnameSettings",
            "metadata": metadata, "spec": spec,
        });
        if let Some(status) = status {
            object["status"] = status;
        }
        object
    });
    prop_oneof![19 => whole, 1 => values()]
}

pub(crate) fn examine(object: &Value) -> Result<(), TestCaseError> {
    let Ok(stored) = serde_json::from_value::<MtlsHostnameSettings>(object.clone()) else { return Ok(()) };
    let written = serde_json::to_value(&stored).unwrap();
    let again: MtlsHostnameSettings = serde_json::from_value(written.clone()).unwrap();
    prop_assert_eq!(serde_json::to_value(&again).unwrap(), written);
    match ValidSpec::parse(&stored) {
        Ok(spec) => {
            prop_assert_eq!(&spec, &ValidSpec::parse(&again).unwrap(), "the same once it was stored again");
            is_sound(&spec)
        }
        Err(invalid) => {
            let said = invalid.to_string();
            prop_assert!(said.len() < 2000 && !said.contains(char::is_control), "{said:?}");
            prop_assert!(invalid.field.starts_with("spec") || invalid.field.starts_with("metadata"), "{said}");
            Ok(())
        }
    }
}

/// What the rest of the program takes for granted: nothing in it can turn a path, and nothing is empty or endless.
fn is_sound(spec: &ValidSpec) -> Result<(), TestCaseError> {
    let id = spec.scope.id();
    prop_assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
    prop_assert!((1..=1000).contains(&spec.settings.len()));
    for hostname in spec.settings.keys() {
        let name = hostname.as_str();
        prop_assert!(name.len() <= 253 && name.contains('.') && !name.ends_with('.') && !name.contains(".."), "{name}");
        prop_assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.*".contains(&b)),
            "{name}"
        );
        prop_assert!(!name.trim_start_matches("*.").contains('*'), "{name}");
    }
    if let Some(interval) = spec.interval {
        prop_assert!((Duration::from_secs(60)..=Duration::from_secs(86_400)).contains(&interval));
    }
    let refs: Vec<&SecretKeyRef> = match &spec.credential.key {
        KeyRef::ApiToken(at) => vec![at],
        KeyRef::GlobalApiKey { key, email: EmailRef::Secret(at) } => vec![key, at],
        KeyRef::GlobalApiKey { key, email: EmailRef::Inline(address) } => {
            prop_assert!(address.contains('@') && address.bytes().all(|b| b.is_ascii_graphic()), "{address}");
            vec![key]
        }
    };
    for SecretKeyRef { name, key } in refs {
        prop_assert!(!name.is_empty() && !name.contains("..") && !name.starts_with('.'), "{name}");
        prop_assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)),
            "{name}"
        );
        prop_assert!(!key.is_empty() && !key.contains('/'), "{key}");
    }
    Ok(())
}
