//! What the guide for Flux promises.

use std::time::Instant;

use harness::{
    cloudflare::{Effect, Fault},
    control_plane::OPERATOR,
    fixture::condition,
    tools,
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, TOKEN},
    guide::commands,
    repository::Checkout,
};

pub(crate) const SETTINGS: &str = "cloudflare-mtls";
pub(crate) const CRD: &str = "crd/mtlshostnamesettings.cloudflare-mtls.dev";
pub(crate) const FLEET: &str = "gitrepository/flux-system";

/// A fleet's repository with the objects of the guide.
pub(crate) fn fleet() -> Checkout {
    Checkout::with("cloudflare-mtls", "deploy/flux/cloudflare-mtls")
}

/// This repository, as far as Flux reads it.
fn this_repository() -> Checkout {
    Checkout::with("deploy", "deploy")
}

/// The operator as the guide installs it, ready.
pub(crate) async fn with_operator() -> Cluster {
    with_operator_and_flux_told(&[]).await
}

/// The same with a kustomize-controller that was told more.
async fn with_operator_and_flux_told(arguments: &[&str]) -> Cluster {
    let mut cluster = Cluster::with_flux_told(arguments).await;
    cluster.apply("deploy/flux/operator.yaml").await;
    cluster.push("gitrepository/cloudflare-mtls-operator", &this_repository()).await;
    cluster.until_deployed().await;
    cluster.run_operator().await;
    cluster.until_ready(OPERATOR, "True", "ReconciliationSucceeded").await;
    cluster
}

/// The same with the objects of the guide, all ready.
pub(crate) async fn installed() -> (Cluster, Checkout) {
    let cluster = with_operator().await;
    let fleet = fleet();
    cluster.bootstrap(&fleet).await;
    cluster.apply("deploy/flux/settings.yaml").await;
    cluster.until_reason("admin", "False", "SecretNotFound").await;
    cluster.create_secret().await;
    cluster.until_applied(SETTINGS, FLEET).await;
    (cluster, fleet)
}

#[tokio::test]
#[ignore = "needs Flux: make gitops"]
async fn the_operator_comes_first_then_the_objects_and_all_is_ready_when_they_are() {
    let mut cluster = Cluster::new().await;
    let fleet = fleet();
    cluster.bootstrap(&fleet).await;
    let manifests = std::fs::read_to_string(tools::workspace().join("deploy/flux/operator.yaml")).unwrap();
    let own = manifests.replace("newName: ghcr.io/", "newName: registry.example.com/");
    cluster.control_plane.apply(&own.replace(r#"newTag: "0.1.0""#, r#"newTag: "0.1.1""#)).await.unwrap();
    cluster.apply("deploy/flux/settings.yaml").await;
    cluster.push("gitrepository/cloudflare-mtls-operator", &this_repository()).await;

    // Everything of the operator is there, but for what makes it available: so nothing comes after it.
    cluster.until_deployed().await;
    let deployment = cluster.get(OPERATOR, &format!("deployment/{OPERATOR}")).await.unwrap();
    let image = "registry.example.com/cloudflare-mtls-operator/cloudflare-mtls-operator:0.1.1";
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], image);
    cluster.until_ready(OPERATOR, "Unknown", "Progressing").await;
    cluster.until_ready(SETTINGS, "False", "DependencyNotReady").await;
    assert_eq!(cluster.get("team-a", "mhs/admin").await, None);

    // The objects come with the operator, and are waited for as long as they get better by themselves.
    cluster.run_operator().await;
    cluster.until_ready(OPERATOR, "True", "ReconciliationSucceeded").await;
    cluster.until_reason("admin", "False", "SecretNotFound").await;
    cluster.until_ready(SETTINGS, "Unknown", "Progressing").await;
    let held = cluster.cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));
    cluster.create_secret().await;
    cluster.cloudflare.until("a write under way", PATIENCE, || held.met() > 0).await.unwrap();
    cluster.until_ready(SETTINGS, "Unknown", "Progressing").await;
    held.release();
    cluster.until_applied(SETTINGS, FLEET).await;
    for name in ["admin", "partners"] {
        let object = cluster.get("team-a", &format!("mhs/{name}")).await.unwrap();
        assert_eq!(condition(&object, "Ready").unwrap()["reason"], "InSync", "{object:#}");
    }
    assert_eq!(cluster.remote.get("admin.example.com"), Some((true, false)));
}

