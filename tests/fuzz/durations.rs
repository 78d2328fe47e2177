//! Lengths of time as people write them into objects and flags, held against a reading of their own.

use std::time::Duration;

use cloudflare_mtls_operator::api::{parse_duration, parse_interval};
use proptest::{collection::vec, prelude::*, prop_oneof, test_runner::TestCaseError};

use crate::raw::like;

pub(crate) fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => like("([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?"),
        2 => like("[0-9]{0,25}[hms]?[0-9]{0,25}[hms]?"),
        2 => like("[-+ .0-9hmsHMSdµ]{0,12}"),
        1 => like("\\PC{0,20}"),
        1 => vec(any::<char>(), 0..10).prop_map(String::from_iter),
    ]
}

/// Hours, minutes, seconds, each once at most and in this order, of at most 2, 4 and 5 digits.
fn read(text: &str) -> Option<u64> {
    let (mut total, mut digits, mut units) = (0, String::new(), [('h', 3600, 2), ('m', 60, 4), ('s', 1, 5)].iter());
    for character in text.chars() {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        let (_, seconds, most) = units.by_ref().find(|(unit, ..)| *unit == character)?;
        if digits.is_empty() || digits.len() > *most {
            return None;
        }
        total += digits.parse::<u64>().ok()? * seconds;
        digits.clear();
    }
    digits.is_empty().then_some(total)
}

#[allow(clippy::ptr_arg, reason = "what a strategy gives")]
pub(crate) fn examine(text: &String) -> Result<(), TestCaseError> {
    let (minute, day) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
    let expected = read(text).map(Duration::from_secs);
    for (shortest, longest) in [(minute, day), (Duration::from_secs(1), minute), (Duration::ZERO, day * 60)] {
        let within = expected.filter(|length| (shortest..=longest).contains(length) && !text.is_empty());
        let parsed = parse_duration(text, shortest, longest);
        if !text.is_empty() || !shortest.is_zero() {
            prop_assert_eq!(parsed.as_ref().ok(), within.as_ref(), "{:?}", parsed);
        }
        if let Err(problem) = parsed {
            prop_assert!(problem.len() < 1000 && !problem.contains(char::is_control), "{problem:?}");
        }
    }
    prop_assert_eq!(parse_interval(text).ok(), parse_duration(text, minute, day).ok());
    Ok(())
}
