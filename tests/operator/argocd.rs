//! Argo CD: its health script and its action, run as Argo CD runs them, over what the real API server shows of objects in
//! every state; and that an object as it is stored differs in nothing from its manifest.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use cloudflare_mtls_operator::api::{Class, Reason};
use harness::{fixture::condition, tools};
use serde_json::{Value, json};

use crate::world::World;

mod diff;
mod shown;
mod states;
mod written;

/// Where Argo CD would have the files, had it them built in.
fn folder() -> PathBuf {
    tools::workspace().join("deploy/argocd/resource_customizations/cloudflare-mtls.dev/MtlsHostnameSettings")
}

fn read(file: &str) -> String {
    let path = folder().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether the files are to be written anew instead of being held against what is seen: `make argocd-testdata`.
fn blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

/// What Argo CD has to say of an object, found by other means than the script.
fn expected(object: &Value) -> (&'static str, String) {
    let text = |kind: &str| {
        let condition = condition(object, kind)?;
        Some(format!("{}: {}", condition["reason"].as_str()?, condition["message"].as_str()?))
    };
    let Some(ready) = condition(object, "Ready") else {
        return ("Progressing", "Waiting for the operator to look at this generation".to_owned());
    };
    if object["metadata"]["deletionTimestamp"].is_string() {
        return ("Progressing", text("Ready").unwrap());
    }
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return ("Progressing", "Waiting for the operator to look at this generation".to_owned());
    }
    let reason = Reason::ALL.iter().find(|reason| ready["reason"] == reason.as_str()).unwrap();
    match (reason.class(), reason) {
        (Class::Ready, _) => ("Healthy", text("Ready").unwrap()),
        (Class::Reconciling, _) => ("Progressing", text("Reconciling").unwrap()),
        (Class::Stalled, _) => ("Degraded", text("Stalled").unwrap()),
        (Class::Reported, Reason::Suspended) => ("Suspended", text("Suspended").unwrap()),
        (Class::Reported, _) => ("Degraded", text("Ready").unwrap()),
    }
}

/// The objects in `testdata`, by file.
fn testdata() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(folder().join("testdata")).unwrap();
    let read = |path: PathBuf| {
        let file = format!("testdata/{}", path.file_name().unwrap().to_str().unwrap());
        let object = serde_saphyr::from_str(&read(&file)).unwrap();
        (file, object)
    };
    files.map(|entry| read(entry.unwrap().path())).collect()
}

#[test]
fn the_scripts_pass_their_cases_in_the_interpreter_of_argo_cd() {
    let root = tools::workspace().join("deploy/argocd/resource_customizations");
    let output = Command::new(tools::tool("argo-lua").unwrap()).arg("test").arg(root).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    // Each with all libraries and with next to none.
    let cases = testdata().len() + actions();
    assert!(printed.ends_with(&format!("{} runs of {cases} cases, none failed\n", 2 * cases)), "{printed}");
}

/// How many cases `action_test.yaml` has.
fn actions() -> usize {
    let tests: Value = serde_saphyr::from_str(&read("actions/action_test.yaml")).unwrap();
    tests["discoveryTests"].as_array().unwrap().len() + tests["actionTests"].as_array().unwrap().len()
}

/// What a user's script says of an object, as kubectl shows it.
fn health(shown: &str) -> (String, String) {
    let script = folder().join("health.lua");
    let mut child = Command::new(tools::tool("argo-lua").unwrap())
        .arg("health")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), shown.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    (found["status"].as_str().unwrap().to_owned(), found["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_action_asks_for_a_look_that_the_operator_takes() {
    let world = World::new().await;
    world.apply("admin", &[("admin.example.com", true)]).await;
    world.until_ready("admin").await;
    let looks = world.ledger().gets(&world.scope()).len();
    let output: Value = serde_saphyr::from_str(&read("actions/testdata/refreshed.yaml")).unwrap();
    let annotations = output["metadata"]["annotations"].as_object().unwrap();
    let (annotation, value) = annotations.iter().next().unwrap();
    assert_eq!(annotations.len(), 1);
    let patch = json!({"metadata": {"annotations": {annotation: value}}});
    world.fixture.patch("admin", &patch).await.unwrap();
    let handled = |object: &Value| object["status"]["lastHandledReconcileAt"] == *value;
    let object = world.fixture.until("admin", "looked", handled).await.unwrap();
    assert!(world.ledger().gets(&world.scope()).len() > looks, "{}", world.ledger());
    // Neither is an annotation anything that another generation would have to be waited for.
    let shown = serde_json::to_string(&object).unwrap();
    assert_eq!(health(&shown).0, "Healthy");
}
