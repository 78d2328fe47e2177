//! The values: declared, used, checked and explained, and the chart as a part of another one.

use std::{collections::BTreeSet, process::Command};

use harness::{
    Result,
    helm::{Helm, KUBERNETES, Version, chart},
    manifests::copy,
};
use serde_json::{Value, json};

use crate::{
    documents::left_to,
    render::{documents, only, render, templates},
};

fn values() -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap()
}

/// The paths of what has no named parts, such as `image.tag`.
fn leaves(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, child) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(child, &path, into);
            }
        }
        None => {
            into.insert(path.to_owned());
        }
    }
}

/// A template as each of the two monitors has it. Given as a whole, such as `"monitor" .Values.metrics.podMonitor`, their values
/// would all count as used.
fn monitors(template: &str) -> [String; 2] {
    let template = template.replace("\"monitor\" .Values.", "");
    ["podMonitor", "serviceMonitor"].map(|name| template.replace(" .monitor.", &format!(" .Values.metrics.{name}.")))
}

/// The paths of what a template takes from the values.
fn used(template: &str) -> Vec<String> {
    // `(.Values.global).imageRegistry` is safe where there is no `global`.
    let template = template.replace(['(', ')'], "");
    let paths = template.split(".Values.").skip(1);
    let end = |path: &str| path.find(|character: char| !(character.is_alphanumeric() || character == '.'));
    paths.map(|path| path[..end(path).unwrap_or(path.len())].to_owned()).collect()
}

#[test]
fn what_is_declared_is_used_and_what_is_used_is_declared() {
    let mut declared = BTreeSet::new();
    leaves(&values(), "", &mut declared);
    assert!(declared.len() > 80, "{declared:?}");
    let used: BTreeSet<String> =
        templates().iter().flat_map(|(_, text)| monitors(text).map(|text| used(&text))).flatten().collect();
    let within = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}."));
    let unused: Vec<_> = declared.iter().filter(|leaf| !used.iter().any(|path| within(leaf, path))).collect();
    assert_eq!(unused, [""; 0], "declared and not used");
    let related = |path: &&String| declared.iter().any(|leaf| within(leaf, path) || within(path, leaf));
    let undeclared: Vec<_> = used.iter().filter(|path| !related(path)).collect();
    assert_eq!(undeclared, [""; 0], "used and not declared");
}

/// Has the same names in a schema as in the values.
fn compare(schema: &Value, values: &Value, path: &str) {
    let keys = |value: &Value| value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    let known: BTreeSet<String> = keys(&schema["properties"]);
    if known.is_empty() || schema["additionalProperties"] != json!(false) && path != "/global" {
        return;
    }
    let mut declared: BTreeSet<String> = keys(values);
    if path.is_empty() {
        // For a parent chart's condition: nothing in here looks at it.
        declared.insert("enabled".to_owned());
    }
    assert_eq!(known, declared, "{path}");
    for key in known {
        compare(&schema["properties"][&key], &values[&key], &format!("{path}/{key}"));
    }
}

#[test]
fn the_schema_knows_what_is_declared_and_nothing_more() {
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap();
    assert_eq!(schema["additionalProperties"], json!(false));
    compare(&schema, &values(), "");
}

/// Each line of the README's table says something, and no value is without one, its own or that of the map it is in.
#[test]
fn every_value_is_explained() {
    let readme = std::fs::read_to_string(chart().join("README.md")).unwrap();
    let (_, table) = readme.split_once("|-----|").unwrap();
    let rows: Vec<Vec<&str>> =
        table.lines().skip(1).map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect();
    assert!(rows.len() > 80, "{rows:?}");
    for row in &rows {
        let description = row.last().unwrap();
        assert!(row.len() >= 4 && description.len() > 8 && description.ends_with('.'), "{row:?}");
    }
    let mut declared = BTreeSet::new();
    leaves(&values(), "", &mut declared);
    for leaf in declared {
        let mut paths = rows.iter().map(|row| row[0]);
        assert!(paths.any(|path| leaf == path || leaf.starts_with(&format!("{path}."))), "{leaf}");
    }
}

