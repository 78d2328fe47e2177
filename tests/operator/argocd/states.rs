//! Every state in which an object can be, brought about for real and held against the objects in `testdata`.

use std::{sync::Arc, time::Duration};

use harness::{
    cloudflare::{Effect, Entitlement, Fault, LockReach, Semantics},
    control_plane::ControlPlane,
    fixture::{PATIENCE, Settings, condition, eventually},
};
use serde_json::{Value, json};

use super::{blessing, expected, folder, health, shown::shown};
use crate::{behaviour::Behaviour, program::relax, reset::resetting, world::World};

const NAME: &str = "admin";
const HOSTNAME: &str = "admin.example.com";

/// Makes a test of each state: what is seen has to be what its file shows, and the script has to say of it what it should.
macro_rules! states {
    ($($state:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $state() {
            let world = bring_about::$state().await;
            hold(stringify!($state), &world).await;
        }
    )+};
}

states! {
    not_looked_at_yet, another_generation,
    in_sync, in_sync_whole_list, observed,
    pending, propagating, remote_busy, rate_limited, cloudflare_unavailable, connection_failed, secret_not_found,
    secret_invalid, authentication_failed, permission_denied, scope_not_found, not_entitled, hostname_not_in_scope,
    rejected, hostname_conflict, foreign_writer, unexpected_remote_change, spec_invalid, internal_error,
    drift_detected, suspended,
    resetting_while_listed, resetting_in_deletion, reset_blocked_while_listed, reset_blocked_in_deletion,
}

