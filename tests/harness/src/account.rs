//! An identity for one operator, so that a test can take its rights or its tokens away and nobody else notices.

use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, OPERATOR};
use crate::error::{Context as _, Error, Result};
use crate::fixture::{PATIENCE, eventually};

/// What the names of all these accounts begin with.
pub(crate) const PREFIX: &str = "operator-";

/// A `ServiceAccount` with a role of its own, which grants at first what the operator's role grants.
#[derive(Clone)]
pub struct Account {
    client: kube::Client,
    name: String,
    granted: Vec<PolicyRule>,
}

impl Account {
    /// Makes it, beside the operator's own.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn new(control_plane: &ControlPlane) -> Result<Self> {
        let client = control_plane.client().await?;
        let name = format!("{PREFIX}{:08x}", fastrand::u32(..));
        let roles: Api<ClusterRole> = Api::all(client.clone());
        let granted = roles.get(OPERATOR).await.context("the operator's role")?.rules.unwrap_or_default();
        let account = Self { client, name, granted };
        account.create().await?;
        let role = serde_json::from_value(json!({"metadata": {"name": account.name}, "rules": account.granted}))?;
        roles.create(&PostParams::default(), &role).await.context("a role")?;
        let binding = serde_json::from_value(json!({
            "metadata": {"name": account.name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account.name},
            "subjects": [{"kind": "ServiceAccount", "name": account.name, "namespace": OPERATOR}],
        }))?;
        let bindings: Api<ClusterRoleBinding> = Api::all(account.client.clone());
        bindings.create(&PostParams::default(), &binding).await.context("a binding")?;
        account.until_in_force(&account.granted.iter().collect::<Vec<_>>()).await?;
        Ok(account)
    }

    /// Its name; its namespace is that of the operator.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes away whatever it may do with a resource: `secrets`, `mtlshostnamesettings/status`, `events`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn take(&self, resource: &str) -> Result<()> {
        let names = |rule: &&PolicyRule| !rule.resources.iter().flatten().any(|named| named == resource);
        self.grant(self.granted.iter().filter(names).collect()).await
    }

    /// Grants again what was granted at first.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn give_back(&self) -> Result<()> {
        self.grant(self.granted.iter().collect()).await
    }

    async fn grant(&self, granted: Vec<&PolicyRule>) -> Result<()> {
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"rules": granted}));
        roles.patch(&self.name, &PatchParams::default(), &patch).await.context("a role")?;
        self.until_in_force(&granted).await
    }

    /// The API server learns of its own rules by watching: for a moment it still decides by the former ones.
    async fn until_in_force(&self, granted: &[&PolicyRule]) -> Result<()> {
        eventually(PATIENCE, "the rights are in force", async || {
            for rule in &self.granted {
                if self.may(rule).await? != granted.contains(&rule) {
                    return Err(Error::new(json!(rule)));
                }
            }
            Ok(())
        })
        .await
    }

    /// Whether the account may do what a rule grants; a rule is in force as a whole.
    async fn may(&self, rule: &PolicyRule) -> Result<bool> {
        let first =
            |values: Option<&Vec<String>>| values.and_then(|values| values.first()).cloned().unwrap_or_default();
        let named = first(rule.resources.as_ref());
        let (resource, subresource) = named.split_once('/').unwrap_or((&named, ""));
        let attributes = json!({
            "group": first(rule.api_groups.as_ref()),
            "resource": resource,
            "subresource": subresource,
            "verb": first(Some(&rule.verbs)),
        });
        is_allowed(&self.client, &self.name, &attributes).await
    }

    /// Replaces the account by a new one of the same name: every token that it was given is void.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn renew(&self) -> Result<()> {
        self.accounts().delete(&self.name, &DeleteParams::default()).await.context("an account")?;
        self.create().await
    }

    async fn create(&self) -> Result<()> {
        let account = serde_json::from_value(json!({"metadata": {"name": self.name}}))?;
        self.accounts().create(&PostParams::default(), &account).await.context("an account")?;
        Ok(())
    }

    fn accounts(&self) -> Api<ServiceAccount> {
        Api::namespaced(self.client.clone(), OPERATOR)
    }

    /// A new token.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn token(&self) -> Result<String> {
        token(&self.client, &self.name).await
    }
}

/// Whether the API server lets an account in the operator's namespace do something.
async fn is_allowed(client: &kube::Client, account: &str, attributes: &Value) -> Result<bool> {
    let user = format!("system:serviceaccount:{OPERATOR}:{account}");
    let review =
        serde_json::from_value(json!({"metadata": {}, "spec": {"user": user, "resourceAttributes": attributes}}))?;
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await.context("a review of access")?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Waits until the API server lets an account in the operator's namespace do something.
///
/// # Errors
/// When it does not in time.
pub async fn until_allowed(client: &kube::Client, account: &str, attributes: &Value) -> Result<()> {
    let started = Instant::now();
    // No closure, so that whoever waits may be a task of its own.
    while !is_allowed(client, account, attributes).await? {
        if started.elapsed() > PATIENCE {
            return Err(Error::new(format!("{account} may not {attributes} after {} s", PATIENCE.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A token for a `ServiceAccount` in the operator's namespace, from the API server itself.
pub(crate) async fn token(client: &kube::Client, account: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), OPERATOR);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() }),
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .context(format!("asking for a token of ServiceAccount {OPERATOR}/{account}"))?;
    let token = answer.status.and_then(|status| status.token);
    token.ok_or_else(|| Error::new("the API server answered without a token"))
}

/// Grants an account, in a namespace, what the operator's own role grants about leases in the operator's namespace.
pub(crate) async fn may_lease(client: &kube::Client, namespace: &str, account: &str) -> Result<()> {
    let own: Api<Role> = Api::namespaced(client.clone(), OPERATOR);
    let rules = own.get(&format!("{OPERATOR}-lease")).await.context("the operator's role for leases")?.rules;
    let name = format!("{account}-lease");
    let role: Role = serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules}))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": OPERATOR}],
    }))?;
    let there = |done: Result<(), kube::Error>| match done {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        done => done.context("a role for leases"),
    };
    let bindings = Api::namespaced(client.clone(), namespace);
    there(Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &role).await.map(drop))?;
    there(bindings.create(&PostParams::default(), &binding).await.map(drop))?;
    let rights =
        json!({"group": "coordination.k8s.io", "resource": "leases", "verb": "create", "namespace": namespace});
    until_allowed(client, account, &rights).await
}
