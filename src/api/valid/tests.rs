//! The parsers against examples, against any string, and against the CRD's own rules.

use std::cell::Cell;

use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::json;

use super::*;
use crate::api::crd;

#[test]
fn hours_minutes_and_seconds_add_up() {
    for (text, seconds) in [
        ("1m", 60),
        ("60s", 60),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1h0m1s", 3601),
        ("01m", 60),
        ("0h1m", 60),
        ("1440m", 86_400),
        ("86400s", 86_400),
        ("23h59m60s", 86_400),
        ("24h", 86_400),
    ] {
        assert_eq!(parse_interval(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
}

#[test]
fn what_is_no_interval_is_named_with_what_would_be_one() {
    for text in [
        "",
        "10",
        "m",
        "1m1",
        "59s",
        "0h",
        "25h",
        "24h1s",
        "86401s",
        "-5m",
        "+5m",
        "1.5h",
        "1d",
        "1H",
        " 1m",
        "1m ",
        "1m\n",
        "30m1h",
        "1h1h",
        "1ms",
        "5m5m",
        "٣m",
        "100h",
        "00060m0s0",
        "000000060s",
        "99999999999999999999s",
    ] {
        let refused = parse_interval(text).unwrap_err();
        assert!(refused.contains(&format!("{text:?} is not a duration from 1m to 24h such as 90s")), "{refused}");
    }
}

#[test]
fn hostnames_are_lower_case_domain_names_of_two_labels_or_more() {
    for text in ["a.example.com", "*.example.com", "example.com", "a-b.c--d.xn--p1ai", "1.2.3.4.example", &longest()] {
        assert_eq!(Hostname::parse(text).unwrap().as_str(), text);
    }
    for text in [
        "",
        "*",
        "*.",
        "com",
        "*.com",
        "A.example.com",
        "a.example.com.",
        ".example.com",
        "a..example.com",
        "1.2.3.4",
        "-a.example.com",
        "a-.example.com",
        "a_b.example.com",
        "bücher.example",
        "a.*.example.com",
        "*a.example.com",
        "*.*.example.com",
        "a.example.com/path",
        "a.example.com:443",
        "a.example.com\n",
        " a.example.com",
        "::1",
    ] {
        let refused = Hostname::parse(text).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("hostname: {text:?} is not a lower-case domain name")), "{refused}");
    }
    assert!(Hostname::parse(&format!("{}.example.com", "a".repeat(63))).is_ok());
    assert!(Hostname::parse(&format!("{}.example.com", "a".repeat(64))).is_err());
    assert!(Hostname::parse(&format!("{}b", longest())).is_err());
}

#[test]
fn a_huge_value_is_not_repeated_in_full() {
    let refused = Hostname::parse(&"é".repeat(5000)).unwrap_err().to_string();
    assert!(refused.contains("(5000 characters)") && refused.len() < 400, "{refused}");
}

/// 253 characters, as many as a domain name may have.
fn longest() -> String {
    format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61))
}

/// The CEL rules of one property of the CRD.
fn rules(pointer: &str) -> CompiledSchema {
    let property = format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/{pointer}");
    let schema = crd().unwrap().pointer(&property).cloned().unwrap();
    let compiled = compile_schema(&schema);
    assert!(schema["x-kubernetes-validations"].is_array() && !compiled.has_errors());
    compiled
}

fn allowed(rules: &CompiledSchema, text: &str) -> bool {
    Validator::new().validate_compiled(rules, &json!(text), None).is_ok()
}

/// Hours, minutes and seconds, each there or not, now and then with something that does not belong.
fn near_an_interval() -> impl Strategy<Value = String> {
    let part = |unit: &'static str| {
        let number =
            prop::sample::select(&["0", "1", "5", "09", "24", "59", "60", "1440", "3601", "86400", "100000"][..]);
        prop::option::of(number)
            .prop_map(move |number| number.map_or_else(String::new, |number| format!("{number}{unit}")))
    };
    let noise = prop::sample::select(&["", "", "", "", "", "-", "+", ".", " ", "1", "h", "m", "s", "d", "٣"][..]);
    (part("h"), part("m"), noise, part("s")).prop_map(|(h, m, noise, s)| format!("{h}{m}{noise}{s}"))
}

/// Labels of all lengths, now and then with something that does not belong.
fn near_a_hostname() -> impl Strategy<Value = String> {
    const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let piece = prop_oneof![
        20 => prop::sample::select(&["a", "b", "7", "a-b", "xn--p1ai", LONG][..]),
        1 => prop::sample::select(&["", "-", "*", "_", "A", "é", "\n", ".", LONG][..]),
    ];
    let label = prop::collection::vec(piece, 1..=3).prop_map(|pieces| pieces.concat());
    let start = prop::sample::select(&["", "", "*.", "*"][..]);
    let end = prop::sample::select(&["com", "com", "com", "c", "example.org", "7", "com.", "c7", LONG][..]);
    (start, prop::collection::vec(label, 0..=5), end)
        .prop_map(|(start, labels, end)| format!("{start}{}.{end}", labels.join(".")))
}

proptest! {
    #[test]
    fn no_string_makes_the_interval_parser_panic_or_leave_its_bounds(
        text in prop_oneof![any::<String>(), near_an_interval()]
    ) {
        if let Ok(interval) = parse_interval(&text) {
            prop_assert!((SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval));
        }
    }

    #[test]
    fn no_string_makes_the_hostname_parser_panic(text in prop_oneof![any::<String>(), near_a_hostname()]) {
        if let Ok(hostname) = Hostname::parse(&text) {
            prop_assert_eq!(hostname.as_str(), text);
        }
    }
}

/// Runs as many cases as `PROPTEST_CASES` says; fails too when the strings were all accepted or all refused.
fn both_agree(
    strings: impl Strategy<Value = String>,
    rules: &CompiledSchema,
    max_length: usize,
    accepts: impl Fn(&str) -> bool,
) {
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    TestRunner::new(Config { failure_persistence: None, ..Config::default() })
        .run(&strings, |text| {
            let by_parser = accepts(&text);
            let seen = if by_parser { &accepted } else { &refused };
            seen.set(seen.get() + 1);
            prop_assert_eq!(by_parser, text.chars().count() <= max_length && allowed(rules, &text), "{:?}", text);
            Ok(())
        })
        .unwrap();
    assert!(accepted.get() > 10 && refused.get() > 10, "{} accepted, {} refused", accepted.get(), refused.get());
}

#[test]
fn the_interval_parser_and_the_crd_agree() {
    both_agree(near_an_interval(), &rules("interval"), 64, |text| parse_interval(text).is_ok());
}

#[test]
fn the_hostname_parser_and_the_crd_agree() {
    let rules = rules("settings/items/properties/hostname");
    both_agree(near_a_hostname(), &rules, 253, |text| Hostname::parse(text).is_ok());
}
