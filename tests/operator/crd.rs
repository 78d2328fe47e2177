//! The CRD itself: where it is kept, what it tells its reader, what it leaves to nobody's default, and what it costs.

use std::process::Command;

use cloudflare_mtls_operator::api::{CRD_NAME, crd};
use futures::StreamExt as _;
use harness::{
    control_plane::ControlPlane,
    fixture::{PATIENCE, eventually},
    kubectl::Kubectl,
    manifests::walk,
    tools,
};
use serde_json::{Value, json};

const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

fn file() -> String {
    std::fs::read_to_string(tools::workspace().join("crds/mtlshostnamesettings.yaml")).unwrap()
}

fn folder() -> String {
    tools::workspace().join("crds").to_string_lossy().into_owned()
}

#[test]
fn the_program_prints_the_file() {
    let printed = Command::new(env!("CARGO_BIN_EXE_cloudflare-mtls-operator")).arg("crd").output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    assert!(printed.stderr.is_empty(), "{}", String::from_utf8_lossy(&printed.stderr));
    let (printed, file) = (String::from_utf8(printed.stdout).unwrap(), file());
    if printed != file {
        let mut lines = printed.lines().zip(file.lines()).enumerate();
        let first = lines.find(|(_, (printed, file))| printed != file);
        panic!(
            "crds/mtlshostnamesettings.yaml is stale: run `make crds`. First line, printed and in the file: {first:?}"
        );
    }
}

#[test]
fn the_yaml_says_what_the_json_says() {
    assert_eq!(serde_saphyr::from_str::<Value>(&file()).unwrap(), crd().unwrap());
    let untidy: Vec<_> = file().lines().filter(|line| line.trim_end() != *line).map(str::to_owned).collect();
    assert_eq!(untidy, [""; 0]);
    assert!(file().ends_with('\n') && !file().ends_with("\n\n"));
}

/// What the API server would drop, fill in or change by itself is a difference for ever to whoever compares.
#[test]
fn nothing_in_the_file_is_left_to_the_api_server() {
    let crd: Value = serde_saphyr::from_str(&file()).unwrap();
    assert_eq!(keys(&crd), ["apiVersion", "kind", "metadata", "spec"]);
    assert_eq!(crd["metadata"], json!({"name": CRD_NAME}));
    let mut found = Vec::new();
    walk(&crd, "", &mut |path, value| {
        let empty = match value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if empty || path.ends_with("/creationTimestamp") {
            found.push(path.to_owned());
        }
    });
    assert_eq!(found, ["/spec/versions/0/subresources/status"]);
}

#[test]
fn only_a_fresh_status_has_a_default() {
    let mut found = Vec::new();
    walk(&crd().unwrap(), "", &mut |path, value| {
        if path.ends_with("/default") {
            found.push((path.to_owned(), value.clone()));
        }
        assert!(!path.ends_with("/nullable"), "{path}");
    });
    assert_eq!(found, [(format!("{SCHEMA}/properties/status/default"), json!({"observedGeneration": -1}))]);
}

#[test]
fn every_field_says_what_it_means() {
    for Field { path, schema, required } in fields() {
        let description = schema["description"].as_str().unwrap_or_default();
        // In one line: `kubectl explain` breaks it where the terminal wants it.
        assert!(!description.is_empty() && description.ends_with('.'), "{path}: {description:?}");
        assert!(!description.contains('\n') && !description.contains("  "), "{path}: {description:?}");
        if !path.starts_with("spec.") {
            continue;
        }
        assert!(description.contains("Example: `") || description.contains("Examples: `"), "{path}: {description:?}");
        let default = description.contains("Default: `") || description.contains("No default.");
        assert_eq!((required, !default), (description.contains("Required"), required), "{path}: {description:?}");
    }
    let paths: Vec<_> = fields().into_iter().map(|field| field.path).filter(|path| path.starts_with("spec.")).collect();
    assert!(paths.len() > 20 && paths.contains(&"spec.settings.hostname".to_owned()), "{paths:?}");
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let control_plane = ControlPlane::shared().await.unwrap();
    // What kubectl explains from is published a moment after the API is served.
    let tree = async || control_plane.kubectl(&["explain", "mhs.spec", "--recursive"]).await;
    let tree = eventually(PATIENCE, "an explanation", tree).await.unwrap();
    let in_spec = || fields().into_iter().filter(|field| field.path.starts_with("spec."));
    assert_eq!(tree.matches("\t<").count(), in_spec().count(), "{tree}");
    assert_eq!(tree.matches(" -required-").count(), in_spec().filter(|field| field.required).count(), "{tree}");
    futures::stream::iter(fields())
        .for_each_concurrent(4, async |Field { path, schema, .. }| {
            let text = control_plane.kubectl(&["explain", &format!("mhs.{path}")]).await.unwrap();
            let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flowing.contains(schema["description"].as_str().unwrap()), "{path}:\n{text}");
        })
        .await;
}

