//! Secrets as the API server sends them, and as nobody should: read by a parser of our own, held against the usual one.

use base64::{Engine, prelude::BASE64_STANDARD};
use cloudflare_mtls_operator::controller::SecretData;
use k8s_openapi::api::core::v1::Secret;
use proptest::{
    collection::vec,
    prelude::*,
    prop_oneof,
    sample::{Index, select},
    test_runner::TestCaseError,
};
use serde_json::{Map, Value, json};

use crate::raw::{like, values};

const KEYS: &[&str] = &["token", "api-key", "email", "", "data", "\u{1f511}"];

pub(crate) fn texts() -> impl Strategy<Value = String> {
    let encoded = vec(any::<u8>(), 0..40).prop_map(|bytes| BASE64_STANDARD.encode(bytes));
    let value = prop_oneof![
        6 => encoded.prop_map(Value::from),
        2 => like("[A-Za-z0-9+/_=-]{0,20}").prop_map(Value::from),
        1 => like("\\PC{0,10}").prop_map(Value::from),
        1 => values(),
    ];
    let data = vec((select(KEYS), value), 0..4)
        .prop_map(|members| members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>());
    let data = prop_oneof![9 => data.prop_map(Value::from), 1 => values()];
    let whole = (data, any::<bool>(), values()).prop_map(|(data, is_usual, other)| {
        let metadata = if is_usual { json!({"name": "cloudflare", "uid": "1", "managedFields": []}) } else { other };
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}).to_string()
    });
    // Cut off, with a member twice, or one letter wrong.
    let damaged = (whole, 0..8_u8, any::<Index>(), any::<char>()).prop_map(|(text, damage, place, letter)| {
        let place = (0..=place.index(text.len() + 1)).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(0);
        let (before, after) = text.split_at(place);
        match damage {
            0 => before.to_owned(),
            1 => format!("{before}{letter}{after}"),
            2 => text.replacen("\"type\"", "\"data\":{\"token\":\"YWJj\"},\"type\"", 1),
            3 => format!("{text}{text}"),
            _ => text,
        }
    });
    prop_oneof![8 => damaged, 1 => values().prop_map(|value| value.to_string()), 1 => like("\\PC{0,60}")]
}

#[allow(clippy::ptr_arg, reason = "what a strategy gives")]
pub(crate) fn examine(text: &String) -> Result<(), TestCaseError> {
    let Some(secret) = SecretData::parse(text) else {
        // Which of two `data` is meant nobody can know; and the usual decoder takes what says nothing of its kind.
        let is_clear = text.matches("\"data\":").count() < 2
            && serde_json::from_str::<Value>(text).is_ok_and(|value| value["kind"] == "Secret");
        prop_assert!(!is_clear || serde_json::from_str::<Secret>(text).is_err(), "a Secret that others can read");
        return Ok(());
    };
    let usual = serde_json::from_str::<Secret>(text).ok();
    for key in KEYS {
        let value = secret.value(key);
        if let Some(usual) = &usual {
            let expected = usual.data.as_ref().and_then(|data| data.get(*key)).map(|bytes| bytes.0.clone());
            let found = value.map(|bytes| bytes.map(|bytes| bytes.to_vec()));
            prop_assert_eq!(found, expected.map(Some), "{}", key);
        }
    }
    Ok(())
}
