//! Raw answers at random: statuses, headers, clocks, bytes, any JSON, and envelopes that are right in most members.

use std::time::Duration;

use cloudflare_mtls_operator::{
    api::{Flags, Reason, ResponseMessage},
    cloudflare::{Answer, Body, interpret},
};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
    string::{RegexGeneratorStrategy, string_regex},
    test_runner::TestCaseError,
};
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value, json};

const MOST_MESSAGES: usize = 16;
const MOST_TEXT: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);

/// Everything but the method that an answer consists of.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// `None` is more than the operator reads.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) now: Timestamp,
}

impl Raw {
    pub(crate) fn answer(&self, method: &Method) -> Answer {
        let body = self.body.clone().map_or(Body::TooLarge, Body::Whole);
        interpret(method, self.status, &self.headers, &body, self.now)
    }

    /// The body as JSON, read without the code under test.
    fn json(&self) -> Option<Value> {
        let bytes = self.body.as_deref()?;
        serde_json::from_slice(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)).ok()
    }

    /// Whether the answer is a success by the rule alone: 2xx, a JSON object, `success: true`, no errors.
    pub(crate) fn claims_success(&self) -> bool {
        let Some(Value::Object(members)) = self.json() else { return false };
        let succeeds =
            matches!(members.get("success"), Some(value) if *value == json!(true) || *value == json!("true"));
        let errors = members.get("errors").unwrap_or(&Value::Null);
        (200..=299).contains(&self.status) && succeeds && (errors.is_null() || *errors == json!([]))
    }

    pub(crate) fn has_no_result(&self) -> bool {
        self.json().is_some_and(|body| body.get("result").is_none_or(Value::is_null))
    }
}

/// Interprets the answer to a read and to a write, and checks everything that must hold whatever it was.
pub(crate) fn examine(raw: &Raw) -> Result<(), TestCaseError> {
    for method in [Method::GET, Method::PUT] {
        let answer = raw.answer(&method);
        bounded(&answer.errors)?;
        bounded(&answer.messages)?;
        match &answer.verdict {
            Ok(list) => {
                prop_assert!(raw.claims_success() && answer.success && answer.errors.is_empty());
                prop_assert!(method == Method::GET || list.is_empty(), "a write's result was looked at");
                for (hostname, flags) in list {
                    prop_assert!(!hostname.ends_with('.') && *hostname == hostname.to_ascii_lowercase());
                    prop_assert!(*flags != Flags::default(), "an entry that Cloudflare drops is in the list");
                }
            }
            Err(refusal) => {
                prop_assert!(!raw.claims_success() || (method == Method::GET && !raw.has_no_result()));
                prop_assert_eq!(refusal.wait.is_some(), refusal.reason == Reason::RateLimited);
                let wait = refusal.wait.unwrap_or(SECOND);
                prop_assert!((SECOND..=SECOND * 15 * 60).contains(&wait), "{:?}", wait);
                prop_assert!(refusal.code.is_none() || answer.errors.iter().any(|error| error.code == refusal.code));
                prop_assert!(raw.status != 429 || refusal.reason == Reason::RateLimited);
            }
        }
    }
    Ok(())
}

fn bounded(messages: &[ResponseMessage]) -> Result<(), TestCaseError> {
    prop_assert!(messages.len() <= MOST_MESSAGES);
    for message in messages {
        let pointer = message.source.as_ref().map(|source| &source.pointer);
        for text in [message.message.as_ref(), message.documentation_url.as_ref(), pointer].into_iter().flatten() {
            prop_assert!(text.len() <= MOST_TEXT, "{} bytes", text.len());
            prop_assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
    Ok(())
}

/// A text of this form. Read once: a regular expression used as a strategy itself is parsed again for each text.
pub(crate) fn like(form: &str) -> RegexGeneratorStrategy<String> {
    string_regex(form).unwrap()
}

fn statuses() -> impl Strategy<Value = u16> {
    const USUAL: &[u16] =
        &[200, 200, 200, 200, 200, 202, 202, 204, 301, 302, 400, 401, 403, 404, 405, 409, 429, 500, 503, 520, 530];
    prop_oneof![4 => select(USUAL), 1 => 100..600_u16, 1 => any::<u16>()]
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    const NAMES: &[&str] =
        &["retry-after", "retry-after", "date", "date", "ratelimit", "content-type", "cf-ray", "location"];
    let date =
        (0..8_usize, 0..33_u8, 0..13_usize, 0..10_000_u16, 0..25_u8, 0..62_u8).prop_map(|(d, day, m, year, h, s)| {
            let weekday = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Xyz"][d];
            let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Xyz"];
            format!("{weekday}, {day:02} {} {year:04} {h:02}:00:{s:02} GMT", months[m])
        });
    let dated = any::<i64>().prop_filter_map("a time that there is", |seconds| {
        let time = Timestamp::from_second(seconds % 400_000_000_000).ok()?;
        DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
    });
    let value = prop_oneof![
        like("[0-9]{1,30}").prop_map(String::into_bytes),
        like("[-+]?[0-9]{0,4}[.e]?[0-9]{0,4}").prop_map(String::into_bytes),
        date.prop_map(String::into_bytes),
        dated.prop_map(String::into_bytes),
        vec(any::<u8>(), 0..40),
    ];
    vec((select(NAMES), value), 0..5).prop_map(|pairs| {
        let usable = |(name, value): (&'static str, Vec<u8>)| {
            Some((HeaderName::from_static(name), HeaderValue::from_bytes(&value).ok()?))
        };
        pairs.into_iter().filter_map(usable).collect()
    })
}

fn clocks() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        3 => 1_500_000_000..2_500_000_000_i64,
        1 => Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
    ]
    .prop_map(|seconds| Timestamp::from_second(seconds).unwrap())
}

