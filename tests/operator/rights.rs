//! What the operator may do and what it does: the same, whether it serves all namespaces or some.

use std::{collections::BTreeSet, path::Path, time::Duration};

use harness::{
    cloudflare::{Cloudflare, Remote},
    control_plane::{ControlPlane, OPERATOR, rights},
    fixture::{Fixture, PATIENCE, eventually},
    operator::Operator,
};
use serde_json::{Value, json};

use crate::{
    chart::{Release, Right},
    world::{DOMAIN, TOKEN},
};

/// What is refused for good: an operator that ends after its release was uninstalled cannot give the Lease back any more.
const UNINSTALLED: [(&str, &str, &str); 2] = [(OPERATOR, "get", "leases"), (OPERATOR, "update", "leases")];

/// `make test` runs this when everything else has run.
#[tokio::test]
#[ignore = "looks at what the whole suite has asked for: make test"]
async fn what_the_suite_used_is_what_the_chart_grants() {
    let folder = std::env::var_os(rights::FOLDER).expect("make test says where the tests have left it");
    let asked = rights::recorded(Path::new(&folder)).await.unwrap();
    let used: BTreeSet<_> = asked.iter().filter_map(Right::used).collect();
    let some = Release::render(OPERATOR, &["--set", "watchNamespaces={team-a,team-b}"]).await;
    let mut granted = BTreeSet::new();
    for (mode, release) in [("watching all namespaces", Release::plain()), ("watching some namespaces", some)] {
        let rights = release.rights();
        assert!(!rights.is_empty(), "{mode}: nothing is granted");
        let idle: Vec<_> = rights.difference(&used).collect();
        assert!(idle.is_empty(), "{mode}: granted, and used by no test: {idle:#?}");
        println!("{mode}: {} rights granted, all of them used", rights.len());
        granted.extend(rights);
    }
    let foreign: Vec<_> = used.difference(&granted).collect();
    assert!(foreign.is_empty(), "used, and not granted by the chart: {foreign:#?}");
    let refused = asked.iter().filter(|asked| asked.role.is_none());
    let refused: BTreeSet<_> = refused.map(|asked| (&*asked.account, &*asked.verb, &*asked.resource)).collect();
    let unexpected: Vec<_> = refused.difference(&BTreeSet::from(UNINSTALLED)).copied().collect();
    assert!(unexpected.is_empty(), "refused, and never allowed: {unexpected:#?}");
}

/// A release, an operator as it describes it, and three namespaces with a zone each.
struct Installed<'a> {
    control_plane: &'a ControlPlane,
    release: Release,
    cloudflare: Cloudflare,
    operator: Operator,
    namespaces: [(Fixture, Remote); 3],
}

/// What the audit log has of a request.
#[derive(Debug)]
struct Request {
    verb: String,
    resource: String,
    /// Empty for a request about the whole cluster.
    namespace: String,
    allowed: bool,
    uri: String,
}

impl<'a> Installed<'a> {
    async fn new(control_plane: &'a ControlPlane, name: &str, values: &[&str], watched: usize) -> Self {
        let cloudflare = Cloudflare::start().await.unwrap();
        let token = cloudflare.token(TOKEN);
        let mut namespaces = Vec::new();
        for _ in 0..3 {
            let fixture = Fixture::new(control_plane).await.unwrap();
            let remote = cloudflare.add_zone(fixture.zone_id(), DOMAIN);
            token.may_write(remote.scope());
            fixture.apply(&fixture.secret("cloudflare", "token", TOKEN)).await.unwrap();
            namespaces.push((fixture, remote));
        }
        let watched: Vec<_> = namespaces.iter().take(watched).map(|(fixture, _)| fixture.namespace()).collect();
        let watch = format!("watchNamespaces={{{}}}", watched.join(","));
        let watch = if watched.is_empty() { vec![] } else { vec!["--set", &watch] };
        let release = Release::render(name, &[&watch[..], values].concat()).await;
        release.install(control_plane, &watched).await;
        let operator = ready(&release, control_plane, &cloudflare).await;
        let namespaces = namespaces.try_into().ok().unwrap();
        Self { control_plane, release, cloudflare, operator, namespaces }
    }

