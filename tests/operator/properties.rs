//! What holds for every answer, however odd, for every text around a credential and for every delay.

mod raw;

use std::{collections::BTreeSet, time::Duration};

use cloudflare_mtls_operator::{
    api::{Class, Flags, Reason},
    cloudflare::Credential,
    sync,
};
use jiff::Timestamp;
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    sample::{Index, select},
    strategy::ValueTree,
    test_runner::TestRunner,
};
use reqwest::{Method, header::HeaderMap};
use serde_json::json;

use raw::{Raw, enveloped, examine, like, raw, values};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_generated_answers_reach_both_verdicts_and_every_reason_that_an_answer_can_have() {
    let mut runner = TestRunner::deterministic();
    let strategy = enveloped();
    let (mut reasons, mut lists) = (BTreeSet::new(), 0);
    for _ in 0..1500 {
        let answer = strategy.new_tree(&mut runner).unwrap().current().answer(&Method::GET);
        match answer.verdict {
            Ok(list) => lists += usize::from(!list.is_empty()),
            Err(refusal) => drop(reasons.insert(refusal.reason)),
        }
    }
    assert!(lists >= 20, "{lists}");
    assert_eq!(reasons.len(), 9, "{reasons:?}");
}

/// Text around a credential, with pieces of it in between.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Whole,
    Part(Index, Index),
    Email,
}

fn tokens() -> impl Strategy<Value = String> {
    let old = like("[A-Za-z0-9_-]{8,40}")
        .prop_filter("cannot be a token", |token| Credential::api_token(token.as_bytes()).is_ok());
    prop_oneof![like("cfut_[A-Za-z0-9_-]{4,60}"), like("cfat_[A-Za-z0-9]{40}"), old, like("[ab]{8,30}")]
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let text = prop_oneof![
        Just(String::new()),
        like("\\PC{0,12}"),
        like("[A-Za-z0-9_@.-]{0,12}"),
        vec(any::<char>(), 0..6).prop_map(String::from_iter),
    ];
    let part = (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Piece::Part(from, to));
    vec(prop_oneof![text.prop_map(Piece::Text), Just(Piece::Whole), part, Just(Piece::Email)], 0..12)
}

fn assemble(pieces: &[Piece], secret: &str, email: &str) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Whole => secret.to_owned(),
        Piece::Email => email.to_owned(),
        Piece::Part(from, to) => {
            let (from, to) = (from.index(secret.len() + 1), to.index(secret.len() + 1));
            secret[from.min(to)..from.max(to)].to_owned()
        }
    };
    pieces.iter().map(piece).collect()
}

fn slices(secret: &str) -> impl Iterator<Item = &str> {
    (0..secret.len().saturating_sub(7)).map(|start| &secret[start..start + 8])
}

/// First delay and longest one, in seconds.
fn limits(reason: Reason) -> (u32, u32) {
    match reason {
        Reason::RemoteBusy => (2, 60),
        Reason::CloudflareUnavailable | Reason::ConnectionFailed => (1, 300),
        Reason::SecretNotFound => (5, 30),
        _ if reason.class() == Class::Stalled => (300, 3600),
        _ => (1, 60),
    }
}

fn jitters() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![3 => 0.0..1.0, 1 => POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes_are_understood_within_bounds(raw in raw(vec(any::<u8>(), 0..300))) {
        examine(&raw)?;
    }

    #[test]
    fn any_json_is_understood_within_bounds(raw in raw(values().prop_map(|value| value.to_string().into_bytes()))) {
        examine(&raw)?;
    }

    #[test]
    fn envelopes_are_understood_within_bounds_whatever_their_members_and_however_damaged(raw in enveloped()) {
        examine(&raw)?;
    }

    #[test]
    fn a_list_of_settings_is_read_as_it_was_written(
        written in btree_map(like("[a-z]{1,6}\\.[a-z]{2,3}"), any::<(bool, bool)>(), 0..20),
        status in 200..300_u16,
    ) {
        let entry = |(hostname, (forwarding, china)): (&String, &(bool, bool))| json!({
            "hostname": hostname, "client_certificate_forwarding": forwarding, "china_network": china,
        });
        let body = json!({"success": true, "errors": [], "result": written.iter().map(entry).collect::<Vec<_>>()});
        let body = Some(body.to_string().into_bytes());
        let answer = Raw { status, headers: HeaderMap::new(), body, now: Timestamp::UNIX_EPOCH }.answer(&Method::GET);
        let flags = |(forwarding, china)| Flags { client_certificate_forwarding: forwarding, china_network: china };
        let expected = written.into_iter().map(|(hostname, pair)| (hostname, flags(pair)));
        prop_assert_eq!(answer.verdict, Ok(expected.filter(|(_, flags)| *flags != Flags::default()).collect()));
    }

    #[test]
    fn nothing_of_a_token_survives_masking(
        token in tokens(),
        pieces in pieces(),
    ) {
        let credential = Credential::api_token(token.as_bytes()).unwrap();
        let text = assemble(&pieces, &token, "user@example.com");
        let masked = credential.mask(&text);
        for slice in slices(&token) {
            prop_assert!(!masked.contains(slice), "{slice:?} is left in {masked:?}");
        }
        if !slices(&token).any(|slice| text.contains(slice)) {
            prop_assert_eq!(&masked, &text, "masked although nothing was there");
        }
        prop_assert!(masked.len() <= text.len());
    }

    #[test]
    fn nothing_of_a_global_key_and_its_address_survives_masking(
        key in prop_oneof![like("[0-9a-f]{37}"), like("cfk_[A-Za-z0-9]{8,40}")],
        email in like("[a-z]{1,10}@[a-z]{1,8}\\.(com|dev)"),
        pieces in pieces(),
    ) {
        let credential = Credential::global_api_key(email.as_bytes(), key.as_bytes()).unwrap();
        let masked = credential.mask(&assemble(&pieces, &key, &email));
        for slice in slices(&key).chain([email.as_str()]) {
            prop_assert!(!masked.contains(slice), "{slice:?} is left in {masked:?}");
        }
    }

    #[test]
    fn a_delay_is_never_zero_never_past_its_cap_and_grows(
        reason in select(Reason::ALL),
        failures in prop_oneof![0..20_u32, any::<u32>()],
        jitter in jitters(),
    ) {
        let (first, cap) = limits(reason);
        let delay = |failures, jitter| sync::delay(reason, failures, None, jitter);
        let waited = delay(failures, jitter);
        prop_assert!(waited * 2 >= SECOND * first && waited <= SECOND * cap, "{waited:?}");
        prop_assert!(waited >= delay(failures, 0.0) && waited <= delay(failures, 1.0));
        prop_assert_eq!(delay(failures, 0.0) * 2, delay(failures, 1.0));
        prop_assert!(delay(failures, 0.0) <= delay(failures.saturating_add(1), 0.0));
    }

    #[test]
    fn what_cloudflare_told_us_to_wait_is_never_cut_short(
        reason in select(Reason::ALL),
        failures in any::<u32>(),
        wait in (1_000..=900_000_u64).prop_map(Duration::from_millis),
        jitter in jitters(),
    ) {
        let waited = sync::delay(reason, failures, Some(wait), jitter);
        prop_assert!(waited >= wait && waited <= wait + SECOND, "{waited:?} after being told {wait:?}");
    }
}
