//! What the guide for Secrets promises: each way ends in the Secret that the object names, and the object takes it from there.

use std::process::Command;

use harness::{control_plane::ControlPlane, shell::Shell, tools};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, TOKEN, define, taken},
    flux::{FLEET, SETTINGS, fleet, with_operator},
    guide::commands,
    repository::Checkout,
};

pub(crate) const OTHER_TOKEN: &str = "cfut_6Mn1Qz8Wv4Ys0Rk3Lj7Hc2Xb9Td5Pf";

/// The Secret of the guide with this token, encrypted in the fleet's repository.
async fn write(cluster: &Cluster, fleet: &Checkout, token: &str, encrypt: &str) {
    let file = "cloudflare-mtls/secret.sops.yaml";
    let template = std::fs::read_to_string(tools::workspace().join("deploy/secrets/secret.yaml")).unwrap();
    fleet.write(file, &template.replace("<your API token>", token));
    cluster.type_in(fleet.folder(), encrypt).await;
    let encrypted = fleet.read(file);
    assert!(!encrypted.contains(token) && encrypted.contains("name: cloudflare"), "{encrypted}");
}

#[tokio::test]
#[ignore = "needs Flux and SOPS: make gitops"]
async fn a_secret_that_sops_encrypted_reaches_the_object_and_so_does_the_next_one() {
    let cluster = with_operator().await;
    let fleet = fleet();
    let folder = fleet.folder();
    let test = "a_secret_that_sops_encrypted_reaches_the_object_and_so_does_the_next_one";
    let [key, encrypt] = commands("secrets.md", test).try_into().unwrap();
    cluster.type_in(folder, &key).await;
    let key = fleet.read("age.agekey");
    let recipient = key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    fleet.add(".sops.yaml", "deploy/secrets/sops/.sops.yaml");
    let rules = fleet.read(".sops.yaml");
    assert!(rules.contains("<your age public key>"));
    fleet.write(".sops.yaml", &rules.replace("<your age public key>", recipient));
    std::fs::remove_file(fleet.path("age.agekey")).unwrap();

    // In one commit with the objects: a Kustomization that waits for them would not see a later one before its timeout.
    write(&cluster, &fleet, TOKEN, &encrypt).await;
    fleet.replace("cloudflare-mtls/kustomization.yaml", "- admin.yaml", "- secret.sops.yaml\n- admin.yaml");
    cluster.bootstrap(&fleet).await;
    cluster.apply("deploy/secrets/sops/settings.yaml").await;
    cluster.until_applied(SETTINGS, FLEET).await;
    cluster.until_reason("admin", "True", "InSync").await;

    // Rotated, while the former token still works. Nobody touches the object.
    let next = cluster.cloudflare.token(OTHER_TOKEN).named("next");
    next.may_write(cluster.remote.scope());
    harness::canary::watch_for(OTHER_TOKEN);
    write(&cluster, &fleet, OTHER_TOKEN, &encrypt).await;
    cluster.push(FLEET, &fleet).await;
    cluster.until_applied(SETTINGS, FLEET).await;
    let look = async |value: &str| {
        let value = format!("cloudflare-mtls.dev/reconcile-at={value}");
        cluster.kubectl(&["annotate", "-n", "team-a", "mhs/admin", "--overwrite", &value]).await;
    };
    let asked_by_next = || cluster.cloudflare.ledger().all().iter().any(|e| e.credential.as_deref() == Some("next"));
    look("1").await;
    cluster.cloudflare.until("a request with the next token", PATIENCE, asked_by_next).await.unwrap();
    cluster.token.revoke();
    look("2").await;
    cluster.until_looked("admin", "2").await;
    cluster.until_reason("admin", "True", "InSync").await;

    // Removed with all objects, the Secret stays as long as there may be entries to be turned off.
    cluster.kubectl(&["delete", "-n", "flux-system", "kustomization/cloudflare-mtls", "--timeout=60s"]).await;
    assert_eq!(cluster.get("team-a", "mhs/partners").await, None);
    assert_eq!(cluster.remote.get("partners.example.com"), None);
    assert!(cluster.get("team-a", "secret/cloudflare").await.is_some());
}

