use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::sync::{index::tests::wish, owners};

const ON: Flags = Flags { client_certificate_forwarding: true, china_network: false };
const OFF: Flags = Flags { client_certificate_forwarding: false, china_network: false };

fn name() -> Hostname {
    Hostname::parse("a.example.com").unwrap()
}

fn response() -> LastResponse {
    LastResponse {
        method: "GET".to_owned(),
        http_status: Some(200),
        success: true,
        errors: Vec::new(),
        messages: Vec::new(),
        ray_id: None,
        time: Time(jiff::Timestamp::UNIX_EPOCH),
    }
}

fn list(flags: Flags) -> RemoteList {
    if flags == OFF { RemoteList::new() } else { RemoteList::from([("a.example.com".to_owned(), flags)]) }
}

fn planned(wish: &Wish, view: &View) -> BTreeMap<Hostname, Flags> {
    plan([wish], &owners([wish], |_, _, _| false), view)
}

fn view(remote: Flags, now: Instant) -> View {
    let mut view = View::default();
    view.read(list(remote), response(), now);
    view
}

#[test]
fn nothing_is_written_before_the_remote_was_read() {
    assert!(planned(&wish("w", &["a.example.com"], &[], 1), &View::default()).is_empty());
}

#[test]
fn an_accepted_entry_is_not_sent_again_until_it_counts_as_lost() {
    let now = Instant::now();
    let wish = wish("w", &["a.example.com"], &[], 1);
    let mut view = view(OFF, now);
    let entries = planned(&wish, &view);
    assert_eq!(entries, BTreeMap::from([(name(), ON)]));
    view.accepted(&entries, |_| false, response(), now);
    view.read(list(OFF), response(), now + Duration::from_secs(59));
    assert!(planned(&wish, &view).is_empty());
    view.read(list(OFF), response(), now + Duration::from_secs(61));
    assert_eq!(planned(&wish, &view), entries);
}

#[test]
fn a_doubted_entry_is_sent_again_after_ten_seconds_without_a_trace() {
    let now = Instant::now();
    let wish = wish("w", &["a.example.com"], &[], 1);
    let mut view = view(OFF, now);
    let entries = planned(&wish, &view);
    view.doubted(&entries, now);
    view.read(list(OFF), response(), now + Duration::from_secs(9));
    assert!(planned(&wish, &view).is_empty());
    view.read(list(OFF), response(), now + Duration::from_secs(11));
    assert_eq!(planned(&wish, &view), entries);
}

#[test]
fn an_entry_that_a_later_write_has_overtaken_is_sent_again() {
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
    let wish = wish("w", &["a.example.com", "b.example.com"], &[], 1);
    let mut view = view(OFF, now);
    let entries = planned(&wish, &view);
    let only =
        |name: &str| entries.iter().filter(|(key, _)| key.as_str() == name).map(|(k, f)| (k.clone(), *f)).collect();
    view.accepted(&only("a.example.com"), |_| false, response(), now);
    view.accepted(&only("b.example.com"), |_| false, response(), later);
    // Under replace the second one has removed the first one.
    let list = RemoteList::from([("b.example.com".to_owned(), ON)]);
    assert_eq!(view.shown(&list, later), Some(later));
    view.read(list, response(), later);
    assert!(planned(&wish, &view).is_empty(), "it may be slow");
    view.arrived(later);
    assert_eq!(planned(&wish, &view), only("a.example.com"));
}

#[test]
fn an_entry_that_somebody_changed_to_something_else_meanwhile_is_sent_again() {
    let now = Instant::now();
    let wish = wish("w", &["a.example.com"], &[], 1);
    let mut view = view(OFF, now);
    let entries = planned(&wish, &view);
    view.accepted(&entries, |_| false, response(), now);
    let theirs = Flags { client_certificate_forwarding: false, china_network: true };
    view.read(list(theirs), response(), now);
    assert_eq!(planned(&wish, &view), entries);
}

#[test]
fn a_write_that_was_revoked_in_the_spec_is_overwritten_though_the_remote_looks_right() {
    let now = Instant::now();
    let mut wish = wish("w", &["a.example.com"], &[], 1);
    let mut view = view(OFF, now);
    view.accepted(&planned(&wish, &view), |_| false, response(), now);
    wish.spec.settings.insert(name(), OFF);
    assert!(!view.is_proved(&list(OFF), &name(), OFF));
    assert_eq!(planned(&wish, &view), BTreeMap::from([(name(), OFF)]));
}

#[test]
fn a_hostname_is_repaired_three_times_an_hour_and_then_left_alone() {
    let now = Instant::now();
    let mut wish = wish("w", &["a.example.com"], &["a.example.com"], 1);
    wish.applied.insert(name(), true);
    let mut view = view(OFF, now);
    for _ in 0..3 {
        let entries = planned(&wish, &view);
        assert_eq!(entries.len(), 1);
        view.accepted(&entries, |_| true, response(), now);
        view.read(list(ON), response(), now);
        view.read(list(OFF), response(), now);
    }
    assert!(view.is_fought_over(&name()) && planned(&wish, &view).is_empty());
    view.read(list(OFF), response(), now + Duration::from_secs(3601));
    assert_eq!(planned(&wish, &view).len(), 1);
}

#[test]
fn modes_decide_whether_a_difference_is_written() {
    let now = Instant::now();
    let mut wish = wish("w", &["a.example.com"], &[], 1);
    let view = view(OFF, now);
    let writes = |wish: &Wish| planned(wish, &view).len();
    for (mode, fresh, drifted) in [(SyncMode::Enforce, 1, 1), (SyncMode::Warn, 1, 0), (SyncMode::Observe, 0, 0)] {
        wish.spec.mode = mode;
        wish.applied.clear();
        assert_eq!(writes(&wish), fresh, "{mode:?}");
        wish.applied.insert(name(), true);
        assert_eq!(writes(&wish), drifted, "{mode:?}");
    }
    wish.spec.mode = SyncMode::Enforce;
    wish.spec.suspend = true;
    assert_eq!(writes(&wish), 0);
}
