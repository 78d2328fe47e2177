//! The CRD of the chart: the program's own, kept, removed where that was asked for, and taken over from kubectl.

use std::process::Command;

use cloudflare_mtls_operator::api::CRD_NAME;
use harness::{
    fixture::{Fixture, PATIENCE, eventually},
    helm::{Helm, Version, chart},
    kubectl::Kubectl,
    tools,
};
use serde_json::{Value, json};

use crate::{
    render::render,
    site::{NEWER, Site},
};

/// What the chart says to those who applied the CRD by hand.
const OWNED: &str = "invalid ownership metadata; label validation error: missing key \"app.kubernetes.io/managed-by\"";

#[tokio::test]
async fn it_is_byte_for_byte_what_the_program_prints() {
    let printed = Command::new(env!("CARGO_BIN_EXE_cloudflare-mtls-operator")).arg("crd").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let file = std::fs::read_to_string(chart().join("files/crd.yaml")).unwrap();
    assert!(file == printed, "the chart's files/crd.yaml is stale: run `make crds`");
    let (_, body) = printed.split_once("\nspec:\n").unwrap();
    for version in Version::EVERY {
        let rendered = render(version, &["--show-only=templates/crd.yaml"]).await.unwrap();
        let (_, spec) = rendered.split_once("\nspec:\n").unwrap();
        assert!(spec.trim_end() == body.trim_end(), "{version}:\n{spec}");
    }
}

/// The API server stores what is in the file, and adds only what it adds to every CRD.
async fn assert_installed_as_printed(site: &Site) {
    let file: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(chart().join("files/crd.yaml")).unwrap()).unwrap();
    let mut spec = site.crd().await["spec"].take();
    assert_eq!(spec["conversion"], json!({"strategy": "None"}));
    spec.as_object_mut().unwrap().remove("conversion");
    assert_eq!(spec["names"]["listKind"], "MtlsHostnameSettingsList");
    spec["names"].as_object_mut().unwrap().remove("listKind");
    assert_eq!(spec, file["spec"]);
}

async fn object(site: &Site, policy: &str) -> Fixture {
    let fixture = Fixture::within(&site.control_plane, "team-a").await.unwrap();
    let object =
        fixture.settings("there").with("deletionPolicy", json!(policy)).hostname("a.example.com", true).build();
    eventually(PATIENCE, "the object is stored", || fixture.apply(&object)).await.unwrap();
    fixture
}

/// Somebody applied an older CRD with kubectl, and has objects. Helm does not touch it unless it is told to.
async fn taken_over(version: Version, more: &[&str]) {
    let site = Site::new(version).await;
    let text = std::fs::read_to_string(tools::workspace().join("crds/mtlshostnamesettings.yaml")).unwrap();
    let mut crd: Value = serde_saphyr::from_str(&text).unwrap();
    let (fields, field) = NEWER.rsplit_once('/').unwrap();
    let fields = crd.pointer_mut(fields).unwrap().as_object_mut().unwrap();
    fields.remove(field).unwrap();
    fields["interval"]["description"] = json!("An older description.");
    site.control_plane.apply(&crd.to_string()).await.unwrap();
    let fixture = object(&site, "Retain").await;
    let before = fixture.get("there").await.unwrap().unwrap();

    let chart = chart();
    let install = ["--create-namespace", &chart.to_string_lossy()];
    let refused = site.try_helm("install", &install).await.unwrap_err().to_string();
    assert!(refused.contains(OWNED) && refused.contains(CRD_NAME), "{refused}");
    assert!(!site.is_crd_current().await);
    if version == Version::Four {
        // Nothing is forced unasked: what kubectl set and the chart wants otherwise stays kubectl's.
        let refused = site.try_helm("install", &[&install[..], &["--take-ownership"]].concat()).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("conflict with \"kubectl\""), "{refused}");
        site.helm("uninstall", &["--ignore-not-found"]).await;
    }
    site.helm("install", &[&install[..], &["--take-ownership"], more].concat()).await;
    assert_installed_as_printed(&site).await;
    assert_eq!(fixture.get("there").await.unwrap().unwrap(), before);
    // From then on it is the chart's, and asks for nothing. Left out of the chart, it is still kept.
    site.upgrade(&["--set=crds.install=false"]).await;
    assert_installed_as_printed(&site).await;
    assert_eq!(fixture.get("there").await.unwrap().unwrap(), before);
    site.upgrade(&["--set=crds.install=true"]).await;
    site.helm("uninstall", &[]).await;
    assert_installed_as_printed(&site).await;
    assert_eq!(fixture.get("there").await.unwrap().unwrap(), before);

    // The other way: without `keep` the CRD goes, and takes every object along.
    site.install_current(&["--set", "crds.keep=false"]).await;
    site.helm("uninstall", &[]).await;
    until_gone(&site).await;
    site.install_current(&[]).await;
    site.until_served().await;
    eventually(PATIENCE, "the kind is served again", async || fixture.get("there").await).await.unwrap();
    assert_eq!(fixture.get("there").await.unwrap(), None);
}

