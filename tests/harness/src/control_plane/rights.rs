//! What operators asked an API server for and by which role they were let, kept beyond the audit log that says so.
//!
//! Where [`FOLDER`] names a folder, each control plane leaves a file there when it ends. All of a run together show which
//! rights the operator uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::OPERATOR;
use crate::account;
use crate::error::{Context as _, Error, Result};
use crate::fixture::{PATIENCE, eventually};

/// The environment variable with the folder.
pub const FOLDER: &str = "RIGHTS_FOLDER";

/// What stands for the accounts that tests make for themselves, each with a name of its own.
pub const OWN: &str = "an account of its own";

/// A request of an operator, without what differs from one test to the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Asked {
    /// The operator's account, or [`OWN`].
    pub account: String,
    /// Whether the operator watches all namespaces.
    pub everywhere: bool,
    /// The role that allowed it, or nothing when none did. A role that is named after an operator's own account has the
    /// name that the chart gives it by default.
    pub role: Option<String>,
    /// The verb, as RBAC knows it.
    pub verb: String,
    /// The API group; empty for the core's.
    pub group: String,
    /// The resource with its subresource, as in `mtlshostnamesettings/status`, or the path of what is no resource.
    pub resource: String,
    /// The name of a Lease that exists, since those are granted by name.
    pub lease: Option<String>,
    /// Whether it was about all namespaces at once.
    pub cluster_scoped: bool,
}

/// The file of this control plane, locked for as long as it runs.
pub(super) struct Record(Option<File>);

impl Record {
    /// Begins one where it was asked for.
    pub(super) fn begin() -> Result<Self> {
        let Some(folder) = std::env::var_os(FOLDER) else { return Ok(Self(None)) };
        // By chance and not by process id, which comes again within a long run.
        let path = PathBuf::from(folder).join(format!("{:016x}.json", fastrand::u64(..)));
        let file = File::create_new(&path).context(path.display())?;
        file.lock()?;
        Ok(Self(Some(file)))
    }

    /// Writes down what the audit log says in the end; without what was refused, where that says nothing.
    pub(super) fn end(self, audit_log: &Path, are_refusals_meant: bool) -> Result<()> {
        let Some(mut file) = self.0 else { return Ok(()) };
        // A control plane that has failed to start has no log.
        let mut asked = if audit_log.exists() { asked(File::open(audit_log)?)? } else { BTreeSet::new() };
        asked.retain(|asked| asked.role.is_some() || are_refusals_meant);
        file.write_all(&serde_json::to_vec(&asked)?)?;
        Ok(())
    }
}

/// What all control planes of a run have left in a folder. Waits for those that have not ended yet.
///
/// # Errors
/// When the folder is empty, or one of them does not end or has ended without saying anything.
pub async fn recorded(folder: &Path) -> Result<BTreeSet<Asked>> {
    let mut all = BTreeSet::new();
    let mut files = 0;
    for entry in std::fs::read_dir(folder).context(folder.display())? {
        let path = entry?.path();
        let mut file = File::open(&path).context(path.display())?;
        eventually(PATIENCE, path.display(), async || file.try_lock_shared()).await?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        all.extend(serde_json::from_str::<BTreeSet<Asked>>(&text).context(path.display())?);
        files += 1;
    }
    if files == 0 {
        return Err(Error::new(format!("{} is empty: no control plane was started with {FOLDER}", folder.display())));
    }
    Ok(all)
}

/// What is needed of a line of the log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    object_ref: Option<ObjectRef>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct User {
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    namespace: String,
    name: String,
    api_group: String,
    resource: String,
    subresource: String,
}

fn asked(log: File) -> Result<BTreeSet<Asked>> {
    let accounts = format!("system:serviceaccount:{OPERATOR}:");
    let mut by_operator: BTreeMap<String, BTreeSet<Asked>> = BTreeMap::new();
    for line in BufReader::new(log).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if !line.contains(&accounts) {
            continue;
        }
        // The last line of an API server that was killed may have no end.
        let Ok(entry) = serde_json::from_str::<Entry>(&line) else { continue };
        let Some(account) = entry.user.username.strip_prefix(&accounts) else { continue };
        // The operator sends no such header; kubectl with its token does.
        if !entry.user_agent.is_empty() {
            continue;
        }
        // Every operator has a token of its own, and tokens have an id.
        let token = entry.user.extra.get("authentication.kubernetes.io/credential-id");
        let token = token.and_then(|ids| ids.first()).cloned().unwrap_or_default();
        by_operator.entry(token).or_default().insert(entry.asked(account)?);
    }
    let all = by_operator.into_values().flat_map(|mut asked| {
        let everywhere = asked.iter().any(|asked| asked.verb == "list" && asked.cluster_scoped);
        std::mem::take(&mut asked).into_iter().map(move |asked| Asked { everywhere, ..asked })
    });
    Ok(all.collect())
}

