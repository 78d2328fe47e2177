//! What people on call are given: alerts with cases and runbooks, and the dashboard. Whether the queries give anything is asked of a
//! real Prometheus by `make metrics`.

use std::collections::{BTreeMap, BTreeSet};

use harness::{
    control_plane::ControlPlane,
    fixture::Fixture,
    helm::{self, Version},
    tools,
};
use serde_json::{Value, json};

use crate::{
    documents::left_to,
    render::{documents, only, render},
};

/// Where the runbooks will be found.
const RUNBOOKS: &str =
    "https://github.com/cloudflare-mtls-operator/cloudflare-mtls-operator/blob/main/docs/runbooks.md";
const MONITORING: &str =
    "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,grafanaDashboard.enabled=true";

fn read(path: &str) -> String {
    std::fs::read_to_string(tools::workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn parsed(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The alerts in their order.
fn alerts() -> Vec<Value> {
    let file = parsed("charts/cloudflare-mtls-operator/files/alerts.yaml");
    file["groups"][0]["rules"].as_array().unwrap().clone()
}

fn name(alert: &Value) -> &str {
    alert["alert"].as_str().unwrap()
}

fn names() -> BTreeSet<String> {
    alerts().iter().map(|alert| name(alert).to_owned()).collect()
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on() {
    assert_eq!(names().len(), alerts().len(), "two alerts have one name");
    for alert in alerts() {
        let name = name(&alert);
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        for words in ["summary", "description"] {
            assert!(alert["annotations"][words].as_str().is_some_and(|text| text.ends_with('.')), "{name}: {words}");
        }
        assert_eq!(alert["annotations"]["runbook_url"], format!("{RUNBOOKS}#{}", name.to_lowercase()));
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let page = read("docs/runbooks.md");
    let mut sections = BTreeSet::new();
    for section in page.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        for part in ["**Means:**", "**Look:**", "**Do", "```console\n$ kubectl "] {
            assert!(text.contains(part), "{title}: no {part}");
        }
        assert!(sections.insert(title.to_owned()), "{title} is there twice");
    }
    assert_eq!(sections, names());
}

/// That the cases hold, promtool says in `make metrics`.
#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let mut cases: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for entry in std::fs::read_dir(tools::workspace().join("tests/alerts")).unwrap() {
        let file = format!("tests/alerts/{}", entry.unwrap().file_name().to_string_lossy());
        let cases_of = parsed(&file);
        assert_eq!(
            cases_of["rule_files"],
            json!(["../../charts/cloudflare-mtls-operator/files/alerts.yaml"]),
            "{file}"
        );
        let tests =
            cases_of["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap());
        for test in tests {
            let fires = !test["exp_alerts"].as_array().unwrap().is_empty();
            cases.entry(test["alertname"].as_str().unwrap().to_owned()).or_default().insert(fires);
        }
    }
    let both = BTreeSet::from([false, true]);
    assert_eq!(cases, names().into_iter().map(|name| (name, both.clone())).collect());
}

#[tokio::test]
async fn the_rule_of_a_release_has_the_alerts_with_its_job_and_what_the_values_say() {
    let expected = |release: &str| -> Vec<Value> {
        let text = read("charts/cloudflare-mtls-operator/files/alerts.yaml");
        let text = text.replace("job=\"cloudflare-mtls-operator\"", &format!("job=\"{release}\""));
        let file: Value = serde_saphyr::from_str(&text).unwrap();
        file["groups"][0]["rules"].as_array().unwrap().clone()
    };
    let rules = |text: &str| {
        let documents = documents(text);
        only(&documents, "PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap().clone()
    };
    for version in Version::EVERY {
        let plain = rules(&render(version, &["--set", MONITORING]).await.unwrap());
        assert_eq!(plain, expected("cloudflare-mtls-operator"), "{version}");
        let other = helm::render(version, "mtls-7", &["--set", MONITORING]).await.unwrap();
        assert_eq!(rules(&other), expected("mtls-7"), "{version}");
        let changed = "metrics.prometheusRule.alerts.CloudflareMtlsOperatorAbsent.enabled=false,\
                       metrics.prometheusRule.alerts.CloudflareMtlsObjectNotReady.for=1h,\
                       metrics.prometheusRule.alerts.CloudflareMtlsObjectNotReady.severity=info,\
                       metrics.prometheusRule.alertLabels.team=platform,\
                       metrics.prometheusRule.additionalRules[0].record=x";
        let changed = rules(&render(version, &["--set", MONITORING, "--set", changed]).await.unwrap());
        assert_eq!(changed.len(), plain.len(), "{version}: one less, one more");
        let find = |wanted: &str| changed.iter().find(|rule| rule["alert"] == wanted);
        assert_eq!(find("CloudflareMtlsOperatorAbsent"), None);
        let not_ready = find("CloudflareMtlsObjectNotReady").unwrap();
        assert_eq!(
            (&not_ready["for"], &not_ready["labels"]),
            (&json!("1h"), &json!({"severity": "info", "team": "platform"}))
        );
        assert_eq!(changed.last().unwrap(), &json!({"record": "x"}));
        let wrong =
            render(version, &["--set", MONITORING, "--set", "metrics.prometheusRule.alerts.Nope.enabled=false"]).await;
        assert!(wrong.unwrap_err().to_string().contains("there is no alert Nope"), "{version}");
    }
}

#[tokio::test]
async fn the_dashboard_arrives_at_grafana_as_it_is_in_the_file() {
    let file = read("charts/cloudflare-mtls-operator/files/dashboard.json");
    let dashboard: Value = serde_json::from_str(&file).unwrap();
    let walk = |value: &Value| value.pointer("/datasource/uid").cloned();
    let panels = dashboard["panels"].as_array().unwrap();
    let sources: BTreeSet<String> =
        panels.iter().filter_map(walk).map(|uid| uid.as_str().unwrap().to_owned()).collect();
    assert_eq!(sources, BTreeSet::from(["${datasource}".to_owned()]), "the reader chooses the Prometheus");
    assert_eq!((dashboard.get("id"), dashboard.get("uid")), (None, None), "Grafana gives them");
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    for version in Version::EVERY {
        let documents = documents(&render(version, &["--set", MONITORING]).await.unwrap());
        let map = only(&documents, "ConfigMap");
        assert_eq!(map["data"]["cloudflare-mtls-operator.json"].as_str(), Some(file.as_str()), "{version}");
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    }
}

/// `namespace` of the series of an object is the object's only with `honorLabels`, and the alerts name the job.
#[tokio::test]
async fn what_is_scraped_is_what_the_alerts_expect() {
    for (values, kind, list, port) in [
        ("metrics.serviceMonitor.enabled=true", "ServiceMonitor", "endpoints", "metrics"),
        ("metrics.podMonitor.enabled=true,metrics.service.enabled=false", "PodMonitor", "podMetricsEndpoints", "http"),
    ] {
        let documents = documents(&render(Version::Four, &["--set", values]).await.unwrap());
        let spec = &only(&documents, kind)["spec"];
        assert_eq!(spec["jobLabel"], "app.kubernetes.io/instance");
        assert_eq!(spec[list], json!([{"port": port, "path": "/metrics", "honorLabels": true}]), "{kind}");
        let scraped = if kind == "PodMonitor" {
            &only(&documents, "Deployment")["spec"]["template"]
        } else {
            only(&documents, "Service")
        };
        let labels = scraped["metadata"]["labels"].as_object().unwrap();
        let wanted = spec["selector"]["matchLabels"].as_object().unwrap();
        assert!(wanted.iter().all(|(label, value)| labels.get(label) == Some(value)), "{kind}: {wanted:?} {labels:?}");
        assert_eq!(labels["app.kubernetes.io/instance"], "cloudflare-mtls-operator", "the job");
    }
}

/// A cluster with the plain manifests, and the definitions of the Prometheus operator.
async fn installed() -> ControlPlane {
    let control_plane = ControlPlane::start().await.unwrap();
    let kinds = tools::tool("monitoring-crds.yaml").unwrap();
    control_plane.apply(&std::fs::read_to_string(kinds).unwrap()).await.unwrap();
    control_plane.install().await.unwrap();
    control_plane
}

async fn type_in(control_plane: &ControlPlane, command: &str) -> std::process::Output {
    let path = format!("{}:{}", tools::folder().display(), std::env::var("PATH").unwrap());
    let mut bash = tokio::process::Command::new("bash");
    // What a command reads that asks for a token.
    let command = format!("{{ {command}\n}} <<<a-token-of-nobody");
    bash.args(["-o", "pipefail", "-c", &command]).env("PATH", path).env("KUBECONFIG", control_plane.kubeconfig());
    bash.env("KUBERC", "off").output().await.unwrap()
}

/// The placeholders of the page, and what they stand for; what is part of another comes after it.
fn places(fixture: &Fixture) -> [(&str, &str); 6] {
    [
        ("NAMESPACE", fixture.namespace()),
        ("HOSTNAME", "one.example.com"),
        ("NAME", "one"),
        ("ZONE", fixture.zone_id()),
        ("SECRET", "cloudflare"),
        ("KEY", "token"),
    ]
}

/// Everything at once that a command of the page asks an object for, from what the operator has written into others.
fn status() -> Value {
    let of = |case: &str| {
        let folder = "deploy/argocd/resource_customizations/cloudflare-mtls.dev/MtlsHostnameSettings/testdata";
        parsed(&format!("{folder}/{case}.yaml"))["status"].clone()
    };
    let mut status = of("unexpected-remote-change");
    status["lastResponse"] = of("authentication-failed")["lastResponse"].clone();
    let hostnames = ["hostname-conflict", "foreign-writer"].map(|case| of(case)["hostnames"][0].clone());
    status["hostnames"] = json!(hostnames);
    status["hostnames"][0]["hostname"] = json!("one.example.com");
    status
}

/// What the greps of a command look for.
fn searched(command: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for search in command.split("| grep ").skip(1) {
        for (number, part) in search.split('\'').enumerate() {
            if number % 2 == 1 {
                words.extend(part.split('|'));
            } else {
                let arguments = part.split('|').next().unwrap().split_whitespace();
                words.extend(arguments.filter(|word| !word.starts_with('-')));
            }
        }
    }
    words
}

#[test]
fn what_is_searched_is_what_greps_are_given() {
    assert_eq!(searched("a -o 'b' | grep -e C -e 'd e' | tail"), ["C", "d e"]);
    assert_eq!(searched("a | grep -E 'B|C'"), ["B", "C"]);
    assert_eq!(searched("a -e b"), [""; 0]);
}

/// All that the program can print is somewhere in its source.
fn source() -> String {
    let mut folders = vec![tools::workspace().join("src")];
    let mut lines = String::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            code.for_each(|line| lines.extend([line, "\n"]));
        }
    }
    lines
}

#[tokio::test]
async fn the_commands_of_the_runbooks_can_be_typed_as_they_are() {
    let control_plane = installed().await;
    let fixture = Fixture::new(&control_plane).await.unwrap();
    fixture.apply(&fixture.settings("one").hostname("one.example.com", true).build()).await.unwrap();
    let status = json!({"status": status()}).to_string();
    let patch = ["patch", "-n", fixture.namespace(), "mhs/one", "--subresource=status", "--type=merge", "-p", &status];
    control_plane.kubectl(&patch).await.unwrap();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "cloudflare-mtls-operator", "namespace": "cloudflare-mtls-operator"},
        "spec": {"holderIdentity": "one"},
    });
    control_plane.apply(&lease.to_string()).await.unwrap();
    // Without a node there are no pods whose logs could be read, so that what is typed would be wrong unnoticed.
    let manifests = documents(&read("deploy/install.yaml"));
    let labels = &only(&manifests, "Deployment")["spec"]["template"]["metadata"]["labels"];
    let (places, source) = (places(&fixture), source());
    let commands = left_to("the_commands_of_the_runbooks_can_be_typed_as_they_are", "docs/runbooks.md");
    assert!(commands.len() >= 20, "only {} commands", commands.len());
    for (place, command) in commands {
        if command.starts_with("kubectl logs ") {
            let mut words = command.split_whitespace().skip_while(|word| *word != "-l").skip(1);
            let (label, value) = words.next().and_then(|label| label.split_once('=')).unwrap();
            assert_eq!(labels[label], value, "{place}");
            assert!(command.contains(" --tail=-1"), "{place}: with -l, kubectl shows the last ten lines only");
        }
        for word in searched(&command) {
            let known = places.iter().any(|(name, _)| *name == word) || source.contains(word);
            assert!(known, "{place}: {word:?} is nothing that the operator says");
        }
        let typed = places.iter().fold(command.clone(), |typed, (name, value)| typed.replace(name, value));
        let output = type_in(&control_plane, &typed).await;
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<_> = said.lines().filter(|line| !line.starts_with("No resources found")).collect();
        // 1 is what grep says when nothing is wrong.
        let searched = command.contains("| grep") && output.status.code() == Some(1);
        let succeeded = said.is_empty() && (output.status.success() || searched);
        assert!(succeeded, "{place}: {typed}: {} {said:?}", output.status);
        // A path with a mistake in it is no error: its line is empty.
        let shown = String::from_utf8(output.stdout).unwrap();
        let lines = if command.contains("{end}") { shown.trim_end() } else { &shown };
        let empty = command.contains("jsonpath=") && lines.split('\n').any(str::is_empty);
        assert!(!empty, "{place}: {typed}: it shows nothing where something is: {shown:?}");
    }
}

/// The namespace of the plain manifests takes only what is *restricted*.
#[tokio::test]
async fn the_pod_that_looks_for_cloudflare_is_one_that_the_namespace_takes() {
    let test = "the_pod_that_looks_for_cloudflare_is_one_that_the_namespace_takes";
    let [(place, command)] = left_to(test, "docs/runbooks.md").try_into().unwrap();
    assert!(command.contains(" --rm -i ") && command.contains(" --overrides="), "{place}: {command}");
    let control_plane = installed().await;
    // The pod of a namespace has this account, which its controller would make.
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": "cloudflare-mtls-operator"},
    });
    control_plane.apply(&account.to_string()).await.unwrap();
    // kubectl attaches itself to no pod that is only tried.
    let tried = command.replace(" --rm -i ", " --dry-run=server ");
    let output = type_in(&control_plane, &tried).await;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && !said.contains("Warning"), "{place}: {tried}: {said}");
    let output = type_in(&control_plane, &tried.replace(" --overrides=", " --annotations=a=")).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("violates PodSecurity"), "{place}: {said}");
}
