use proptest::{prelude::*, sample::subsequence};

use super::*;
use crate::api::{CredentialRef, KeyRef, Scope, SecretKeyRef};

const NAMES: [&str; 4] = ["a.example.com", "b.example.com", "*.example.com", "c.example.com"];

fn hostnames(names: &[&str]) -> BTreeSet<Hostname> {
    names.iter().map(|name| Hostname::parse(name).unwrap()).collect()
}

/// An object of this name that lists these hostnames, and for which some of them were applied.
pub(crate) fn wish(name: &str, listed: &[&str], established: &[&str], created: i64) -> Wish {
    let secret = SecretKeyRef { name: "cloudflare".to_owned(), key: "token".to_owned() };
    let flags = Flags { client_certificate_forwarding: true, china_network: false };
    Wish {
        key: ObjectKey { namespace: "team".to_owned(), name: name.to_owned() },
        uid: format!("uid-{name}").into(),
        generation: 1,
        created: Some(Timestamp::from_second(created).unwrap()),
        spec: ValidSpec {
            scope: Scope::zone("023e105f4ecef8ad9ca31a8372d0c353").unwrap(),
            credential: CredentialRef { namespace: "team".to_owned(), key: KeyRef::ApiToken(secret) }.into(),
            settings: hostnames(listed).into_iter().map(|hostname| (hostname, flags)).collect(),
            mode: SyncMode::Enforce,
            deletion_policy: DeletionPolicy::Retain,
            interval: None,
            suspend: false,
        },
        applied: hostnames(established).into_iter().map(|hostname| (hostname, false)).collect(),
        previous: Arc::new([]),
        reconcile_at: None,
        looked_at: None,
        tombstones: BTreeSet::new(),
        whole_list: false,
        leaving: false,
    }
}

fn nobody(_: &Wish, _: &Hostname, _: Flags) -> bool {
    false
}

fn owner(wishes: &[Wish], hostname: &str, stands_back: impl Fn(&Wish, &Hostname, Flags) -> bool) -> Option<String> {
    owners(wishes, stands_back).get(hostname).map(|owner| owner.uid.to_string())
}

#[test]
fn an_established_claim_wins_over_an_older_one() {
    let wishes = [wish("old", &["a.example.com"], &[], 1), wish("new", &["a.example.com"], &["a.example.com"], 2)];
    assert_eq!(owner(&wishes, "a.example.com", nobody).unwrap(), "uid-new");
}

#[test]
fn an_established_claim_ends_when_the_hostname_is_not_listed_any_more() {
    let wishes = [wish("old", &["b.example.com"], &["a.example.com"], 1), wish("new", &["a.example.com"], &[], 2)];
    assert_eq!(owner(&wishes, "a.example.com", nobody).unwrap(), "uid-new");
}

#[test]
fn among_claims_never_applied_the_oldest_wins_then_the_first_by_name() {
    let wishes = [wish("a", &["a.example.com"], &[], 2), wish("b", &["a.example.com"], &[], 1)];
    assert_eq!(owner(&wishes, "a.example.com", nobody).unwrap(), "uid-b");
    let wishes = [wish("b", &["a.example.com"], &[], 1), wish("a", &["a.example.com"], &[], 1)];
    assert_eq!(owner(&wishes, "a.example.com", nobody).unwrap(), "uid-a");
}

#[test]
fn a_refused_claim_that_was_never_applied_stands_back_and_an_applied_one_does_not() {
    let refused = |wish: &Wish, _: &Hostname, _: Flags| wish.key.name == "old";
    let wishes = [wish("old", &["a.example.com"], &[], 1), wish("new", &["a.example.com"], &[], 2)];
    assert_eq!(owner(&wishes, "a.example.com", refused).unwrap(), "uid-new");
    let wishes = [wish("old", &["a.example.com"], &["a.example.com"], 1), wish("new", &["a.example.com"], &[], 2)];
    assert_eq!(owner(&wishes, "a.example.com", refused).unwrap(), "uid-old");
    let alone = [wish("old", &["a.example.com"], &[], 1)];
    assert_eq!(owner(&alone, "a.example.com", refused).unwrap(), "uid-old");
}

#[test]
fn a_wildcard_and_a_name_under_it_are_different_entries() {
    let wishes = [wish("wild", &["*.example.com"], &[], 1), wish("name", &["a.example.com"], &[], 2)];
    assert_eq!(owner(&wishes, "*.example.com", nobody).unwrap(), "uid-wild");
    assert_eq!(owner(&wishes, "a.example.com", nobody).unwrap(), "uid-name");
}

