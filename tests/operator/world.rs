//! What a test begins with: a namespace, a zone with its token, an emulated Cloudflare and the operator serving them.

use std::{
    io::{Read as _, Seek as _, SeekFrom},
    ops::Deref,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use harness::{
    canary,
    cloudflare::{Cloudflare, Credential, Exchange, Ledger, Remote, Scope},
    control_plane::ControlPlane,
    fixture::{self, Fixture, PATIENCE, eventually},
    operator::{Builder, Operator},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::behaviour::Behaviour;

pub(crate) const TOKEN: &str = "cfut_8Zr2Lw5Tn0Qx7Vb4Hj9Kd1Ms6Pf3Gc";
pub(crate) const DOMAIN: &str = "example.com";

type Tell = Box<dyn Fn(Builder<'_>) -> Builder<'_>>;

/// The control plane that all tests share, or one of a test's own.
enum Place {
    Shared(&'static ControlPlane),
    Own(Arc<ControlPlane>),
}

impl Deref for Place {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        match self {
            Self::Shared(control_plane) => control_plane,
            Self::Own(control_plane) => control_plane,
        }
    }
}

pub(crate) struct World {
    tell: Tell,
    pub(crate) cloudflare: Cloudflare,
    pub(crate) fixture: Fixture,
    pub(crate) remote: Remote,
    pub(crate) token: Credential,
    pub(crate) operator: Operator,
    /// How long the API server's audit log was when this began.
    audited: u64,
    /// The last to go: the operator's log is in its folder.
    control_plane: Place,
}

impl World {
    /// Everything in place, the Secret too, and the operator ready.
    pub(crate) async fn new() -> Self {
        Self::with(|operator| operator).await
    }

    /// The same where the remote behaves like this.
    pub(crate) async fn under(behaviour: Behaviour) -> Self {
        let world = Self::new().await;
        world.cloudflare.switch(|switches| behaviour.turn(switches));
        world
    }

    /// The same with an operator that was told more.
    pub(crate) async fn with(tell: impl for<'a> Fn(Builder<'a>) -> Builder<'a> + 'static) -> Self {
        Self::begin(Place::Shared(ControlPlane::shared().await.unwrap()), Box::new(tell)).await
    }

    /// The same in a control plane of the test's own.
    pub(crate) async fn on(control_plane: &Arc<ControlPlane>, behaviour: Behaviour) -> Self {
        let world = Self::on_with(control_plane, |operator| operator).await;
        world.cloudflare.switch(|switches| behaviour.turn(switches));
        world
    }

    /// In a control plane of the test's own, with an operator that takes part in the election.
    pub(crate) async fn electing(control_plane: &Arc<ControlPlane>) -> Self {
        Self::begin(Place::Own(control_plane.clone()), Box::new(electing)).await
    }

    /// One more operator like the first, ready too.
    pub(crate) async fn another_operator(&self) -> Operator {
        start(&self.control_plane, &self.fixture, &self.cloudflare, &self.tell).await
    }

    /// The same, which may never be ready.
    pub(crate) async fn operator_without_waiting(&self) -> Operator {
        builder(&self.control_plane, &self.fixture, &self.cloudflare, &self.tell).spawn().await.unwrap()
    }

    /// With an operator that was told more and may never be ready.
    pub(crate) async fn without_waiting(tell: impl Fn(Builder<'_>) -> Builder<'_> + 'static) -> Self {
        Self::begin_with(Place::Shared(ControlPlane::shared().await.unwrap()), Box::new(tell)).await
    }

    /// The same with an operator that was told more.
    pub(crate) async fn on_with(
        control_plane: &Arc<ControlPlane>,
        tell: impl Fn(Builder<'_>) -> Builder<'_> + 'static,
    ) -> Self {
        Self::begin(Place::Own(control_plane.clone()), Box::new(tell)).await
    }

    async fn begin(control_plane: Place, tell: Tell) -> Self {
        let mut world = Self::begin_with(control_plane, tell).await;
        world.operator.wait_ready(Duration::from_secs(30)).await.unwrap();
        world
    }

    async fn begin_with(control_plane: Place, tell: Tell) -> Self {
        let audited = std::fs::metadata(control_plane.audit_log()).unwrap().len();
        let fixture = Fixture::new(&control_plane).await.unwrap();
        let cloudflare = Cloudflare::start().await.unwrap();
        let remote = cloudflare.add_zone(fixture.zone_id(), DOMAIN);
        let token = cloudflare.token(TOKEN).named("team");
        token.may_write(remote.scope());
        let (secret, key) = fixture::CREDENTIAL;
        fixture.apply(&fixture.secret(secret, key, TOKEN)).await.unwrap();
        let operator = builder(&control_plane, &fixture, &cloudflare, &tell).spawn().await.unwrap();
        Self { tell, cloudflare, fixture, remote, token, operator, audited, control_plane }
    }

    /// Kills the operator.
    pub(crate) async fn stop(&mut self) {
        self.operator.signal("KILL").unwrap();
        self.operator.wait_exit(Duration::from_secs(10)).await.unwrap();
    }

    /// Kills the operator, if it was not stopped before, and starts another one.
    pub(crate) async fn restart(&mut self) {
        if self.operator.wait_exit(Duration::ZERO).await.is_err() {
            self.stop().await;
        }
        self.operator = start(&self.control_plane, &self.fixture, &self.cloudflare, &self.tell).await;
    }

    /// Starts another operator that is told something else.
    pub(crate) async fn restart_with(&mut self, tell: impl Fn(Builder<'_>) -> Builder<'_> + 'static) {
        self.tell = Box::new(tell);
        self.restart().await;
    }

    /// Runs kubectl with an administrator's rights in this world's namespace, and returns what it printed.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> harness::Result<String> {
        let arguments = [&["--namespace", self.fixture.namespace()], arguments].concat();
        self.control_plane.kubectl(&arguments).await
    }

    pub(crate) fn scope(&self) -> Scope {
        self.remote.scope().clone()
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.cloudflare.ledger().of(&self.scope())
    }

    /// What the API server's audit log has of this namespace's Secrets and this operator: verb and time.
    pub(crate) fn secret_reads(&self) -> Vec<(String, Timestamp)> {
        let operator = "system:serviceaccount:cloudflare-mtls-operator:cloudflare-mtls-operator";
        let requests = self.control_plane.requests_of(operator).unwrap();
        requests
            .iter()
            .filter(|event| {
                event["objectRef"]["resource"] == "secrets"
                    && event["objectRef"]["namespace"] == self.fixture.namespace()
            })
            .map(|event| {
                let at = event["requestReceivedTimestamp"].as_str().unwrap().parse().unwrap();
                (event["verb"].as_str().unwrap().to_owned(), at)
            })
            .collect()
    }

    /// The methods of all requests for the zone so far, in order.
    pub(crate) fn methods(&self) -> Vec<String> {
        self.ledger().all().iter().map(|exchange| exchange.method.clone()).collect()
    }

    /// The same without how often it looked: several reads in a row, of which the first may have been too early to show the
    /// write before it, count as one.
    pub(crate) fn steps(&self) -> Vec<String> {
        let mut methods = self.methods();
        methods.dedup_by(|next, former| next == "GET" && former == "GET");
        methods
    }

    /// Applies an object that wants the given hostnames forwarded or not.
    pub(crate) async fn apply(&self, name: &str, settings: &[(&str, bool)]) -> Value {
        let manifest = settings.iter().fold(self.fixture.settings(name), |manifest, (hostname, forwarding)| {
            manifest.hostname(hostname, *forwarding)
        });
        self.fixture.apply(&manifest.build()).await.unwrap()
    }

    /// The operator has taken notice that the object is being deleted: nobody wants its hostnames any more.
    pub(crate) async fn until_deleting(&self, name: &str) {
        let deleting = |object: &Value| object["metadata"]["deletionTimestamp"].is_string();
        self.fixture.until(name, "deleting", deleting).await.unwrap();
    }

    /// Asks for a look now, by this value of the annotation.
    pub(crate) async fn ask_for_a_look(&self, name: &str, value: &str) {
        let look = json!({"metadata": {"annotations": {"cloudflare-mtls.dev/reconcile-at": value}}});
        self.fixture.patch(name, &look).await.unwrap();
    }

    /// Asks for a look now, and waits until the status says that it was done.
    pub(crate) async fn look(&self, name: &str) -> Value {
        self.look_within(PATIENCE, name).await
    }

    pub(crate) async fn look_within(&self, deadline: Duration, name: &str) -> Value {
        let value = fixture::random_id();
        self.ask_for_a_look(name, &value).await;
        let looked = async || {
            let object = self.fixture.get(name).await.map_err(|error| error.to_string())?.unwrap_or_default();
            let handled = object["status"]["lastHandledReconcileAt"] == value;
            if handled { Ok(object) } else { Err(format!("{:#}", object["status"])) }
        };
        eventually(deadline, format!("{name} looked at"), looked).await.unwrap()
    }

    /// Has the zone looked at by way of a second object, so that the first one is not asked for anything.
    pub(crate) async fn look_without_asking(&self) {
        if self.fixture.get("bystander").await.unwrap().is_none() {
            self.apply("bystander", &[("bystander.example.com", true)]).await;
        }
        self.ask_for_a_look("bystander", &fixture::random_id()).await;
    }

    /// The operator has read the list as it is now.
    pub(crate) async fn until_seen(&self) {
        let mark = self.cloudflare.ledger().mark();
        self.look_without_asking().await;
        let read = || self.ledger().since(mark).gets(&self.scope()).iter().any(|get| get.end_us.is_some());
        self.cloudflare.until("a look", PATIENCE, read).await.unwrap();
    }

    pub(crate) async fn until_ready(&self, name: &str) -> Value {
        self.fixture.until_condition(name, "Ready", "True", "InSync").await.unwrap()
    }

    pub(crate) async fn until_reason(&self, name: &str, reason: &str) -> Value {
        self.fixture.until_condition(name, "Ready", "False", reason).await.unwrap()
    }
}

/// Tells an operator to take part in the election.
pub(crate) fn electing(operator: Builder<'_>) -> Builder<'_> {
    operator.leader_elect()
}

impl World {
    /// Where a credential shows that a test has put into a Secret, besides the operator itself: in what was written to the
    /// API server, in the paths of requests to it, and in requests to Cloudflare outside the headers that are for it.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let mut leaks: Vec<String> = match self.control_plane.written_in(self.fixture.namespace()) {
            Ok(texts) => texts.into_iter().filter_map(|(path, text)| canary::complaint(&path, Ok(text))).collect(),
            Err(error) => vec![format!("what was written could not be read: {error}")],
        };
        let audit_log = || -> harness::Result<Vec<u8>> {
            let (mut file, mut text) = (std::fs::File::open(self.control_plane.audit_log())?, Vec::new());
            file.seek(SeekFrom::Start(self.audited))?;
            file.read_to_end(&mut text)?;
            Ok(text)
        };
        leaks.extend(canary::complaint("the audit log", audit_log()));
        for exchange in self.cloudflare.ledger().all() {
            let agent = exchange.user_agent.as_deref().unwrap_or_default();
            let shown = [&exchange.path, agent, &exchange.body].join("\n");
            leaks.extend(canary::complaint(&format!("request {}", exchange.seq), Ok(shown)));
        }
        leaks
    }
}

/// What no scenario may end with: two writes of the operator to one scope that were under way at the same time, a panic, or
/// a credential in a place where it does not belong.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let by_operator = |exchange: &Exchange| {
            exchange.user_agent.as_deref().is_some_and(|agent| agent.starts_with("cloudflare-mtls-operator/"))
        };
        let ledger = self.cloudflare.ledger().filtered(by_operator);
        assert!(ledger.overlapping_puts().is_empty(), "two PUTs under way at the same time:\n{ledger}");
        let logs = self.operator.logs().unwrap_or_default();
        let panics = logs.lines().find(|line| line.contains("panicked at") && !line.contains("a test wants"));
        assert_eq!(panics, None, "the operator has panicked");
        let leaks = self.leaks();
        assert!(leaks.is_empty(), "a credential got out:\n{}", leaks.join("\n"));
    }
}

/// The program under test, or another build of it.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("OPERATOR_UNDER_TEST")
        .map_or_else(|| env!("CARGO_BIN_EXE_cloudflare-mtls-operator").into(), PathBuf::from)
}

fn builder<'a>(
    control_plane: &'a ControlPlane,
    fixture: &Fixture,
    cloudflare: &Cloudflare,
    tell: &Tell,
) -> Builder<'a> {
    tell(
        Operator::builder(program(), control_plane)
            .watch_namespace(fixture.namespace())
            // As much as anybody can ever get to see: it is searched for credentials.
            .env("CFMTLS_LOG_LEVEL", "trace,kube=trace,hyper=trace")
            .cloudflare(cloudflare.url()),
    )
}

async fn start(control_plane: &ControlPlane, fixture: &Fixture, cloudflare: &Cloudflare, tell: &Tell) -> Operator {
    let mut operator = builder(control_plane, fixture, cloudflare, tell).spawn().await.unwrap();
    operator.wait_ready(Duration::from_secs(30)).await.unwrap();
    operator
}
