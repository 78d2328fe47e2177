//! The table: what is accepted, and what is refused with which words.

use serde_json::{Value, json};

use super::{
    Row, Verdict,
    spec::{ACCOUNT, Spec, account, global_key, zone},
};

const OTHER: &str = "00000000000000000000000000000001";

const ONE_SCOPE: &str = "set exactly one of zoneId and accountId";
const ZONE_ID: &str =
    "zoneId must be 32 lower-case hex digits, as the zone's overview page in the Cloudflare dashboard shows it";
const ACCOUNT_ID: &str = "accountId must be 32 lower-case hex digits, as the Cloudflare dashboard shows it";
const ZONE_STAYS: &str =
    "zoneId is immutable: leave it as it was, or delete this object and create one for the other zone";
const ACCOUNT_STAYS: &str =
    "accountId is immutable: leave it as it was, or delete this object and create one for the other account";
const HOSTNAME: &str = "hostname must be a lower-case domain name such as admin.example.com or *.example.com: at least \
                        two labels of 1 to 63 letters, digits and inner hyphens, no trailing dot, no IP address; write \
                        international names as xn--";
const INTERVAL: &str =
    "interval must be a duration from 1m to 24h in hours, minutes and seconds, such as 90s, 10m or 1h30m";
const ONE_CREDENTIAL: &str =
    "set exactly one of credentials.apiToken and credentials.globalApiKey; an API token is the better choice";
const ONE_EMAIL: &str = "set exactly one of globalApiKey.email and globalApiKey.emailSecretKeyRef";
const EMAIL: &str = "email must be an e-mail address such as user@example.com";
const SECRET_NAME: &str =
    "name must be the name of a Secret: lower-case letters and digits, with hyphens and single dots between them";
const SECRET_KEY: &str =
    "key must be a key of the Secret, such as token: letters, digits, hyphens, underscores and dots";

pub(super) fn rows() -> Vec<Row> {
    let groups =
        [scopes(), ids(), hostnames(), lists(), intervals(), credentials(), secrets(), emails(), types(), updates()];
    groups.into_iter().flatten().collect()
}

fn scopes() -> Vec<Row> {
    vec![
        zone().accepted("a zone"),
        account().accepted("an account"),
        zone().with("/accountId", ACCOUNT).cel("a zone and an account", &[ONE_SCOPE]),
        zone().without("/zoneId").cel("neither zone nor account", &[ONE_SCOPE]),
        zone().with("/zoneId", Value::Null).cel("null for a zone", &[ONE_SCOPE]),
        account().with("/zoneId", Value::Null).accepted("null for a zone beside an account"),
    ]
}

