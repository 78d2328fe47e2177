//! Objects on the API server: what becomes of what users write, how large they may be, and how kubectl shows them.

use futures::StreamExt as _;
use harness::{
    control_plane::ControlPlane,
    fixture::{CREDENTIAL, Fixture, Settings, random_id},
    kubectl::Kubectl,
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

struct Bench {
    control_plane: &'static ControlPlane,
    fixture: Fixture,
}

impl Bench {
    async fn new() -> Self {
        let control_plane = ControlPlane::shared().await.unwrap();
        Self { control_plane, fixture: Fixture::new(control_plane).await.unwrap() }
    }

    async fn kubectl(&self, arguments: &[&str], input: &Value) -> harness::Result<String> {
        let arguments = [&["-n", self.fixture.namespace()], arguments].concat();
        Kubectl::new(self.control_plane.kubeconfig()).run_with_input(&arguments, &input.to_string()).await
    }

    /// Writes a status as the operator does.
    async fn report(&self, name: &str, status: &Value) -> kube::Result<Value> {
        let patch = json!({
            "apiVersion": harness::fixture::API_VERSION,
            "kind": "MtlsHostnameSettings",
            "metadata": {"name": name},
            "status": status,
        });
        let parameters = PatchParams::apply("cloudflare-mtls-operator").force();
        let stored = self.fixture.objects().patch_status(name, &parameters, &Patch::Apply(&patch)).await?;
        Ok(serde_json::to_value(stored).unwrap())
    }

    fn minimal(&self) -> Settings {
        self.fixture.settings("minimal").hostname("admin.example.com", true)
    }

    /// Every field that there is; only one kind of credential and one scope can be.
    fn maximal(&self) -> Settings {
        let (name, key) = CREDENTIAL;
        let reference = |key: &str| json!({"name": name, "key": key});
        let global = json!({"emailSecretKeyRef": reference("email"), "secretKeyRef": reference(key)});
        self.fixture
            .settings("maximal")
            .account(&random_id())
            .with("credentials", json!({"globalApiKey": global}))
            .hostname_with("admin.example.com", true, false)
            .hostname_with("*.example.com", false, true)
            .with("syncMode", json!("Enforce"))
            .with("deletionPolicy", json!("Retain"))
            .with("interval", json!("10m"))
            .with("suspend", json!(false))
    }
}

#[tokio::test]
async fn what_is_applied_is_what_is_read_back_and_applying_it_again_is_nothing() {
    let bench = Bench::new().await;
    for manifest in [bench.minimal().build(), bench.maximal().build()] {
        let stored = bench.fixture.apply(&manifest).await.unwrap();
        assert_eq!(stored["spec"], manifest["spec"]);
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let reported = bench.report(name, &json!({"observedGeneration": 1})).await.unwrap();
        let again = bench.fixture.apply(&manifest).await.unwrap();
        assert_eq!(again, reported, "the same, with its resourceVersion");
    }
}

/// The default of status is added to what is read, and stored with the first write after that: once, and to no effect.
#[tokio::test]
async fn without_an_operator_only_the_second_apply_is_a_write() {
    let bench = Bench::new().await;
    let manifest = bench.minimal().build();
    let mut first = bench.fixture.apply(&manifest).await.unwrap();
    let second = bench.fixture.apply(&manifest).await.unwrap();
    first["metadata"]["resourceVersion"] = second["metadata"]["resourceVersion"].clone();
    assert_eq!(second, first);
    assert_eq!(bench.fixture.apply(&manifest).await.unwrap(), second);
}

/// A difference that kubectl sees is one that Argo CD and Flux see.
#[tokio::test]
async fn kubectl_sees_no_difference_after_either_kind_of_apply() {
    let bench = Bench::new().await;
    for side in ["--server-side=true", "--server-side=false"] {
        for manifest in [bench.minimal(), bench.maximal()] {
            let mut manifest = manifest.build();
            let name =
                format!("{}{}", manifest["metadata"]["name"].as_str().unwrap(), side.replace("--server-side=", "-"));
            manifest["metadata"]["name"] = json!(name);
            bench.kubectl(&["apply", side, "-f", "-"], &manifest).await.unwrap();
            let before = bench.report(&name, &json!({"observedGeneration": 1})).await.unwrap();
            assert_eq!(before["spec"], manifest["spec"]);
            let difference = bench.kubectl(&["diff", side, "-f", "-"], &manifest).await.unwrap();
            assert_eq!(difference, "", "{side}");
            bench.kubectl(&["apply", side, "-f", "-"], &manifest).await.unwrap();
            assert_eq!(bench.fixture.get(&name).await.unwrap().unwrap(), before, "{side}");
        }
    }
}

#[tokio::test]
async fn a_fresh_object_looks_unseen() {
    let bench = Bench::new().await;
    let manifest = bench.minimal().build();
    let stored = bench.fixture.apply(&manifest).await.unwrap();
    assert_eq!(stored["status"], json!({"observedGeneration": -1}));
    let mut healthy = manifest;
    healthy["metadata"]["name"] = json!("pretender");
    healthy["status"] = json!({"observedGeneration": 1, "summary": "1/1"});
    bench.kubectl(&["create", "-f", "-"], &healthy).await.unwrap();
    let stored = bench.fixture.get("pretender").await.unwrap().unwrap();
    assert_eq!(stored["status"], json!({"observedGeneration": -1}), "its author does not write the status");
}

#[tokio::test]
async fn a_misspelt_field_is_refused_by_kubectl_and_dropped_when_that_is_asked_for() {
    let bench = Bench::new().await;
    let manifest = bench.minimal().with("interval", json!(null)).with("intervall", json!("5m")).build();
    for command in ["create", "apply"] {
        let refused = bench.kubectl(&[command, "-f", "-"], &manifest).await.unwrap_err().to_string();
        assert!(refused.contains("unknown field \"spec.intervall\""), "{refused}");
    }
    let warned = ["create", "--validate=warn", "--warnings-as-errors", "--dry-run=server", "-f", "-"];
    let warned = bench.kubectl(&warned, &manifest).await.unwrap_err().to_string();
    assert!(warned.contains("unknown field \"spec.intervall\""), "{warned}");
    bench.kubectl(&["create", "--validate=ignore", "-f", "-"], &manifest).await.unwrap();
    let stored = bench.fixture.get("minimal").await.unwrap().unwrap();
    assert_eq!(stored["spec"], bench.minimal().build()["spec"]);
}

/// 1,000 hostnames of 253 characters in spec, status and both lists of managed fields: the object with which the store's
/// limit of 1.5 MiB would be met first.
#[tokio::test]
async fn the_largest_object_and_its_status_are_stored() {
    let bench = Bench::new().await;
    let label = |letter: &str, length| letter.repeat(length);
    let suffix = format!("{}.{}.{}", label("b", 63), label("c", 63), label("d", 61));
    let hostnames: Vec<_> = (0..1000).map(|number| format!("h{number:03}{}.{suffix}", label("a", 59))).collect();
    assert!(hostnames.iter().all(|hostname| hostname.len() == 253));
    let listing = |forwarding| {
        hostnames.iter().fold(bench.fixture.settings("large"), |manifest, hostname| {
            manifest.hostname_with(hostname, forwarding, false)
        })
    };
    bench.fixture.apply(&listing(true).build()).await.unwrap();
    let remote = json!({"clientCertificateForwarding": false, "chinaNetwork": false});
    let entry = |hostname| json!({"hostname": hostname, "state": "Conflicted", "remote": remote});
    let message =
        json!({"code": 12132, "message": "m".repeat(1024), "documentationUrl": "https://developers.cloudflare.com"});
    let status = json!({
        "observedGeneration": 1,
        "summary": "0/1000",
        "conditions": [],
        "hostnames": hostnames.iter().map(entry).collect::<Value>(),
        "lastResponse": {
            "method": "PUT",
            "httpStatus": 409,
            "success": false,
            "errors": vec![message.clone(); 16],
            "messages": vec![message; 16],
            "time": "2026-08-22T10:00:00Z",
        },
    });
    bench.report("large", &status).await.unwrap();
    let stored = bench.fixture.apply(&listing(false).build()).await.unwrap();
    assert_eq!(stored["metadata"]["generation"], 2);
    assert_eq!(stored["status"]["hostnames"].as_array().unwrap().len(), 1000);
    let size = stored.to_string().len();
    assert!((1_200_000..1_500_000).contains(&size), "{size} bytes");
}

#[tokio::test]
async fn kubectl_get_shows_state_and_cause() {
    let bench = Bench::new().await;
    let manifest = bench.minimal().with("syncMode", json!("Warn")).build();
    bench.fixture.apply(&manifest).await.unwrap();
    let condition = json!({
        "type": "Ready",
        "status": "False",
        "reason": "PermissionDenied",
        "message": "the token may not write",
        "lastTransitionTime": "2026-08-22T10:00:00Z",
    });
    let other = json!({
        "type": "Stalled",
        "status": "True",
        "reason": "Other",
        "message": "no",
        "lastTransitionTime": "2026-08-22T10:00:00Z",
    });
    let response = json!({
        "method": "PUT",
        "success": false,
        "errors": [{"code": 10_000}, {"code": 1}],
        "time": "2026-08-22T10:00:00Z",
    });
    let status =
        json!({"observedGeneration": 1, "summary": "0/1", "conditions": [other, condition], "lastResponse": response});
    bench.report("minimal", &status).await.unwrap();

    let narrow = bench.kubectl(&["get", "mhs"], &Value::Null).await.unwrap();
    let (header, row) = table(&narrow);
    assert_eq!(header, ["NAME", "READY", "REASON", "HOSTNAMES", "CODE", "AGE"]);
    assert_eq!(row[..5], ["minimal", "False", "PermissionDenied", "0/1", "10000"]);
    let wide = bench.kubectl(&["get", "mhs", "-o", "wide"], &Value::Null).await.unwrap();
    let (header, row) = table(&wide);
    assert_eq!(header[6..], ["ZONE", "ACCOUNT", "MODE", "MESSAGE"]);
    assert_eq!((row[6], row[7], row[8]), (bench.fixture.zone_id(), "", "Warn"));
    assert_eq!(row[9..].join(" "), "the token may not write");
    let category = bench.kubectl(&["get", "cloudflare", "-o", "name"], &Value::Null).await.unwrap();
    assert_eq!(category, "mtlshostnamesettings.cloudflare-mtls.dev/minimal\n");
}

#[tokio::test]
async fn objects_are_found_by_their_zone_and_account() {
    let bench = Bench::new().await;
    let account = random_id();
    let [one, two, three, four] =
        ["one", "two", "three", "four"].map(|name| bench.fixture.settings(name).hostname("admin.example.com", true));
    for manifest in [one, two, three.zone(&random_id()), four.account(&account)] {
        bench.fixture.apply(&manifest.build()).await.unwrap();
    }
    let zone = format!("spec.zoneId={}", bench.fixture.zone_id());
    let account = format!("spec.accountId={account}");
    let unknown = format!("spec.zoneId={}", random_id());
    let rows = [
        (zone.clone(), "one two"),
        (account, "four"),
        (unknown, ""),
        (zone.replace('=', "!="), "four three"),
        (zone.to_uppercase().replace("SPEC.ZONEID", "spec.zoneId"), ""),
    ];
    futures::stream::iter(rows)
        .for_each(async |(selector, expected)| {
            let names = ["get", "mhs", "--field-selector", &selector, "-o", "jsonpath={.items[*].metadata.name}"];
            assert_eq!(bench.kubectl(&names, &Value::Null).await.unwrap(), expected, "{selector}");
        })
        .await;
}

/// Header and only row, cut where the columns begin.
fn table(text: &str) -> (Vec<&str>, Vec<&str>) {
    let [header, row] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let names: Vec<_> = header.split_whitespace().collect();
    let starts: Vec<_> =
        names.iter().map(|name| header.find(name).unwrap()).chain([row.len().max(header.len())]).collect();
    let cells =
        starts.windows(2).map(|cell| row.get(cell[0]..cell[1].min(row.len())).unwrap_or_default().trim()).collect();
    (names, cells)
}
