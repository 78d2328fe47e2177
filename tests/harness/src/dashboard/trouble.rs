//! Everything that there is an alert for, brought about on purpose.

use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;

use crate::cloudflare::{Cloudflare, Effect, Fault, Remote, Semantics};
use crate::error::{Error, Result};
use crate::fixture::{Fixture, PATIENCE, condition, random_id};

/// Objects that change, and the zones that they are spread over.
const OBJECTS: usize = 24;
const ZONES: usize = 6;
/// Between two changes, and between two faults.
const CHANGES: Duration = Duration::from_millis(700);
const FAULTS: Duration = Duration::from_secs(6);

/// Tokens, named as their Secrets and for the emulator.
const GOOD: &str = "cloudflare";
const LIMITED: &str = "limited";
const READ_ONLY: &str = "read-only";
const UNKNOWN: &str = "unknown";

pub(super) struct Trouble<'a> {
    rng: Rng,
    fixture: &'a Fixture,
    cloudflare: &'a Cloudflare,
    zones: Vec<(String, Remote)>,
    /// The zone of the objects in trouble.
    zone: Remote,
    looks: u32,
}

impl<'a> Trouble<'a> {
    pub(super) fn new(fixture: &'a Fixture, cloudflare: &'a Cloudflare) -> Self {
        let zones = (0..ZONES).map(|_| random_id());
        let zones = zones.map(|id| (id.clone(), cloudflare.add_zone(&id, "example.com"))).collect();
        let zone = cloudflare.add_zone(fixture.zone_id(), "example.com");
        cloudflare.switch(|switches| switches.latency_ms = 40);
        Self { rng: Rng::new(), fixture, cloudflare, zones, zone, looks: 0 }
    }

    /// Objects are made while Cloudflare fails.
    pub(super) async fn outage(&mut self) -> Result<()> {
        for secret in [GOOD, LIMITED, READ_ONLY, UNKNOWN] {
            let token = format!("cfut_{:032x}", self.rng.u128(..));
            if secret != UNKNOWN {
                let credential = self.cloudflare.token(&token).named(secret);
                if secret == READ_ONLY {
                    credential.may_read(self.zone.scope());
                } else {
                    credential.may_write_everything();
                }
            }
            self.fixture.apply(&self.fixture.secret(secret, "token", &token)).await?;
        }
        let _ = self.cloudflare.inject(Fault::from(Effect::Html520).for_ever());
        for number in 0..OBJECTS {
            self.change(number).await?;
        }
        Ok(())
    }

    /// Cloudflare works again, and all objects become Ready. One more is suspended.
    pub(super) async fn over(&self) -> Result<()> {
        self.cloudflare.clear_faults();
        let suspended = self.fixture.settings("suspended").with("suspend", json!(true)).hostname("s.example.com", true);
        self.fixture.apply(&suspended.build()).await?;
        self.until_reason("suspended", "Suspended").await?;
        for number in 0..OBJECTS {
            self.fixture.until_condition(&name(number), "Ready", "True", "InSync").await?;
        }
        Ok(())
    }

    /// Whatever a person can do wrong, and a rival.
    pub(super) async fn everything(&mut self) -> Result<()> {
        let limit = Fault::rate_limited(Some("600")).by(LIMITED).for_ever();
        let _ = self.cloudflare.inject(limit);
        for (name, hostname, secret) in [
            ("owner", "shared.example.com", GOOD),
            ("outside", "www.example.org", GOOD),
            ("limited", "limited.example.com", LIMITED),
            ("read-only", "read-only.example.com", READ_ONLY),
            ("refused", "refused.example.com", UNKNOWN),
            ("early", "early.example.com", "not-there-yet"),
            ("fought", "fought.example.com", GOOD),
        ] {
            let manifest = self.fixture.settings(name).credential(secret, "token").hostname(hostname, true);
            self.fixture.apply(&manifest.build()).await?;
        }
        self.until_reason("owner", "InSync").await?;
        let second = self.fixture.settings("second").hostname("shared.example.com", true);
        self.fixture.apply(&second.build()).await?;
        for (name, reason) in [
            ("second", "HostnameConflict"),
            ("outside", "HostnameNotInScope"),
            ("limited", "RateLimited"),
            ("read-only", "PermissionDenied"),
            ("refused", "AuthenticationFailed"),
            ("early", "SecretNotFound"),
            ("fought", "InSync"),
        ] {
            self.until_reason(name, reason).await?;
        }
        self.replace().await?;
        self.fight().await
    }

