//! The plain manifests: the chart's, taken by kubectl in every way that the documents name, and gone again.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use cloudflare_mtls_operator::api::CRD_NAME;
use harness::{
    control_plane::{ControlPlane, OPERATOR},
    fixture::PATIENCE,
    helm::{Version, chart},
    kubectl::Kubectl,
    tools,
};
use serde_json::{Value, json};

use crate::{
    lifecycle::Served,
    render::{documents, only, render},
    site::{Site, end},
};

fn path(file: &str) -> String {
    tools::workspace().join(file).to_string_lossy().into_owned()
}

fn install_file() -> String {
    std::fs::read_to_string(path("deploy/install.yaml")).unwrap()
}

#[test]
fn they_are_what_the_chart_renders() {
    let helm: PathBuf = tools::tool("helm4").unwrap();
    let made = Command::new(path("deploy/render")).env("HELM", helm).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (made, file) = (String::from_utf8(made.stdout).unwrap(), install_file());
    let mut lines = made.lines().zip(file.lines()).enumerate();
    let first = lines.find(|(_, (made, file))| made != file);
    assert!(
        made == file,
        "deploy/install.yaml is stale: run `make manifests`. First line, made and in the file: {first:?}"
    );
    for word in ["Helm", "helm"] {
        assert!(!file.contains(word), "{word}: only Helm has a use for it");
    }
}

/// The roles that an administrator applies beside a release for some namespaces are those of the chart.
#[tokio::test]
async fn the_roles_for_an_administrator_say_what_the_chart_says() {
    let file = documents(&std::fs::read_to_string(path("deploy/roles.yaml")).unwrap());
    let [view, edit, install] = &file[..] else { panic!("{file:?}") };
    let chart = documents(&render(Version::Four, &[]).await.unwrap());
    for (ours, suffix) in [(view, "-view"), (edit, "-edit")] {
        let named = |document: &&Value| document["metadata"]["name"] == format!("{OPERATOR}{suffix}");
        let theirs = chart.iter().find(named).unwrap();
        assert_eq!(ours["rules"], theirs["rules"], "{suffix}");
        for (label, value) in ours["metadata"]["labels"].as_object().unwrap() {
            assert_eq!(&theirs["metadata"]["labels"][label], value, "{suffix}: {label}");
        }
    }
    // Every right of a Role of such a release is one that whoever creates it needs, whatever Leases it names.
    let rights = |rules: &Value| -> BTreeSet<String> {
        let words = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
        let rules = rules.as_array().unwrap().iter();
        rules
            .flat_map(|rule| {
                let right = |verb: &String| format!("{verb} {} of {}", rule["resources"], rule["apiGroups"]);
                words(&rule["verbs"]).iter().map(right).collect::<Vec<_>>()
            })
            .collect()
    };
    let namespaced = documents(&render(Version::Four, &["--set=watchNamespaces={team-a}"]).await.unwrap());
    let roles = namespaced.iter().filter(|document| document["kind"] == "Role");
    let needed: BTreeSet<String> = roles.flat_map(|role| rights(&role["rules"])).collect();
    assert_eq!(rights(&install["rules"]), needed);
}

/// All objects go with the CRD, so that neither Flux nor Argo CD is to take it away with the rest.
#[test]
fn their_crd_is_one_that_gitops_leaves_alone() {
    let documents = documents(&install_file());
    let annotations = &only(&documents, "CustomResourceDefinition")["metadata"]["annotations"];
    assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled");
    assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false");
}

/// Everything that they install, with its version in the API server's store.
async fn stored(control_plane: &ControlPlane) -> Vec<String> {
    let get = ["get", "-f", &path("deploy/install.yaml"), "-o", "json"];
    let found: Value = serde_json::from_str(&control_plane.kubectl(&get).await.unwrap()).unwrap();
    let items = found["items"].as_array().unwrap();
    assert_eq!(items.len(), documents(&install_file()).len());
    let line = |item: &Value| format!("{} {}", item["kind"], item["metadata"]["resourceVersion"]);
    items.iter().map(line).collect()
}