#[tokio::test]
#[ignore = "needs kubeseal and the definition of its kind: make gitops"]
async fn a_sealed_secret_is_one_that_its_controller_takes_and_opens_as_the_secret_of_the_object() {
    let control_plane = with_definitions().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // The key pair that the controller would have made for itself.
    let arguments = "req -x509 -nodes -newkey rsa:2048 -subj /CN=sealed-secret -days 1 -keyout key.pem -out cert.pem";
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(path).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let template = std::fs::read_to_string(tools::workspace().join("deploy/secrets/secret.yaml")).unwrap();
    std::fs::write(path.join("secret.yaml"), template.replace("<your API token>", TOKEN)).unwrap();
    let test = "a_sealed_secret_is_one_that_its_controller_takes_and_opens_as_the_secret_of_the_object";
    let [seal] = commands("secrets.md", test).try_into().unwrap();
    Shell::new(control_plane.kubeconfig()).within(path).type_in(&seal).await.unwrap();
    let file = path.join("sealed-secret.yaml");
    let sealed = std::fs::read_to_string(&file).unwrap();
    assert!(!sealed.contains(TOKEN), "{sealed}");
    taken(&control_plane, &file).await;

    assert_outlives_the_objects(&serde_saphyr::from_str(&sealed).unwrap());

    let sealed = std::fs::File::open(file).unwrap();
    let opened = Command::new(tools::tool("kubeseal").unwrap())
        .args(["--recovery-unseal", "--recovery-private-key=key.pem", "--format=json"])
        .current_dir(path)
        .stdin(sealed)
        .output()
        .unwrap();
    let opened: Value = serde_json::from_slice(&opened.stdout).unwrap();
    assert_eq!((&opened["kind"], &opened["metadata"]["namespace"]), (&json!("Secret"), &json!("team-a")));
    let reference = reference();
    assert_eq!(opened["metadata"]["name"], reference["name"]);
    let key = reference["key"].as_str().unwrap();
    assert_outlives_the_objects(&opened);
    assert!(opened["data"][key].is_string() && opened["data"].as_object().unwrap().len() == 1, "{opened:#}");
}

#[tokio::test]
#[ignore = "needs the definitions of External Secrets: make gitops"]
async fn an_external_secret_is_one_that_its_controller_takes_and_names_the_secret_of_the_object() {
    let control_plane = with_definitions().await;
    let path = tools::workspace().join("deploy/secrets/external-secrets/cloudflare.yaml");
    taken(&control_plane, &path).await;
    let text = std::fs::read_to_string(path).unwrap();
    let external: Value = serde_saphyr::from_str(text.split("\n---\n").last().unwrap()).unwrap();
    assert_outlives_the_objects(&external);
    let reference = reference();
    assert_eq!(external["metadata"]["namespace"], "team-a");
    assert_eq!(external["spec"]["target"]["name"], reference["name"]);
    assert_eq!(external["spec"]["data"][0]["secretKey"], reference["key"]);
}

/// Neither Flux nor Argo CD takes the Secret, or what owns it, away together with the objects.
fn assert_outlives_the_objects(object: &Value) {
    let annotations = &object["metadata"]["annotations"];
    assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled", "{object:#}");
    assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false", "{object:#}");
}

/// Which Secret and key the objects of the guides name.
fn reference() -> Value {
    let path = tools::workspace().join("deploy/flux/cloudflare-mtls/admin.yaml");
    let object: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    object["spec"]["credentials"]["apiToken"]["secretKeyRef"].clone()
}

/// A cluster that knows the kinds of Sealed Secrets and External Secrets, though nobody serves them.
async fn with_definitions() -> ControlPlane {
    let control_plane = ControlPlane::start().await.unwrap();
    define(&control_plane, "secrets-crds.yaml").await;
    control_plane.kubectl(&["create", "namespace", "team-a"]).await.unwrap();
    control_plane
}
