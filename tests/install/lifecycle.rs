//! The life of a release, for each file of `ci/`: from a former version to this one and back, away and there again, while
//! objects are served and stay.

use std::time::Instant;

use harness::{
    fixture::{CREDENTIAL, Fixture, PATIENCE, eventually, random_id},
    helm::Version,
    kubectl::Kubectl,
    tools,
};
use serde_json::{Value, json};

use crate::{
    render::{Scenario, documents, render},
    site::{FORMER, RELEASE, Site, end},
};

const TOKEN: &str = "cfut_Pn4Rv8Xs2Ld6Wk0Zt3Hb7Jm1Qy5Cg9";
const HOSTNAME: &str = "admin.example.com";

/// An object that one of the scenarios serves, and what it is about.
pub(crate) struct Served {
    fixture: Fixture,
    remote: harness::cloudflare::Remote,
}

impl Served {
    /// Applied as soon as the API server takes it.
    async fn new(site: &Site, namespace: &str) -> Self {
        Self::under(site, namespace, "Retain").await
    }

    /// The same with what its end does to Cloudflare.
    pub(crate) async fn resetting(site: &Site, namespace: &str) -> Self {
        Self::under(site, namespace, "Reset").await
    }

    async fn under(site: &Site, namespace: &str, policy: &str) -> Self {
        let fixture = Fixture::within(&site.control_plane, namespace).await.unwrap();
        let remote = site.cloudflare.add_zone(fixture.zone_id(), "example.com");
        remote.set("foreign.example.com", true, false);
        site.cloudflare.token(TOKEN).may_write(remote.scope());
        let (secret, key) = CREDENTIAL;
        fixture.apply(&fixture.secret(secret, key, TOKEN)).await.unwrap();
        let mut object =
            fixture.settings("kept").with("deletionPolicy", json!(policy)).hostname(HOSTNAME, true).build();
        object["metadata"]["labels"] = json!({"team": "a"});
        eventually(PATIENCE, "the object is stored", || fixture.apply(&object)).await.unwrap();
        Self { fixture, remote }
    }

    async fn object(&self) -> Value {
        self.fixture.get("kept").await.unwrap().expect("the object is there")
    }

    pub(crate) async fn until_ready(&self) {
        self.fixture.until_condition("kept", "Ready", "True", "InSync").await.unwrap();
        assert_eq!(self.hostname(), Some((true, false)));
    }

    /// What Cloudflare has of the object's hostname.
    pub(crate) fn hostname(&self) -> Option<(bool, bool)> {
        self.remote.get(HOSTNAME)
    }

    /// Has Cloudflare looked at, by an operator that is running.
    async fn look(&self) {
        let value = random_id();
        let annotation = json!({"metadata": {"annotations": {"cloudflare-mtls.dev/reconcile-at": value}}});
        self.fixture.patch("kept", &annotation).await.unwrap();
        let looked = |object: &Value| object["status"]["lastHandledReconcileAt"] == value;
        self.fixture.until("kept", "looked", looked).await.unwrap();
    }
}

async fn live(site: &Site, scenario: &Scenario) {
    let values = scenario.values();
    let rendered = documents(&render(site.helm.version(), &[&values]).await.unwrap());
    let has_crd = rendered.iter().any(|document| document["kind"] == "CustomResourceDefinition");
    let version = async || site.deployment().await["metadata"]["labels"]["app.kubernetes.io/version"].clone();

    site.install(&site.former(), &[&values]).await;
    assert_eq!(version().await, FORMER);
    assert_eq!(site.is_crd_current().await, !has_crd);
    site.until_served().await;
    let served = Served::new(site, "team-a").await;
    let uid = served.object().await["metadata"]["uid"].clone();

    site.upgrade(&[&values]).await;
    assert_eq!(version().await, env!("CARGO_PKG_VERSION"));
    assert!(site.is_crd_current().await);
    see_what_pod_security_says(site, scenario).await;
    let operator = site.operator().await;
    served.until_ready().await;
    let remote = served.remote.entries();
    let mark = site.cloudflare.ledger().mark();

    site.helm("rollback", &["1"]).await;
    assert_eq!(version().await, FORMER);
    assert_eq!(site.is_crd_current().await, !has_crd);
    served.look().await;
    end(operator).await;

    let before = served.object().await;
    let said = site.helm("uninstall", &[]).await;
    assert_eq!(said.contains("kept due to the resource policy"), has_crd, "{said}");
    assert_eq!(site.installed().await, [""; 0]);
    assert_eq!(served.object().await, before);

    site.install_current(&[&values]).await;
    assert!(site.is_crd_current().await);
    let operator = site.operator().await;
    served.look().await;
    served.until_ready().await;
    assert_eq!(served.object().await["metadata"]["uid"], uid);
    assert_eq!(served.remote.entries(), remote);
    let ledger = site.cloudflare.ledger().since(mark);
    assert!(ledger.puts(served.remote.scope()).is_empty(), "{ledger}");
    end(operator).await;
    site.helm("uninstall", &[]).await;
    served.fixture.delete("kept").await.unwrap();
}

