//! The ways to ask for a Secret of another namespace. Each is a manifest that differs from an honest one in one respect.

use serde_json::{Value, json};

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

use Says::{Gone, Reason, Refused};

/// Whether the CRD as it is shipped lets the manifest in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shipped {
    Stores,
    Refuses,
}

use Shipped::{Refuses, Stores};

/// One way.
pub(crate) struct Way {
    pub(crate) what: &'static str,
    pub(crate) shipped: Shipped,
    pub(crate) says: Says,
    /// Makes an honest manifest a dishonest one, given the other namespace.
    forge: Box<dyn Fn(&str, &mut Value)>,
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
    [names(), look_alikes(), keys(), shapes(), fields(), metadata(), lives()].into_iter().flatten().collect()
}

fn names() -> Vec<Way> {
    vec![
        name("a path from the own Secrets", "../V/secrets/cloudflare"),
        name("a path from the root of the namespaces", "../../../namespaces/V/secrets/cloudflare"),
        name("a path that begins with a good name", "own/../../../V/secrets/cloudflare"),
        name("a path that watches", "../../../watch/namespaces/V/secrets/cloudflare"),
        name("an absolute path", "/api/v1/namespaces/V/secrets/cloudflare"),
        name("a URL", "https://kubernetes.default.svc/api/v1/namespaces/V/secrets/cloudflare"),
        name("a URL without a scheme", "//kubernetes.default.svc/api/v1/namespaces/V/secrets/cloudflare"),
        name("namespace and name with a slash", "V/cloudflare"),
        name("namespace and name with a colon", "V:cloudflare"),
        name("name and namespace with an at sign", "cloudflare@V"),
        name("backslashes", r"..\V\secrets\cloudflare"),
        name("encoded slashes", "..%2FV%2Fsecrets%2Fcloudflare"),
        name("encoded dots", "%2e%2e/V/secrets/cloudflare"),
        name("slashes that are encoded twice", "..%252FV%252Fsecrets%252Fcloudflare"),
        name("slashes in overlong UTF-8", "..%c0%afV%c0%afsecrets%c0%afcloudflare"),
        name("a query", "cloudflare?namespace=V"),
        name("a fragment", "cloudflare#V"),
        name("a parameter of the path", "cloudflare;namespace=V"),
        name("a header in the name", "cloudflare\r\nX-Namespace: V"),
        name(
            "a second request in the name",
            "own HTTP/1.1\r\nHost: x\r\n\r\nGET /api/v1/namespaces/V/secrets/cloudflare",
        ),
        name("a byte that ends texts", "cloudflare\0.V"),
        name("nothing", ""),
        name("the folder itself, which lists", "."),
        name("the folder above", ".."),
        name("a slash at the end", "cloudflare/"),
        name("an asterisk", "*"),
        name("two names", "own,V/cloudflare"),
        name("a template", "{{ .Namespaces.V.Secrets.cloudflare }}"),
        name("a variable", "$(V)/cloudflare"),
        name("spaces around it", " cloudflare "),
        name("capitals", "CLOUDFLARE"),
        Way::new("one letter more than names have", Refuses, Reason("SpecInvalid", "254 characters"), |_, manifest| {
            set(manifest, NAME, json!("a".repeat(254)));
        }),
        Way::new("a path of 100,000 letters", Refuses, Reason("SpecInvalid", "characters)"), |victim, manifest| {
            set(
                manifest,
                NAME,
                json!(format!("{}api/v1/namespaces/{victim}/secrets/cloudflare", "../".repeat(33_000))),
            );
        }),
        possible_name("the name that the other one has", "cloudflare"),
        possible_name("namespace and name with a dot", "V.cloudflare"),
        possible_name("the form of a Service's name", "cloudflare.V.svc.cluster.local"),
    ]
}

fn look_alikes() -> Vec<Way> {
    vec![
        name("a division slash", "..\u{2215}V\u{2215}secrets\u{2215}cloudflare"),
        name("full-width dots and slashes", "\u{ff0e}\u{ff0e}\u{ff0f}V\u{ff0f}secrets\u{ff0f}cloudflare"),
        name("a Cyrillic letter", "\u{441}loudflare"),
        name("a letter of no width", "cloud\u{200b}flare"),
        name("letters from right to left", "\u{202e}eralfduolc"),
    ]
}

fn keys() -> Vec<Way> {
    vec![
        key("a path as the key", "../V/cloudflare/token"),
        key("no key", ""),
        key("the folder above as the key", ".."),
        key("a look-alike key", "t\u{43e}ken"),
        Way {
            shipped: Stores,
            says: Reason("SecretInvalid", "has no key"),
            ..key("namespace, name and key with dots as the key", "V.cloudflare.token")
        },
    ]
}

