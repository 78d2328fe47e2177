//! Where the chart is installed: a control plane, a Helm, an emulated Cloudflare, and copies of the chart.

use std::path::{Path, PathBuf};

use cloudflare_mtls_operator::api::CRD_NAME;
use harness::{
    Result,
    cloudflare::Cloudflare,
    control_plane::{ControlPlane, OPERATOR},
    fixture::PATIENCE,
    helm::{Helm, Version, chart},
    manifests::copy,
    operator::Operator,
};
use serde_json::{Value, json};

/// The release, and its namespace: the names that the documents use.
pub(crate) const RELEASE: &str = OPERATOR;

/// A field of `spec` that the former chart's CRD does not have.
pub(crate) const NEWER: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend";

/// The version of the former chart, and of its program.
pub(crate) const FORMER: &str = "0.0.9";

pub(crate) struct Site {
    pub(crate) helm: Helm,
    pub(crate) cloudflare: Cloudflare,
    pub(crate) control_plane: ControlPlane,
    /// A copy of the chart as it could have been before.
    former: tempfile::TempDir,
}

impl Site {
    /// An empty cluster with two teams in it.
    pub(crate) async fn new(version: Version) -> Self {
        Self::on(ControlPlane::start().await.unwrap(), version).await
    }

    pub(crate) async fn on(control_plane: ControlPlane, version: Version) -> Self {
        for namespace in ["team-a", "team-b"] {
            control_plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
        }
        let helm = Helm::new(version, control_plane.kubeconfig());
        Self { helm, cloudflare: Cloudflare::start().await.unwrap(), control_plane, former: former() }
    }

    /// The former chart.
    pub(crate) fn former(&self) -> PathBuf {
        self.former.path().to_path_buf()
    }

    /// Runs Helm on the release: a verb, and what comes after its name.
    pub(crate) async fn try_helm(&self, verb: &str, rest: &[&str]) -> Result<String> {
        self.helm.run(&[&[verb, RELEASE, "--namespace", RELEASE], rest].concat()).await
    }

    pub(crate) async fn helm(&self, verb: &str, rest: &[&str]) -> String {
        self.try_helm(verb, rest).await.unwrap()
    }

    pub(crate) async fn install(&self, chart: &Path, more: &[&str]) {
        self.helm("install", &[&["--create-namespace", &chart.to_string_lossy()], more].concat()).await;
    }

    pub(crate) async fn install_current(&self, more: &[&str]) {
        self.install(&chart(), more).await;
    }

    pub(crate) async fn upgrade(&self, more: &[&str]) {
        self.helm("upgrade", &[&[&*chart().to_string_lossy()], more].concat()).await;
    }

    /// What is stored under a path of the API.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let client = self.control_plane.client().await.unwrap();
        client.request(hyper::Request::get(path).body(Vec::new()).unwrap()).await.unwrap()
    }

    pub(crate) async fn crd(&self) -> Value {
        self.get(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD_NAME}")).await
    }

    /// Whether the installed CRD has the newer field.
    pub(crate) async fn is_crd_current(&self) -> bool {
        self.crd().await.pointer(NEWER).is_some()
    }

    /// Waits until objects can be stored.
    pub(crate) async fn until_served(&self) {
        self.control_plane.until_established().await.unwrap();
        // What the API server offers by name comes a moment after that.
        let get = || self.control_plane.kubectl(&["get", "mhs", "--all-namespaces"]);
        harness::fixture::eventually(PATIENCE, "the new kind is offered", get).await.unwrap();
    }

    /// The installed Deployment.
    pub(crate) async fn deployment(&self) -> Value {
        let found = self.get(&format!("/apis/apps/v1/namespaces/{RELEASE}/deployments")).await;
        let [deployment] = found["items"].as_array().unwrap().as_slice() else { panic!("{found:#}") };
        deployment.clone()
    }

    /// Starts the program as the installed Deployment would: under its `ServiceAccount`, with its arguments.
    pub(crate) async fn operator(&self) -> Operator {
        let deployment = self.deployment().await;
        let pod = &deployment["spec"]["template"]["spec"];
        let arguments = serde_json::from_value(pod["containers"][0]["args"].clone()).unwrap();
        let mut operator = Operator::builder(env!("CARGO_BIN_EXE_cloudflare-mtls-operator"), &self.control_plane)
            .service_account(pod["serviceAccountName"].as_str().unwrap())
            .deployed_as(arguments)
            .cloudflare(self.cloudflare.url())
            .spawn()
            .await
            .unwrap();
        operator.wait_ready(PATIENCE).await.unwrap();
        operator
    }

    /// What has the labels of the release, by kind and name, besides the CRD.
    pub(crate) async fn installed(&self) -> Vec<String> {
        let kinds = "deployments,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,services,\
                     configmaps,poddisruptionbudgets,networkpolicies";
        let label = format!("app.kubernetes.io/instance={RELEASE}");
        let found = self.control_plane.kubectl(&["get", kinds, "-A", "-l", &label, "-o", "name"]).await.unwrap();
        found.lines().map(str::to_owned).collect()
    }
}

/// Ends an operator as a kubelet does, and sees that it ends well.
pub(crate) async fn end(mut operator: Operator) {
    operator.signal("TERM").unwrap();
    assert_eq!(operator.wait_exit(PATIENCE).await.unwrap(), 0, "{}", operator.logs().unwrap());
}

/// The chart as it could have been before: another version, and a CRD that lacks a field.
fn former() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&chart(), folder.path()).unwrap();
    let edit = |file: &str, edit: &dyn Fn(String) -> String| {
        let path = folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let edited = edit(text.clone());
        assert_ne!(text, edited, "{file}");
        std::fs::write(path, edited).unwrap();
    };
    edit("Chart.yaml", &|text| {
        let lines = text.lines().map(|line| match line.split_once("ersion: ") {
            Some((key @ ("v" | "appV"), _)) => format!("{key}ersion: {FORMER}"),
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    edit("files/crd.yaml", &|text| {
        let mut crd: Value = serde_saphyr::from_str(&text).unwrap();
        let (fields, field) = NEWER.rsplit_once('/').unwrap();
        crd.pointer_mut(fields).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        // The template takes over what comes after `spec:`; JSON is YAML.
        format!("kind: CustomResourceDefinition\nspec:\n  {}\n", json!(crd["spec"]))
    });
    folder
}