/// A pod of the installed Deployment is taken where Pod Security enforces *restricted*.
async fn see_what_pod_security_says(site: &Site, scenario: &Scenario) {
    let template = site.deployment().await["spec"]["template"].clone();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tried", "namespace": RELEASE, "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    });
    let kubectl = Kubectl::new(site.control_plane.kubeconfig());
    let answer = kubectl.run_with_input(&["create", "--dry-run=server", "-f", "-"], &pod.to_string()).await;
    if scenario.name == "openshift" {
        // There the cluster itself puts the profile in, so that a chart must not.
        let refused = answer.unwrap_err().to_string();
        let (_, why) =
            refused.split_once("violates PodSecurity \"restricted:latest\": ").unwrap_or_else(|| panic!("{refused}"));
        assert!(why.trim().starts_with("seccompProfile (pod or container \"operator\" must set"), "{refused}");
    } else {
        answer.unwrap();
    }
}

async fn each_scenario(version: Version) {
    let site = Site::new(version).await;
    // The Prometheus operator's own definitions, which refuse what it would not understand.
    let kinds = tools::tool("monitoring-crds.yaml").unwrap();
    site.control_plane.apply(&std::fs::read_to_string(kinds).unwrap()).await.unwrap();
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "platform"}, "value": 1000,
    });
    site.control_plane.apply(&class.to_string()).await.unwrap();
    for namespace in [RELEASE, "monitoring"] {
        site.control_plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
    }
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    site.control_plane.kubectl(&["label", "namespace", RELEASE, enforce]).await.unwrap();
    // Those that bring no CRD come last: they find the one that was kept.
    let mut scenarios = Scenario::every();
    scenarios.sort_by_key(|scenario| ["namespaced", "sharded"].contains(&scenario.name.as_str()));
    for scenario in scenarios {
        let begun = Instant::now();
        live(&site, &scenario).await;
        println!("{version}: {} in {:.1} s", scenario.name, begun.elapsed().as_secs_f32());
    }
}

#[tokio::test]
async fn each_scenario_is_installed_upgraded_rolled_back_and_uninstalled_by_helm_3() {
    each_scenario(Version::Three).await;
}

#[tokio::test]
async fn each_scenario_is_installed_upgraded_rolled_back_and_uninstalled_by_helm_4() {
    each_scenario(Version::Four).await;
}

/// The API server learns a moment later that a `RoleBinding` is gone: until then a Lease could be given back.
async fn until_without_rights(site: &Site) {
    let (lease, account) = (format!("leases/{RELEASE}"), format!("system:serviceaccount:{RELEASE}:{RELEASE}"));
    let may = ["auth", "can-i", "update", &lease, "--namespace", RELEASE, "--as", &account];
    let refused = async || match site.control_plane.kubectl(&may).await {
        Err(error) if error.to_string().lines().any(|line| line == "no") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(PATIENCE, "the operator's rights are gone", refused).await.unwrap();
}

/// Helm takes the rights away at once, and the pods when their grace is over: what they still do then must harm nobody.
#[tokio::test]
async fn an_operator_whose_rights_go_before_it_does_ends_without_harm() {
    let site = Site::new(Version::Four).await;
    // Long enough not to end for the Lease, which it may not renew any more.
    let lease = ["--set=leaderElection.leaseDuration=90s", "--set=leaderElection.renewDeadline=60s"];
    site.install_current(&lease).await;
    site.until_served().await;
    let kept = Served::new(&site, "team-a").await;
    let resetting = Served::resetting(&site, "team-b").await;
    let mut operator = site.operator().await;
    kept.until_ready().await;
    resetting.until_ready().await;
    let (before, mark) = (kept.object().await, site.cloudflare.ledger().mark());
    site.helm("uninstall", &[]).await;
    until_without_rights(&site).await;
    operator.signal("TERM").unwrap();
    let code = operator.wait_exit(PATIENCE).await.unwrap();
    let logs = operator.logs().unwrap();
    assert_eq!(code, 0, "{logs}");
    assert!(logs.contains("the lease could not be given back"), "{logs}");
    assert_eq!(kept.object().await, before);
    assert_eq!((kept.hostname(), resetting.hostname()), (Some((true, false)), Some((true, false))));
    let puts = site.cloudflare.ledger().since(mark).filtered(|exchange| exchange.method == "PUT");
    assert!(puts.is_empty(), "{puts}");
}

/// The way back from `kubectl scale`, as the document about upgrades has it, and what an upgrade in between does.
#[tokio::test]
async fn what_kubectl_scaled_to_nothing_comes_back_by_being_scaled_or_upgraded() {
    for version in Version::EVERY {
        let site = Site::new(version).await;
        let scale = async |replicas: &str| {
            let scale = ["scale", "deployment", RELEASE, "--namespace", RELEASE, "--replicas", replicas];
            site.control_plane.kubectl(&scale).await.unwrap();
        };
        let replicas = async || site.deployment().await["spec"]["replicas"].clone();
        site.install_current(&[]).await;
        scale("0").await;
        assert_eq!(replicas().await, 0, "{version}");
        scale("1").await;
        site.upgrade(&["--set=log.format=text"]).await;
        assert_eq!(replicas().await, 1, "{version}");
        // Unasked, and with no word of a conflict.
        scale("0").await;
        site.upgrade(&["--set=log.format=json"]).await;
        assert_eq!(replicas().await, 1, "{version}");
        // With Helm's own means.
        for count in [2, 0, 1] {
            site.upgrade(&[&format!("--set=replicaCount={count}")]).await;
            assert_eq!(replicas().await, count, "{version}");
        }
    }
}