    fn requests(&self) -> Vec<Request> {
        let events = self.control_plane.requests_of(&self.release.user()).unwrap();
        let text =
            |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
        let request = |event: &Value| Request {
            verb: text(event, "/verb"),
            resource: text(event, "/objectRef/resource"),
            namespace: text(event, "/objectRef/namespace"),
            allowed: event["annotations"]["authorization.k8s.io/decision"] == "allow",
            uri: text(event, "/requestURI"),
        };
        events.iter().map(request).collect()
    }

    async fn apply(&self, namespace: usize, name: &str, policy: &str) -> Value {
        let (fixture, _) = &self.namespaces[namespace];
        let manifest = fixture.settings(name).with("deletionPolicy", json!(policy));
        fixture.apply(&manifest.hostname(&format!("{name}.{DOMAIN}"), true).build()).await.unwrap()
    }

    async fn until_ready(&self, namespace: usize, name: &str) {
        let (fixture, remote) = &self.namespaces[namespace];
        fixture.until_condition(name, "Ready", "True", "InSync").await.unwrap();
        assert_eq!(remote.get(&format!("{name}.{DOMAIN}")), Some((true, false)));
    }

    /// Everything for which the operator needs a right, in the first two namespaces, by two operators one after the other.
    async fn uses_every_right(&mut self) {
        for namespace in [0, 1] {
            self.apply(namespace, "kept", "Retain").await;
            self.apply(namespace, "reset", "Reset").await;
        }
        for namespace in [0, 1] {
            self.until_ready(namespace, "kept").await;
            self.until_ready(namespace, "reset").await;
        }
        // The same event twice within minutes becomes a series.
        let (fixture, _) = &self.namespaces[0];
        for suspended in [true, false, true] {
            fixture.patch("kept", &json!({"spec": {"suspend": suspended}})).await.unwrap();
            let (status, reason) = if suspended { ("False", "Suspended") } else { ("True", "InSync") };
            fixture.until_condition("kept", "Ready", status, reason).await.unwrap();
        }
        let series = || async {
            let requests = self.requests();
            let is_series = |request: &&Request| request.resource == "events" && request.verb == "patch";
            requests.iter().find(is_series).map(drop).ok_or_else(|| format!("{requests:#?}"))
        };
        eventually(PATIENCE, "an event that is a series", series).await.unwrap();

        self.operator.signal("TERM").unwrap();
        assert_eq!(self.operator.wait_exit(PATIENCE).await.unwrap(), 0);
        // Deleted while nobody is there.
        let (fixture, _) = &self.namespaces[1];
        fixture.delete("reset").await.unwrap();
        self.operator = ready(&self.release, self.control_plane, &self.cloudflare).await;
        let (fixture, remote) = &self.namespaces[1];
        let gone =
            || async { if fixture.get("reset").await?.is_none() { Ok(()) } else { Err(harness::Error::new("there")) } };
        eventually(PATIENCE, "the object is gone", gone).await.unwrap();
        assert_eq!(remote.get(&format!("reset.{DOMAIN}")), None, "it was turned off");
        self.apply(1, "late", "Retain").await;
        self.until_ready(1, "late").await;
    }

    /// What holds in either mode, of all requests so far.
    fn assert_sound(&self) {
        let requests = self.requests();
        let refused: Vec<_> = requests.iter().filter(|request| !request.allowed).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        let nameless: Vec<_> = requests.iter().filter(|request| request.resource.is_empty()).collect();
        assert!(nameless.is_empty(), "about no resource: {nameless:#?}");
        let leases: Vec<_> = requests.iter().filter(|request| request.resource == "leases").collect();
        assert!(leases.iter().all(|lease| lease.namespace == OPERATOR), "{leases:#?}");
        let name = self.release.argument("--lease-name");
        let own = format!("/apis/coordination.k8s.io/v1/namespaces/{OPERATOR}/leases/{name}");
        for lease in leases.iter().filter(|lease| lease.verb != "create") {
            assert_eq!(lease.uri.split('?').next(), Some(&*own), "{lease:#?}");
        }
        let at_home: Vec<_> = requests.iter().filter(|request| request.namespace == OPERATOR).collect();
        assert_eq!(
            at_home.len(),
            leases.len(),
            "its own namespace has its Lease, and nothing else for it: {at_home:#?}"
        );
        let verbs: BTreeSet<_> =
            requests.iter().filter(|request| request.resource == "secrets").map(|request| &*request.verb).collect();
        assert_eq!(verbs, BTreeSet::from(["get"]), "a Secret is read by its name");
    }
}

