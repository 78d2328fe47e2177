//! The guard: what a write of ours did to entries that it did not name, and what every body carries from then on.
//!
//! The API is understood to merge a PUT into the list, hostname by hostname, but nobody promises that. If it replaced the
//! list, everything unnamed would vanish at once; so that is what is looked for. When some unnamed entries vanish or change
//! while others stay, the list was merged and somebody else edited them: they are left alone. When none of them is as it
//! was, it was the write, and they are put back. Undecidable remains the moment in which somebody else removes the last
//! unnamed entries just while a write of ours is under way: they are then put back once too often.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::{Flags, Hostname},
    cloudflare::RemoteList,
};

/// What is known of a scope's semantics, from one write to the next.
#[derive(Debug, Default)]
pub struct Guard {
    watched: Option<Watched>,
    harmed: BTreeMap<String, Harm>,
    replaces: bool,
}

/// What a write of ours did to an entry that it did not name.
#[derive(Debug)]
struct Harm {
    was: Flags,
    /// `None` when it vanished.
    left: Option<Flags>,
}

/// A write whose effect is not seen yet.
#[derive(Debug)]
struct Watched {
    before: RemoteList,
    named: BTreeSet<String>,
}

impl Guard {
    /// What to send for these entries: just them, or the whole list once the remote was seen to replace it.
    /// `ours` tells which hostnames can belong to this scope; a zone sees the entries of other zones too, and a body that
    /// names one is refused.
    pub fn body(
        &self,
        remote: Option<&RemoteList>,
        entries: &BTreeMap<Hostname, Flags>,
        ours: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, Flags> {
        let mut body = BTreeMap::new();
        if self.replaces {
            let harmed = self.harmed.iter().map(|(hostname, harm)| (hostname, &harm.was));
            let listed = remote.into_iter().flatten().chain(harmed).filter(|(hostname, _)| ours(hostname));
            body.extend(listed.map(|(hostname, flags)| (hostname.clone(), *flags)));
        }
        body.extend(entries.iter().map(|(hostname, flags)| (hostname.as_str().to_owned(), *flags)));
        body
    }

    /// Notes a write that was, or may have been, carried out on the list as it was read before.
    pub fn wrote(&mut self, before: Option<&RemoteList>, body: &BTreeMap<String, Flags>) {
        let watched = self
            .watched
            .get_or_insert_with(|| Watched { before: before.cloned().unwrap_or_default(), named: BTreeSet::new() });
        watched.named.extend(body.keys().cloned());
    }

    /// Compares a list that was just read with the one before the last write, once that write has `landed`. True when the
    /// write has removed what it did not name.
    pub fn check(&mut self, list: &RemoteList, landed: bool, ours: impl Fn(&str) -> bool) -> bool {
        // What is not as the write left it is no longer harmed, whoever dealt with it.
        self.harmed.retain(|hostname, harm| list.get(hostname).copied() == harm.left);
        let Some(watched) = self.watched.take_if(|_| landed) else { return false };
        let unnamed =
            watched.before.into_iter().filter(|(hostname, _)| !watched.named.contains(hostname) && ours(hostname));
        let (kept, harmed): (RemoteList, RemoteList) =
            unnamed.partition(|(hostname, flags)| list.get(hostname) == Some(flags));
        // One entry alone that has other flags now was edited: whoever replaces a list leaves nothing of it.
        let edited = harmed.len() == 1 && harmed.keys().all(|hostname| list.contains_key(hostname));
        if harmed.is_empty() || !kept.is_empty() || edited {
            return false;
        }
        self.replaces = true;
        self.harmed.extend(harmed.into_iter().map(|(hostname, was)| {
            let left = list.get(&hostname).copied();
            (hostname, Harm { was, left })
        }));
        true
    }

    /// Whether every body carries the whole list.
    #[must_use]
    pub fn replaces(&self) -> bool {
        self.replaces
    }

    /// Takes in what an earlier process has found out.
    pub fn remember_replacing(&mut self) {
        self.replaces = true;
    }

    /// Whether the effect of a write is not seen yet, or entries wait to be put back.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.watched.is_some() || self.has_harmed()
    }

    /// Leaves entries as they are that cannot be put back, and writes whose effect nobody will see.
    pub fn give_up(&mut self) {
        self.watched = None;
        self.harmed.clear();
    }

    /// Whether entries wait to be put back.
    #[must_use]
    pub fn has_harmed(&self) -> bool {
        !self.harmed.is_empty()
    }
}

/// Second levels below which countries register names, as far as they are common.
const SECOND_LEVELS: [&str; 16] =
    ["ac", "co", "com", "edu", "gob", "gov", "go", "mil", "ne", "net", "nom", "or", "org", "sch", "gen", "web"];

/// The domain under which a hostname was probably registered: its last two labels, or three below a second level such as
/// `co.uk`. Entries of one zone share it; entries of different zones mostly do not.
#[must_use]
pub fn registered_domain(hostname: &str) -> &str {
    let mut starts = hostname.rmatch_indices('.').map(|(at, _)| at + 1);
    let (last, second, third) = (starts.next(), starts.next(), starts.next());
    let from = |start: Option<usize>| hostname.get(start.unwrap_or_default()..).unwrap_or(hostname);
    match (last, second) {
        (Some(last), Some(second)) if hostname.len() - last == 2 && is_second_level(hostname, second, last) => {
            from(third)
        }
        _ => from(second),
    }
}