#[tokio::test]
#[ignore = "needs Flux: make gitops"]
async fn what_a_person_has_to_mend_fails_at_once_and_what_gets_better_is_waited_for() {
    let (cluster, fleet) = installed().await;
    // The Kustomization would wait for five minutes.
    let kustomization = cluster.get("flux-system", "kustomization/cloudflare-mtls").await.unwrap();
    assert_eq!(kustomization["spec"]["timeout"], "5m");
    fleet.replace("cloudflare-mtls/admin.yaml", "hostname: admin.example.com", "hostname: admin.example.org");
    let started = Instant::now();
    cluster.push(FLEET, &fleet).await;
    let failed = cluster.until_ready(SETTINGS, "False", "HealthCheckFailed").await;
    println!("a stalled object failed its Kustomization after {} ms", started.elapsed().as_millis());
    let message = condition(&failed, "Ready").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("MtlsHostnameSettings/team-a/admin") && message.contains("Failed"), "{message}");
    let object = cluster.until_reason("admin", "False", "HostnameNotInScope").await;
    assert!(condition(&object, "Stalled").is_some());

    // Cloudflare is down: nothing failed, though nothing is ready either.
    let down = cluster.cloudflare.inject(Fault::from(Effect::Html520).for_ever());
    fleet.replace("cloudflare-mtls/admin.yaml", "hostname: admin.example.org", "hostname: www.example.com");
    cluster.push(FLEET, &fleet).await;
    cluster.until_reason("admin", "False", "CloudflareUnavailable").await;
    cluster.until_ready(SETTINGS, "Unknown", "Progressing").await;
    down.clear();
    cluster.until_applied(SETTINGS, FLEET).await;
}