/// What must be refused, and what the message has to name.
const WRONG: &[(&str, &str)] = &[
    ("unknown=1", "unknown"),
    ("image.digest=sha256:abc", "/image/digest"),
    ("image.digest=latest", "/image/digest"),
    ("image.tag=a b", "/image/tag"),
    ("image.repository=", "/image/repository"),
    ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ("image.name=x", "name"),
    ("replicaCount=-1", "/replicaCount"),
    ("replicaCount=two", "/replicaCount"),
    ("replicaCount=2,leaderElection.enabled=false", "replicaCount"),
    ("leaderElection.enabled=false", "strategy.type"),
    ("leaderElection.enabled=false,strategy=null", "strategy.type"),
    ("leaderElection.leaseDuration=9s", "leaderElection.leaseDuration"),
    ("leaderElection.leaseDuration=15", "/leaderElection/leaseDuration"),
    ("leaderElection.renewDeadline=14s", "leaderElection.renewDeadline"),
    ("leaderElection.retryPeriod=6s", "leaderElection.retryPeriod"),
    ("leaderElection.retryPeriod=0s", "leaderElection.retryPeriod"),
    ("leaderElection.name=Upper", "/leaderElection/name"),
    ("nameOverride=Upper", "/nameOverride"),
    ("fullnameOverride=a_b", "/fullnameOverride"),
    ("namespaceOverride=a.b", "/namespaceOverride"),
    ("commonLabels.a=1", "/commonLabels/a"),
    ("crds.instal=false", "instal"),
    ("watchNamespaces=team-a", "/watchNamespaces"),
    ("watchNamespaces={Team}", "/watchNamespaces/0"),
    ("selector.team=a", "/selector"),
    ("selector=a=b=c", "/selector"),
    ("selector=a in b", "/selector"),
    ("rbac.create=yes", "/rbac/create"),
    ("serviceAccount.create=false", "serviceAccount.name"),
    ("log.format=xml", "/log/format"),
    ("interval=30s", "interval"),
    ("interval=25h", "interval"),
    ("interval=10", "/interval"),
    ("cloudflare.apiUrl=http://example.com", "/cloudflare/apiUrl"),
    ("cloudflare.apiUrl=http://127.0.0.1.example.com", "/cloudflare/apiUrl"),
    ("cloudflare.requestsPer5m=0", "/cloudflare/requestsPer5m"),
    ("cloudflare.requestsPer5m=1201", "/cloudflare/requestsPer5m"),
    ("metrics.port=70000", "/metrics/port"),
    ("metrics=null", "metrics"),
    ("metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true", "metrics.podMonitor.enabled"),
    ("metrics.serviceMonitor.enabled=true,metrics.service.enabled=false", "metrics.service.enabled"),
    ("caBundle.configMap=a,caBundle.secret=b", "caBundle.secret"),
    ("livenessProbe.httpGet.path=/x", "/livenessProbe"),
    ("strategy.type=OnDelete", "/strategy/type"),
    ("revisionHistoryLimit=null", "revisionHistoryLimit"),
    ("terminationGracePeriodSeconds=10", "/terminationGracePeriodSeconds"),
    ("terminationGracePeriodSeconds=null", "terminationGracePeriodSeconds"),
    ("log.level=inof", "/log/level"),
    ("log.level=info\\,kube=loud", "/log/level"),
    ("podDisruptionBudget.enabled=true,podDisruptionBudget.minAvailable=1", "podDisruptionBudget.minAvailable"),
    ("podDisruptionBudget.enabled=true,podDisruptionBudget.minAvailable=51%,replicaCount=2", "minAvailable"),
    ("podDisruptionBudget.enabled=true,podDisruptionBudget.maxUnavailable=0%", "podDisruptionBudget.maxUnavailable"),
    ("podDisruptionBudget.maxUnavailable=half", "/podDisruptionBudget/maxUnavailable"),
    ("networkPolicy.egressPorts={0}", "/networkPolicy/egressPorts/0"),
    ("dnsPolicy=Mine", "/dnsPolicy"),
    ("extraArgs=--x", "/extraArgs"),
    ("imagePullSecrets={}", "/imagePullSecrets/0"),
];

#[tokio::test]
async fn a_wrong_value_is_refused_in_its_own_name() {
    for version in Version::EVERY {
        for (wrong, named) in WRONG {
            let Err(error) = render(version, &["--set", wrong]).await else { panic!("{version}: {wrong} is taken") };
            let (_, said) = error.to_string().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            assert!(said.contains(named), "{version}: {wrong}: {said}");
        }
    }
}

/// Whether the program goes on to look for a cluster, which it does not find.
fn is_taken_by_the_program(selector: &str) -> bool {
    let mut program = Command::new(env!("CARGO_BIN_EXE_cloudflare-mtls-operator"));
    let ended = program.args(["run", &format!("--selector={selector}")]).env_clear().env("HOME", "/nowhere").output();
    let said = String::from_utf8(ended.unwrap().stderr).unwrap();
    let refused = said.contains("not a label selector");
    assert!(refused || said.contains("no Kubernetes cluster is configured"), "{said}");
    !refused
}