#[test]
fn what_a_status_remembers_makes_claims_and_tells_drift_from_a_change_of_the_spec() {
    let status: MtlsHostnameSettingsStatus = serde_json::from_value(serde_json::json!({
        "observedGeneration": 1,
        "hostnames": [
            {"hostname": "a.example.com", "state": "InSync", "applied": true, "remote": {"clientCertificateForwarding": true, "chinaNetwork": false}},
            {"hostname": "b.example.com", "state": "InSync", "applied": true},
            {"hostname": "c.example.com", "state": "Drifted", "applied": true},
            {"hostname": "d.example.com", "state": "Conflicted"},
            {"hostname": "e.example.com", "state": "SomethingNew"},
            {"hostname": "f.example.com", "state": "Pending", "applied": true},
        ],
    }))
    .unwrap();
    let listed = ["a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com", "f.example.com"];
    let former = wish("w", &listed, &[], 1);
    let remembered = |generation| {
        let key = former.key.clone();
        Wish::new(key, "u", generation, former.created, former.spec.clone(), &status, None)
    };
    let let_go = wish("w", &["b.example.com"], &[], 1).spec;
    let known = |names: &[(&str, bool)]| -> LiteMap<Hostname, bool> {
        names.iter().map(|(name, settled)| (Hostname::parse(name).unwrap(), *settled)).collect()
    };
    let kept = Wish::new(former.key.clone(), "u", 2, None, let_go, &status, None);
    assert_eq!(kept.applied, known(&[("b.example.com", false)]));
    // A change that was under way does not end the claim, and proves nothing.
    let all = [("a.example.com", true), ("b.example.com", true), ("c.example.com", true), ("f.example.com", false)];
    assert_eq!(remembered(1).applied, known(&all));
    // Another generation: settled is only what shows the flags that are wanted now.
    assert_eq!(remembered(2).applied, known(&[all[0], ("b.example.com", false), ("c.example.com", false), all[3]]));
}

#[test]
fn what_was_proved_of_other_flags_is_not_proved_of_these_though_the_claim_stands() {
    let mut former = wish("w", &["a.example.com", "b.example.com"], &[], 1);
    former.applied = former.spec.settings.keys().map(|hostname| (hostname.clone(), true)).collect();
    let mut edited = wish("w", &["a.example.com", "b.example.com"], &[], 1);
    edited.spec.settings.insert(Hostname::parse("b.example.com").unwrap(), Flags::default());
    edited.succeed(&former);
    let settled = |hostname: &str| edited.is_settled(&Hostname::parse(hostname).unwrap());
    assert!(settled("a.example.com") && !settled("b.example.com"));
    assert!(edited.is_established(&Hostname::parse("b.example.com").unwrap()));
}

/// What is turned off when an object with this status goes, which still lists these.
fn let_go(status: serde_json::Value, suspend: bool, kept: &[&str]) -> BTreeSet<Hostname> {
    let status: MtlsHostnameSettingsStatus = serde_json::from_value(status).unwrap();
    let former = wish("w", kept, &[], 1);
    let spec = ValidSpec { deletion_policy: DeletionPolicy::Reset, suspend, ..former.spec };
    Wish::new(former.key, "u", 2, None, spec, &status, None).leave(&status).tombstones
}

#[test]
fn only_what_was_applied_or_may_have_been_is_turned_off_when_an_object_goes() {
    let status = serde_json::json!({
        "observedGeneration": 1,
        "hostnames": [
            {"hostname": "a.example.com", "state": "InSync", "applied": true},
            {"hostname": "b.example.com", "state": "Conflicted"},
            {"hostname": "c.example.com", "state": "Rejected"},
            {"hostname": "d.example.com", "state": "Rejected", "applied": true},
            {"hostname": "e.example.com", "state": "Pending"},
        ],
    });
    let listed =
        ["a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com", "unseen.example.com"];
    let maybe = ["a.example.com", "d.example.com", "e.example.com", "unseen.example.com"];
    assert_eq!(let_go(status.clone(), false, &listed), hostnames(&maybe));
    assert_eq!(
        let_go(status.clone(), false, &[]),
        hostnames(&maybe[..3]),
        "what it does not list any more and never listed is not its own"
    );
    assert_eq!(let_go(status, true, &listed), hostnames(&maybe[..2]), "an object suspended from the start never wrote");
}

