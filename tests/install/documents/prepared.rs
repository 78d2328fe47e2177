//! Commands of documents for which something has to be there that a new cluster does not have.

use std::io::Write as _;

use harness::{
    cloudflare::Cloudflare, control_plane::ControlPlane, documents::Page, kubectl::Kubectl, shell::Shell, tools,
};
use serde_json::{Value, json};

use super::session::ZONE;

const TOKEN: &str = "cfut_5Hn3Wq9Tz7Kb2Xv8Lr4Md6Yc1Js0Pg";

/// The one block that a document leaves to a test.
fn block(test: &str, document: &str) -> String {
    let [block] = Page::read(document).unwrap().commands(test).try_into().unwrap();
    block
}

#[tokio::test]
async fn the_health_script_comes_into_the_configmap_of_argocd_beside_what_is_there() {
    let test = "the_health_script_comes_into_the_configmap_of_argocd_beside_what_is_there";
    let command = block(test, "docs/getting-started.md");
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}});
    control_plane.apply(&namespace.to_string()).await.unwrap();
    let own = json!({"url": "https://argocd.example.com"});
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": "argocd"}, "data": own,
    });
    control_plane.apply(&map.to_string()).await.unwrap();

    Shell::new(control_plane.kubeconfig()).type_in(&command).await.unwrap();

    let stored = control_plane.kubectl(&["get", "configmap", "argocd-cm", "-n", "argocd", "-o", "json"]).await.unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let file = std::fs::read_to_string(tools::workspace().join("deploy/argocd/argocd-cm.yaml")).unwrap();
    let file: Value = serde_saphyr::from_str(&file).unwrap();
    let mut wanted = file["data"].clone();
    wanted["url"] = own["url"].clone();
    assert_eq!(stored["data"], wanted);
}

/// A wildcard begins with what YAML takes for a reference.
#[tokio::test]
async fn the_list_that_jq_writes_is_one_that_the_api_server_takes() {
    let test = "the_list_that_jq_writes_is_one_that_the_api_server_takes";
    let command = block(test, "docs/migration.md");
    let control_plane = ControlPlane::shared().await.unwrap();
    let shell = Shell::new(control_plane.kubeconfig());
    if !shell.try_type("command -v jq").await.unwrap().succeeded() {
        // Not captured: whoever reads what the suite prints is to see it.
        writeln!(std::io::stderr(), "SKIPPED {test}: there is no jq on this machine").unwrap();
        return;
    }
    let cloudflare = Cloudflare::start().await.unwrap();
    let remote = cloudflare.add_zone(ZONE, "example.com");
    cloudflare.token(TOKEN).may_write(remote.scope());
    harness::canary::watch_for(TOKEN);
    remote.set("*.example.com", true, false);
    remote.set("legacy.example.com", true, false);

    let shell = shell.variable("CLOUDFLARE_API_TOKEN", TOKEN).variable("CLOUDFLARE_API", cloudflare.url());
    let list = shell.type_in(&command).await.unwrap();

    let manifest = format!(
        "apiVersion: cloudflare-mtls.dev/v1alpha1\nkind: MtlsHostnameSettings\nmetadata:\n  name: listed\nspec:\n  \
         zoneId: {ZONE}\n  credentials:\n    apiToken:\n      secretKeyRef: {{name: cloudflare, key: token}}\n  \
         settings:\n{list}"
    );
    let arguments = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", "-o", "json"];
    let taken = Kubectl::new(control_plane.kubeconfig()).run_with_input(&arguments, &manifest).await;
    let taken: Value = serde_json::from_str(&taken.unwrap_or_else(|error| panic!("{error}\n{list}"))).unwrap();
    let entry = |hostname| json!({"hostname": hostname, "clientCertificateForwarding": true, "chinaNetwork": false});
    let mut settings = taken["spec"]["settings"].as_array().unwrap().clone();
    settings.sort_by_key(|entry| entry["hostname"].to_string());
    assert_eq!(settings, [entry("*.example.com"), entry("legacy.example.com")]);
}
