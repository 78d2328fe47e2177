//! The Applications and the objects of the guide for Argo CD, as far as it goes without a running one.

use harness::{control_plane::ControlPlane, tools};
use serde_json::{Value, json};

use crate::cluster::{define, taken};

fn read(file: &str) -> Value {
    let path = tools::workspace().join("deploy/argocd").join(file);
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
#[ignore = "needs the definition of Argo CD's kind: make gitops"]
async fn the_applications_are_ones_that_argo_cd_takes() {
    let control_plane = ControlPlane::start().await.unwrap();
    define(&control_plane, "argocd-crds.yaml").await;
    control_plane.kubectl(&["create", "namespace", "argocd"]).await.unwrap();
    for file in ["operator.yaml", "settings.yaml"] {
        taken(&control_plane, &tools::workspace().join("deploy/argocd").join(file)).await;
    }
}

#[test]
fn the_operator_comes_before_the_objects_and_what_they_need_before_them() {
    let wave = |file: &str| {
        let text = read(file)["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"].as_str().unwrap().to_owned();
        text.parse::<i32>().unwrap()
    };
    assert!(wave("operator.yaml") < wave("settings.yaml"));
    assert!(wave("cloudflare-mtls/namespace.yaml") < wave("cloudflare-mtls/admin.yaml"));
    let namespace = &read("cloudflare-mtls/namespace.yaml")["metadata"]["name"];
    assert_eq!(read("cloudflare-mtls/admin.yaml")["metadata"]["namespace"], *namespace);
    assert_eq!(read("settings.yaml")["spec"]["destination"]["namespace"], *namespace);
    let chart: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(harness::helm::chart().join("Chart.yaml")).unwrap()).unwrap();
    let source = &read("operator.yaml")["spec"]["source"];
    assert_eq!((&source["chart"], &source["targetRevision"]), (&chart["name"], &chart["version"]));
}

/// With the manager and the options of Argo CD's server-side apply and diff.
#[tokio::test]
async fn the_objects_of_the_guide_show_no_diff_once_they_are_applied() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let folder = tools::workspace().join("deploy/argocd/cloudflare-mtls");
    let author = ["--server-side", "--field-manager=argocd-controller", "-f", folder.to_str().unwrap()];
    // In the order of the waves.
    for file in ["namespace.yaml", "admin.yaml"] {
        let file = folder.join(file);
        let command = ["apply", "--server-side", "--field-manager=argocd-controller", "-f", file.to_str().unwrap()];
        control_plane.kubectl(&command).await.unwrap();
    }
    assert_eq!(control_plane.kubectl(&[&["diff"], &author[..]].concat()).await.unwrap(), "");
    let handled = json!({"metadata": {"annotations": {"cloudflare-mtls.dev/reconcile-at": "now"}}}).to_string();
    control_plane.kubectl(&["patch", "-n", "team-a", "mhs/admin", "--type=merge", "-p", &handled]).await.unwrap();
    // What the action sets is nobody else's, and stays.
    assert_eq!(control_plane.kubectl(&[&["diff"], &author[..]].concat()).await.unwrap(), "");
    control_plane.kubectl(&["delete", "-n", "team-a", "mhs/admin"]).await.unwrap();
}