async fn ready(release: &Release, control_plane: &ControlPlane, cloudflare: &Cloudflare) -> Operator {
    let mut operator = release.operator(control_plane, cloudflare).spawn().await.unwrap();
    operator.wait_ready(Duration::from_secs(30)).await.unwrap();
    operator
}

#[tokio::test]
async fn in_some_namespaces_it_works_with_their_roles_alone_and_asks_nothing_about_others() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let mut installed = Installed::new(control_plane, "few", &["--set", "crds.install=false"], 2).await;
    for document in installed.release.documents() {
        let metadata = &document["metadata"];
        assert!(metadata["namespace"].is_string(), "{} {} is cluster-scoped", document["kind"], metadata["name"]);
    }
    let elsewhere = installed.apply(2, "kept", "Reset").await;
    installed.uses_every_right().await;
    installed.assert_sound();
    let (fixture, remote) = &installed.namespaces[2];
    assert_eq!(fixture.get("kept").await.unwrap().unwrap(), elsewhere, "an object elsewhere stays as it was made");
    assert!(installed.cloudflare.ledger().of(remote.scope()).is_empty());
    let served: BTreeSet<_> = installed.namespaces[..2].iter().map(|(fixture, _)| fixture.namespace()).collect();
    let requests = installed.requests();
    let outside = |request: &&Request| !served.contains(&*request.namespace) && request.resource != "leases";
    let outside: Vec<_> = requests.iter().filter(outside).collect();
    assert!(outside.is_empty(), "{outside:#?}");
}

#[tokio::test]
async fn an_object_whose_namespace_loses_the_rights_first_waits_for_somebody_to_let_it_go() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let installed = Installed::new(control_plane, "stranded", &["--set", "crds.install=false"], 2).await;
    installed.apply(0, "reset", "Reset").await;
    installed.until_ready(0, "reset").await;
    // In this order, when a namespace is deleted and the operator is slow.
    let (fixture, remote) = &installed.namespaces[0];
    let namespace = fixture.namespace();
    control_plane.kubectl(&["delete", "rolebinding", "--all", "-n", namespace]).await.unwrap();
    let user = installed.release.user();
    let may = ["auth", "can-i", "get", "secrets", "-n", namespace, "--as", &user];
    let may_not = async || match control_plane.kubectl(&may).await {
        Ok(yes) => Err(yes),
        Err(no) => Ok(no),
    };
    let no = eventually(PATIENCE, "the right to read Secrets is gone", may_not).await.unwrap();
    assert!(no.to_string().contains("no"), "{no}");
    let refused = || installed.requests().into_iter().filter(|request| !request.allowed).count();
    let before = refused();
    fixture.delete("reset").await.unwrap();
    let is_refused = async || if refused() > before { Ok(()) } else { Err("nothing is refused") };
    eventually(2 * PATIENCE, "a refusal", is_refused).await.unwrap();
    assert!(fixture.get("reset").await.unwrap().is_some(), "nobody may let it go");

    let by_hand = r#"{"metadata":{"finalizers":null}}"#;
    let patch = ["patch", "mhs", "reset", "-n", namespace, "--type=merge", "-p", by_hand];
    control_plane.kubectl(&patch).await.unwrap();
    fixture.until_gone("reset").await.unwrap();
    assert_eq!(remote.get(&format!("reset.{DOMAIN}")), Some((true, false)));
    // The other namespace has its rights still.
    installed.apply(1, "kept", "Retain").await;
    installed.until_ready(1, "kept").await;
}

