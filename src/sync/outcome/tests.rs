use std::time::Instant;

use super::*;
use crate::{
    api::DeletionPolicy,
    cloudflare::{Failure, Refusal},
    sync::{index::tests::wish, owners},
};

const H: &str = "a.example.com";

fn name(hostname: &str) -> Hostname {
    Hostname::parse(hostname).unwrap()
}

fn answer() -> LastResponse {
    serde_json::from_value(serde_json::json!({
        "method": "GET", "httpStatus": 200, "success": true, "time": "2026-01-01T00:00:00Z",
    }))
    .unwrap()
}

fn seen(remote: &[&str]) -> View {
    let on = Flags { client_certificate_forwarding: true, china_network: false };
    let mut view = View::default();
    view.read(remote.iter().map(|name| ((*name).to_owned(), on)).collect(), answer(), Instant::now());
    view
}

fn trouble(reason: Reason, gone: bool) -> View {
    View { problem: Some(Problem { reason, code: None, wait: None, detail: None, gone }), ..View::default() }
}

/// An object under `Reset` for which its hostname was applied.
fn resetting_wish() -> Wish {
    let mut wish = wish("w", &[H], &[H], 1);
    wish.spec.deletion_policy = DeletionPolicy::Reset;
    wish
}

fn judged(wish: &Wish, view: &View) -> Report {
    report(wish, &owners([wish], |_, _, _| false), |_| None, view)
}

#[test]
fn what_was_let_go_stays_in_view_though_the_first_look_fails_and_no_status_has_it() {
    let mut leaving = resetting_wish().leave(&MtlsHostnameSettingsStatus::default());
    let report = judged(&leaving, &trouble(Reason::CloudflareUnavailable, false));
    assert_eq!((report.hostnames[0].hostname.as_str(), &report.hostnames[0].state), (H, &HostnameState::Resetting));
    assert!(!report.released);
    leaving.learn(&report);
    assert_eq!(leaving.tombstones, [name(H)].into());
}

#[test]
fn an_object_goes_when_its_entries_are_off_or_nothing_is_left_to_turn_off() {
    let leaving = resetting_wish().leave(&MtlsHostnameSettingsStatus::default());
    assert!(!judged(&leaving, &seen(&[H])).released);
    assert!(judged(&leaving, &seen(&[])).released);
    assert!(judged(&leaving, &trouble(Reason::SecretNotFound, true)).released, "its Secret is gone");
    assert!(!judged(&leaving, &trouble(Reason::SecretNotFound, false)).released, "its Secret may not be read");
    assert!(!judged(&leaving, &View { alarm: true, ..seen(&[]) }).released, "a write has harm to mend");
    let mut nothing = wish("w", &[H], &[], 1).leave(&MtlsHostnameSettingsStatus::default());
    nothing.tombstones.clear();
    assert!(judged(&nothing, &trouble(Reason::AuthenticationFailed, false)).released);
}

#[test]
fn a_reset_that_is_refused_says_so_while_its_object_lives() {
    let mut former = resetting_wish();
    let mut wish = wish("w", &["b.example.com"], &["b.example.com"], 1);
    wish.spec.deletion_policy = DeletionPolicy::Reset;
    former.spec.deletion_policy = DeletionPolicy::Reset;
    wish.succeed(&former);
    assert_eq!(wish.tombstones, [name(H)].into());
    let mut view = seen(&[H, "b.example.com"]);
    assert_eq!(judged(&wish, &view).reason, Reason::Resetting);
    let refusal = Refusal { reason: Reason::HostnameNotInScope, code: Some(12036), wait: None };
    let failure = Failure {
        refusal,
        unclear: false,
        detail: None,
        response: LastResponse { method: "PUT".to_owned(), ..answer() },
        left: None,
    };
    view.refused([(name(H), Flags::default())].into(), failure, Instant::now());
    let report = judged(&wish, &view);
    assert_eq!(report.reason, Reason::ResetBlocked);
    assert!(report.message.starts_with(H) && report.message.contains("12036"), "{}", report.message);
    assert_eq!(report.response.unwrap().method, "PUT");
}

#[test]
fn a_claim_that_stands_back_does_not_stop_a_reset() {
    let leaving = resetting_wish().leave(&MtlsHostnameSettingsStatus::default());
    let squatter = wish("squatter", &[H], &[], 2);
    let decide = |stands_back: bool| owners([&leaving, &squatter], move |_, _, _| stands_back);
    let view = seen(&[H]);
    for (stands_back, is_reset) in [(true, true), (false, false)] {
        let owners = decide(stands_back);
        let plan = crate::sync::plan([&leaving], &owners, &view);
        assert_eq!(plan.contains_key(&name(H)), is_reset);
        assert_eq!(report(&leaving, &owners, |_| None, &view).released, !is_reset, "else it is handed over");
    }
}

#[test]
fn a_look_answers_who_asked_before_it_began() {
    let mut wish = wish("w", &[H], &[], 1);
    wish.reconcile_at = Some("2".to_owned());
    wish.looked_at = Some("1".to_owned());
    assert_eq!(judged(&wish, &seen(&[])).handled_reconcile_at.as_deref(), Some("1"));
}
