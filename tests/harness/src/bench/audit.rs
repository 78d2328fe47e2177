//! The API server's audit log: every request with its times, read after the measurement, so that it costs nothing while
//! it lasts.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;

use crate::control_plane::{ControlPlane, OPERATOR};
use crate::error::{Context as _, Result};

/// The log from one point on.
pub(super) struct Audit {
    path: PathBuf,
    from: u64,
    /// How far it was counted.
    counted: u64,
    statuses: usize,
}

/// A request to the API server.
pub(super) struct Request {
    pub(super) at: Timestamp,
    /// When it had been answered.
    pub(super) end: Timestamp,
    pub(super) verb: String,
    /// With the subresource, as in `mtlshostnamesettings/status`.
    pub(super) resource: String,
    pub(super) name: String,
}

/// What is needed of a line of the log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Option<ObjectRef>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct ObjectRef {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    resource: String,
    #[serde(default)]
    subresource: String,
}

impl Audit {
    /// The whole log.
    pub(super) fn whole(control_plane: &ControlPlane) -> Self {
        Self { path: control_plane.audit_log(), from: 0, counted: 0, statuses: 0 }
    }

    /// What is written from now on.
    pub(super) fn from_now(control_plane: &ControlPlane) -> Result<Self> {
        let path = control_plane.audit_log();
        let from = std::fs::metadata(&path).context(path.display())?.len();
        Ok(Self { path, from, counted: from, statuses: 0 })
    }

    fn read(&self, from: u64) -> Result<String> {
        let mut file = File::open(&self.path).context(self.path.display())?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How many statuses were written so far, by whomever. Looks at what is new since the last call, and only searches
    /// its text: this is all that a measurement costs while it lasts.
    pub(super) fn statuses(&mut self) -> Result<usize> {
        let text = self.read(self.counted)?;
        // The last line may still be in the making.
        let whole = text.rfind('\n').map_or("", |end| text.get(..=end).unwrap_or_default());
        self.statuses += whole.lines().filter(|line| line.contains(r#""subresource":"status""#)).count();
        self.counted += whole.len() as u64;
        Ok(self.statuses)
    }

    /// The requests under the operator's name in a namespace, lists and watches aside, as they were answered.
    pub(super) fn requests_in(&self, namespace: &str) -> Result<Vec<Request>> {
        let user = format!("system:serviceaccount:{OPERATOR}:{OPERATOR}");
        let text = self.read(self.from)?;
        let entries = text.lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok());
        let counts = |entry: &Entry| entry.user.username == user && !["list", "watch"].contains(&entry.verb.as_str());
        let request = |entry: Entry| {
            let about = entry.object_ref.filter(|about| about.namespace == namespace)?;
            let resource = [about.resource, about.subresource].join("/");
            Some(Request {
                at: entry.request_received_timestamp,
                end: entry.stage_timestamp,
                verb: entry.verb,
                resource: resource.trim_end_matches('/').to_owned(),
                name: about.name,
            })
        };
        Ok(entries.filter(counts).filter_map(request).collect())
    }
}