#[tokio::test]
#[ignore = "needs Flux: make gitops"]
async fn a_spec_that_somebody_changed_is_put_back_and_the_status_is_never_touched() {
    let (cluster, _fleet) = installed().await;
    let by_hand = json!({"spec": {
        "interval": "1h",
        "settings": [{"hostname": "admin.example.com", "clientCertificateForwarding": false}],
    }});
    cluster.kubectl(&["patch", "-n", "team-a", "mhs/admin", "--type=merge", "-p", &by_hand.to_string()]).await;
    let off = || cluster.remote.get("admin.example.com").is_none();
    cluster.cloudflare.until("turned off by hand", PATIENCE, off).await.unwrap();
    cluster.reconcile(SETTINGS).await;
    let on = || cluster.remote.get("admin.example.com") == Some((true, false));
    cluster.cloudflare.until("put back", PATIENCE, on).await.unwrap();
    let object = cluster.until_reason("admin", "True", "InSync").await;
    assert_eq!(object["spec"]["settings"][0]["clientCertificateForwarding"], true);

    // Each has its own half of the object.
    let shown = cluster.kubectl(&["get", "-n", "team-a", "mhs/admin", "--show-managed-fields", "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let fields = |manager: &str| {
        let managed = shown["metadata"]["managedFields"].as_array().unwrap();
        let of: Vec<_> = managed.iter().filter(|entry| entry["manager"] == manager).map(|e| &e["fieldsV1"]).collect();
        assert!(!of.is_empty(), "{manager} has no field of {shown:#}");
        (of.iter().any(|f| f.get("f:spec").is_some()), of.iter().any(|f| f.get("f:status").is_some()))
    };
    assert_eq!(fields("kustomize-controller"), (true, false));
    assert_eq!(fields("cloudflare-mtls-operator"), (false, true));
    let touched = |event: &Value| {
        event["objectRef"]["resource"] == "mtlshostnamesettings" && event["objectRef"]["subresource"] == "status"
    };
    let requests = cluster.requests_of_flux();
    assert!(requests.iter().any(|event| event["objectRef"]["resource"] == "mtlshostnamesettings"));
    assert!(!requests.iter().any(touched));

    // Looked at once more, nothing is stored anew: there is no drift that Flux would see for ever.
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let before = version(&cluster.get("team-a", "mhs/partners").await.unwrap());
    cluster.reconcile(SETTINGS).await;
    cluster.until_looked_at(SETTINGS).await;
    assert_eq!(version(&cluster.get("team-a", "mhs/partners").await.unwrap()), before);
}

#[tokio::test]
#[ignore = "needs Flux: make gitops"]
async fn pruned_objects_turn_their_entries_off_and_removing_all_of_it_ends() {
    let (cluster, fleet) = installed().await;
    cluster.remote.set("foreign.example.com", true, false);
    fleet.replace("cloudflare-mtls/kustomization.yaml", "- partners.yaml\n", "");
    std::fs::remove_file(fleet.path("cloudflare-mtls/partners.yaml")).unwrap();
    cluster.push(FLEET, &fleet).await;
    cluster.until_applied(SETTINGS, FLEET).await;
    cluster.until_gone("team-a", "mhs/partners").await;
    assert_eq!(cluster.remote.get("partners.example.com"), None);
    assert_eq!(cluster.remote.get("admin.example.com"), Some((true, false)));

    // The objects first, with the operator still there to turn their entries off. They are waited for.
    cluster
        .kubectl(&[
            "patch",
            "-n",
            "team-a",
            "mhs/admin",
            "--type=merge",
            "-p",
            r#"{"spec":{"deletionPolicy":"Reset"}}"#,
        ])
        .await;
    cluster.until_reason("admin", "True", "InSync").await;
    let test = "pruned_objects_turn_their_entries_off_and_removing_all_of_it_ends";
    let [removal] = commands("gitops-flux.md", test).try_into().unwrap();
    let [objects, operator, namespace, crd] = removal.lines().collect::<Vec<_>>().try_into().unwrap();
    cluster.type_in(fleet.folder(), objects).await;
    assert_eq!(cluster.get("team-a", "mhs/admin").await, None);
    assert_eq!(cluster.remote.get("admin.example.com"), None);
    assert_eq!(cluster.remote.get("foreign.example.com"), Some((true, false)));
    assert!(cluster.get("team-a", "secret/cloudflare").await.is_some(), "what the operator needs goes last");
    cluster.type_in(fleet.folder(), operator).await;
    cluster.type_in(fleet.folder(), namespace).await;
    cluster.until_gone(OPERATOR, "deployment/cloudflare-mtls-operator").await;
    cluster.until_gone("default", "namespace/cloudflare-mtls-operator").await;
    assert!(cluster.get("default", CRD).await.is_some(), "nothing but a person deletes it");
    cluster.type_in(fleet.folder(), crd).await;
    cluster.until_gone("default", CRD).await;
}

#[tokio::test]
#[ignore = "needs Flux: make gitops"]
async fn a_secret_that_comes_with_a_later_commit_is_taken_at_once_where_flux_is_told_to() {
    let text = std::fs::read_to_string(tools::workspace().join("docs/gitops-flux.md")).unwrap();
    let gate = "--feature-gates=CancelHealthCheckOnNewRevision=true";
    assert!(text.contains(gate), "the guide says something else");
    let cluster = with_operator_and_flux_told(&[gate]).await;
    let fleet = fleet();
    cluster.bootstrap(&fleet).await;
    cluster.apply("deploy/flux/settings.yaml").await;
    cluster.until_reason("admin", "False", "SecretNotFound").await;
    cluster.until_ready(SETTINGS, "Unknown", "Progressing").await;
    let template = std::fs::read_to_string(tools::workspace().join("deploy/secrets/secret.yaml")).unwrap();
    fleet.write("cloudflare-mtls/secret.yaml", &template.replace("<your API token>", TOKEN));
    fleet.replace("cloudflare-mtls/kustomization.yaml", "- admin.yaml", "- secret.yaml\n- admin.yaml");
    cluster.push(FLEET, &fleet).await;
    // Long before the timeout of five minutes.
    cluster.until_applied(SETTINGS, FLEET).await;
}

/// Objects that only look are in migration before anything else is.
#[tokio::test]
#[ignore = "needs Flux: make gitops"]
async fn drift_that_is_only_reported_fails_no_kustomization_that_does_not_wait_and_any_that_does() {
    let cluster = with_operator().await;
    let fleet = Checkout::with("cloudflare-mtls-observed", "deploy/flux/cloudflare-mtls");
    fleet.replace("cloudflare-mtls-observed/admin.yaml", "\nspec:\n", "\nspec:\n  syncMode: Observe\n");
    cluster.bootstrap(&fleet).await;
    cluster.apply("deploy/flux/observed.yaml").await;
    cluster.until_applied("cloudflare-mtls-observed", FLEET).await;
    cluster.create_secret().await;
    cluster.until_reason("admin", "False", "DriftDetected").await;
    cluster.until_reason("partners", "True", "InSync").await;
    cluster.reconcile("cloudflare-mtls-observed").await;
    cluster.until_looked_at("cloudflare-mtls-observed").await;
    cluster.until_ready("cloudflare-mtls-observed", "True", "ReconciliationSucceeded").await;

    let waiting = json!({"spec": {"wait": true, "timeout": "10s"}}).to_string();
    let name = "kustomization/cloudflare-mtls-observed";
    cluster.kubectl(&["patch", "-n", "flux-system", name, "--type=merge", "-p", &waiting]).await;
    let failed = cluster.until_ready("cloudflare-mtls-observed", "False", "HealthCheckFailed").await;
    let message = condition(&failed, "Ready").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("timeout") && message.contains("team-a/admin"), "{message}");
    assert!(message.contains("InProgress") && !message.contains("partners"), "{message}");
    assert_eq!(cluster.remote.get("admin.example.com"), None, "it only looks");
}