    /// A write that replaces the list.
    async fn replace(&self) -> Result<()> {
        let id = random_id();
        let zone = self.cloudflare.add_zone(&id, "example.net");
        zone.switch(|switches| switches.semantics = Semantics::Replace);
        zone.set("theirs.example.net", true, false);
        let manifest = self.fixture.settings("replacing").zone(&id).hostname("ours.example.net", true);
        self.fixture.apply(&manifest.build()).await?;
        self.until_reason("replacing", "InSync").await?;
        let kept = || zone.get("theirs.example.net").is_some();
        Ok(self.cloudflare.until("the lost entry is put back", PATIENCE, kept).await?)
    }

    /// Somebody changes an entry back three times and once more. Another object asks for the looks: to ask for one by the object
    /// itself begins anew.
    async fn fight(&mut self) -> Result<()> {
        for _ in 0..3 {
            self.zone.remove("fought.example.com");
            self.look("owner").await?;
            let repaired = || self.zone.get("fought.example.com").is_some();
            self.cloudflare.until("it is repaired", PATIENCE, repaired).await?;
            self.until_reason("fought", "InSync").await?;
            self.look("owner").await?;
        }
        self.zone.remove("fought.example.com");
        self.look("owner").await?;
        self.until_reason("fought", "ForeignWriter").await
    }

    /// Has Cloudflare looked at, and waits until that is done.
    async fn look(&mut self, name: &str) -> Result<()> {
        self.looks += 1;
        let mark = format!("look {}", self.looks);
        let patch = json!({"metadata": {"annotations": {"cloudflare-mtls.dev/reconcile-at": mark}}});
        self.fixture.patch(name, &patch).await?;
        self.fixture
            .until(name, "the look is done", |object| {
                object.pointer("/status/lastHandledReconcileAt") == Some(&json!(mark))
            })
            .await
            .map(drop)
    }

    async fn until_reason(&self, name: &str, reason: &str) -> Result<()> {
        let holds = |object: &serde_json::Value| {
            condition(object, "Ready").is_some_and(|ready| ready.get("reason") == Some(&json!(reason)))
        };
        self.fixture.until(name, reason, holds).await.map(drop)
    }

    /// Changes, drift and faults, for so long.
    pub(super) async fn churn(&mut self, time: Duration) -> Result<()> {
        let (started, mut next_fault) = (Instant::now(), Duration::ZERO);
        while started.elapsed() < time {
            let number = self.rng.usize(..OBJECTS);
            match self.rng.u8(..4) {
                0 => self.drift(number)?,
                _ => self.change(number).await?,
            }
            if started.elapsed() >= next_fault {
                self.break_something();
                next_fault = started.elapsed() + FAULTS;
            }
            tokio::time::sleep(CHANGES).await;
        }
        Ok(())
    }

    async fn change(&mut self, number: usize) -> Result<()> {
        let (zone, _) = self.zone_of(number)?;
        let manifest = self.fixture.settings(&name(number)).zone(zone).with("interval", json!("1m"));
        let manifest = (0..=number % 4).fold(manifest, |manifest, host| {
            manifest.hostname(&format!("host-{host}.{}.example.com", name(number)), self.rng.bool())
        });
        self.fixture.apply(&manifest.build()).await.map(drop)
    }

    fn drift(&mut self, number: usize) -> Result<()> {
        let china_network = self.rng.bool();
        let (_, remote) = self.zone_of(number)?;
        remote.set(&format!("host-0.{}.example.com", name(number)), true, china_network);
        Ok(())
    }

    fn zone_of(&self, number: usize) -> Result<&(String, Remote)> {
        self.zones.get(number % ZONES).ok_or_else(|| Error::new("no such zone"))
    }

    fn break_something(&mut self) {
        let fault = match self.rng.u8(..5) {
            0 => Fault::from(Effect::Html520),
            1 => Fault::from(Effect::Reset),
            2 => Fault::code(12132).on("PUT"),
            3 => Fault::rate_limited(Some("1")),
            _ => Fault::from(Effect::Pass).delayed(Duration::from_millis(self.rng.u64(200..1500))),
        };
        let _ = self.cloudflare.inject(fault.by(GOOD).times(self.rng.u32(1..4)));
    }
}

fn name(number: usize) -> String {
    format!("app-{number}")
}