fn ids() -> Vec<Row> {
    let good =
        ["00000000000000000000000000000000", "ffffffffffffffffffffffffffffffff", "0123456789abcdef0123456789abcdef"];
    let bad = [
        "",
        "0123456789abcdef0123456789abcde",
        "0123456789abcdef0123456789abcdef0",
        "0123456789ABCDEF0123456789ABCDEF",
        "0123456789abcdef0123456789abcdeg",
        "01234567-89ab-cdef-0123-456789abcdef",
        " 123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef\n",
        "0123456789abcdef0123456789abcde/",
        "../../../../../../client/v4/user",
        "0123456789abcdef0123456789abcdé",
        "https://dash.cloudflare.com/0123456789abcdef0123456789abcdef/example.com",
    ];
    [
        zone().each("/zoneId", Verdict::Accepted, &good),
        account().each("/accountId", Verdict::Accepted, &good),
        zone().each("/zoneId", Verdict::Cel(&[ZONE_ID]), &bad),
        account().each("/accountId", Verdict::Cel(&[ACCOUNT_ID]), &bad),
        vec![
            zone()
                .with("/zoneId", "0".repeat(257))
                .schema("a long zone id", "spec.zoneId: Too long: may not be more than 256"),
            zone().with("/zoneId", 12).schema("a number as zone id", "spec.zoneId in body must be of type string"),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn hostnames() -> Vec<Row> {
    const PATH: &str = "/settings/0/hostname";
    let label = |length: usize| "a".repeat(length);
    let domain = |last: usize| format!("{0}.{0}.{0}.{1}", label(63), label(last));
    let good = [
        "example.com",
        "*.example.com",
        "a.b.c.d.e.f.g.example.com",
        "a-b.c--d.example.com",
        "1.2.3.4.example.com",
        "0.example.c1",
        "xn--bcher-kva.example",
        &format!("{}.example.com", label(63)),
        &format!("*.{}.example.com", label(63)),
        &domain(61),
    ];
    let bad = [
        "",
        "*",
        "*.com",
        "com",
        "localhost",
        "Admin.example.com",
        "admin.example.COM",
        "admin.example.com.",
        ".example.com",
        "admin..example.com",
        "-admin.example.com",
        "admin-.example.com",
        "admin.example.com-",
        "admin.-example.com",
        "_dmarc.example.com",
        "ad_min.example.com",
        "bücher.example",
        "例え.テスト",
        "192.0.2.1",
        "2001:db8::1",
        "admin.*.example.com",
        "*admin.example.com",
        "*.*.example.com",
        "https://admin.example.com",
        "admin.example.com/path",
        "admin.example.com:443",
        " admin.example.com",
        "admin.example.com ",
        "admin.example.com\n",
        "admin.example.com\n.example.com",
        &format!("{}.example.com", label(64)),
        &format!("*.{}.example.com", label(64)),
        &format!("admin.{}", label(64)),
    ];
    let mut rows = zone().each(PATH, Verdict::Accepted, &good);
    rows.extend(zone().each(PATH, Verdict::Cel(&[HOSTNAME]), &bad));
    for long in [domain(62), format!("*.{}", domain(60)), "é".repeat(254)] {
        let what = format!("hostname of {} characters", long.chars().count());
        rows.push(
            zone().with(PATH, long).schema(what, "spec.settings[0].hostname: Too long: may not be more than 253"),
        );
    }
    rows
}

fn lists() -> Vec<Row> {
    let many = |count: usize| (0..count).map(|number| format!("h{number}.example.com"));
    let twice = |second: &str| ["a.example.com", "b.example.com", second].map(str::to_owned);
    let other_flags = json!([
        {"hostname": "a.example.com", "clientCertificateForwarding": true},
        {"hostname": "a.example.com", "clientCertificateForwarding": false, "chinaNetwork": true},
    ]);
    vec![
        zone().listing(many(0)).schema("no hostname", "spec.settings in body should have at least 1 items"),
        zone().listing(many(2)).accepted("two hostnames"),
        zone().listing(many(1000)).accepted("1000 hostnames"),
        zone()
            .listing(many(1001))
            .schema("1001 hostnames", "spec.settings: Too many: 1001: must have at most 1000 items"),
        zone().listing(twice("a.example.com")).schema("a hostname twice", "spec.settings[2]: Duplicate value"),
        zone().with("/settings", other_flags).schema("twice with other flags", "spec.settings[1]: Duplicate value"),
        zone().listing(twice("*.example.com")).accepted("a name and a wildcard that covers it"),
        zone().listing(twice("Admin.example.com")).cel("a wrong one among right ones", &[HOSTNAME]),
    ]
}

fn intervals() -> Vec<Row> {
    let good = [
        "1m",
        "60s",
        "90s",
        "10m",
        "1h",
        "1h30m",
        "1h0m1s",
        "0h1m",
        "01m",
        "59m60s",
        "23h59m60s",
        "1440m",
        "86400s",
        "24h",
    ];
    let bad = [
        "",
        "10",
        "m",
        "1m1",
        "59s",
        "0m",
        "0h59s",
        "24h1s",
        "1440m1s",
        "86401s",
        "25h",
        "99h",
        "-5m",
        "+5m",
        "1.5h",
        "1d",
        "1H",
        "1ms",
        "90000ms",
        "30m1h",
        "1h1h",
        "1m 30s",
        " 10m",
        "10m\n",
        "PT10M",
        "10 minutes",
        "٣m",
        "000000060s",
        "9999999999999h",
        "99999999999999999999s",
    ];
    let mut rows = zone().each("/interval", Verdict::Accepted, &good);
    rows.extend(zone().each("/interval", Verdict::Cel(&[INTERVAL]), &bad));
    rows.push(zone().with("/interval", 600).schema("a number", "spec.interval in body must be of type string"));
    rows.push(zone().with("/interval", "1".repeat(65)).schema("a long one", "spec.interval: Too long"));
    rows.push(zone().with("/interval", Value::Null).accepted("null for an interval"));
    rows
}

fn credentials() -> Vec<Row> {
    const GLOBAL: &str = "/credentials/globalApiKey";
    let global = global_key().0["credentials"]["globalApiKey"].clone();
    let reference = json!({"name": "cloudflare", "key": "email"});
    let secret_email = global_key().without("/credentials/globalApiKey/email");
    vec![
        global_key().accepted("a global key with an e-mail address"),
        secret_email
            .clone()
            .with("/credentials/globalApiKey/emailSecretKeyRef", reference.clone())
            .accepted("in a Secret"),
        secret_email.cel("a global key without an e-mail address", &[ONE_EMAIL]),
        global_key()
            .with("/credentials/globalApiKey/emailSecretKeyRef", reference)
            .cel("a global key with two e-mail addresses", &[ONE_EMAIL]),
        zone().with("/credentials", json!({})).cel("no kind of credential", &[ONE_CREDENTIAL]),
        zone().with(GLOBAL, global).cel("both kinds of credential", &[ONE_CREDENTIAL]),
        zone().with("/credentials/apiToken", Value::Null).cel("null for a token", &[ONE_CREDENTIAL]),
        zone().with("/credentials/token", "abc").accepted("an unknown kind beside a known one"),
        zone().with("/credentials", json!({"token": "abc"})).cel("an unknown kind alone", &[ONE_CREDENTIAL]),
        zone().without("/credentials").schema("no credentials", "spec.credentials: Required value"),
        zone()
            .without("/credentials/apiToken/secretKeyRef")
            .schema("no reference", "spec.credentials.apiToken.secretKeyRef: Required value"),
        global_key()
            .without("/credentials/globalApiKey/secretKeyRef")
            .schema("no key", "spec.credentials.globalApiKey.secretKeyRef: Required value"),
        zone()
            .with("/credentials/apiToken", "cfut_abc")
            .schema("a token in the object", "spec.credentials.apiToken in body must be of type object"),
    ]
}

fn secrets() -> Vec<Row> {
    const NAME: &str = "/credentials/apiToken/secretKeyRef/name";
    const KEY: &str = "/credentials/apiToken/secretKeyRef/key";
    let long = "a".repeat(253);
    let names = ["cloudflare", "a", "0", "a.b-c.d", &long];
    let no_names = ["", "A", "-a", "a-", ".a", "a.", "a..b", "a.-b", "a_b", "a b", "a/b", "../a", "a\n", "é"];
    let keys = ["token", ".dockerconfigjson", "TOKEN_1", "a..b", "-", "_", &long];
    let no_keys = ["", ".", "..", "..a", "a b", "a/b", "a\n", "é"];
    let longer = "a".repeat(254);
    [
        zone().each(NAME, Verdict::Accepted, &names),
        zone().each(NAME, Verdict::Cel(&[SECRET_NAME]), &no_names),
        zone().each(KEY, Verdict::Accepted, &keys),
        zone().each(KEY, Verdict::Cel(&[SECRET_KEY]), &no_keys),
        global_key().each("/credentials/globalApiKey/secretKeyRef/name", Verdict::Cel(&[SECRET_NAME]), &["A"]),
        vec![
            zone().with(NAME, &*longer).schema("a long name", "secretKeyRef.name: Too long: may not be more than 253"),
            zone().with(KEY, &*longer).schema("a long key", "secretKeyRef.key: Too long: may not be more than 253"),
            zone().without(NAME).schema("no name", "spec.credentials.apiToken.secretKeyRef.name: Required value"),
            zone().without(KEY).schema("no key", "spec.credentials.apiToken.secretKeyRef.key: Required value"),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn emails() -> Vec<Row> {
    const PATH: &str = "/credentials/globalApiKey/email";
    let address = |length: usize| format!("{}@example.com", "a".repeat(length - "@example.com".len()));
    let good = ["user@example.com", "a@b", "first.last+tag@sub.example.com", &address(254)];
    let bad = [
        "",
        "user",
        "@",
        "@example.com",
        "user@",
        "a@b@c",
        "us er@example.com",
        "user@example.com\n",
        "üser@example.com",
        "user@example.com\r\nX-Auth-Key: abc",
    ];
    let mut rows = global_key().each(PATH, Verdict::Accepted, &good);
    rows.extend(global_key().each(PATH, Verdict::Cel(&[EMAIL]), &bad));
    rows.push(
        global_key().with(PATH, address(255)).schema("a long address", "email: Too long: may not be more than 254"),
    );
    rows
}

fn types() -> Vec<Row> {
    const FORWARDING: &str = "/settings/0/clientCertificateForwarding";
    let modes = zone().each("/syncMode", Verdict::Accepted, &["Enforce", "Warn", "Observe"]);
    let policies = zone().each("/deletionPolicy", Verdict::Accepted, &["Retain", "Reset"]);
    let no_modes = zone().each(
        "/syncMode",
        Verdict::Schema("supported values: \"Enforce\", \"Warn\", \"Observe\""),
        &["", "enforce", "Off"],
    );
    let no_policies = zone().each(
        "/deletionPolicy",
        Verdict::Schema("supported values: \"Retain\", \"Reset\""),
        &["", "reset", "Delete"],
    );
    let others = vec![
        zone().with("/suspend", true).with("/settings/0/chinaNetwork", true).accepted("all flags"),
        zone().with("/suspend", Value::Null).with("/syncMode", Value::Null).accepted("nulls for what is optional"),
        zone().with("/suspend", "yes").schema("a text to suspend", "spec.suspend in body must be of type boolean"),
        zone()
            .with(FORWARDING, "true")
            .schema("a text as flag", "clientCertificateForwarding in body must be of type boolean"),
        zone()
            .with("/settings/0/chinaNetwork", 1)
            .schema("a number as flag", "chinaNetwork in body must be of type boolean"),
        zone().without(FORWARDING).schema("no flag", "spec.settings[0].clientCertificateForwarding: Required value"),
        zone().with(FORWARDING, Value::Null).schema("null for a flag", "clientCertificateForwarding: Required value"),
        zone().without("/settings/0/hostname").schema("no hostname", "spec.settings[0].hostname: Required value"),
        zone()
            .with("/settings/0/hostname", 5)
            .schema("a number", "spec.settings[0].hostname in body must be of type string"),
        zone().with("/settings/0", "a.example.com").schema("a text", "spec.settings[0] in body must be of type object"),
        zone().with("/settings", json!({})).schema("a map of settings", "spec.settings in body must be of type array"),
        zone().without("/settings").schema("no settings", "spec.settings: Required value"),
        Spec(Value::Null).schema("no spec", "spec: Required value"),
        Spec(json!([])).schema("a list as spec", "spec in body must be of type object"),
        zone().with("/intervall", "1s").with("/settings/0/forward", 1).accepted("unknown fields, which are dropped"),
    ];
    [modes, policies, no_modes, no_policies, others].into_iter().flatten().collect()
}

fn updates() -> Vec<Row> {
    let neither = || zone().without("/zoneId");
    let both = || zone().with("/accountId", ACCOUNT);
    let settings = ["b.example.com", "c.example.com"].map(str::to_owned);
    let changed = zone().listing(settings).with("/syncMode", "Observe").with("/interval", "1h").with("/suspend", true);
    vec![
        zone().turned_into("nothing", zone(), Verdict::Accepted),
        zone().turned_into("all that may change", changed.clone(), Verdict::Accepted),
        changed.turned_into("back to defaults", zone(), Verdict::Accepted),
        zone().turned_into("another credential", global_key(), Verdict::Accepted),
        account().turned_into("a null beside", account().with("/zoneId", Value::Null), Verdict::Accepted),
        zone().turned_into("another zone", zone().with("/zoneId", OTHER), Verdict::Cel(&[ZONE_STAYS])),
        account().turned_into("another account", account().with("/accountId", OTHER), Verdict::Cel(&[ACCOUNT_STAYS])),
        zone().turned_into("zone to account", account(), Verdict::Cel(&[ZONE_STAYS, ACCOUNT_STAYS])),
        account().turned_into("account to zone", zone(), Verdict::Cel(&[ZONE_STAYS, ACCOUNT_STAYS])),
        zone().turned_into("an account appears", both(), Verdict::Cel(&[ONE_SCOPE, ACCOUNT_STAYS])),
        account().turned_into("a zone appears", both(), Verdict::Cel(&[ONE_SCOPE, ZONE_STAYS])),
        zone().turned_into("the zone disappears", neither(), Verdict::Cel(&[ONE_SCOPE, ZONE_STAYS])),
        account().turned_into("the account disappears", neither(), Verdict::Cel(&[ONE_SCOPE, ACCOUNT_STAYS])),
        zone().turned_into("a zone that is none", zone().with("/zoneId", "x"), Verdict::Cel(&[ZONE_ID, ZONE_STAYS])),
        zone().turned_into("a wrong hostname", zone().with("/settings/0/hostname", "A.b"), Verdict::Cel(&[HOSTNAME])),
        zone().turned_into("a wrong interval", zone().with("/interval", "1s"), Verdict::Cel(&[INTERVAL])),
        zone().turned_into("no settings", zone().listing([]), Verdict::Schema("should have at least 1 items")),
        zone().turned_into("no mode", zone().with("/syncMode", "x"), Verdict::Schema("Unsupported value: \"x\"")),
    ]
}
