//! Bodies on the wire: what is sent is strict, what comes back is read leniently and bounded.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::api::{ErrorSource, Flags, ResponseMessage};

/// The remote list by hostname, in lower case and without a trailing dot. Entries with both flags off are left out:
/// Cloudflare drops them, so they and absent ones are one state.
pub type RemoteList = BTreeMap<String, Flags>;

/// Most entries of `errors` and `messages` that are kept, and most bytes of each text.
const MOST_MESSAGES: usize = 16;
const MOST_TEXT: usize = 1024;

#[derive(Serialize)]
pub(super) struct PutBody<'a> {
    settings: Vec<PutEntry<'a>>,
}

#[derive(Serialize)]
struct PutEntry<'a> {
    hostname: &'a str,
    china_network: bool,
    client_certificate_forwarding: bool,
}

impl<'a> PutBody<'a> {
    pub(super) fn new(settings: &'a BTreeMap<String, Flags>) -> Self {
        let entry = |(hostname, flags): (&'a String, &Flags)| PutEntry {
            hostname,
            china_network: flags.china_network,
            client_certificate_forwarding: flags.client_certificate_forwarding,
        };
        Self { settings: settings.iter().map(entry).collect() }
    }
}

/// The members that every answer of the API has, as far as they were there.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    pub(super) success: bool,
    pub(super) errors: Vec<ResponseMessage>,
    pub(super) messages: Vec<ResponseMessage>,
    /// `None` when the member is there but cannot be a list of settings.
    pub(super) result: Option<RemoteList>,
}

impl Envelope {
    /// Reads an answer; `None` when it is not a JSON object with a `success` member.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let value: Value = serde_json::from_slice(body).ok()?;
        let members = value.as_object()?;
        Some(Self {
            success: flag(members.get("success")?)?,
            errors: messages(members.get("errors")),
            messages: messages(members.get("messages")),
            // A page of a list is not the list; the API is not known to page, and nothing may be decided from a part.
            result: settings(members.get("result")).filter(|_| !is_page(members.get("result_info"))),
        })
    }
}

/// A boolean, also when it was written as a string.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn is_page(result_info: Option<&Value>) -> bool {
    let pages = result_info.and_then(|info| info.get("total_pages")).and_then(Value::as_f64);
    pages.is_some_and(|pages| pages > 1.0)
}

fn settings(result: Option<&Value>) -> Option<RemoteList> {
    let entries = match result {
        None | Some(Value::Null) => return Some(RemoteList::new()),
        Some(Value::Array(entries)) => entries,
        Some(_) => return None,
    };
    let mut list = RemoteList::new();
    for entry in entries {
        let member = |name: &str| match entry.get(name) {
            None | Some(Value::Null) => Some(false),
            Some(value) => flag(value),
        };
        let hostname = entry.get("hostname")?.as_str()?.trim_end_matches('.').to_ascii_lowercase();
        let flags = Flags {
            client_certificate_forwarding: member("client_certificate_forwarding")?,
            china_network: member("china_network")?,
        };
        if flags == Flags::default() {
            list.remove(&hostname);
        } else {
            list.insert(hostname, flags);
        }
    }
    Some(list)
}

fn messages(value: Option<&Value>) -> Vec<ResponseMessage> {
    let entries = match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(entries)) => entries.as_slice(),
        // An error of whatever type is an error: overlooked, a refusal would pass for a success.
        Some(single) => std::slice::from_ref(single),
    };
    let chain = |entry| std::iter::once(entry).chain(links(entry));
    entries.iter().flat_map(chain).take(MOST_MESSAGES).map(message).collect()
}

/// Older parts of the API say the cause one level further down.
fn links(entry: &Value) -> &[Value] {
    entry.get("error_chain").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn message(entry: &Value) -> ResponseMessage {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(clean(text)),
        other => Some(clean(&other.to_string())),
    };
    let code = |value: &Value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    match entry {
        Value::Object(members) => ResponseMessage {
            code: members.get("code").and_then(code),
            message: members.get("message").and_then(text),
            documentation_url: members.get("documentation_url").and_then(text),
            source: members
                .get("source")
                .and_then(|source| source.get("pointer"))
                .and_then(text)
                .map(|pointer| ErrorSource { pointer }),
        },
        other => ResponseMessage { message: text(other), ..ResponseMessage::default() },
    }
}

/// Cuts at 1 KiB and drops control characters, so that a text from outside cannot forge a log line or a terminal code.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::new();
    for character in text.chars().filter(|c| !c.is_control() && !turns_text(*c)) {
        if cleaned.len() + character.len_utf8() > MOST_TEXT {
            break;
        }
        cleaned.push(character);
    }
    cleaned
}

/// Separators and marks that break a line or turn the direction of writing.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(result: &str) -> Option<RemoteList> {
        Envelope::parse(format!(r#"{{"success":true,"result":{result}}}"#).as_bytes()).unwrap().result
    }

    #[test]
    fn an_empty_list_has_many_forms() {
        for result in ["null", "[]"] {
            assert_eq!(list(result), Some(RemoteList::new()));
        }
        assert_eq!(Envelope::parse(br#"{"success":true}"#).unwrap().result, Some(RemoteList::new()));
    }

    #[test]
    fn a_result_that_is_no_list_of_settings_is_not_taken_for_an_empty_one() {
        for result in
            ["{}", "\"\"", "7", "[{}]", "[null]", r#"[{"hostname":1}]"#, r#"[{"hostname":"a.b","china_network":1}]"#]
        {
            assert_eq!(list(result), None, "{result}");
        }
    }

    #[test]
    fn hostnames_are_compared_without_case_and_trailing_dot_and_all_false_is_absent() {
        let read = list(
            r#"[{"hostname":"A.Example.com.","client_certificate_forwarding":"true","extra":[]},
                {"hostname":"b.example.com","client_certificate_forwarding":false,"china_network":null}]"#,
        );
        let flags = Flags { client_certificate_forwarding: true, china_network: false };
        assert_eq!(read, Some(RemoteList::from([("a.example.com".to_owned(), flags)])));
    }

    #[test]
    fn texts_from_outside_are_cut_and_cleaned() {
        let body = format!(
            r#"{{"success":false,"errors":[{{"code":"12132","message":"a\u0007\u001b[31mb{}"}}]}}"#,
            "é".repeat(2000)
        );
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        let message = envelope.errors[0].message.clone().unwrap();
        assert_eq!(envelope.errors[0].code, Some(12132));
        assert!(message.starts_with("a[31mbé") && message.len() <= MOST_TEXT, "{}", message.len());
        let many = format!(
            r#"{{"success":false,"errors":[{}]}}"#,
            vec![r#"{"code":1,"error_chain":[{"code":2}]}"#; 40].join(",")
        );
        let codes: Vec<_> = Envelope::parse(many.as_bytes()).unwrap().errors.iter().filter_map(|e| e.code).collect();
        assert_eq!(codes, [1, 2].repeat(8));
    }
}
