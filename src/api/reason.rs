//! The closed list of reasons, used alike in conditions, events, logs and metric labels.

use std::fmt;

/// What a reason means for whoever waits: kstatus has no more classes than these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The wanted state was proved.
    Ready,
    /// It will get better by itself, or when something arrives.
    Reconciling,
    /// A person has to change something.
    Stalled,
    /// Neither: something is reported and nothing is being done about it, as the object asks.
    Reported,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $class:ident,)*) => {
        /// Why an object is in the state it is in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of the reference table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name as it stands in conditions, events and labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Whether it gets better by itself.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }
        }
    };
}

reasons! {
    /// Verified by a read after the last write.
    InSync => Ready,
    /// Observe mode, and the remote equals the spec.
    Observed => Ready,
    /// The first look is still to come.
    Pending => Reconciling,
    /// A write was accepted and is not visible yet.
    Propagating => Reconciling,
    /// Cloudflare is still applying former settings.
    RemoteBusy => Reconciling,
    /// Too many requests for this credential.
    RateLimited => Reconciling,
    /// Cloudflare answered something that is no answer of its API, or failed inside.
    CloudflareUnavailable => Reconciling,
    /// No answer: DNS, TLS, refused, reset, deadline.
    ConnectionFailed => Reconciling,
    /// The Secret does not exist (yet).
    SecretNotFound => Reconciling,
    /// The Secret is there and cannot be used.
    SecretInvalid => Stalled,
    /// Cloudflare does not accept the credential.
    AuthenticationFailed => Stalled,
    /// Cloudflare accepts the credential but not for this.
    PermissionDenied => Stalled,
    /// No such zone or account.
    ScopeNotFound => Stalled,
    /// Access, or its mTLS, is not part of the plan.
    NotEntitled => Stalled,
    /// A hostname lies outside the zone or account.
    HostnameNotInScope => Stalled,
    /// Cloudflare refused the entry for another reason.
    Rejected => Stalled,
    /// Another object owns a hostname.
    HostnameConflict => Stalled,
    /// Warn or Observe, and the remote differs.
    DriftDetected => Reported,
    /// Somebody keeps changing a hostname back.
    ForeignWriter => Stalled,
    /// A write of ours changed an entry that it did not name.
    UnexpectedRemoteChange => Stalled,
    /// The stored object cannot be understood.
    SpecInvalid => Stalled,
    /// The operator itself failed on the object.
    InternalError => Stalled,
    /// Both flags are being turned off before the object goes.
    Resetting => Reconciling,
    /// Turning the flags off cannot succeed as things are.
    ResetBlocked => Stalled,
    /// The object asks to be left alone.
    Suspended => Reported,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
