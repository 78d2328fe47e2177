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
    /// The role that allowed it, as in `ClusterRole/NAME`, or nothing when none did. A role that is named after an operator's
    /// own account has the name that the chart gives it by default.
    pub role: Option<String>,
    /// The verb, as RBAC knows it.
    pub verb: String,
    /// The API group; empty for the core's.
    pub group: String,
    /// The resource with its subresource, as in `mtlshostnamesettings/status`, or the path of what is no resource.
    pub resource: String,
    /// The name that the chart gives the Lease by default, where it was about one that exists: those are granted by name.
    pub lease: Option<String>,
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

    /// Writes down what the audit log says in the end.
    pub(super) fn end(self, audit_log: &Path) -> Result<()> {
        let Some(mut file) = self.0 else { return Ok(()) };
        // A control plane that has failed to start has no log.
        let asked = if audit_log.exists() { asked(File::open(audit_log)?)? } else { BTreeSet::new() };
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
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
}

fn asked(log: File) -> Result<BTreeSet<Asked>> {
    let accounts = format!("system:serviceaccount:{OPERATOR}:");
    let mut asked = BTreeSet::new();
    for line in BufReader::new(log).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if !line.contains(&accounts) {
            continue;
        }
        // The last line of an API server that was killed may have no end.
        let Ok(entry) = serde_json::from_str::<Entry>(&line) else { continue };
        let Some(account) = entry.user.username.strip_prefix(&accounts) else { continue };
        // The operator sends no such header; kubectl with its token does.
        if entry.user_agent.is_empty() {
            asked.insert(entry.asked(account)?);
        }
    }
    // What the same account was let do at another time was refused before the API server knew its rules, or after they went.
    let allowed: BTreeSet<_> = asked.iter().filter(|asked| asked.role.is_some()).map(Asked::what).collect();
    asked.retain(|asked| asked.role.is_some() || !allowed.contains(&asked.what()));
    Ok(asked)
}

impl Asked {
    /// Who asked for what, whether it was allowed or not.
    fn what(&self) -> [String; 4] {
        [&self.account, &self.verb, &self.group, &self.resource].map(String::clone)
    }
}

impl Entry {
    fn asked(&self, account: &str) -> Result<Asked> {
        let say = |what: &str| self.annotations.get(&format!("authorization.k8s.io/{what}")).map(String::as_str);
        let role = match say("decision") {
            Some("allow") => {
                // RBAC: allowed by RoleBinding "NAME/NAMESPACE" of Role "NAME" to ServiceAccount "NAME/NAMESPACE"
                let reason = say("reason").unwrap_or_default();
                let role = reason.split_once(" of ").and_then(|(_, role)| role.split_once(" \""));
                let role = role.and_then(|(kind, rest)| Some((kind, rest.split_once('"')?.0)));
                let (kind, name) = role.ok_or_else(|| Error::new(format!("no role in {reason:?}")))?;
                let own = name.strip_prefix(account).map(|suffix| format!("{OPERATOR}{suffix}"));
                Some(format!("{kind}/{}", own.as_deref().unwrap_or(name)))
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
            role,
            verb: self.verb.clone(),
            group: about.api_group.clone(),
            resource: resource.trim_end_matches('/').to_owned(),
            lease: is_named.then(|| OPERATOR.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(account: &str, what: &str, role: Option<&str>) -> String {
        let decision = match role {
            Some(role) => format!(
                r#"decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by RoleBinding \"b/n\" of {role} to ServiceAccount \"one/n\"""#
            ),
            None => r#"decision":"forbid""#.to_owned(),
        };
        format!(
            r#"{{"user":{{"username":"system:serviceaccount:{account}"}},"requestURI":"/x",{what},"annotations":{{"authorization.k8s.io/{decision}}}}}"#
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

    fn about(role: Option<&str>, verb: &str, group: &str, resource: &str) -> Asked {
        Asked {
            account: "one".to_owned(),
            role: role.map(str::to_owned),
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            lease: (resource == "leases").then(|| OPERATOR.to_owned()),
        }
    }

    #[test]
    fn a_log_is_reduced_to_what_operators_asked_for_and_by_which_role_they_were_let() {
        let one = "cloudflare-mtls-operator:one";
        let list = r#""verb":"list","objectRef":{"resource":"secrets"}"#;
        let get = r#""verb":"get","objectRef":{"resource":"secrets"}"#;
        let lease = r#""verb":"get","objectRef":{"resource":"leases","apiGroup":"g","name":"of its own"}"#;
        let asked = log(&[
            entry(one, list, None),
            entry(one, lease, Some(r#"Role \"one-lease\""#)),
            entry(one, lease, Some(r#"Role \"one-lease\""#)),
            // Before the rules were known, or when they were gone.
            entry(one, lease, None),
            entry(one, get, Some(r#"ClusterRole \"someone\""#)),
            entry(one, &format!(r#"{get},"userAgent":"kubectl/v1""#), Some(r#"ClusterRole \"kubectl\""#)),
            entry("default:two", list, None),
            r#"{"user":{"username":"system:serviceaccount:cloudflare-mtls-operator:one"#.to_owned(),
        ]);
        let expected = [
            about(None, "list", "", "secrets"),
            about(Some("Role/cloudflare-mtls-operator-lease"), "get", "g", "leases"),
            about(Some("ClusterRole/someone"), "get", "", "secrets"),
        ];
        assert_eq!(asked, BTreeSet::from(expected));
    }
}