/// Other types than the schema has.
fn shapes() -> Vec<Way> {
    let shape = |what, pointer, value: fn(&str) -> Value| {
        put(what, Refuses, Reason("SpecInvalid", "spec.credentials"), pointer, value)
    };
    let reference = "/spec/credentials/apiToken/secretKeyRef";
    vec![
        shape("an object as the name", NAME, |v| json!({"namespace": v, "name": "cloudflare"})),
        shape("a list as the name", NAME, |v| json!([v, "cloudflare"])),
        shape("null as the name", NAME, |_| Value::Null),
        shape("a text as the reference", reference, |v| json!(format!("{v}/cloudflare/token"))),
        shape(
            "two references",
            reference,
            |v| json!([{"name": "own", "key": "token"}, {"namespace": v, "name": "cloudflare", "key": "token"}]),
        ),
        shape("a text as the credentials", "/spec/credentials", |v| json!(format!("{v}/cloudflare/token"))),
        shape("members in capitals", reference, |v| json!({"Namespace": v, "Name": "cloudflare", "Key": "token"})),
        shape(
            "another kind of reference",
            "/spec/credentials/apiToken",
            |v| json!({"secretRef": {"namespace": v, "name": "cloudflare", "key": "token"}}),
        ),
        shape(
            "a member twice",
            reference,
            |v| json!({"name": "own", "key": "token", "~name": format!("../{v}/secrets/cloudflare")}),
        ),
    ]
}

/// Fields that the schema does not have, or that say the same twice.
fn fields() -> Vec<Way> {
    let ignored = |what, pointer, value: fn(&str) -> Value| {
        put(what, Refuses, Reason("SecretNotFound", "does not exist in this namespace"), pointer, move |v| value(v))
    };
    let global = |what, shipped, says, value: fn(&str) -> Value| {
        put(what, shipped, says, "/spec/credentials", move |v| json!({"globalApiKey": value(v)}))
    };
    let with_name = |way: Way| Way {
        forge: Box::new(move |victim, manifest| {
            set(manifest, NAME, json!("cloudflare"));
            (way.forge)(victim, manifest);
        }),
        ..way
    };
    let mut ways: Vec<_> = [
        ignored("a namespace in the reference", "/spec/credentials/apiToken/secretKeyRef/namespace", |v| json!(v)),
        ignored("a namespace beside the reference", "/spec/credentials/apiToken/namespace", |v| json!(v)),
        ignored("a namespace beside the kinds", "/spec/credentials/namespace", |v| json!(v)),
        ignored("a namespace in the spec", "/spec/namespace", |v| json!(v)),
        ignored("an account to act as", "/spec/serviceAccountName", |v| {
            json!(format!("system:serviceaccount:{v}:default"))
        }),
        ignored(
            "a credential for a hostname",
            "/spec/settings/0/secretKeyRef",
            |v| json!({"namespace": v, "name": "cloudflare", "key": "token"}),
        ),
        ignored(
            "a reference in the way of a pod",
            "/spec/credentials/apiToken/valueFrom",
            |v| json!({"secretKeyRef": {"namespace": v, "name": "cloudflare", "key": "token"}}),
        ),
        ignored(
            "a reference to an object",
            "/spec/credentials/apiToken/secretKeyRef/objectRef",
            |v| json!({"apiVersion": "v1", "kind": "Secret", "namespace": v, "name": "cloudflare"}),
        ),
    ]
    .into_iter()
    .map(with_name)
    .collect();
    let own = json!({"name": "own", "key": "token"});
    ways.extend([
        put("both kinds of credential", Refuses, Reason("SpecInvalid", "exactly one"), "/spec/credentials/globalApiKey", |v| {
            json!({"email": "a@example.com", "secretKeyRef": {"namespace": v, "name": "cloudflare", "key": "token"}})
        }),
        global("a path as the name of a global key", Refuses, Reason("SpecInvalid", "globalApiKey.secretKeyRef.name"), |v| {
            json!({"email": "a@example.com", "secretKeyRef": {"name": format!("../{v}/secrets/cloudflare"), "key": "token"}})
        }),
        global("a namespace for the address", Refuses, Reason("SecretNotFound", "Secret cloudflare does not exist"), |v| {
            json!({
                "emailSecretKeyRef": {"namespace": v, "name": "cloudflare", "key": "email"},
                "secretKeyRef": {"name": "own", "key": "token"},
            })
        }),
        Way::new(
            "a path as the place of the address",
            Refuses,
            Reason("SpecInvalid", "globalApiKey.emailSecretKeyRef.name"),
            move |v, manifest| {
                let email = json!({"name": format!("../{v}/secrets/cloudflare"), "key": "email"});
                let global = json!({"emailSecretKeyRef": email, "secretKeyRef": own});
                set(manifest, "/spec/credentials", json!({"globalApiKey": global}));
            },
        ),
        put("a path in the zone", Refuses, Reason("SpecInvalid", "spec.zoneId"), "/spec/zoneId", |v| {
            json!(format!("../../../../api/v1/namespaces/{v}/secrets/cloudflare"))
        }),
    ]);
    ways
}

