//! What can be said elsewhere in an object: fields that nobody knows, metadata, and what becomes of it later.

use serde_json::{Value, json};

use super::{NAME, Says, Shipped, Then, Way, put, set};

use Says::{Gone, Reason, Refused};
use Shipped::{Refuses, Stores};

/// Fields that the schema does not have, or that say the same twice.
pub(super) fn fields() -> Vec<Way> {
    let ignored = |what, pointer, value: fn(&str) -> Value| {
        put(what, Refuses, Reason("SecretNotFound", "does not exist in this namespace"), pointer, value)
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

pub(super) fn metadata() -> Vec<Way> {
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
pub(super) fn lives() -> Vec<Way> {
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
