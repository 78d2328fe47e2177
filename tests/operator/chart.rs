//! A release of the chart: its manifests are applied as they are, and an operator starts as its Deployment says.

use std::collections::BTreeSet;

use harness::{
    account::until_allowed,
    cloudflare::Cloudflare,
    control_plane::{ControlPlane, OPERATOR, rights::Asked},
    helm::{Version, render},
    manifests::documents,
    operator::{Builder, Operator},
    tools,
};
use serde_json::{Value, json};

use crate::world::program;

pub(crate) struct Release {
    manifests: String,
    documents: Vec<Value>,
}

/// One verb on one resource, and whose name the resource has to have where that is said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    role: String,
    verb: String,
    group: String,
    resource: String,
    name: Option<String>,
}

impl Release {
    fn of(manifests: String) -> Self {
        let documents = documents(&manifests).unwrap();
        Self { manifests, documents }
    }

    /// The plain manifests of this repository.
    pub(crate) fn plain() -> Self {
        Self::of(std::fs::read_to_string(tools::workspace().join("deploy/install.yaml")).unwrap())
    }

    /// What Helm makes of the chart in the operator's namespace.
    pub(crate) async fn render(name: &str, values: &[&str]) -> Self {
        Self::of(render(Version::Four, name, values).await.unwrap())
    }

    pub(crate) fn documents(&self) -> &[Value] {
        &self.documents
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    fn pod(&self) -> &Value {
        &self.of_kind("Deployment").next().unwrap()["spec"]["template"]["spec"]
    }

    pub(crate) fn account(&self) -> &str {
        self.pod()["serviceAccountName"].as_str().unwrap()
    }

    /// The operator's name in the audit log.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{OPERATOR}:{}", self.account())
    }

    pub(crate) fn argument(&self, flag: &str) -> &str {
        let arguments = self.pod()["containers"][0]["args"].as_array().unwrap().iter();
        arguments.filter_map(Value::as_str).find_map(|it| it.strip_prefix(flag)?.strip_prefix('=')).unwrap()
    }

    /// Applies it, and waits until its operator may use its Lease, and list the objects of these namespaces; of all of them
    /// when none is named.
    pub(crate) async fn install(&self, control_plane: &ControlPlane, namespaces: &[&str]) {
        control_plane.apply(&self.manifests).await.unwrap();
        let client = control_plane.client().await.unwrap();
        for namespace in if namespaces.is_empty() { &[""] } else { namespaces } {
            let list = json!({
                "group": "cloudflare-mtls.dev", "resource": "mtlshostnamesettings", "verb": "list",
                "namespace": namespace,
            });
            until_allowed(&client, self.account(), &list).await.unwrap();
        }
        let lease =
            json!({"group": "coordination.k8s.io", "resource": "leases", "verb": "create", "namespace": OPERATOR});
        until_allowed(&client, self.account(), &lease).await.unwrap();
    }

    /// An operator as the Deployment describes it, which logs all that it can.
    pub(crate) fn operator<'a>(&self, control_plane: &'a ControlPlane, cloudflare: &Cloudflare) -> Builder<'a> {
        Operator::builder(program(), control_plane)
            .service_account(self.account())
            .deployed_as(texts(&self.pod()["containers"][0], "args"))
            .env("RUST_LOG", "trace,kube=trace,hyper=trace")
            .cloudflare(cloudflare.url())
    }

    /// What its roles grant to the operator's account.
    pub(crate) fn rights(&self) -> BTreeSet<Right> {
        let mut rights = BTreeSet::new();
        for binding in self.of_kind("ClusterRoleBinding").chain(self.of_kind("RoleBinding")) {
            assert_eq!(binding["subjects"].as_array().unwrap().len(), 1, "{binding:#}");
            assert_eq!(binding["subjects"][0]["name"], self.account(), "{binding:#}");
            let to = &binding["roleRef"];
            let role = self.of_kind(to["kind"].as_str().unwrap()).find(|role| role["metadata"]["name"] == to["name"]);
            for rule in role.unwrap()["rules"].as_array().unwrap() {
                rights.extend(expanded(&format!("{}/{}", text(&to["kind"]), text(&to["name"])), rule));
            }
        }
        rights
    }
}

fn texts(object: &Value, field: &str) -> Vec<String> {
    let values = object[field].as_array().map_or(&[][..], Vec::as_slice);
    values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// What a rule of a role, `KIND/NAME`, grants.
fn expanded(of: &str, rule: &Value) -> Vec<Right> {
    let names: Vec<_> = texts(rule, "resourceNames").into_iter().map(Some).collect();
    let names = if names.is_empty() { vec![None] } else { names };
    let mut rights = Vec::new();
    for group in texts(rule, "apiGroups") {
        for resource in texts(rule, "resources") {
            for verb in texts(rule, "verbs") {
                rights.extend(names.iter().map(|name| Right {
                    role: of.to_owned(),
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                }));
            }
        }
    }
    rights
}

impl Right {
    /// The right that an operator made use of, if it was let.
    pub(crate) fn used(asked: &Asked) -> Option<Self> {
        Some(Self {
            role: asked.role.clone()?,
            verb: asked.verb.clone(),
            group: asked.group.clone(),
            resource: asked.resource.clone(),
            name: asked.lease.clone(),
        })
    }
}
