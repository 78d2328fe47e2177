//! The answers of the emulated API as JSON: `{success, errors, messages, result}` with the oddities that are switched on.

use serde_json::{Map, Value, json};

use super::codes::Refusal;
use super::scope::Setting;
use super::switches::{EmptyResult, Order, Switches};

/// An answer before it becomes HTTP.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) codes: Vec<i64>,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
            codes: Vec::new(),
        }
    }

    pub(super) fn text(status: u16, content_type: &str, body: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.as_bytes().to_vec(),
            codes: Vec::new(),
        }
    }

    #[must_use]
    pub(super) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// A list of settings.
    pub(super) fn settings(status: u16, mut settings: Vec<Setting>, switches: &Switches) -> Self {
        match switches.order {
            Order::Sorted => settings.sort(),
            Order::Reversed => settings.sort_by(|a, b| b.cmp(a)),
            Order::Shuffled => fastrand::shuffle(&mut settings),
        }
        let count = settings.len();
        let items: Vec<Value> = settings.into_iter().map(|setting| item(setting, switches)).collect();
        let mut body = common(true, Value::Array(Vec::new()), switches);
        if switches.omit_errors {
            body.remove("errors");
        }
        match switches.empty_result {
            EmptyResult::Absent if items.is_empty() => {}
            EmptyResult::Null if items.is_empty() => drop(body.insert("result".to_owned(), Value::Null)),
            _ => drop(body.insert("result".to_owned(), Value::Array(items))),
        }
        if switches.result_info {
            let info = json!({"count": count, "page": 1, "per_page": 1000, "total_count": count, "total_pages": 1});
            body.insert("result_info".to_owned(), info);
        }
        Self::json(status, &Value::Object(body))
    }

    /// A refusal.
    pub(super) fn refusal(refusal: &Refusal, switches: &Switches) -> Self {
        let mut body = common(false, refusal.errors_json(switches.error_chain), switches);
        body.insert("result".to_owned(), Value::Null);
        let status = if switches.errors_as_200 { 200 } else { refusal.status };
        Self { codes: refusal.codes(), ..Self::json(status, &Value::Object(body)) }
    }
}

fn common(success: bool, errors: Value, switches: &Switches) -> Map<String, Value> {
    let mut body = Map::from_iter([("success".to_owned(), Value::Bool(success)), ("errors".to_owned(), errors)]);
    if !switches.omit_messages {
        let messages = if switches.odd_messages {
            json!([{"code": 1, "message": "something to know", "type": null}])
        } else {
            json!([])
        };
        body.insert("messages".to_owned(), messages);
    }
    if switches.extra_members {
        body.insert("timing".to_owned(), json!({"start_time": "2026-01-01T00:00:00Z", "process_time": 3}));
    }
    body
}

fn item(mut setting: Setting, switches: &Switches) -> Value {
    if switches.uppercase_hostnames {
        setting.hostname.make_ascii_uppercase();
    }
    let mut item = json!(setting);
    if let (true, Value::Object(members)) = (switches.extra_members, &mut item) {
        members.insert("updated_at".to_owned(), json!("2026-01-01T00:00:00Z"));
        members.insert("added_later".to_owned(), json!({"nested": [1, null]}));
    }
    item
}

/// Reads the body of a PUT. Missing flags count as false, as the real API takes them although its schema requires them.
/// Unknown members of an entry are refused (`additionalProperties: false`). That a hostname may not stand there twice is
/// this emulator's choice: what the real API does then is not known, so nobody should come to depend on it.
pub(super) fn parse_put(body: &[u8], switches: &Switches) -> Result<Vec<Setting>, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(Refusal::invalid)?;
    let items =
        body.get("settings").and_then(Value::as_array).ok_or_else(|| Refusal::invalid("`settings` is no list"))?;
    let mut settings: Vec<Setting> = Vec::with_capacity(items.len());
    let mut seen = std::collections::HashSet::new();
    for item in items {
        let mut setting: Setting = serde_json::from_value(item.clone()).map_err(Refusal::invalid)?;
        if setting.hostname.is_empty() {
            return Err(Refusal::invalid("`hostname` is empty"));
        }
        if switches.normalise_hostnames {
            setting.hostname.make_ascii_lowercase();
        }
        if !seen.insert(setting.hostname.to_ascii_lowercase()) {
            return Err(Refusal::invalid(format!("{} is listed twice", setting.hostname)));
        }
        settings.push(setting);
    }
    Ok(settings)
}
