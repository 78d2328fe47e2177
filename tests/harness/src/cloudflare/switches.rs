//! How the emulated API behaves where the real one is undocumented, varies or was seen to misbehave.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a PUT does to the entries that it does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Semantics {
    /// They stay.
    Merge,
    /// They go: by a zone's PUT those of the zone, by an account's PUT all of the account.
    Replace,
}

/// Who is refused with 409 while a change is being applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockReach {
    /// The scope that wrote.
    Scope,
    /// Every scope of the account.
    Account,
    /// Nobody: later changes queue up behind the earlier ones.
    Nobody,
}

/// How an empty list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyResult {
    /// `"result": []`
    Array,
    /// `"result": null`
    Null,
    /// no `result` at all
    Absent,
}

/// What a PUT's answer holds in `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PutResult {
    /// The scope's list as it will be.
    Whole,
    /// The entries of the request.
    Written,
    /// Nothing, written as [`EmptyResult`] says.
    Empty,
}

/// The order of the entries in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// By hostname.
    Sorted,
    /// By hostname, last first.
    Reversed,
    /// Another order each time.
    Shuffled,
}

/// What the account has bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entitlement {
    /// Access with mTLS.
    Full,
    /// No Access: 9999.
    NoAccess,
    /// Access without mTLS certificates: 12130 with a text on the maximum number of certificates.
    NoQuota,
    /// Another plan: 12133.
    OtherPlan,
}

/// A budget of requests per credential, enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLimit {
    /// Requests in a window.
    pub requests: u32,
    /// The window.
    pub window_ms: u64,
    /// How long everything is refused once the budget is spent.
    pub block_ms: u64,
}

/// Every switch. Durations are in milliseconds, so that the same form serves the control API.
#[allow(clippy::struct_excessive_bools, reason = "each is one independent switch of the emulated API")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Switches {
    /// What a PUT does to entries that it does not name.
    pub semantics: Semantics,
    /// Show entries whose flags are both off instead of dropping them.
    pub keep_all_false: bool,
    /// A zone's GET also shows the entries of the account's other zones.
    pub foreign_visible: bool,
    /// How long a PUT takes to have its effect after it was answered with 202; until then the lock holds.
    pub apply_delay_ms: u64,
    /// Who is refused with 409 during that time.
    pub lock: LockReach,
    /// A GET shows the state of this long ago.
    pub get_lag_ms: u64,
    /// After a change, this many GETs of each scope still show the state before it.
    pub get_lag_reads: u32,
    /// How an empty list is written.
    pub empty_result: EmptyResult,
    /// What a PUT's answer holds in `result`.
    pub put_result: PutResult,
    /// The order of the entries.
    pub order: Order,
    /// Leave `messages` out.
    pub omit_messages: bool,
    /// Leave `errors` out of answers that have none.
    pub omit_errors: bool,
    /// Write an informational message with `type: null`, which the published schema does not know.
    pub odd_messages: bool,
    /// Members that no schema mentions, in the envelope and in each entry.
    pub extra_members: bool,
    /// `result_info` with the counts of one page.
    pub result_info: bool,
    /// Hostnames in answers are in upper case.
    pub uppercase_hostnames: bool,
    /// Hostnames are lower-cased when they are stored.
    pub normalise_hostnames: bool,
    /// Every error has an `error_chain`.
    pub error_chain: bool,
    /// Errors are answered with status 200.
    pub errors_as_200: bool,
    /// `Ratelimit` and `Ratelimit-Policy` on every answer.
    pub ratelimit_headers: bool,
    /// The remaining requests that `Ratelimit` shows instead of the counted ones.
    pub ratelimit_remaining: Option<u32>,
    /// The budget per credential. The real one is 1,200 per 5 minutes, then 5 minutes of 429.
    pub request_limit: Option<RequestLimit>,
    /// After so many refused credentials in a row every further request is refused with 10502.
    pub auth_failure_limit: Option<u32>,
    /// What the account has bought.
    pub entitlement: Entitlement,
    /// The code that refuses `china_network` on a zone without it; the real one is not known.
    pub china_code: i64,
    /// How long every answer takes at least.
    pub latency_ms: u64,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            semantics: Semantics::Merge,
            keep_all_false: false,
            foreign_visible: false,
            apply_delay_ms: 0,
            lock: LockReach::Scope,
            get_lag_ms: 0,
            get_lag_reads: 0,
            empty_result: EmptyResult::Array,
            put_result: PutResult::Whole,
            order: Order::Sorted,
            omit_messages: false,
            omit_errors: false,
            odd_messages: false,
            extra_members: false,
            result_info: false,
            uppercase_hostnames: false,
            normalise_hostnames: false,
            error_chain: false,
            errors_as_200: false,
            ratelimit_headers: true,
            ratelimit_remaining: None,
            request_limit: None,
            auth_failure_limit: None,
            entitlement: Entitlement::Full,
            china_code: 12130,
            latency_ms: 0,
        }
    }
}

impl Switches {
    /// [`Switches::apply_delay_ms`] as a duration.
    #[must_use]
    pub fn apply_delay(&self) -> Duration {
        Duration::from_millis(self.apply_delay_ms)
    }

    /// The same switches with the members of a JSON object changed.
    ///
    /// # Errors
    ///
    /// When the object names a switch that does not exist or gives it a value that it cannot have.
    pub fn patched(&self, patch: &serde_json::Value) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;
        let mut whole = serde_json::to_value(self)?;
        let (Some(members), Some(changes)) = (whole.as_object_mut(), patch.as_object()) else {
            return Err(serde_json::Error::custom("switches are a JSON object"));
        };
        members.extend(changes.clone());
        serde_json::from_value(whole)
    }
}
