//! Another namespace's Secret cannot be had through any object, though the operator's role would let it read it.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use harness::{
    cloudflare::{Cloudflare, Remote},
    control_plane::ControlPlane,
    fixture::{Fixture, PATIENCE, condition, eventually},
    operator::Operator,
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use self::ways::{Says, Shipped, Then, Way, ways};
use crate::{
    chart::Release,
    program::relax,
    world::{DOMAIN, TOKEN},
};

mod ways;

/// What is in the victim's Secret.
const CANARY: &str = "cfut_3Vb8Jr5Kd1Qz6Mw0Xt9Ls4Hn7Pc2Fy";

/// Two namespaces, and an operator that serves all of them.
struct Tenants {
    cloudflare: Cloudflare,
    victim: Fixture,
    /// Of the victim's zone, which all objects name.
    remote: Remote,
    thief: Fixture,
    release: Release,
    _operator: Operator,
    /// The last to go: the operator's log is in its folder.
    control_plane: ControlPlane,
}

impl Tenants {
    async fn new() -> Self {
        let control_plane = ControlPlane::start().await.unwrap();
        control_plane.install().await.unwrap();
        let cloudflare = Cloudflare::start().await.unwrap();
        let victim = Fixture::new(&control_plane).await.unwrap();
        let thief = Fixture::new(&control_plane).await.unwrap();
        let remote = cloudflare.add_zone(victim.zone_id(), DOMAIN);
        cloudflare.token(CANARY).named("canary").may_write(remote.scope());
        let own_zone = cloudflare.add_zone(thief.zone_id(), DOMAIN);
        cloudflare.token(TOKEN).named("own").may_write(own_zone.scope());
        let mut secret = victim.secret("cloudflare", "token", CANARY);
        secret["stringData"]["email"] = json!("owner-of-the-zone@example.com");
        victim.apply(&secret).await.unwrap();
        thief.apply(&thief.secret("own", "token", TOKEN)).await.unwrap();
        let release = Release::plain();
        let mut operator = release.operator(&control_plane, &cloudflare).arg("--secret-poll=1s").spawn().await.unwrap();
        operator.wait_ready(Duration::from_secs(30)).await.unwrap();
        Self { cloudflare, victim, remote, thief, release, _operator: operator, control_plane }
    }

    fn honest(&self, index: usize) -> Value {
        let manifest = self.thief.settings(&format!("way-{index}")).zone(self.victim.zone_id());
        manifest.credential("own", "token").hostname(&format!("way-{index}.{DOMAIN}"), true).build()
    }

    /// Sends a manifest as it is, and returns the object as it was stored.
    async fn post(&self, manifest: &str, query: &str) -> Result<Value, String> {
        let namespace = self.thief.namespace();
        let path = format!("/apis/cloudflare-mtls.dev/v1alpha1/namespaces/{namespace}/mtlshostnamesettings{query}");
        let request = hyper::Request::post(path).header("content-type", "application/json");
        let request = request.body(manifest.as_bytes().to_vec()).unwrap();
        match self.thief.client().request::<Value>(request).await {
            Ok(stored) => Ok(stored),
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(other) => panic!("{other}"),
        }
    }

    /// Goes one way to its end; says what was other than expected.
    async fn go(&self, index: usize, way: &Way) -> Result<(), String> {
        let manifest = way.manifest(&self.honest(index), self.victim.namespace());
        let stored = match (self.post(&manifest, "").await, &way.says) {
            (Err(error), Says::Refused(text)) if error.contains(text) => return Ok(()),
            (Ok(stored), Says::Reason(..) | Says::Gone) => stored,
            (other, _) => return Err(format!("the API server said {other:?}")),
        };
        let name = stored["metadata"]["name"].as_str().unwrap();
        self.live(name, way.then).await?;
        let seen = match &way.says {
            Says::Gone => self.thief.until_gone(name).await.map_err(|error| error.to_string()),
            Says::Reason(reason, text) => {
                let says = |object: &Value| {
                    condition(object, "Ready").is_some_and(|ready| {
                        ready["reason"] == *reason
                            && ready["observedGeneration"] == object["metadata"]["generation"]
                            && ready["message"].as_str().unwrap().contains(text)
                    })
                };
                self.thief.until(name, reason, says).await.map(drop).map_err(|error| error.to_string())
            }
            Says::Refused(_) => Ok(()),
        };
        seen.map_err(|error| format!("{name}: {error}"))
    }

    async fn live(&self, name: &str, then: Option<Then>) -> Result<(), String> {
        let victim = self.victim.namespace();
        let outcome = match then {
            None => Ok(()),
            Some(Then::Edit(patch)) => {
                let honest = |object: &Value| {
                    condition(object, "Ready").is_some_and(|ready| ready["reason"] == "AuthenticationFailed")
                };
                self.thief
                    .until(name, "its own credential is tried", honest)
                    .await
                    .map_err(|error| error.to_string())?;
                self.thief.patch(name, &patch(victim)).await.map(drop)
            }
            Some(Then::EditStatus(patch)) => {
                let patch = Patch::Merge(patch(victim));
                let edited = self.thief.objects().patch_status(name, &PatchParams::default(), &patch).await;
                edited.map(drop).map_err(harness::Error::from)
            }
            Some(Then::Delete) => self.thief.delete(name).await,
        };
        outcome.map_err(|error| error.to_string())
    }

