//! What the guide for Flux, docs/gitops-flux.md, promises of the chart.

use harness::{
    control_plane::OPERATOR,
    fixture::{condition, eventually},
    guard::Guarded,
    helm::{self, Helm, Version},
};
use serde_json::Value;

use crate::{
    cluster::{Cluster, PATIENCE},
    flux::{CRD, FLEET, SETTINGS, fleet, installed},
    guide::commands,
};

const RELEASE: &str = "helmrelease/cloudflare-mtls-operator";
const CHART: &str = "deploy/flux/cloudflare-mtls-operator";

/// Fetches the chart as source-controller would have, for the real helm-controller.
async fn release(cluster: &Cluster) -> Guarded {
    let there = || async { cluster.get(OPERATOR, RELEASE).await.map(drop).ok_or("not there") };
    eventually(PATIENCE, "the HelmRelease", there).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (chart, target) = (helm::chart(), folder.path().to_str().unwrap());
    let package = ["package", chart.to_str().unwrap(), "--destination", target];
    Helm::offline(Version::Four).run(&package).await.unwrap();
    let packed = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let version = packed.file_stem().unwrap().to_str().unwrap().rsplit_once('-').unwrap().1;
    let artifact = cluster.archiver.serve_chart(&packed, version);
    cluster.fetched(OPERATOR, &format!("ocirepository/{OPERATOR}"), &artifact).await;
    cluster.start_helm_controller()
}

async fn until_released(cluster: &Cluster, helm_controller: &Guarded) {
    let installed = async || {
        let object = cluster.get(OPERATOR, RELEASE).await.ok_or_else(|| "not there".to_owned())?;
        let succeeded = condition(&object, "Ready").is_some_and(|ready| ready["reason"] == "InstallSucceeded");
        if succeeded { Ok(()) } else { Err(format!("{:#}\n{}", object["status"], helm_controller.output().unwrap())) }
    };
    eventually(PATIENCE, "the release is installed", installed).await.unwrap();
}

#[tokio::test]
#[ignore = "needs Flux: make gitops"]
async fn a_release_of_the_chart_is_waited_for_before_the_objects_come() {
    let mut cluster = Cluster::new().await;
    let fleet = fleet();
    fleet.add("cloudflare-mtls-operator", CHART);
    cluster.bootstrap(&fleet).await;
    cluster.apply("deploy/flux/operator-helm.yaml").await;
    cluster.apply("deploy/flux/settings.yaml").await;
    let helm_controller = release(&cluster).await;
    cluster.until_deployed().await;
    cluster.until_ready(OPERATOR, "Unknown", "Progressing").await;
    cluster.until_ready(SETTINGS, "False", "DependencyNotReady").await;

    // Helm waits until the Deployment is available, Flux until the release is ready, and only then the objects come.
    cluster.run_operator().await;
    until_released(&cluster, &helm_controller).await;
    cluster.until_ready(OPERATOR, "True", "ReconciliationSucceeded").await;
    let deployment = cluster.get(OPERATOR, &format!("deployment/{OPERATOR}")).await.unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2, "the values of the release");
    assert!(cluster.get(OPERATOR, &format!("poddisruptionbudget/{OPERATOR}")).await.is_some());
    cluster.until_reason("admin", "False", "SecretNotFound").await;
    cluster.create_secret().await;
    cluster.until_applied(SETTINGS, FLEET).await;

    // What somebody changes by hand is put back.
    let deployment = format!("deployment/{OPERATOR}");
    cluster.kubectl(&["scale", "-n", OPERATOR, &deployment, "--replicas=1"]).await;
    let now = format!("reconcile.fluxcd.io/requestedAt={}", jiff::Timestamp::now());
    cluster.kubectl(&["annotate", "-n", OPERATOR, "--overwrite", RELEASE, &now]).await;
    let back = async || {
        let replicas = cluster.get(OPERATOR, &deployment).await.ok_or("not there")?["spec"]["replicas"].clone();
        if replicas == 2 { Ok(()) } else { Err(format!("{replicas} replicas\n{}", helm_controller.output().unwrap())) }
    };
    eventually(PATIENCE, "put back", back).await.unwrap();
}

