//! `Retry-After` and `Date` in every form, as they decide how long a credential rests.

use std::time::Duration;

use cloudflare_mtls_operator::{
    api::Reason,
    cloudflare::{Body, interpret},
};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use proptest::{collection::vec, option, prelude::*, prop_oneof, sample::select, test_runner::TestCaseError};
use reqwest::{
    Method,
    header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER},
};

use crate::raw::like;

/// What a server says, and when.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    after: Vec<u8>,
    date: Option<Vec<u8>>,
    now: Timestamp,
    /// The wait that it stands for, where that is known.
    means: Option<u64>,
}

fn http_date(time: Timestamp) -> Vec<u8> {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap().into_bytes()
}

fn moments() -> impl Strategy<Value = Timestamp> {
    (946_684_800..4_102_444_800_i64).prop_map(|seconds| Timestamp::from_second(seconds).unwrap())
}

pub(crate) fn headers() -> impl Strategy<Value = Said> {
    let seconds = (prop_oneof![0..1000_u64, any::<u64>()], moments()).prop_map(|(seconds, now)| Said {
        after: seconds.to_string().into_bytes(),
        date: None,
        now,
        means: Some(seconds),
    });
    // The server's clock is what a date is measured by, however wrong ours is.
    let dated = (moments(), moments(), -5000..5000_i64).prop_map(|(server, now, seconds)| Said {
        after: http_date(server + SignedDuration::from_secs(seconds)),
        date: Some(http_date(server)),
        now,
        means: Some(u64::try_from(seconds).unwrap_or(0)),
    });
    let alone = (moments(), -5000..5000_i64).prop_map(|(now, seconds)| Said {
        after: http_date(now + SignedDuration::from_secs(seconds)),
        date: None,
        now,
        means: Some(u64::try_from(seconds).unwrap_or(0)),
    });
    let text = || {
        prop_oneof![
            like("[-+]?[0-9]{0,30}[.eE]?[0-9]{0,30}").prop_map(String::into_bytes),
            like("[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} -?[0-9]{1,6} [0-9]{2}:[0-9]{2}:[0-9]{2} (GMT|[+-][0-9]{4})")
                .prop_map(String::into_bytes),
            like("\\PC{0,40}").prop_map(String::into_bytes),
            vec(any::<u8>(), 0..60),
            select(&["inf", "NaN", "1e309", "0x10", "١٢", "Thu, 01 Jan 1970 00:00:00 GMT", "-0", "0.0000001"][..])
                .prop_map(|text| text.as_bytes().to_vec()),
        ]
    };
    let clocks = prop_oneof![
        moments(),
        (Timestamp::MIN.as_second()..Timestamp::MAX.as_second()).prop_map(|s| Timestamp::from_second(s).unwrap()),
    ];
    let odd =
        (text(), option::of(text()), clocks).prop_map(|(after, date, now)| Said { after, date, now, means: None });
    prop_oneof![1 => seconds, 2 => dated, 1 => alone, 4 => odd]
}

pub(crate) fn examine(said: &Said) -> Result<(), TestCaseError> {
    let mut headers = HeaderMap::new();
    for (name, value) in [(RETRY_AFTER, Some(&said.after)), (DATE, said.date.as_ref())] {
        headers.extend(value.and_then(|value| HeaderValue::from_bytes(value).ok()).map(|value| (name, value)));
    }
    let body = Body::Whole(br#"{"success":false,"errors":[{"code":971}]}"#.to_vec());
    let answer = interpret(&Method::GET, 429, &headers, &body, said.now);
    let refusal = answer.verdict.unwrap_err();
    prop_assert_eq!(refusal.reason, Reason::RateLimited);
    let wait = refusal.wait.unwrap_or_default();
    prop_assert!((Duration::from_secs(1)..=Duration::from_secs(900)).contains(&wait), "{:?}", wait);
    if let Some(seconds) = said.means {
        prop_assert_eq!(wait, Duration::from_secs(seconds.clamp(1, 900)));
    }
    Ok(())
}
