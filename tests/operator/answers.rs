//! A corpus of raw answers, one in each file of `tests/answers/`, with what the operator must make of it: success and
//! which list, or the reason, its class, the code that decided and the window of the first retry. The expectations come
//! from the reason table and from what is known of the API, never from what the code happened to answer.
//!
//! A file's name begins with its status. Its `body` is one of `json` (a value), `text`, `base64` (for what is not
//! UTF-8), `repeat` (pieces and how often each comes) and `tooLarge` (more than the operator reads).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use cloudflare_mtls_operator::{
    api::{ErrorSource, Flags, Reason, ResponseMessage},
    cloudflare::{Answer, Body, RemoteList, interpret},
    sync,
};
use jiff::Timestamp;
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use serde_json::{Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/answers");
const FEWEST_FILES: usize = 120;
/// What the local clock says when the answers of the corpus arrive.
const NOW: &str = "2026-01-01T00:00:00Z";

/// Reasons that no answer can have: they come from the Secret, from the spec, from comparing, or from no answer at all.
const NEVER_ANSWERED: [Reason; 16] = [
    Reason::InSync,
    Reason::Observed,
    Reason::Pending,
    Reason::Propagating,
    Reason::ConnectionFailed,
    Reason::SecretNotFound,
    Reason::SecretInvalid,
    Reason::HostnameConflict,
    Reason::DriftDetected,
    Reason::ForeignWriter,
    Reason::UnexpectedRemoteChange,
    Reason::SpecInvalid,
    Reason::InternalError,
    Reason::Resetting,
    Reason::ResetBlocked,
    Reason::Suspended,
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    /// Why it is so, where that is not plain.
    note: Option<String>,
    method: String,
    status: u16,
    headers: BTreeMap<String, String>,
    body: Form,
    expect: Expectation,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Form {
    Json(Value),
    Text(String),
    Base64(String),
    Repeat(Vec<(String, usize)>),
    TooLarge(bool),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Expectation {
    /// The entries that the remote list must have.
    Success(Vec<Entry>),
    Refusal(Refused),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    hostname: String,
    forwarding: bool,
    china: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    reason: String,
    class: String,
    code: Option<i64>,
    /// Seconds from this answer to the first retry: never sooner, never later.
    retry: [f64; 2],
    /// What the status must show as errors; anything when absent.
    errors: Option<Vec<Shown>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Shown {
    code: Option<i64>,
    message: Option<String>,
    documentation_url: Option<String>,
    pointer: Option<String>,
}

impl Case {
    fn answer(&self) -> Answer {
        let method: Method = self.method.parse().unwrap();
        interpret(&method, self.status, &self.headers(), &self.body.bytes(), NOW.parse::<Timestamp>().unwrap())
    }

    fn headers(&self) -> HeaderMap {
        let header = |(name, value): (&String, &String)| -> (HeaderName, HeaderValue) {
            (name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        self.headers.iter().map(header).collect()
    }

    /// What is wrong with what came of it, one line each.
    fn faults(&self, name: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expect = |what: &str, expected: &dyn ToString, came: &dyn ToString| {
            let (expected, came) = (expected.to_string(), came.to_string());
            if expected != came {
                faults.push(format!("{what}: expected {expected}, came {came}"));
            }
        };
        expect("status in the name", &self.status, &name.split('-').next().unwrap_or_default());
        let answer = self.answer();
        match (&self.expect, &answer.verdict) {
            (Expectation::Success(entries), Ok(list)) => {
                expect("list", &shown_list(&expected_list(entries)), &shown_list(list));
                expect("success in the status", &true, &answer.success);
                expect("errors in the status", &0, &answer.errors.len());
            }
            (Expectation::Success(_), Err(refusal)) => {
                expect("verdict", &"success", &format!("{} with code {:?}", refusal.reason, refusal.code));
            }
            (Expectation::Refusal(refused), Ok(_)) => expect("verdict", &refused.reason, &"success"),
            (Expectation::Refusal(refused), Err(refusal)) => {
                let bound = |jitter| sync::delay(refusal.reason, 1, refusal.wait, jitter).as_secs_f64();
                expect("reason", &refused.reason, &refusal.reason);
                expect("class", &refused.class, &format!("{:?}", refusal.reason.class()));
                expect("code", &format!("{:?}", refused.code), &format!("{:?}", refusal.code));
                expect("retry", &format!("{:?}", refused.retry), &format!("{:?}", [bound(0.0), bound(1.0)]));
                if let Some(errors) = &refused.errors {
                    let errors: Vec<ResponseMessage> = errors.iter().map(Shown::message).collect();
                    expect("errors in the status", &format!("{errors:?}"), &format!("{:?}", answer.errors));
                }
            }
        }
        faults
    }
}

impl Form {
    fn bytes(&self) -> Body {
        match self {
            Self::Json(value) => Body::Whole(serde_json::to_vec(value).unwrap()),
            Self::Text(text) => Body::Whole(text.clone().into_bytes()),
            Self::Base64(text) => Body::Whole(BASE64_STANDARD.decode(text).unwrap()),
            Self::Repeat(pieces) => {
                Body::Whole(pieces.iter().map(|(piece, times)| piece.repeat(*times)).collect::<String>().into_bytes())
            }
            Self::TooLarge(large) => {
                assert!(large, "tooLarge is true or not there");
                Body::TooLarge
            }
        }
    }
}

impl Shown {
    fn message(&self) -> ResponseMessage {
        ResponseMessage {
            code: self.code,
            message: self.message.clone(),
            documentation_url: self.documentation_url.clone(),
            source: self.pointer.clone().map(|pointer| ErrorSource { pointer }),
        }
    }
}

fn expected_list(entries: &[Entry]) -> RemoteList {
    let flags = |entry: &Entry| Flags { client_certificate_forwarding: entry.forwarding, china_network: entry.china };
    entries.iter().map(|entry| (entry.hostname.clone(), flags(entry))).collect()
}

fn shown_list(list: &RemoteList) -> String {
    format!("{list:?}")
}

/// Every file of the folder by its name, or why it cannot be read.
fn corpus() -> BTreeMap<String, Result<Case, String>> {
    let read = |path: &Path| -> Result<Case, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let case = match path.extension() {
                Some(extension) if extension == "json" => read(&path),
                _ => Err("is no .json file".to_owned()),
            };
            (path.file_stem().unwrap().to_string_lossy().into_owned(), case)
        })
        .collect()
}

#[test]
fn every_answer_of_the_corpus_is_understood_as_it_should_be() {
    let corpus = corpus();
    assert!(corpus.len() >= FEWEST_FILES, "{FOLDER} has {} files, too few to be the whole corpus", corpus.len());
    let mut report = Vec::new();
    for (name, case) in &corpus {
        let (faults, note) = match case {
            Ok(case) => (case.faults(name), case.note.as_deref()),
            Err(problem) => (vec![format!("cannot be read: {problem}")], None),
        };
        report.extend(faults.into_iter().map(|fault| match note {
            Some(note) => format!("{name}: {fault} ({note})"),
            None => format!("{name}: {fault}"),
        }));
    }
    assert!(report.is_empty(), "{} faults in {} answers:\n{}", report.len(), corpus.len(), report.join("\n"));
}

#[test]
fn every_reason_that_an_answer_can_have_occurs_in_the_corpus() {
    let corpus = corpus();
    let answers: Vec<Answer> = corpus.values().filter_map(|case| Some(case.as_ref().ok()?.answer())).collect();
    let came: BTreeSet<Reason> =
        answers.iter().filter_map(|answer| Some(answer.verdict.as_ref().err()?.reason)).collect();
    for reason in Reason::ALL {
        assert_eq!(came.contains(reason), !NEVER_ANSWERED.contains(reason), "{reason}");
    }
    assert!(answers.iter().any(|answer| answer.verdict.is_ok()));
}

#[test]
fn a_file_with_a_member_that_nobody_reads_is_refused() {
    let file = json!({
        "method": "GET", "status": 403, "headers": {}, "body": {"text": ""},
        "expect": {"refusal": {
            "reason": "Rejected", "class": "Stalled", "code": 1, "retry": [1, 2], "errors": [{"code": 1}],
        }},
    });
    assert!(serde_json::from_value::<Case>(file.clone()).is_ok());
    for place in ["", "/body", "/expect", "/expect/refusal", "/expect/refusal/errors/0"] {
        let mut file = file.clone();
        file.pointer_mut(place).unwrap().as_object_mut().unwrap().insert("codes".to_owned(), json!([1]));
        assert!(serde_json::from_value::<Case>(file).is_err(), "{place}");
    }
}

#[test]
fn a_wrong_expectation_is_reported_with_what_came() {
    let file = json!({
        "method": "GET", "status": 403, "headers": {}, "body": {"text": "<html>"},
        "expect": {"refusal": {"reason": "PermissionDenied", "class": "Stalled", "code": 0, "retry": [150, 300]}},
    });
    let case: Case = serde_json::from_value(file).unwrap();
    assert_eq!(
        case.faults("200-html"),
        [
            "status in the name: expected 403, came 200",
            "reason: expected PermissionDenied, came CloudflareUnavailable",
            "class: expected Stalled, came Reconciling",
            "code: expected Some(0), came None",
            "retry: expected [150.0, 300.0], came [0.5, 1.0]",
        ]
    );
}
