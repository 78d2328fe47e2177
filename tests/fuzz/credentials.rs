//! Values of Secrets: what is taken for a credential is one, and does not show itself.

use std::num::NonZeroU32;

use cloudflare_mtls_operator::cloudflare::{Budget, Credential, CredentialError};
use proptest::{collection::vec, prelude::*, prop_oneof, sample::select, test_runner::TestCaseError};

use crate::raw::like;

/// The bytes of two keys of a Secret.
pub(crate) fn values() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let value = || {
        let usual = prop_oneof![
            like("(cfut_|cfat_|cfk_|Bearer |Y2Z1dF|Y2ZhdF|Y2ZrX)?[!-~]{0,60}"),
            like("[0-9a-f]{37}"),
            like("[a-z]{1,10}@[a-z]{1,10}"),
        ];
        let blank = || select(&["", " ", "\n", "\t \r\n", "\u{feff}", "\u{a0}", "\u{c}", "\0"][..]);
        let padded = (blank(), usual, blank()).prop_map(|(before, text, after)| format!("{before}{text}{after}"));
        prop_oneof![4 => padded.prop_map(String::into_bytes), 1 => like("\\PC{0,40}").prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..60)]
    };
    (value(), value())
}

/// What is sent of a value: without the ASCII white space around it.
fn trimmed(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes.trim_ascii()).ok()?;
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then_some(text)
}

pub(crate) fn examine((value, email): &(Vec<u8>, Vec<u8>)) -> Result<(), TestCaseError> {
    let budget = Budget::new(NonZeroU32::MIN);
    let token = Credential::api_token(value);
    if let Some(text) = trimmed(value).filter(|text| !text.starts_with("Bearer ")) {
        let encoded = ["Y2Z1dF", "Y2ZhdF", "Y2ZrX"].iter().any(|prefix| text.starts_with(prefix));
        prop_assert_eq!(token.is_ok(), !encoded && !text.starts_with("cfk_"), "{:?}", token);
        if let Ok(token) = &token {
            let again = Credential::api_token(text.as_bytes()).unwrap();
            prop_assert_eq!(
                budget.fingerprint(token),
                budget.fingerprint(&again),
                "blanks around it make no difference"
            );
            hides(token, text)?;
        }
    } else {
        prop_assert!(token.is_err(), "{:?} is no token", value);
    }
    match Credential::global_api_key(email, value) {
        Ok(key) => {
            let (text, address) = (trimmed(value).unwrap(), trimmed(email).unwrap());
            prop_assert!(address.contains('@'));
            hides(&key, text)?;
            let shown = key.mask(&format!("from {address} to nobody"));
            prop_assert!(!shown.contains(address), "{shown}");
        }
        Err(error) => {
            let said = error.to_string();
            prop_assert!(said.is_ascii() && said.len() < 200, "{said}");
            prop_assert!(
                error != CredentialError::NotAnEmail || trimmed(email).is_some_and(|text| !text.contains('@'))
            );
        }
    }
    Ok(())
}

fn hides(credential: &Credential, text: &str) -> Result<(), TestCaseError> {
    let printed = format!("{credential:?}");
    let shown = credential.mask(&format!("<{text}>"));
    for start in 0..text.len().saturating_sub(7) {
        let piece = &text[start..start + 8];
        prop_assert!(!printed.contains(piece) && !shown.contains(piece), "{piece}: {printed} {shown}");
    }
    Ok(())
}