#[tokio::test]
async fn kustomize_finds_the_file_and_applying_it_again_changes_nothing() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let built = control_plane.kubectl(&["kustomize", &folder()]).await.unwrap();
    assert_eq!(serde_saphyr::from_str::<Value>(&built).unwrap(), crd().unwrap());

    let version =
        async || control_plane.kubectl(&["get", "crd", CRD_NAME, "-o", "jsonpath={.metadata.resourceVersion}"]).await;
    // Under a name of its own: the labels of the whole installation, which this server has, are not in the file.
    let folder = folder();
    let manager = ["--server-side", "--field-manager=crd-alone", "-k", &folder];
    let apply = async || control_plane.kubectl(&[&["apply", "--warnings-as-errors"], &manager[..]].concat()).await;
    apply().await.unwrap();
    let before = version().await.unwrap();
    control_plane.kubectl(&[&["diff"], &manager[..]].concat()).await.unwrap();
    apply().await.unwrap();
    assert_eq!(version().await.unwrap(), before);
}

#[tokio::test]
async fn a_client_side_apply_takes_the_file_too() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let other_group = file().replace("cloudflare-mtls.dev", "client-side.example");
    let kubectl = Kubectl::new(control_plane.kubeconfig());
    let apply = ["apply", "--dry-run=server", "--warnings-as-errors", "-f", "-"];
    let answer = kubectl.run_with_input(&apply, &other_group).await.unwrap();
    assert!(answer.contains("created"), "{answer}");
}

#[tokio::test]
async fn the_api_server_finds_no_fault_with_the_schema() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let stored = control_plane.kubectl(&["get", "crd", CRD_NAME, "-o", "json"]).await.unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let mut conditions: Vec<_> = stored["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|condition| (condition["type"].as_str().unwrap(), condition["status"].as_str().unwrap()))
        .collect();
    conditions.sort_unstable();
    // `NonStructuralSchema`, or a status of False, would stand here.
    assert_eq!(conditions, [("Established", "True"), ("NamesAccepted", "True")]);
}

/// The API server refuses a CRD whose rules could cost too much. They could cost four times as much as they do.
#[tokio::test]
async fn the_rules_cost_a_quarter_of_what_they_may() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let with_entries = |entries: u32| {
        let mut crd = crd().unwrap();
        *crd.pointer_mut(&format!("{SCHEMA}/properties/spec/properties/settings/maxItems")).unwrap() = json!(entries);
        crd.to_string().replace("cloudflare-mtls.dev", "costly.example")
    };
    let kubectl = Kubectl::new(control_plane.kubeconfig());
    let create = ["create", "--dry-run=server", "-f", "-"];
    kubectl.run_with_input(&create, &with_entries(4000)).await.unwrap();
    let refused = kubectl.run_with_input(&create, &with_entries(8000)).await.unwrap_err().to_string();
    assert!(refused.contains("estimated rule cost exceeds budget by factor of 1."), "{refused}");
}

struct Field {
    /// As `kubectl explain` takes it, without the resource.
    path: String,
    schema: Value,
    required: bool,
}

/// Every field of spec and status, except those of conditions, which Kubernetes defines.
fn fields() -> Vec<Field> {
    fn collect(schema: &Value, parent: &str, into: &mut Vec<Field>) {
        let schema = schema.get("items").unwrap_or(schema);
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for name in keys(&schema["properties"]) {
            let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
            let child = &schema["properties"][name];
            if path != "status.conditions" {
                collect(child, &path, into);
            }
            into.push(Field { path, schema: child.clone(), required: required.contains(&json!(name)) });
        }
    }
    let mut fields = Vec::new();
    collect(crd().unwrap().pointer(SCHEMA).unwrap(), "", &mut fields);
    fields
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}
