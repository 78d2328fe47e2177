//! What can be said in the place of a Secret's name and key, and in their shape.

use serde_json::{Value, json};

use super::{NAME, Says, Shipped, Way, key, name, possible_name, put, set};

use Says::Reason;
use Shipped::{Refuses, Stores};

pub(super) fn names() -> Vec<Way> {
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

pub(super) fn similar_letters() -> Vec<Way> {
    vec![
        name("a division slash", "..\u{2215}V\u{2215}secrets\u{2215}cloudflare"),
        name("full-width dots and slashes", "\u{ff0e}\u{ff0e}\u{ff0f}V\u{ff0f}secrets\u{ff0f}cloudflare"),
        name("a Cyrillic letter", "\u{441}loudflare"),
        name("a letter of no width", "cloud\u{200b}flare"),
        name("letters from right to left", "\u{202e}eralfduolc"),
    ]
}

pub(super) fn keys() -> Vec<Way> {
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
pub(super) fn shapes() -> Vec<Way> {
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
