//! What is written from the objects in `testdata` and from the scripts: the cases of the health script, the object that the
//! action leaves, and the `ConfigMap` to copy.

use std::collections::{BTreeMap, BTreeSet};

use cloudflare_mtls_operator::api::Reason;
use harness::{fixture::condition, tools};
use serde_json::{Value, json};

use super::{blessing, expected, folder, read, testdata};

#[test]
fn every_reason_has_a_case_that_says_what_its_class_asks_for() {
    let objects = testdata();
    if blessing() {
        let mut text = "tests:\n".to_owned();
        for (file, object) in &objects {
            let (status, message) = expected(object);
            let message = json!(message);
            let case = format!("- healthStatus:\n    status: {status}\n    message: {message}\n  inputPath: {file}\n");
            text.push_str(&case);
        }
        std::fs::write(folder().join("health_test.yaml"), text).unwrap();
    }
    let tests: Value = serde_saphyr::from_str(&read("health_test.yaml")).unwrap();
    let tests = tests["tests"].as_array().unwrap();
    let mut cases = BTreeMap::new();
    for test in tests {
        let (status, message) = (&test["healthStatus"]["status"], &test["healthStatus"]["message"]);
        let file = test["inputPath"].as_str().unwrap();
        let object = objects.get(file).unwrap_or_else(|| panic!("{file} is not there"));
        let (expected_status, expected_message) = expected(object);
        assert_eq!((status, message), (&json!(expected_status), &json!(expected_message)), "{file}");
        cases.insert(file, condition(object, "Ready").map(|ready| ready["reason"].as_str().unwrap()));
    }
    let unused: Vec<_> = objects.keys().filter(|file| !cases.contains_key(file.as_str())).collect();
    assert!(unused.is_empty(), "no case uses {unused:?}");
    let reasons: BTreeSet<_> = cases.values().flatten().copied().collect();
    let all: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(reasons, all);
}

#[test]
fn an_object_that_was_refreshed_has_one_annotation_more() {
    let annotation = "metadata:\n  annotations:\n    cloudflare-mtls.dev/reconcile-at: \"0001-01-01T00:00:00Z\"\n";
    let refreshed = read("testdata/in-sync.yaml").replacen("metadata:\n", annotation, 1);
    if blessing() {
        std::fs::write(folder().join("actions/testdata/refreshed.yaml"), &refreshed).unwrap();
    }
    assert_eq!(read("actions/testdata/refreshed.yaml"), refreshed);
}

/// The text as a block of YAML, so much further to the right.
fn block(text: &str, indent: usize) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{:indent$}{line}\n", "") }).collect()
}

#[test]
fn the_config_map_to_copy_has_these_very_scripts() {
    let key = |of: &str| format!("resource.customizations.{of}.cloudflare-mtls.dev_MtlsHostnameSettings");
    let definitions = format!(
        "discovery.lua: |\n{}definitions:\n- name: refresh\n  action.lua: |\n{}",
        block(&read("actions/discovery.lua"), 2),
        block(&read("actions/refresh/action.lua"), 4),
    );
    let expected = format!(
        "# Written from the scripts in resource_customizations/ by `make argocd-testdata`.\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  namespace: argocd\n  labels:\n    \
         app.kubernetes.io/name: argocd-cm\n    app.kubernetes.io/part-of: argocd\ndata:\n  {}: |\n{}  {}: |\n{}",
        key("health"),
        block(&read("health.lua"), 4),
        key("actions"),
        block(&definitions, 4),
    );
    let path = tools::workspace().join("deploy/argocd/argocd-cm.yaml");
    if blessing() {
        std::fs::write(&path, &expected).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text, expected, "not of these scripts any more; run `make argocd-testdata`");
    // And what comes out of it, to the letter.
    let config_map: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(config_map["data"][key("health")], read("health.lua"));
    let actions: Value = serde_saphyr::from_str(config_map["data"][key("actions")].as_str().unwrap()).unwrap();
    let scripts = json!({
        "discovery.lua": read("actions/discovery.lua"),
        "definitions": [{"name": "refresh", "action.lua": read("actions/refresh/action.lua")}],
    });
    assert_eq!(actions, scripts);
}