#[tokio::test]
async fn a_server_side_apply_takes_them_again_and_again_and_helm_takes_them_over() {
    let site = Site::new(Version::Four).await;
    let control_plane = &site.control_plane;
    let (file, folder) = (path("deploy/install.yaml"), path("deploy"));
    // The CRD first, for who has the rights to do that alone; its folder is a kustomization.
    let crds = ["apply", "--server-side", "-k", &path("crds")];
    control_plane.kubectl(&crds).await.unwrap();
    let apply = ["apply", "--server-side", "-f", &file];
    control_plane.kubectl(&apply).await.unwrap();
    // Until then the API server itself writes into the status of the CRD.
    control_plane.until_installed().await.unwrap();
    let before = stored(control_plane).await;
    control_plane.kubectl(&apply).await.unwrap();
    control_plane.kubectl(&["apply", "--server-side", "-k", &folder]).await.unwrap();
    control_plane.kubectl(&["diff", "--server-side", "-f", &file]).await.unwrap();
    assert_eq!(stored(control_plane).await, before);

    // From the manifests to the chart, in the same namespace and under the same names.
    let chart = chart();
    let refused = site.try_helm("install", &[&*chart.to_string_lossy()]).await.unwrap_err().to_string();
    assert!(refused.contains("invalid ownership metadata"), "{refused}");
    site.helm("install", &[&*chart.to_string_lossy(), "--take-ownership"]).await;
    let uid = |deployment: Value| deployment["metadata"]["uid"].clone();
    let taken = uid(site.deployment().await);
    site.upgrade(&[]).await;
    assert_eq!(uid(site.deployment().await), taken);
}

#[tokio::test]
async fn a_client_side_apply_takes_them_too() {
    let control_plane = ControlPlane::start().await.unwrap();
    let apply = ["apply", "-k", &path("deploy")];
    control_plane.kubectl(&apply).await.unwrap();
    control_plane.until_installed().await.unwrap();
    let before = stored(&control_plane).await;
    let said = control_plane.kubectl(&apply).await.unwrap();
    assert!(said.lines().count() > 8 && said.lines().all(|line| line.ends_with(" unchanged")), "{said}");
    assert_eq!(stored(&control_plane).await, before);
    // kubectl keeps the whole file in an annotation, of which all together may have 256 KiB.
    let annotation = r"jsonpath={.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}";
    let kept = control_plane.kubectl(&["get", "crd", CRD_NAME, "-o", annotation]).await.unwrap();
    assert!((10_000..100_000).contains(&kept.len()), "{}", kept.len());
}

/// Objects first, then what serves them: whoever deletes the manifests first leaves nobody to reset what `Reset` asks for.
#[tokio::test]
async fn they_are_deleted_after_the_objects() {
    let control_plane = ControlPlane::start_with_controllers().await.unwrap();
    let site = Site::on(control_plane, Version::Four).await;
    let kubectl = Kubectl::new(site.control_plane.kubeconfig()).deadline(2 * PATIENCE);
    let (file, delete_all) = (path("deploy/install.yaml"), ["delete", "mhs", "--all", "-A", "--wait"]);
    site.control_plane.install().await.unwrap();
    let operator = site.operator().await;
    let served = Served::resetting(&site, "team-a").await;
    served.until_ready().await;
    kubectl.run(&delete_all).await.unwrap();
    assert_eq!(served.hostname(), None);
    end(operator).await;
    // The namespace goes first, so that some of what is in it may be gone before kubectl comes to it.
    let delete = ["delete", "-f", &file, "--ignore-not-found"];
    kubectl.run(&delete).await.unwrap();

    // The other way round.
    site.control_plane.install().await.unwrap();
    let operator = site.operator().await;
    let served = Served::resetting(&site, "team-b").await;
    served.until_ready().await;
    end(operator).await;
    kubectl.run(&[&delete[..], &["--wait=false"]].concat()).await.unwrap();
    let (crd, namespace) = (format!("crd/{CRD_NAME}"), format!("namespace/{OPERATOR}"));
    let gone = async |what: &str, timeout: &str| kubectl.run(&["wait", "--for=delete", what, timeout]).await;
    gone(&namespace, "--timeout=60s").await.unwrap();
    let error = gone(&crd, "--timeout=5s").await.unwrap_err().to_string();
    let hangs = format!("timed out waiting for the condition on customresourcedefinitions/{CRD_NAME}");
    assert!(error.contains(&hangs), "{error}");
    // It hangs, and the hostname stays as it is. The way out leaves it so.
    let release = json!({"metadata": {"finalizers": null}}).to_string();
    kubectl.run(&["patch", "mhs", "kept", "-n", "team-b", "--type=merge", "-p", &release]).await.unwrap();
    gone(&crd, "--timeout=30s").await.unwrap();
    assert_eq!(served.hostname(), Some((true, false)));
}