/// The credential `own` is good for nothing in the zone that is the victim's.
const SERVED: Says = Reason("AuthenticationFailed", "the credential comes from Secret own");

fn metadata() -> Vec<Way> {
    let secret =
        |v: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": v, "name": "cloudflare"}});
    let claim = |what, pointer, value: fn(&str) -> Value| put(what, Stores, SERVED, pointer, value);
    vec![
        claim("annotations that claim a namespace", "/metadata/annotations", |v| {
            json!({
                "cloudflare-mtls.dev/namespace": v,
                "cloudflare-mtls.dev/secret-namespace": v,
                "cloudflare-mtls.dev/secret": format!("{v}/cloudflare"),
            })
        }),
        claim(
            "an annotation that asks for a look with a name",
            "/metadata/annotations",
            |v| json!({"cloudflare-mtls.dev/reconcile-at": format!("../{v}/secrets/cloudflare")}),
        ),
        put(
            "a manifest of another namespace as last applied",
            Stores,
            SERVED,
            "/metadata/annotations",
            move |v| json!({"kubectl.kubernetes.io/last-applied-configuration": secret(v).to_string()}),
        ),
        claim(
            "labels of a namespace",
            "/metadata/labels",
            |v| json!({"kubernetes.io/metadata.name": v, "cloudflare-mtls.dev/namespace": v}),
        ),
        claim(
            "an owner in another namespace",
            "/metadata/ownerReferences",
            |v| json!([{"apiVersion": "v1", "kind": "Secret", "name": "cloudflare", "uid": v, "controller": true}]),
        ),
        claim("a finalizer that names a namespace", "/metadata/finalizers", |v| {
            json!([format!("cloudflare-mtls.dev/{v}.cloudflare")])
        }),
        claim("a link to itself elsewhere", "/metadata/selfLink", |v| {
            json!(format!("/apis/cloudflare-mtls.dev/v1alpha1/namespaces/{v}/mtlshostnamesettings/x"))
        }),
        claim("the namespace as its own name", "/metadata/name", |v| json!(v)),
        put("a path as its own name", Refuses, Refused("RFC 1123 subdomain"), "/metadata/name", |v| {
            json!(format!("../{v}"))
        }),
        put(
            "another namespace than that of the path",
            Refuses,
            Refused("does not match the namespace"),
            "/metadata/namespace",
            |v| json!(v),
        ),
    ]
}

/// What becomes of an object after it was stored.
fn lives() -> Vec<Way> {
    let honest = |what, says| Way::new(what, Stores, says, |_, _| {});
    vec![
        honest("an edit of a good name", Reason("SpecInvalid", "secretKeyRef.name")).then(Then::Edit(|v| {
            let name = format!("../{v}/secrets/cloudflare");
            json!({"spec": {"credentials": {"apiToken": {"secretKeyRef": {"name": name}}}}})
        })),
        honest("fields of the status that name a Secret", SERVED).then(Then::EditStatus(|v| {
            json!({"status": {"namespace": v, "credentials": {"secretKeyRef": {"namespace": v, "name": "cloudflare"}}}})
        })),
        honest("a status that claims the other's hostname", SERVED).then(Then::EditStatus(|v| {
            json!({"status": {"observedGeneration": 1, "summary": v, "hostnames": [
                {"hostname": "victim.example.com", "state": "InSync", "applied": true},
            ]}})
        })),
        put("a deletion with a path", Refuses, Gone, NAME, |v| json!(format!("../{v}/secrets/cloudflare")))
            .deleted(),
        put("a deletion with the other's name", Stores, Gone, NAME, |_| json!("cloudflare")).deleted(),
        put("a path while it is suspended", Refuses, Reason("SpecInvalid", "secretKeyRef.name"), NAME, |v| {
            json!(format!("../{v}/secrets/cloudflare"))
        })
        .with(json!({"suspend": true})),
        put("the other's name while it only observes", Stores, Reason("SecretNotFound", "does not exist"), NAME, |_| {
            json!("cloudflare")
        })
        .with(json!({"syncMode": "Observe"})),
    ]
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
