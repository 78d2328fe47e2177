//! The ways to ask for a Secret of another namespace. Each is a manifest that differs from an honest one in one respect.

use serde_json::{Value, json};

mod names;
mod objects;

/// What the object says in the end, or what the API server does if it stores no such object.
#[derive(Debug)]
pub(crate) enum Says {
    /// The reason of `Ready=False`, and a part of its message.
    Reason(&'static str, &'static str),
    /// The API server refuses it, whatever the schema says.
    Refused(&'static str),
    /// It is gone: it was being deleted.
    Gone,
}

/// Whether the CRD as it is shipped lets the manifest in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shipped {
    Stores,
    Refuses,
}

use Says::Reason;
use Shipped::{Refuses, Stores};

/// Makes a manifest another one, given the other namespace.
type Forge = dyn Fn(&str, &mut Value);

/// One way.
pub(crate) struct Way {
    pub(crate) what: &'static str,
    pub(crate) shipped: Shipped,
    pub(crate) says: Says,
    /// Makes an honest manifest a dishonest one.
    forge: Box<Forge>,
    /// What is done to the object once it is stored: a merge patch of it or of its status.
    pub(crate) then: Option<Then>,
}

#[derive(Clone, Copy)]
pub(crate) enum Then {
    Edit(fn(&str) -> Value),
    EditStatus(fn(&str) -> Value),
    Delete,
}

impl Way {
    fn new(what: &'static str, shipped: Shipped, says: Says, forge: impl Fn(&str, &mut Value) + 'static) -> Self {
        Self { what, shipped, says, forge: Box::new(forge), then: None }
    }

    fn then(self, then: Then) -> Self {
        Self { then: Some(then), ..self }
    }

    /// The JSON to send. An honest manifest names a Secret of its own, `own`.
    pub(crate) fn manifest(&self, honest: &Value, victim: &str) -> String {
        let mut manifest = honest.clone();
        (self.forge)(victim, &mut manifest);
        // A member that is there twice has no other way into a text; the last one counts.
        manifest.to_string().replace(r#""~name":"#, r#""name":"#)
    }
}

const NAME: &str = "/spec/credentials/apiToken/secretKeyRef/name";
const KEY: &str = "/spec/credentials/apiToken/secretKeyRef/key";

/// A name of the Secret, in which `V` is the other namespace.
fn name(what: &'static str, pattern: &'static str) -> Way {
    let says = Reason("SpecInvalid", "spec.credentials.apiToken.secretKeyRef.name");
    Way::new(what, Refuses, says, move |victim, manifest| set(manifest, NAME, json!(pattern.replace('V', victim))))
}

/// One that a Secret could have.
fn possible_name(what: &'static str, pattern: &'static str) -> Way {
    Way { shipped: Stores, says: Reason("SecretNotFound", "does not exist in this namespace"), ..name(what, pattern) }
}

fn key(what: &'static str, pattern: &'static str) -> Way {
    let says = Reason("SpecInvalid", "spec.credentials.apiToken.secretKeyRef.key");
    Way::new(what, Refuses, says, move |victim, manifest| set(manifest, KEY, json!(pattern.replace('V', victim))))
}

/// Another value somewhere in the object.
fn put(
    what: &'static str,
    shipped: Shipped,
    says: Says,
    pointer: &'static str,
    value: impl Fn(&str) -> Value + 'static,
) -> Way {
    Way::new(what, shipped, says, move |victim, manifest| set(manifest, pointer, value(victim)))
}

/// Sets a member, which may be a new one.
fn set(manifest: &mut Value, pointer: &str, value: Value) {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap();
    if let Some(list) = parent.as_array_mut() {
        list[member.parse::<usize>().unwrap()] = value;
    } else {
        parent.as_object_mut().unwrap().insert(member.to_owned(), value);
    }
}

/// The Secret of the other namespace is called `cloudflare`; there is none of this name in the object's own.
pub(crate) fn ways() -> Vec<Way> {
    [
        names::names(),
        names::similar_letters(),
        names::keys(),
        names::shapes(),
        objects::fields(),
        objects::metadata(),
        objects::lives(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Way {
    /// With more in its spec.
    fn with(self, more: Value) -> Self {
        let forge = self.forge;
        let more = move |victim: &str, manifest: &mut Value| {
            forge(victim, manifest);
            for (field, value) in more.as_object().unwrap() {
                set(manifest, &format!("/spec/{field}"), value.clone());
            }
        };
        Self { forge: Box::new(more), ..self }
    }

    /// Deleted while the operator's finalizer holds it, so that it is the operator that has to let it go.
    fn deleted(self) -> Self {
        let held = self.with(json!({"deletionPolicy": "Reset"}));
        let forge = held.forge;
        let finalizer = move |victim: &str, manifest: &mut Value| {
            forge(victim, manifest);
            set(manifest, "/metadata/finalizers", json!(["cloudflare-mtls.dev/reset"]));
        };
        Self { forge: Box::new(finalizer), then: Some(Then::Delete), ..held }
    }
}