#[tokio::test]
async fn a_selector_is_taken_by_the_chart_where_the_program_takes_it() {
    let good =
        ["a=b", "a==b", "a!=b", "a", "!a", "a=", "team in (a, b),tier notin (x)", "x.io/a=b , c", "! a", " a = b "];
    let bad =
        ["a=b=c", "a in b", "a in (b", "=b", "a=b,", ",a", "a b", "a=b c", "ä=b", "!a=b", "a in (b)c", "a,,b", " "];
    for (selectors, taken) in [(&good[..], true), (&bad[..], false)] {
        for selector in selectors {
            assert_eq!(is_taken_by_the_program(selector), taken, "{selector:?}");
            let value = format!("--set-json=selector={}", json!(selector));
            for version in Version::EVERY {
                let rendered = render(version, &[&value]).await;
                assert_eq!(rendered.is_ok(), taken, "{version}: {selector:?}: {rendered:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_parent_chart_gives_it_values_and_a_condition() {
    the_parent_chart_of_the_readme("a_parent_chart_gives_it_values_and_a_condition").await;
    let dir = tempfile::tempdir().unwrap();
    let parent = dir.path().join("platform");
    copy(&chart(), &parent.join("charts/cloudflare-mtls-operator")).unwrap();
    let write = |file: &str, text: &str| std::fs::write(parent.join(file), text).unwrap();
    write(
        "Chart.yaml",
        "{apiVersion: v2, name: platform, version: 1.0.0, dependencies: [{name: cloudflare-mtls-operator, \
         version: '*', alias: mtls, condition: mtls.enabled}]}",
    );
    write(
        "values.yaml",
        "global: {imageRegistry: mirror.example.com, other: x}\nmtls: {enabled: true, replicaCount: 2}",
    );
    // Given with the release: Helm 4 does not heed a null in a parent's own values.yaml.
    let nulls = dir.path().join("nulls.yaml");
    std::fs::write(&nulls, "mtls: {livenessProbe: null, podSecurityContext: {seccompProfile: null}}").unwrap();
    let nulls = format!("--values={}", nulls.display());
    for version in Version::EVERY {
        let template = async |values: &[&str]| -> Result<String> {
            let fixed = ["template", "p", &parent.to_string_lossy(), KUBERNETES];
            Helm::offline(version).run(&[&fixed[..], values].concat()).await
        };
        let documents = documents(&template(&[&nulls]).await.unwrap());
        let deployment = only(&documents, "Deployment");
        assert_eq!(deployment["metadata"]["name"], "p-mtls", "{version}");
        assert_eq!(deployment["spec"]["replicas"], 2);
        let pod = &deployment["spec"]["template"]["spec"];
        assert!(pod["containers"][0]["image"].as_str().unwrap().starts_with("mirror.example.com/"), "{version}: {pod}");
        assert_eq!(pod["securityContext"], json!({"runAsNonRoot": true}), "{version}");
        assert_eq!(
            (pod["containers"][0].get("livenessProbe"), pod["containers"][0].get("readinessProbe").is_some()),
            (None, true)
        );
        assert_eq!(template(&["--set", "mtls.enabled=false"]).await.unwrap().trim(), "", "{version}");
        let refused = template(&["--set", "mtls.unknown=1"]).await.unwrap_err().to_string();
        assert!(refused.contains("unknown"), "{version}: {refused}");
    }
}

/// As the chart's README shows it.
async fn the_parent_chart_of_the_readme(test: &str) {
    let shown = left_to(test, "charts/cloudflare-mtls-operator/README.md");
    let [(_, dependencies), (_, values)] = shown.try_into().unwrap();
    let parent = tempfile::tempdir().unwrap();
    copy(&chart(), &parent.path().join("charts/cloudflare-mtls-operator")).unwrap();
    let head = "apiVersion: v2\nname: platform\nversion: 1.0.0\n";
    for (file, text) in [("Chart.yaml", format!("{head}{dependencies}")), ("values.yaml", values)] {
        assert!(text.contains(&format!("# {file}\n")), "{text}");
        std::fs::write(parent.path().join(file), text).unwrap();
    }
    for version in Version::EVERY {
        let template = ["template", "p", &parent.path().to_string_lossy(), KUBERNETES];
        let rendered = documents(&Helm::offline(version).run(&template).await.unwrap());
        assert_eq!(only(&rendered, "Deployment")["spec"]["replicas"], 2, "{version}");
        let off = [&template[..], &["--set=cloudflare-mtls-operator.enabled=false"]].concat();
        assert_eq!(Helm::offline(version).run(&off).await.unwrap().trim(), "", "{version}");
    }
}