impl Entry {
    fn asked(&self, account: &str) -> Result<Asked> {
        let say = |what: &str| self.annotations.get(&format!("authorization.k8s.io/{what}")).map(String::as_str);
        let role = match say("decision") {
            Some("allow") => {
                // RBAC: allowed by RoleBinding "NAME/NAMESPACE" of Role "NAME" to ServiceAccount "NAME/NAMESPACE"
                let reason = say("reason").unwrap_or_default();
                let role = reason.split_once(" of ").and_then(|(_, role)| role.split('"').nth(1));
                let role = role.ok_or_else(|| Error::new(format!("no role in {reason:?}")))?;
                Some(role.replacen(account, OPERATOR, 1))
            }
            _ => None,
        };
        let path = ObjectRef { resource: self.request_uri.clone(), ..ObjectRef::default() };
        let about = self.object_ref.as_ref().unwrap_or(&path);
        let resource = [about.resource.as_str(), about.subresource.as_str()].join("/");
        let is_named = about.resource == "leases" && self.verb != "create";
        let is_own = account.starts_with(account::PREFIX);
        Ok(Asked {
            account: if is_own { OWN } else { account }.to_owned(),
            everywhere: false,
            role,
            verb: self.verb.clone(),
            group: about.api_group.clone(),
            resource: resource.trim_end_matches('/').to_owned(),
            lease: is_named.then(|| about.name.replacen(account, OPERATOR, 1)),
            cluster_scoped: about.namespace.is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(user: &str, token: &str, rest: &str) -> String {
        format!(
            r#"{{"user":{{"username":"{user}","extra":{{"authentication.kubernetes.io/credential-id":["{token}"]}}}},{rest}}}"#
        )
    }

    fn log(lines: &[String]) -> BTreeSet<Asked> {
        let mut file = tempfile::tempfile().unwrap_or_else(|error| unexpected(&error));
        let written = file.write_all(lines.join("\n").as_bytes());
        written.and_then(|()| std::io::Seek::rewind(&mut file)).unwrap_or_else(|error| unexpected(&error));
        asked(file).unwrap_or_else(|error| unexpected(&error))
    }

    #[allow(clippy::panic, reason = "a test fails so")]
    fn unexpected(error: &dyn std::fmt::Display) -> ! {
        panic!("{error}")
    }

    #[test]
    fn a_log_is_reduced_to_what_operators_asked_for_and_by_which_role_they_were_let() {
        let (one, two) = ("system:serviceaccount:cloudflare-mtls-operator:one", "system:serviceaccount:default:two");
        let list = r#""verb":"list","requestURI":"/x","objectRef":{"resource":"secrets"},"annotations":{"authorization.k8s.io/decision":"forbid"}"#;
        let lease = concat!(
            r#""verb":"get","requestURI":"/x","objectRef":{"resource":"leases","apiGroup":"g","namespace":"n","name":"one"},"#,
            r#""annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"#,
            r#""RBAC: allowed by RoleBinding \"b/n\" of Role \"one-lease\" to ServiceAccount \"one/n\""}"#
        );
        let asked = log(&[
            entry(one, "a", list),
            entry(one, "b", lease),
            entry(one, "b", lease),
            entry(one, "b", &format!(r#"{list},"userAgent":"kubectl/v1""#)),
            entry(two, "c", list),
            r#"{"user":{"username":"system:serviceaccount:cloudflare-mtls-operator:one"#.to_owned(),
        ]);
        let expected = [
            Asked {
                account: "one".to_owned(),
                everywhere: false,
                role: Some("cloudflare-mtls-operator-lease".to_owned()),
                verb: "get".to_owned(),
                group: "g".to_owned(),
                resource: "leases".to_owned(),
                lease: Some(OPERATOR.to_owned()),
                cluster_scoped: false,
            },
            Asked {
                account: "one".to_owned(),
                everywhere: true,
                role: None,
                verb: "list".to_owned(),
                group: String::new(),
                resource: "secrets".to_owned(),
                lease: None,
                cluster_scoped: true,
            },
        ];
        assert_eq!(asked, BTreeSet::from(expected));
    }
}
