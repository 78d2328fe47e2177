//! What somebody does by hand around the Secret of an object, and when something hangs: the commands of the guides, typed.

use std::time::Duration;

use harness::{
    cloudflare::{Cloudflare, Credential, Remote},
    control_plane::ControlPlane,
    fixture::{PATIENCE, condition, eventually},
    operator::Operator,
    shell::Shell,
    tools,
};
use serde_json::Value;

use crate::{
    cluster::{TOKEN, ZONE},
    guide::commands,
    secrets::OTHER_TOKEN,
    seen,
};

/// The operator's manifests, the operator, and the objects of the guides.
struct Place {
    cloudflare: Cloudflare,
    remote: Remote,
    token: Credential,
    operator: Option<Operator>,
    control_plane: ControlPlane,
}

impl Place {
    async fn new() -> Self {
        let control_plane = ControlPlane::start_with_controllers().await.unwrap();
        control_plane.install().await.unwrap();
        let cloudflare = Cloudflare::start().await.unwrap();
        let remote = cloudflare.add_zone(ZONE, "example.com");
        let token = cloudflare.token(TOKEN).named("first");
        token.may_write(remote.scope());
        harness::canary::watch_for(TOKEN);
        harness::canary::watch_for(OTHER_TOKEN);
        let mut place = Self { cloudflare, remote, token, operator: None, control_plane };
        place.run_operator().await;
        let objects = tools::workspace().join("deploy/flux/cloudflare-mtls");
        place.kubectl(&["apply", "--server-side", "-k", objects.to_str().unwrap()]).await;
        place
    }

    async fn run_operator(&mut self) {
        let program = env!("CARGO_BIN_EXE_cloudflare-mtls-operator");
        let operator = Operator::builder(program, &self.control_plane).cloudflare(self.cloudflare.url());
        let mut operator = operator.arg("--secret-poll=1s").spawn().await.unwrap();
        operator.wait_ready(PATIENCE).await.unwrap();
        self.operator = Some(operator);
    }

    async fn end_operator(&mut self) {
        let mut operator = self.operator.take().unwrap();
        operator.signal("TERM").unwrap();
        operator.wait_exit(Duration::from_secs(90)).await.unwrap();
    }

    async fn kubectl(&self, arguments: &[&str]) -> String {
        self.control_plane.kubectl(arguments).await.unwrap()
    }

    async fn type_in(&self, commands: &str) -> String {
        let shell = Shell::new(self.control_plane.kubeconfig()).variable("CLOUDFLARE_API_TOKEN", TOKEN);
        shell.variable("NEW_CLOUDFLARE_API_TOKEN", OTHER_TOKEN).type_in(commands).await.unwrap()
    }

    async fn get(&self, what: &str) -> Option<Value> {
        seen::get(&self.control_plane, "team-a", what).await
    }

    async fn until_reason(&self, name: &str, status: &str, reason: &str) -> Value {
        seen::until_reason(&self.control_plane, name, status, reason).await
    }

    async fn until_gone(&self, what: &str) {
        seen::until_gone(&self.control_plane, "team-a", what).await;
    }
}

#[tokio::test]
async fn a_secret_made_by_hand_is_taken_rotated_and_outlives_what_needs_it() {
    let mut place = Place::new().await;
    let test = "a_secret_made_by_hand_is_taken_rotated_and_outlives_what_needs_it";
    let [create, rotate, uninstall] = commands("secrets.md", test).try_into().unwrap();
    place.until_reason("admin", "False", "SecretNotFound").await;
    place.type_in(&create).await;

    place.cloudflare.token(OTHER_TOKEN).named("second").may_write(place.remote.scope());
    let mark = place.cloudflare.ledger().mark();
    let printed = place.type_in(&rotate).await;
    assert!(printed.contains("InSync"), "{printed}");
    let since = place.cloudflare.ledger().since(mark);
    let by: Vec<_> = since.all().iter().map(|exchange| exchange.credential.clone().unwrap()).collect();
    assert_eq!(by.last().map(String::as_str), Some("second"), "{since}");
    place.token.revoke();

    place.type_in(&uninstall).await;
    assert_eq!(place.remote.get("partners.example.com"), None);
    assert_eq!(place.remote.get("admin.example.com"), Some((true, false)), "Retain leaves it as it is");
    // Its rights are gone before it: it ends all the same.
    place.end_operator().await;
}