fn is_second_level(hostname: &str, from: usize, to: usize) -> bool {
    hostname.get(from..to - 1).is_some_and(|label| SECOND_LEVELS.contains(&label))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Flags = Flags { client_certificate_forwarding: true, china_network: false };

    fn list(names: &[&str]) -> RemoteList {
        names.iter().map(|name| ((*name).to_owned(), ON)).collect()
    }

    fn entries(names: &[&str]) -> BTreeMap<Hostname, Flags> {
        names.iter().map(|name| (Hostname::parse(name).unwrap(), ON)).collect()
    }

    fn all(_: &str) -> bool {
        true
    }

    /// A guard that has seen this write, and what it says of the list after it.
    fn after(before: &[&str], named: &[&str], seen: &[&str]) -> (Guard, bool) {
        let mut guard = Guard::default();
        let before = list(before);
        let body = guard.body(Some(&before), &entries(named), all);
        guard.wrote(Some(&before), &body);
        let damaged = guard.check(&list(seen), true, all);
        (guard, damaged)
    }

    #[test]
    fn under_merge_only_what_must_change_is_named() {
        let (guard, damaged) = after(&["f.example.com"], &["a.example.com"], &["a.example.com", "f.example.com"]);
        assert!(!damaged && !guard.has_harmed());
        let body = guard.body(Some(&list(&["f.example.com"])), &entries(&["b.example.com"]), all);
        assert_eq!(body.keys().collect::<Vec<_>>(), ["b.example.com"]);
    }

    #[test]
    fn when_all_that_was_not_named_vanishes_it_is_put_back_and_bodies_are_whole_from_then_on() {
        let (mut guard, damaged) = after(&["f.example.com", "g.example.com"], &["a.example.com"], &["a.example.com"]);
        assert!(damaged && guard.has_harmed());
        let body = guard.body(Some(&list(&["a.example.com"])), &entries(&[]), all);
        assert_eq!(body, list(&["a.example.com", "f.example.com", "g.example.com"]));
        guard.check(&body, true, all);
        assert!(!guard.has_harmed());
        assert_eq!(guard.body(Some(&body), &entries(&["b.example.com"]), all).len(), 4);
    }

    #[test]
    fn what_somebody_else_removed_beside_the_write_is_not_put_back() {
        let before = ["f.example.com", "g.example.com"];
        let (guard, damaged) = after(&before, &["a.example.com"], &["a.example.com", "g.example.com"]);
        assert!(!damaged && !guard.has_harmed());
    }

    #[test]
    fn entries_that_all_change_beside_the_write_are_put_back_until_somebody_deals_with_them() {
        let (chosen, mangled) = (ON, Flags { client_certificate_forwarding: false, china_network: true });
        let all_changed =
            |names: &[&str], flags| -> RemoteList { names.iter().map(|name| ((*name).to_owned(), flags)).collect() };
        let names = ["f.example.com", "g.example.com"];
        let mut guard = Guard::default();
        guard.wrote(Some(&list(&names)), &list(&["a.example.com"]));
        assert!(guard.check(&all_changed(&names, mangled), true, all));
        assert_eq!(guard.body(Some(&all_changed(&names, mangled)), &entries(&[]), all), list(&names));
        // One of them is removed by its owner meanwhile: that stands.
        let seen = all_changed(&names[..1], mangled);
        guard.check(&seen, true, all);
        assert_eq!(guard.body(Some(&seen), &entries(&[]), all), all_changed(&names[..1], chosen));
        guard.check(&list(&names[..1]), true, all);
        assert!(!guard.has_harmed());
    }

    #[test]
    fn a_single_entry_with_other_flags_was_edited_by_somebody_else() {
        let mut guard = Guard::default();
        guard.wrote(Some(&list(&["f.example.com"])), &list(&["a.example.com"]));
        let edited = BTreeMap::from([("f.example.com".to_owned(), Flags { china_network: true, ..ON })]);
        assert!(!guard.check(&edited, true, all));
        assert!(!guard.replaces() && !guard.has_harmed());
    }

    #[test]
    fn nothing_is_judged_before_the_write_has_landed() {
        let mut guard = Guard::default();
        let before = list(&["f.example.com"]);
        guard.wrote(Some(&before), &list(&["a.example.com"]));
        assert!(!guard.check(&before, false, all));
        assert!(guard.check(&list(&["a.example.com"]), true, all));
    }

    #[test]
    fn entries_of_other_zones_are_neither_missed_nor_named() {
        let ours = |hostname: &str| registered_domain(hostname) == "example.com";
        let mut guard = Guard::default();
        let before = list(&["f.example.com", "x.example.org"]);
        guard.wrote(Some(&before), &list(&["a.example.com"]));
        assert!(guard.check(&list(&["a.example.com", "x.example.org"]), true, ours));
        let body = guard.body(Some(&before), &entries(&[]), ours);
        assert_eq!(body, list(&["f.example.com"]));
    }

    #[test]
    fn a_registered_domain_has_two_labels_or_three_below_a_short_second_level() {
        for (hostname, domain) in [
            ("a.b.example.com", "example.com"),
            ("*.example.com", "example.com"),
            ("example.com", "example.com"),
            ("a.example.co.uk", "example.co.uk"),
            ("example.co.uk", "example.co.uk"),
            ("a.example.uk", "example.uk"),
            ("admin.fly.io", "fly.io"),
            ("www.dhl.de", "dhl.de"),
            ("co.uk", "co.uk"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(registered_domain(hostname), domain, "{hostname}");
        }
    }
}
