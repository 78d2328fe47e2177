//! What the proxy remembers of the objects that pass through it, and a state of them that it can show again.

use std::collections::HashMap;

use hyper::body::Bytes;
use serde_json::Value;

use super::target::Target;
use super::upstream::Whole;

/// What has been seen of objects, whatever the client was shown of them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    highest: u64,
    specs: HashMap<(String, i64), Value>,
}

impl Seen {
    /// Notes an object, a list of them or an event, and returns its version.
    pub(super) fn note(&mut self, json: &Value) -> Option<u64> {
        let items = json.get("items").and_then(Value::as_array).into_iter().flatten();
        for object in items.chain(json.get("object")) {
            self.note(object);
        }
        let version = text(json, "/metadata/resourceVersion")?.parse().ok()?;
        self.highest = self.highest.max(version);
        let generation = json.pointer("/metadata/generation").and_then(Value::as_i64);
        if let (Some(uid), Some(generation), Some(spec)) = (text(json, "/metadata/uid"), generation, json.get("spec")) {
            self.specs.insert((uid.to_owned(), generation), spec.clone());
        }
        Some(version)
    }

    /// The highest version of any object so far.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// The spec of an object in one of its generations.
    pub(super) fn spec(&self, uid: &str, generation: i64) -> Option<&Value> {
        self.specs.get(&(uid.to_owned(), generation))
    }
}

/// The answers to all looks as they were at one moment.
#[derive(Clone)]
pub struct Snapshot(pub(super) HashMap<String, Whole>);

impl Snapshot {
    /// What the request was answered then, or would have been: an object that was only ever listed is taken from the list.
    pub(super) fn answer(&self, path: &str, target: &Target) -> Option<Whole> {
        if let Some(whole) = self.0.get(path) {
            return Some(whole.clone());
        }
        let name = target.name.as_deref()?;
        self.0.iter().filter(|(path, _)| path.contains(&target.resource)).find_map(|(_, whole)| {
            let list: Value = serde_json::from_slice(&whole.body).ok()?;
            let object = list.get("items")?.as_array()?.iter().find(|object| {
                text(object, "/metadata/name") == Some(name)
                    && text(object, "/metadata/namespace") == target.namespace.as_deref()
            })?;
            Some(Whole { body: Bytes::from(object.to_string()), ..whole.clone() })
        })
    }
}

fn text<'a>(json: &'a Value, pointer: &str) -> Option<&'a str> {
    json.pointer(pointer).and_then(Value::as_str)
}