fn texts() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "true",
        "false",
        "null",
        "12132",
        " 971 ",
        "a.example.com",
        "B.Example.COM.",
        ".",
        "error code: 1015",
        "previous certificate settings still being updated",
        "certificate has active associations",
        "maximum number of certificates",
        "Actor 'x' requires permission 'y'",
    ];
    const REPEATED: &[&str] = &["x", "é", "𝄞", "\u{1b}[31m", "\n", "ab\u{0}"];
    let long = (select(REPEATED), 200..1500_usize).prop_map(|(text, times)| text.repeat(times));
    prop_oneof![
        3 => select(KNOWN).prop_map(str::to_owned),
        1 => like("\\PC{0,30}"),
        1 => vec(any::<char>(), 0..20).prop_map(String::from_iter),
        1 => long,
    ]
}

fn codes() -> impl Strategy<Value = i64> {
    const KNOWN: &[i64] = &[
        0, 971, 1000, 6003, 7000, 7003, 9103, 9106, 9109, 9999, 10000, 10001, 10100, 10502, 12036, 12130, 12132, 12133,
        12135,
    ];
    prop_oneof![6 => select(KNOWN), 1 => any::<i64>()]
}

/// Any JSON, with the member names that the operator looks for.
pub(crate) fn values() -> impl Strategy<Value = Value> {
    const NAMES: &[&str] = &[
        "success",
        "errors",
        "messages",
        "result",
        "code",
        "message",
        "error_chain",
        "source",
        "pointer",
        "documentation_url",
        "hostname",
        "china_network",
        "client_certificate_forwarding",
        "other",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        codes().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let members = vec((select(NAMES), inner.clone()), 0..6);
        prop_oneof![
            vec(inner, 0..6).prop_map(Value::from),
            members.prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

/// An object with each of the members now and then, of the right kind more often than not.
fn object(members: Vec<(&'static str, BoxedStrategy<Value>)>) -> impl Strategy<Value = Value> {
    let member = |(name, usual): (&'static str, BoxedStrategy<Value>)| {
        option::weighted(0.9, prop_oneof![19 => usual, 1 => values()]).prop_map(move |value| (name, value)).boxed()
    };
    members.into_iter().map(member).collect::<Vec<_>>().prop_map(|members| {
        let present = |(name, value): (&str, Option<Value>)| Some((name.to_owned(), value?));
        Value::Object(members.into_iter().filter_map(present).collect::<Map<_, _>>())
    })
}

fn errors() -> impl Strategy<Value = Value> {
    let code =
        || prop_oneof![4 => codes().prop_map(Value::from), 1 => codes().prop_map(|c| json!(c.to_string()))].boxed();
    let text = || texts().prop_map(Value::from).boxed();
    let link = object(vec![("code", code()), ("message", text())]);
    let chain = vec(link, 0..3).prop_map(Value::from).boxed();
    let source = object(vec![("pointer", text())]).boxed();
    object(vec![
        ("code", code()),
        ("message", text()),
        ("error_chain", chain),
        ("source", source),
        ("documentation_url", text()),
    ])
}

fn envelopes() -> impl Strategy<Value = Value> {
    let flag = || prop_oneof![4 => any::<bool>().prop_map(Value::from), 1 => Just(Value::Null)].boxed();
    let hostname = like("[A-Za-z]{1,8}\\.[a-z]{2,3}\\.?").prop_map(Value::from).boxed();
    let entry =
        object(vec![("hostname", hostname), ("china_network", flag()), ("client_certificate_forwarding", flag())])
            .boxed();
    let result = || prop_oneof![1 => Just(Value::Null), 3 => vec(entry.clone(), 0..3).prop_map(Value::from)].boxed();
    let success = prop_oneof![7 => Just(json!(true)), 4 => Just(json!(false)), 1 => Just(json!("true"))].boxed();
    let texts_of_the_api = || {
        let many = (errors(), 1..40_usize).prop_map(|(error, times)| vec![error; times]);
        prop_oneof![4 => Just(Vec::new()), 4 => vec(errors(), 1..3), 1 => many].prop_map(Value::from).boxed()
    };
    let friendly = object(vec![
        ("success", Just(json!(true)).boxed()),
        ("errors", Just(json!([])).boxed()),
        ("messages", texts_of_the_api()),
        ("result", result()),
    ]);
    let mixed = object(vec![
        ("success", success),
        ("errors", texts_of_the_api()),
        ("messages", texts_of_the_api()),
        ("result", result()),
    ]);
    prop_oneof![1 => friendly, 3 => mixed]
}

/// What the way from there to here can do to a body.
fn damaged(body: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (body, 0..12_u8, any::<Index>(), any::<u8>()).prop_map(|(mut body, damage, place, byte)| {
        match damage {
            0 => body.truncate(place.index(body.len().max(1))),
            1 if !body.is_empty() => {
                let place = place.index(body.len());
                body[place] = byte;
            }
            2 => body.splice(..0, "\u{feff}".bytes()).for_each(drop),
            3 => body.push(byte),
            4 => body.extend(body.clone()),
            _ => {}
        }
        body
    })
}

pub(crate) fn raw(bodies: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Raw> {
    (statuses(), headers(), option::weighted(0.97, bodies), clocks()).prop_map(|(status, headers, body, now)| Raw {
        status,
        headers,
        body,
        now,
    })
}

pub(crate) fn enveloped() -> impl Strategy<Value = Raw> {
    raw(damaged(envelopes().prop_map(|value| value.to_string().into_bytes())))
}
