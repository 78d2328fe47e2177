//! `Retry-After` as servers really send it: seconds, a date, or nonsense.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};

/// Bounds of how long a server may make us wait.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How long to wait, clamped to 1 s..15 min; `None` when the header says nothing usable.
///
/// A date is compared with the answer's own `Date` header where there is one, so that a wrong local clock does not
/// matter; `now` is the fallback.
pub(super) fn parse(value: &str, date: Option<&str>, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    seconds(value).or_else(|| until(value, date, now)).map(|wait| wait.clamp(SHORTEST, LONGEST))
}

fn seconds(value: &str) -> Option<Duration> {
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let seconds: f64 = value.parse().ok()?;
    // A fraction is rounded up: too early is the one mistake that prolongs a block.
    Some(Duration::try_from_secs_f64(seconds.ceil()).unwrap_or(LONGEST))
}

fn until(value: &str, date: Option<&str>, now: Timestamp) -> Option<Duration> {
    let moment = |text: &str| DateTimeParser::new().parse_timestamp(text).ok();
    let end = moment(value)?;
    let start = date.and_then(moment).unwrap_or(now);
    Some(Duration::try_from(end.duration_since(start)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_a_bounded_wait_or_none() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let parse = |value: &str, date: Option<&str>| super::parse(value, date, now).map(|wait| wait.as_secs());
        for (value, expected) in [
            ("0", Some(1)),
            ("1", Some(1)),
            ("1.5", Some(2)),
            (" 30 ", Some(30)),
            ("300", Some(300)),
            ("86400", Some(900)),
            ("99999999999999999999999", Some(900)),
            ("-1", None),
            ("1e3", None),
            ("soon", None),
            ("", None),
            ("1.2.3", None),
            ("Thu, 01 Jan 2026 00:00:20 GMT", Some(20)),
            ("Wed, 31 Dec 2025 23:59:00 GMT", Some(1)),
        ] {
            assert_eq!(parse(value, None), expected, "{value:?}");
        }
        let server_clock = Some("Thu, 01 Jan 2026 01:00:00 GMT");
        assert_eq!(parse("Thu, 01 Jan 2026 01:00:20 GMT", server_clock), Some(20));
        assert_eq!(parse("Thu, 01 Jan 2026 00:00:20 GMT", Some("garbage")), Some(20));
    }
}