async fn until_gone(site: &Site) {
    eventually(PATIENCE, "the CRD is gone", async || {
        let found = site.control_plane.kubectl(&["get", "crd", "--ignore-not-found", CRD_NAME]).await;
        if found.as_ref().is_ok_and(String::is_empty) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await
    .unwrap();
}

/// What the values warn of: an upgrade that leaves the CRD out removes one that is not kept, with every object.
#[tokio::test]
async fn an_upgrade_without_it_removes_what_is_not_kept() {
    for (version, without) in
        [(Version::Three, "--set=crds.install=false"), (Version::Four, "--set=watchNamespaces={team-a}")]
    {
        let site = Site::new(version).await;
        site.install_current(&["--set=crds.keep=false"]).await;
        site.until_served().await;
        object(&site, "Retain").await;
        site.upgrade(&["--set=crds.keep=false", without]).await;
        until_gone(&site).await;
    }
}

#[tokio::test]
async fn helm_3_takes_it_over_from_kubectl() {
    taken_over(Version::Three, &[]).await;
}

#[tokio::test]
async fn helm_4_takes_it_over_from_kubectl() {
    taken_over(Version::Four, &["--force-conflicts"]).await;
}

/// A second release in the cluster finds the CRD owned, and does without.
#[tokio::test]
async fn a_second_release_leaves_it_to_the_first() {
    let site = Site::new(Version::Three).await;
    site.install_current(&[]).await;
    for version in Version::EVERY {
        let helm = Helm::new(version, site.control_plane.kubeconfig());
        let (name, chart) = (version.to_string(), chart());
        let install = ["install", &name, &chart.to_string_lossy(), "--namespace=team-a"];
        let refused = helm.run(&install).await.unwrap_err().to_string();
        assert!(refused.contains("must equal \"") && refused.contains(CRD_NAME), "{refused}");
        let second = ["--set=crds.install=false", "--set=selector=team=a"];
        let _ = helm.run(&["uninstall", &name, "--namespace=team-a", "--ignore-not-found"]).await.unwrap();
        helm.run(&[&install[..], &second].concat()).await.unwrap();
    }
    assert_installed_as_printed(&site).await;
}

/// Helm asks for every kind before it installs anything: what the chart's README says of objects in the first release.
#[tokio::test]
async fn objects_come_in_a_release_after_the_kind() {
    let site = Site::new(Version::Three).await;
    let object = json!({
        "apiVersion": "cloudflare-mtls.dev/v1alpha1",
        "kind": "MtlsHostnameSettings",
        "metadata": {"name": "{{ .Release.Name }}-{{ .Release.Namespace }}", "namespace": "team-a"},
        "spec": {
            "zoneId": harness::fixture::random_id(),
            "credentials": {"apiToken": {"secretKeyRef": {"name": "cloudflare", "key": "token"}}},
            "settings": [{"hostname": "a.example.com", "clientCertificateForwarding": true}],
        },
    });
    let object = format!("--set-json=extraObjects=[{object}]");
    for version in Version::EVERY {
        let helm = Helm::new(version, site.control_plane.kubeconfig());
        let (name, chart) = (version.to_string(), chart());
        let fixed = [&name, &*chart.to_string_lossy(), "--namespace=team-b", &object];
        if version == Version::Three {
            let refused = helm.run(&[&["install"], &fixed[..]].concat()).await.unwrap_err().to_string();
            assert!(refused.contains("ensure CRDs are installed first"), "{refused}");
            let none = "--set-json=extraObjects=[]";
            helm.run(&["install", &name, &chart.to_string_lossy(), "--namespace=team-b", none]).await.unwrap();
            site.until_served().await;
            helm.run(&[&["upgrade"], &fixed[..]].concat()).await.unwrap();
        } else {
            let second = ["--set=crds.install=false"];
            helm.run(&[&["install"], &fixed[..], &second].concat()).await.unwrap();
        }
        let path = format!("/apis/cloudflare-mtls.dev/v1alpha1/namespaces/team-a/mtlshostnamesettings/{name}-team-b");
        site.get(&path).await;
    }
}

/// What the artifacthub page shows to copy is taken by the API server.
#[tokio::test]
async fn the_example_of_the_chart_is_taken() {
    let site = Site::new(Version::Four).await;
    site.install_current(&[]).await;
    site.until_served().await;
    let metadata: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap();
    let annotation = |name: &str| metadata["annotations"][format!("artifacthub.io/{name}")].as_str().unwrap();
    let kubectl = Kubectl::new(site.control_plane.kubeconfig());
    let examples: Vec<Value> = serde_saphyr::from_str(annotation("crdsExamples")).unwrap();
    assert!(!examples.is_empty());
    for example in examples.iter().map(Value::to_string) {
        let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        eventually(PATIENCE, "the example is taken", || kubectl.run_with_input(&create, &example)).await.unwrap();
    }
    let listed: Vec<Value> = serde_saphyr::from_str(annotation("crds")).unwrap();
    let crd = site.crd().await;
    assert_eq!((listed[0]["name"].as_str(), listed.len()), (Some(CRD_NAME), 1));
    assert_eq!(listed[0]["kind"], crd["spec"]["names"]["kind"]);
    assert_eq!(listed[0]["version"], crd["spec"]["versions"][0]["name"]);
}