/// Holds the object against its file, or writes the file.
async fn hold(state: &str, world: &World) {
    let seen = shown(world, NAME).await;
    let file = folder().join("testdata").join(format!("{}.yaml", state.replace('_', "-")));
    if blessing() {
        std::fs::write(&file, &seen).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!(seen, kept, "another object than in {}; if it is right, run `make argocd-testdata`", file.display());
    let object: Value = serde_saphyr::from_str(&seen).unwrap();
    let (status, message) = expected(&object);
    assert_eq!(health(&seen), (status.to_owned(), message));
}

/// How each state comes about. The object is always `admin` with `admin.example.com`.
mod bring_about {
    use super::*;

    fn manifest(world: &World) -> Settings {
        world.fixture.settings(NAME).hostname(HOSTNAME, true)
    }

    async fn apply(world: &World) {
        world.fixture.apply(&manifest(world).build()).await.unwrap();
    }

    /// Cloudflare refuses, or fails, whatever is asked.
    async fn under(fault: impl Into<Fault>, reason: &str) -> World {
        let world = World::new().await;
        world.cloudflare.inject(fault.into().for_ever());
        apply(&world).await;
        world.until_reason(NAME, reason).await;
        world
    }

    async fn ready(world: World) -> World {
        apply(&world).await;
        world.until_ready(NAME).await;
        world
    }

    pub(super) async fn not_looked_at_yet() -> World {
        let mut world = World::new().await;
        world.stop().await;
        apply(&world).await;
        world
    }

    pub(super) async fn another_generation() -> World {
        let mut world = ready(World::new().await).await;
        world.stop().await;
        world.fixture.apply(&manifest(&world).hostname("www.example.com", true).build()).await.unwrap();
        world
    }

    pub(super) async fn in_sync() -> World {
        ready(World::new().await).await
    }

    pub(super) async fn in_sync_whole_list() -> World {
        let world = World::under(Behaviour::new(Semantics::Replace, LockReach::Scope)).await;
        world.remote.set("foreign.example.com", true, false);
        let world = ready(world).await;
        let whole = |object: &Value| condition(object, "WholeList").is_some();
        world.fixture.until(NAME, "WholeList", whole).await.unwrap();
        world.until_ready(NAME).await;
        world
    }

    pub(super) async fn observed() -> World {
        let world = World::new().await;
        world.remote.set(HOSTNAME, true, false);
        world.fixture.apply(&manifest(&world).with("syncMode", json!("Observe")).build()).await.unwrap();
        world.fixture.until_condition(NAME, "Ready", "True", "Observed").await.unwrap();
        world
    }

    pub(super) async fn pending() -> World {
        // A read is under way, and does not end before it has been seen.
        let world = World::new().await;
        world.cloudflare.inject(Fault::from(Effect::Hold));
        apply(&world).await;
        world.until_reason(NAME, "Pending").await;
        world
    }

    pub(super) async fn propagating() -> World {
        let world = World::new().await;
        world.cloudflare.switch(|switches| switches.apply_delay_ms = 60_000);
        apply(&world).await;
        world.until_reason(NAME, "Propagating").await;
        world
    }

    pub(super) async fn remote_busy() -> World {
        let world = World::new().await;
        world.remote.lock_for(Duration::from_secs(60));
        apply(&world).await;
        world.until_reason(NAME, "RemoteBusy").await;
        world
    }

    pub(super) async fn rate_limited() -> World {
        under(Fault::rate_limited(Some("60")), "RateLimited").await
    }

    pub(super) async fn cloudflare_unavailable() -> World {
        under(Effect::Html520, "CloudflareUnavailable").await
    }

    pub(super) async fn connection_failed() -> World {
        under(Effect::Reset, "ConnectionFailed").await
    }

    pub(super) async fn secret_not_found() -> World {
        let world = World::new().await;
        world.fixture.apply(&manifest(&world).credential("not-there-yet", "token").build()).await.unwrap();
        world.until_reason(NAME, "SecretNotFound").await;
        world
    }

    pub(super) async fn secret_invalid() -> World {
        let world = World::new().await;
        world.fixture.apply(&manifest(&world).credential("cloudflare", "api-token").build()).await.unwrap();
        world.until_reason(NAME, "SecretInvalid").await;
        world
    }

    pub(super) async fn authentication_failed() -> World {
        let world = World::new().await;
        world.token.revoke();
        apply(&world).await;
        world.until_reason(NAME, "AuthenticationFailed").await;
        world
    }

    pub(super) async fn permission_denied() -> World {
        let world = World::new().await;
        world.token.may_nothing().may_read(world.remote.scope());
        apply(&world).await;
        world.until_reason(NAME, "PermissionDenied").await;
        world
    }

    pub(super) async fn scope_not_found() -> World {
        under(Fault::code(7003), "ScopeNotFound").await
    }

    pub(super) async fn not_entitled() -> World {
        let world = World::new().await;
        world.cloudflare.switch(|switches| switches.entitlement = Entitlement::NoAccess);
        apply(&world).await;
        world.until_reason(NAME, "NotEntitled").await;
        world
    }

    pub(super) async fn hostname_not_in_scope() -> World {
        let world = World::new().await;
        world.fixture.apply(&manifest(&world).hostname("www.example.org", true).build()).await.unwrap();
        world.until_reason(NAME, "HostnameNotInScope").await;
        world
    }

    pub(super) async fn rejected() -> World {
        let world = World::new().await;
        // The plan of the zone does not have the China network.
        world.fixture.apply(&world.fixture.settings(NAME).hostname_with(HOSTNAME, true, true).build()).await.unwrap();
        world.until_reason(NAME, "Rejected").await;
        world
    }

    pub(super) async fn hostname_conflict() -> World {
        let world = World::new().await;
        world.apply("holder", &[(HOSTNAME, false)]).await;
        world.until_ready("holder").await;
        apply(&world).await;
        world.until_reason(NAME, "HostnameConflict").await;
        world
    }

    pub(super) async fn drift_detected() -> World {
        let world = World::new().await;
        world.remote.set(HOSTNAME, false, true);
        world.fixture.apply(&manifest(&world).with("syncMode", json!("Observe")).build()).await.unwrap();
        world.until_reason(NAME, "DriftDetected").await;
        world
    }

    pub(super) async fn foreign_writer() -> World {
        let world = ready(World::new().await).await;
        for _ in 1..=3 {
            world.remote.set(HOSTNAME, false, false);
            world.look_without_asking().await;
            let repaired = || world.remote.get(HOSTNAME).is_some();
            world.cloudflare.until("a repair", PATIENCE, repaired).await.unwrap();
            world.until_seen().await;
        }
        world.remote.set(HOSTNAME, false, false);
        world.look_without_asking().await;
        world.until_reason(NAME, "ForeignWriter").await;
        world
    }

    pub(super) async fn unexpected_remote_change() -> World {
        let world = World::under(Behaviour::new(Semantics::Replace, LockReach::Nobody).at_once()).await;
        world.remote.set("foreign.example.com", true, false);
        // What puts it back does not arrive before this has been seen.
        world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT").after_passing(1));
        apply(&world).await;
        world.until_reason(NAME, "UnexpectedRemoteChange").await;
        world
    }

    pub(super) async fn spec_invalid() -> World {
        let control_plane = Arc::new(ControlPlane::start().await.unwrap());
        control_plane.install().await.unwrap();
        let world = World::on_with(&control_plane, |operator| operator).await;
        relax(&control_plane).await;
        let odd = manifest(&world).with("interval", json!("soon")).build();
        eventually(PATIENCE, "the laxer schema is served", || world.fixture.apply(&odd)).await.unwrap();
        world.until_reason(NAME, "SpecInvalid").await;
        world
    }

    pub(super) async fn internal_error() -> World {
        let world = World::with(|operator| operator.env("CFMTLS_FAILPOINTS", "reconcile of admin=panic")).await;
        apply(&world).await;
        world.until_reason(NAME, "InternalError").await;
        world
    }

    pub(super) async fn suspended() -> World {
        let world = World::new().await;
        world.fixture.apply(&manifest(&world).with("suspend", json!(true)).build()).await.unwrap();
        world.until_reason(NAME, "Suspended").await;
        world
    }

    /// An object under `Reset` that has let a hostname go.
    async fn letting_go(spoil: impl FnOnce(&World), reason: &str) -> World {
        let world = World::new().await;
        let manifest = resetting(&world, NAME).hostname(HOSTNAME, true);
        world.fixture.apply(&manifest.clone().hostname("gone.example.com", true).build()).await.unwrap();
        world.until_ready(NAME).await;
        spoil(&world);
        world.fixture.apply(&manifest.build()).await.unwrap();
        world.until_reason(NAME, reason).await;
        world
    }

    pub(super) async fn resetting_while_listed() -> World {
        let late = |world: &World| world.cloudflare.switch(|switches| switches.apply_delay_ms = 60_000);
        letting_go(late, "Resetting").await
    }

    pub(super) async fn reset_blocked_while_listed() -> World {
        let refused = |world: &World| {
            world.cloudflare.inject(Fault::code(12036).on("PUT").for_ever());
        };
        letting_go(refused, "ResetBlocked").await
    }

    async fn being_deleted(spoil: impl FnOnce(&World), reason: &str) -> World {
        let world = World::new().await;
        world.fixture.apply(&resetting(&world, NAME).hostname(HOSTNAME, true).build()).await.unwrap();
        world.until_ready(NAME).await;
        spoil(&world);
        world.fixture.delete(NAME).await.unwrap();
        world.until_reason(NAME, reason).await;
        world
    }

    pub(super) async fn resetting_in_deletion() -> World {
        let unavailable = |world: &World| {
            world.cloudflare.inject(Fault::from(Effect::Html520).for_ever());
        };
        being_deleted(unavailable, "Resetting").await
    }

    pub(super) async fn reset_blocked_in_deletion() -> World {
        let refused = |world: &World| {
            world.token.revoke();
        };
        being_deleted(refused, "ResetBlocked").await
    }
}