#[tokio::test]
async fn in_all_namespaces_it_works_as_installed_and_people_get_the_roles_that_they_have_of_other_kinds() {
    let control_plane = ControlPlane::start_with_controllers().await.unwrap();
    control_plane
        .apply(&format!(r#"{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{OPERATOR}"}}}}"#))
        .await
        .unwrap();
    let mut installed = Installed::new(&control_plane, OPERATOR, &[], 0).await;
    installed.apply(2, "kept", "Reset").await;
    installed.uses_every_right().await;
    installed.until_ready(2, "kept").await;
    installed.assert_sound();
    let everywhere = installed.requests().into_iter().filter(|request| request.namespace.is_empty());
    let everywhere: BTreeSet<_> = everywhere.map(|request| (request.verb, request.resource)).collect();
    let objects = ["list", "watch"].map(|verb| (verb.to_owned(), "mtlshostnamesettings".to_owned()));
    assert_eq!(everywhere, BTreeSet::from(objects), "about all namespaces at once");

    people(&installed).await;
}

/// `view`, `edit` and `admin` of a namespace, as they come with Kubernetes.
async fn people(installed: &Installed<'_>) {
    let (fixture, _) = &installed.namespaces[0];
    let namespace = fixture.namespace();
    for role in ["view", "edit", "admin"] {
        let binding = ["create", "rolebinding", role, "--clusterrole", role, "--user", role, "-n", namespace];
        installed.control_plane.kubectl(&binding).await.unwrap();
    }
    let status = r#"{"status": {"summary": "9/9"}}"#;
    let kept = fixture.get("kept").await.unwrap().unwrap();
    let manifest = fixture.settings("theirs").hostname("theirs.example.com", true).with("suspend", json!(true)).build();
    // What a person does, and who may.
    let reads = [
        vec!["get", "mhs", "kept", "-n", namespace],
        vec!["get", "mhs", "-n", namespace],
        vec!["get", "mhs", "kept", "-n", namespace, "--subresource=status"],
    ];
    let annotation =
        ["annotate", "mhs", "kept", "-n", namespace, "--overwrite", "cloudflare-mtls.dev/reconcile-at=now"];
    let writes = [
        vec!["create", "-f", "-"],
        annotation.to_vec(),
        vec!["label", "mhs", "kept", "-n", namespace, "--overwrite", "by=somebody"],
        vec!["delete", "mhs", "theirs", "-n", namespace],
    ];
    let never = [
        vec!["patch", "mhs", "kept", "-n", namespace, "--subresource=status", "--type=merge", "-p", status],
        vec!["get", "mhs", "-A"],
        vec!["get", "mhs", "kept", "-n", installed.namespaces[1].0.namespace()],
    ];
    let kubectl = harness::kubectl::Kubectl::new(installed.control_plane.kubeconfig());
    let input = manifest.to_string();
    let run = async |user: &str, command: &[&str]| {
        let arguments = [command, &["--as", user]].concat();
        kubectl.run_with_input(&arguments, if command[0] == "create" { &input } else { "" }).await
    };
    let may = async |user: &str, command: &[&str]| {
        // The roles are put together by a controller.
        eventually(PATIENCE, format!("{user}: {command:?}"), || run(user, command)).await.unwrap();
    };
    let may_not = async |user: &str, command: &[&str]| {
        let error = run(user, command).await.unwrap_err().to_string();
        assert!(error.contains("forbidden"), "{user}: {command:?}: {error}");
    };
    for user in ["view", "edit", "admin"] {
        for command in &reads {
            may(user, command).await;
        }
        for command in &writes {
            if user == "view" {
                may_not(user, command).await;
            } else {
                may(user, command).await;
            }
        }
        for command in &never {
            may_not(user, command).await;
        }
    }
    let after = fixture.get("kept").await.unwrap().unwrap();
    assert_eq!(after["spec"], kept["spec"]);
    assert_ne!(after["status"]["summary"], "9/9");
}
