//! Helm waits for objects: Helm 4 until they are ready or cannot become it, Helm 3 not at all.

use harness::{
    Result,
    cloudflare::{Cloudflare, Effect, Fault},
    control_plane::ControlPlane,
    fixture::{CREDENTIAL, Fixture, PATIENCE, eventually},
    helm::{Helm, Version},
    operator::Operator,
    tools,
};

/// A namespace with its credential, served by an operator.
struct Team {
    control_plane: &'static ControlPlane,
    cloudflare: Cloudflare,
    fixture: Fixture,
    _operator: Operator,
}

impl Team {
    async fn new() -> Self {
        let control_plane = ControlPlane::shared().await.unwrap();
        let fixture = Fixture::new(control_plane).await.unwrap();
        let cloudflare = Cloudflare::start().await.unwrap();
        let remote = cloudflare.add_zone(fixture.zone_id(), "example.com");
        let (secret, key) = CREDENTIAL;
        let token = "cfut_Jx5Wd1Ya8Rm3Vk7Tg2Nb6Qs9Lf4Zc0";
        cloudflare.token(token).may_write(remote.scope());
        fixture.apply(&fixture.secret(secret, key, token)).await.unwrap();
        let mut operator = Operator::builder(env!("CARGO_BIN_EXE_cloudflare-mtls-operator"), control_plane)
            .watch_namespace(fixture.namespace())
            .cloudflare(cloudflare.url())
            .spawn()
            .await
            .unwrap();
        operator.wait_ready(PATIENCE).await.unwrap();
        Self { control_plane, cloudflare, fixture, _operator: operator }
    }

    /// Installs the chart with one object, and waits.
    async fn install(&self, version: Version, name: &str, more: &[&str]) -> Result<String> {
        let chart = tools::workspace().join("tests/install/objects-chart");
        let (chart, zone) = (chart.to_string_lossy(), format!("--set=zoneId={}", self.fixture.zone_id()));
        let fixed = ["install", name, &chart, "--namespace", self.fixture.namespace(), &zone, "--wait"];
        Helm::new(version, self.control_plane.kubeconfig()).run(&[&fixed[..], more].concat()).await
    }
}

#[tokio::test]
async fn helm_4_waits_until_an_object_is_ready() {
    let team = Team::new().await;
    let held = team.cloudflare.inject(Fault::from(Effect::Hold).on("GET").for_ever());
    // As long as it may still become ready, there is nothing to say.
    let error = team.install(Version::Four, "early", &["--timeout=10s"]).await.unwrap_err().to_string();
    assert!(error.contains("context deadline exceeded") && error.contains("InProgress"), "{error}");
    let ready = ["--set=hostname=ready.example.com", "--timeout=50s"];
    let is_there = async || match team.fixture.get("ready").await {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    let (installed, ()) = tokio::join!(team.install(Version::Four, "ready", &ready), async {
        eventually(PATIENCE, "Helm has created the object", is_there).await.unwrap();
        held.clear();
    });
    installed.unwrap();
    let conditions = team.fixture.get("ready").await.unwrap().unwrap();
    let ready = harness::fixture::condition(&conditions, "Ready").unwrap();
    assert_eq!(ready["status"], "True", "{conditions:#}");
}

#[tokio::test]
async fn helm_4_waits_in_vain_for_drift_that_is_only_reported() {
    let team = Team::new().await;
    let observing = ["--set=syncMode=Observe", "--timeout=10s"];
    let error = team.install(Version::Four, "observing", &observing).await.unwrap_err().to_string();
    assert!(error.contains("context deadline exceeded") && error.contains("InProgress"), "{error}");
    team.fixture.until_condition("observing", "Ready", "False", "DriftDetected").await.unwrap();
}

#[tokio::test]
async fn helm_4_fails_at_once_when_a_person_has_to_do_something() {
    let team = Team::new().await;
    let stalled = ["--set=key=misspelt", "--timeout=50s"];
    let error = team.install(Version::Four, "stalled", &stalled).await.unwrap_err().to_string();
    // It says what is wrong, and not that time is over.
    assert!(error.contains("Failed") && !error.contains("deadline"), "{error}");
    team.fixture.until_condition("stalled", "Stalled", "True", "SecretInvalid").await.unwrap();
    // Helm 3 knows nothing of kinds that are not Kubernetes' own: it says that all is well.
    team.install(Version::Three, "unseen", &stalled).await.unwrap();
    team.fixture.until_condition("unseen", "Stalled", "True", "SecretInvalid").await.unwrap();
}