#[tokio::test]
async fn what_hangs_with_the_operator_is_let_go_as_the_page_says() {
    let place = Place::new().await;
    let test = "what_hangs_with_the_operator_is_let_go_as_the_page_says";
    let [patch] = commands("troubleshooting.md", test).try_into().unwrap();
    let token = format!("--from-literal=token={TOKEN}");
    place.kubectl(&["create", "secret", "generic", "cloudflare", "-n", "team-a", &token]).await;
    place.until_reason("partners", "True", "InSync").await;
    place.token.revoke();
    place.kubectl(&["delete", "-n", "team-a", "mhs/partners", "--wait=false"]).await;
    let object = place.until_reason("partners", "False", "ResetBlocked").await;
    // The object itself shows the same command.
    let message = condition(&object, "Ready").unwrap()["message"].as_str().unwrap();
    assert!(message.contains(&patch), "{message}\n{patch}");
    place.type_in(&patch).await;
    place.until_gone("mhs/partners").await;
    assert_eq!(place.remote.get("partners.example.com"), Some((true, false)));
}

#[tokio::test]
async fn what_hangs_without_the_operator_is_let_go_as_the_page_says() {
    let mut place = Place::new().await;
    let test = "what_hangs_without_the_operator_is_let_go_as_the_page_says";
    let [look, ask, show, one, all] = commands("troubleshooting.md", test).try_into().unwrap();
    let token = format!("--from-literal=token={TOKEN}");
    place.kubectl(&["create", "secret", "generic", "cloudflare", "-n", "team-a", &token]).await;
    place.until_reason("partners", "True", "InSync").await;
    let printed = place.type_in(&look).await;
    assert!(printed.contains("InSync") && printed.contains("partners.example.com"), "{printed}");
    place.type_in(&ask).await;
    let looked = async || {
        let object = place.get("mhs/partners").await.ok_or("not there")?;
        object["status"]["lastHandledReconcileAt"].is_string().then_some(()).ok_or("not looked")
    };
    eventually(PATIENCE, "looked", looked).await.unwrap();

    // In the wrong order: the operator first.
    place.end_operator().await;
    place.kubectl(&["delete", "-n", "team-a", "mhs/partners", "--wait=false"]).await;
    let printed = place.type_in(&show).await;
    assert!(printed.contains("cloudflare-mtls.dev/reset"), "{printed}");
    place.type_in(&one).await;
    place.until_gone("mhs/partners").await;

    // A namespace, and the CRD, with an operator that comes back.
    let objects = tools::workspace().join("deploy/flux/cloudflare-mtls");
    let objects = objects.to_str().unwrap();
    place.run_operator().await;
    place.kubectl(&["apply", "--server-side", "-k", objects]).await;
    place.until_reason("partners", "True", "InSync").await;
    place.end_operator().await;
    place.kubectl(&["delete", "namespace", "team-a", "--wait=false"]).await;
    let left = async || {
        let namespace = place.get("namespace/team-a").await.ok_or("not there")?;
        let says = namespace["status"]["conditions"].to_string().contains("cloudflare-mtls.dev/reset");
        if says { Ok(()) } else { Err(format!("{:#}", namespace["status"])) }
    };
    eventually(PATIENCE, "the namespace waits for the object", left).await.unwrap();
    place.kubectl(&["delete", "crd", "mtlshostnamesettings.cloudflare-mtls.dev", "--wait=false"]).await;
    place.type_in(&all).await;
    place.until_gone("namespace/team-a").await;
    place.until_gone("crd/mtlshostnamesettings.cloudflare-mtls.dev").await;
    assert_eq!(place.remote.get("partners.example.com"), Some((true, false)), "nobody turned it off");
}