    /// The operator's requests about Secrets, or whatever else has that word in its path.
    fn secret_requests(&self) -> Vec<Value> {
        let mut requests = self.control_plane.requests_of(&self.release.user()).unwrap();
        requests.retain(|request| {
            request["objectRef"]["resource"] == "secrets" || request["requestURI"].as_str().unwrap().contains("secrets")
        });
        requests
    }

    /// None but of a Secret of the object's namespace, by its name.
    fn assert_reads_at_home(&self) {
        let home = format!("/api/v1/namespaces/{}/secrets/", self.thief.namespace());
        let requests = self.secret_requests();
        assert!(!requests.is_empty());
        for request in &requests {
            let path = request["requestURI"].as_str().unwrap().trim_end_matches('?');
            let name = path.strip_prefix(&home).unwrap_or_else(|| panic!("{request:#}"));
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)),
                "{request:#}"
            );
            assert_eq!(request["verb"], "get", "{request:#}");
            assert_eq!(request["objectRef"]["namespace"], self.thief.namespace(), "{request:#}");
        }
    }

    fn used_canary(&self) -> usize {
        let ledger = self.cloudflare.ledger();
        ledger.all().iter().filter(|exchange| exchange.credential.as_deref() == Some("canary")).count()
    }
}

#[tokio::test]
async fn no_object_gets_at_the_secret_of_another_namespace() {
    let tenants = Tenants::new().await;
    let ways = ways();
    let distinct: BTreeSet<_> = ways.iter().map(|way| way.what).collect();
    assert_eq!(distinct.len(), ways.len(), "a way is there twice");
    assert!(ways.len() >= 50, "{} ways", ways.len());

    // What the schema keeps out, as kubectl asks for it: with complaints about fields that it does not have.
    for (index, way) in ways.iter().enumerate() {
        let manifest = way.manifest(&tenants.honest(index), tenants.victim.namespace());
        let answer = tenants.post(&manifest, "?dryRun=All&fieldValidation=Strict").await;
        let shipped = if answer.is_ok() { Shipped::Stores } else { Shipped::Refuses };
        assert_eq!(shipped, way.shipped, "{}: {answer:?}", way.what);
    }

    // Whatever the schema keeps out, none of it relies on the schema.
    relax(&tenants.control_plane).await;
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
    let patch = json!([{"op": "replace", "path": status, "value": anything}]).to_string();
    let crd = "mtlshostnamesettings.cloudflare-mtls.dev";
    tenants.control_plane.kubectl(&["patch", "crd", crd, "--type=json", "-p", &patch]).await.unwrap();
    let mut probe = tenants.honest(ways.len());
    probe["status"] = json!({"anything": true});
    let probe = probe.to_string();
    let lax = || async { tenants.post(&probe, "?dryRun=All&fieldValidation=Strict").await };
    eventually(PATIENCE, "the laxer schema is served", lax).await.unwrap();
    let gone = join_all(ways.iter().enumerate().map(|(index, way)| tenants.go(index, way))).await;
    tenants.assert_reads_at_home();
    assert_eq!(tenants.used_canary(), 0, "{}", tenants.cloudflare.ledger());
    assert!(tenants.remote.entries().is_empty(), "{:?}", tenants.remote.entries());
    let failed: Vec<_> =
        ways.iter().zip(gone).filter_map(|(way, outcome)| Some(format!("{}: {}", way.what, outcome.err()?))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    println!("{} ways lead nowhere", ways.len());

    // The victim uses its Secret, so that the operator holds it: still nobody else gets anything by it.
    let own = tenants.victim.settings("victim").hostname("victim.example.com", true);
    tenants.victim.apply(&own.build()).await.unwrap();
    tenants.victim.until_condition("victim", "Ready", "True", "InSync").await.unwrap();
    assert!(tenants.used_canary() >= 3, "what is looked for is seen where it should be");
    let rides = tenants.thief.settings("ride").zone(tenants.victim.zone_id()).hostname("ride.example.com", true);
    tenants.thief.apply(&rides.build()).await.unwrap();
    tenants.thief.until_condition("ride", "Ready", "False", "SecretNotFound").await.unwrap();
    let mut hostnames = tenants.remote.entries().into_iter().map(|entry| entry.hostname);
    assert_eq!((hostnames.next().as_deref(), hostnames.next()), (Some("victim.example.com"), None));
    let elsewhere = tenants
        .secret_requests()
        .into_iter()
        .filter(|request| request["objectRef"]["namespace"] != tenants.thief.namespace());
    for request in elsewhere {
        let own = format!("/api/v1/namespaces/{}/secrets/cloudflare", tenants.victim.namespace());
        assert_eq!(request["requestURI"].as_str().unwrap().trim_end_matches('?'), own, "the victim's own");
    }
}
