//! What somebody sees who installs it: a pod that is ready under Pod Security *restricted*, objects that Helm waits for, a
//! log and descriptions to read.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use harness::{
    cloudflare::{Effect, Fault},
    documents::Page,
};
use serde_json::{Value, json};

use crate::{
    node::Process,
    stage::{NAME, PATIENCE, Stage},
};

const MEBIBYTE: u64 = 1 << 20;

/// The manifest of an object, for `extraObjects`.
fn of_the_release(stage: &Stage, name: &str) -> Value {
    json!({"extraObjects": [stage.fixture.settings(name).hostname(&format!("{name}.example.com"), true).build()]})
}

#[tokio::test]
#[ignore = "needs a node of its own: make e2e"]
async fn a_pod_of_the_chart_is_ready_under_restricted_pod_security_and_serves_objects() {
    Stage::play(async |stage| {
        let node = &stage.node;
        // Nothing less is let in.
        let refused = node.try_kubectl(&format!("run lax -n {NAME} --image=lax:1 --dry-run=server")).await;
        assert!(refused.unwrap_err().to_string().contains("violates PodSecurity \"restricted"));

        stage.install(&json!({})).await;
        stage.apply("admin", &[("admin.example.com", true)]).await;
        stage.until_ready("admin").await;
        assert_eq!(stage.remote.get("admin.example.com"), Some((true, false)));

        let pod = stage.pod().await;
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!((&status["ready"], &status["restartCount"]), (&json!(true), &json!(0)), "{status}");
        reads_well(stage, pod["metadata"]["name"].as_str().unwrap()).await;

        // What Prometheus would be shown, by way of the pod network.
        let url = format!("http://{}:8080/metrics", pod["status"]["podIP"].as_str().unwrap());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let metrics = client.get(url).send().await.unwrap().text().await.unwrap();
        let condition = format!(
            "cfmtls_resource_condition{{namespace=\"{}\",name=\"admin\",type=\"Ready\",status=\"True\"}} 1",
            stage.fixture.namespace()
        );
        assert!(metrics.contains(&condition), "{metrics}");

        let [now, most, limit] = Process::in_pod(&pod).unwrap().memory();
        println!("memory of the container: {} KiB, at most {} KiB", now / 1024, most / 1024);
        assert_eq!(limit, 128 * MEBIBYTE, "the chart's limit is in force");
        assert!(most < limit / 2, "{most} bytes of {limit}");
    })
    .await;
}

/// What kubectl says of the pod, its Deployment, an object and the log.
async fn reads_well(stage: &Stage, pod: &str) {
    let node = &stage.node;
    let has = |text: &str, lines: &[&str]| {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let text: Vec<_> = text.lines().map(words).collect();
        for line in lines {
            assert!(text.iter().any(|text| text.contains(line)), "{line:?} is missing in\n{}", text.join("\n"));
        }
    };
    let described = node.show(&format!("describe pod {pod} -n {NAME}")).await;
    has(
        &described,
        &[
            "Image: ghcr.io/cloudflare-mtls-operator/cloudflare-mtls-operator:",
            "Liveness: http-get http://:http/healthz",
            "Readiness: http-get http://:http/readyz",
            "memory: 128Mi",
            "SSL_CERT_FILE: /etc/cloudflare-mtls-operator/ca/ca.crt",
            "SeccompProfile: RuntimeDefault",
            "Ready True",
        ],
    );
    // A probe may come before the program listens, and the kubelet before it has a ConfigMap.
    let passing = ["Readiness probe failed", "failed to sync configmap cache"];
    let is_odd = |line: &&str| line.contains("Warning") && !passing.iter().any(|words| line.contains(words));
    assert_eq!(described.lines().find(is_odd), None, "an event complains");
    let described = node.show(&format!("describe deploy {NAME} -n {NAME}")).await;
    has(&described, &["Replicas: 1 desired | 1 updated | 1 total | 1 available | 0 unavailable", "Available True"]);
    let described = node.show(&format!("describe mhs admin -n {}", stage.fixture.namespace())).await;
    has(&described, &["Reason: InSync", "Summary: 1/1", "Hostname: admin.example.com"]);
    let list = node.show(&format!("get mhs -n {}", stage.fixture.namespace())).await;
    has(&list, &["admin True InSync 1/1"]);

    let test = "a_pod_of_the_chart_is_ready_under_restricted_pod_security_and_serves_objects";
    for command in Page::read("docs/runbooks.md").unwrap().commands(test) {
        let arguments = command.strip_prefix("kubectl ").unwrap().replace('\'', "");
        has(&node.show(&arguments).await, &["healthz check passed"]);
    }

    let log = node.show(&format!("logs deploy/{NAME} -n {NAME}")).await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let says = |message: &str| lines.iter().any(|line| line["message"].as_str().unwrap().starts_with(message));
    assert!(says("starting") && says("leading") && says("status: "), "{log}");
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
        assert_eq!(line["level"], "INFO", "nothing went wrong: {line}");
    }
}

#[tokio::test]
#[ignore = "needs a node of its own: make e2e"]
async fn helm_waits_until_an_object_of_the_release_is_ready_and_no_longer() {
    Stage::play(async |stage| {
        stage.install(&json!({})).await;
        let read = stage.cloudflare.inject(Fault::from(Effect::Hold).on("GET"));
        let values = of_the_release(stage, "ours");
        let mut upgrade = pin!(stage.upgrade(&values));
        let not_ready = async {
            read.until_met(1, PATIENCE).await.unwrap();
            // The Deployment has not changed, and was available all the time: Helm has nothing else to wait for.
            tokio::time::sleep(Duration::from_secs(3)).await;
        };
        tokio::select! {
            () = &mut upgrade => panic!("Helm did not wait for an object that is not ready"),
            () = not_ready => read.release(),
        }
        upgrade.await;
        let object = stage.fixture.get("ours").await.unwrap().unwrap();
        let ready = harness::fixture::condition(&object, "Ready").unwrap();
        assert_eq!(ready["status"], "True", "Helm did not wait until it was ready: {object:#}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a node of its own: make e2e"]
async fn helm_fails_at_once_when_an_object_of_the_release_is_stalled() {
    Stage::play(async |stage| {
        stage.install(&json!({})).await;
        stage.token.revoke();
        let started = Instant::now();
        let complaint = stage.try_upgrade(&of_the_release(stage, "refused")).await.unwrap_err().to_string();
        let took = started.elapsed();
        println!("Helm failed after {:.1} s: {complaint}", took.as_secs_f32());
        assert!(took < Duration::from_secs(30), "it waited for a person to mend what is stalled: {took:?}");
        assert!(complaint.contains("refused"), "{complaint}");
        stage.fixture.until_condition("refused", "Stalled", "True", "AuthenticationFailed").await.unwrap();
    })
    .await;
}