/// Only Helm's own record of it says what belongs to a release.
#[tokio::test]
#[ignore = "needs Flux: make gitops"]
async fn a_release_that_is_removed_leaves_the_crd_and_the_namespace() {
    let mut cluster = Cluster::new().await;
    let fleet = fleet();
    fleet.add("cloudflare-mtls-operator", CHART);
    cluster.bootstrap(&fleet).await;
    cluster.apply("deploy/flux/operator-helm.yaml").await;
    let helm_controller = release(&cluster).await;
    cluster.until_deployed().await;
    cluster.run_operator().await;
    until_released(&cluster, &helm_controller).await;
    cluster.until_ready(OPERATOR, "True", "ReconciliationSucceeded").await;
    let role = format!("clusterrole/{OPERATOR}");
    assert!(cluster.get("default", &role).await.is_some());

    cluster.kubectl(&["delete", "kustomization", OPERATOR, "-n", "flux-system"]).await;
    let [removal] =
        commands("gitops-flux.md", "a_release_that_is_removed_leaves_the_crd_and_the_namespace").try_into().unwrap();
    let [wait, namespace] = removal.lines().collect::<Vec<_>>().try_into().unwrap();
    cluster.type_in(fleet.folder(), wait).await;
    assert_eq!(cluster.get("default", &role).await, None, "{}", helm_controller.output().unwrap());
    assert_eq!(cluster.get(OPERATOR, &format!("deployment/{OPERATOR}")).await, None);
    let kept = cluster.get("default", &format!("namespace/{OPERATOR}")).await.unwrap();
    assert_eq!(kept["metadata"]["deletionTimestamp"], Value::Null, "it may take Helm's record before Helm reads that");
    assert!(cluster.get("default", CRD).await.is_some(), "it would take all objects with it");
    // Its rights are gone before it.
    let mut operator = cluster.operator.take().unwrap();
    operator.signal("TERM").unwrap();
    operator.wait_exit(PATIENCE).await.unwrap();
    cluster.type_in(fleet.folder(), namespace).await;
    cluster.until_gone("default", &format!("namespace/{OPERATOR}")).await;
}

/// The Kustomization remembers what it applied, and prunes what it does not find any more.
#[tokio::test]
#[ignore = "needs Flux: make gitops"]
async fn the_chart_takes_the_place_of_the_manifests_and_no_object_is_lost() {
    let (mut cluster, fleet) = installed().await;
    let uids = async |cluster: &Cluster| {
        let mut found = Vec::new();
        for (namespace, name) in [("default", CRD), ("team-a", "mhs/admin"), ("team-a", "mhs/partners")] {
            let object = cluster.get(namespace, name).await.unwrap_or_else(|| panic!("{name} is gone"));
            assert_eq!(object["metadata"]["deletionTimestamp"], Value::Null, "{object:#}");
            found.push(object["metadata"]["uid"].clone());
        }
        found
    };
    let before = uids(&cluster).await;
    fleet.add("cloudflare-mtls-operator", CHART);
    cluster.push(FLEET, &fleet).await;
    cluster.apply("deploy/flux/operator-helm.yaml").await;
    for name in ["deployment", "serviceaccount", "replicaset"].map(|kind| {
        let number = if kind == "replicaset" { "-1" } else { "" };
        format!("{kind}/{OPERATOR}{number}")
    }) {
        cluster.until_gone(OPERATOR, &name).await;
    }
    assert_eq!(uids(&cluster).await, before);
    // Its rights are gone before it.
    let mut operator = cluster.operator.take().unwrap();
    operator.signal("TERM").unwrap();
    operator.wait_exit(PATIENCE).await.unwrap();

    let helm_controller = release(&cluster).await;
    cluster.until_deployed().await;
    cluster.run_operator().await;
    until_released(&cluster, &helm_controller).await;
    cluster.until_ready(OPERATOR, "True", "ReconciliationSucceeded").await;
    assert_eq!(uids(&cluster).await, before);
    let look = "cloudflare-mtls.dev/reconcile-at=with-the-chart";
    cluster.kubectl(&["annotate", "-n", "team-a", "mhs/admin", look]).await;
    cluster.until_looked("admin", "with-the-chart").await;
    cluster.until_reason("admin", "True", "InSync").await;
    assert_eq!(cluster.remote.get("partners.example.com"), Some((true, false)), "nobody was reset");
}