#[test]
fn what_the_status_of_a_deletion_does_not_have_any_more_stays_as_it_is() {
    let status = serde_json::json!({
        "observedGeneration": 2,
        "hostnames": [{"hostname": "a.example.com", "state": "Resetting", "applied": true}],
    });
    let listed = ["a.example.com", "off-already.example.com", "of-another.example.com"];
    assert_eq!(let_go(status, false, &listed), hostnames(&listed[..1]));
}

#[test]
fn what_is_pending_while_nothing_could_be_written_is_not_turned_off() {
    let pending = |reason: &str| {
        let ready = serde_json::json!({
            "type": "Ready", "status": "False", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"
        });
        serde_json::json!({
            "observedGeneration": 1,
            "conditions": [ready],
            "hostnames": [
                {"hostname": "a.example.com", "state": "Pending", "applied": true},
                {"hostname": "b.example.com", "state": "Pending"},
            ],
        })
    };
    let listed = ["a.example.com", "b.example.com"];
    for kept in [&listed[..], &[]] {
        for reason in ["AuthenticationFailed", "PermissionDenied", "SecretNotFound", "SecretInvalid", "ScopeNotFound"] {
            assert_eq!(let_go(pending(reason), false, kept), hostnames(&listed[..1]), "{reason}");
        }
        for reason in ["Pending", "Propagating", "RemoteBusy", "RateLimited", "ConnectionFailed", "HostnameConflict"] {
            assert_eq!(let_go(pending(reason), false, kept), hostnames(&listed), "{reason}");
        }
    }
}

prop_compose! {
    fn any_wish(name: usize)(
        listed in subsequence(NAMES.to_vec(), 0..=NAMES.len()),
        established in subsequence(NAMES.to_vec(), 0..=NAMES.len()),
        created in 0..3_i64,
    ) -> Wish {
        wish(&format!("w{name}"), &listed, &established, created)
    }
}

fn any_wishes() -> impl Strategy<Value = Vec<Wish>> {
    (any_wish(0), any_wish(1), any_wish(2), any_wish(3)).prop_map(|(a, b, c, d)| vec![a, b, c, d])
}

proptest! {
    #[test]
    fn every_listed_hostname_has_exactly_one_owner_who_lists_it_whatever_the_order(
        wishes in any_wishes(),
        order in Just(vec![0_usize, 1, 2, 3]).prop_shuffle(),
        backs in prop::collection::vec(any::<bool>(), 4),
    ) {
        let stands_back = |wish: &Wish, _: &Hostname, _: Flags| {
            wish.key.name.strip_prefix('w').and_then(|n| n.parse::<usize>().ok()).is_some_and(|n| backs[n])
        };
        let decided = owners(&wishes, stands_back);
        let shuffled: Vec<Wish> = order.iter().map(|&n| wishes[n].clone()).collect();
        prop_assert_eq!(&owners(&shuffled, stands_back), &decided);
        let listed: BTreeSet<&Hostname> = wishes.iter().flat_map(|wish| wish.spec.settings.keys()).collect();
        prop_assert_eq!(decided.keys().collect::<BTreeSet<_>>(), listed);
        for (hostname, owner) in &decided {
            let holder = wishes.iter().find(|wish| wish.uid == owner.uid);
            prop_assert!(holder.is_some_and(|wish| wish.spec.settings.contains_key(hostname)));
        }
    }

    #[test]
    fn a_sole_established_claim_never_moves_while_its_object_lists_the_hostname(
        mut wishes in any_wishes(),
        newcomer in any_wish(9),
        backs in any::<bool>(),
    ) {
        let name = Hostname::parse(NAMES[0]).unwrap();
        for wish in &mut wishes {
            wish.applied.remove(&name);
        }
        let mut newcomer = newcomer;
        newcomer.applied.remove(&name);
        let holder = wish("holder", &[NAMES[0]], &[NAMES[0]], 2);
        wishes.push(holder.clone());
        let stands_back = |_: &Wish, _: &Hostname, _: Flags| backs;
        prop_assert_eq!(owners(&wishes, stands_back).get(&name).map(|owner| owner.uid.clone()), Some(holder.uid.clone()));
        wishes.push(newcomer);
        wishes.remove(0);
        prop_assert_eq!(owners(&wishes, stands_back).get(&name).map(|owner| owner.uid.clone()), Some(holder.uid.clone()));
    }
}
