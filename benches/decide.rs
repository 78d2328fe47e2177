//! How long the decisions of one scope take with many objects, as JSON: microseconds per kind of decision.
//!
//! `cargo bench --bench decide` prints it; `make bench` puts it into the report.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a program for developers")]

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use cloudflare_mtls_operator::{
    api::{
        CredentialRef, DeletionPolicy, Flags, Hostname, HostnameState, HostnameStatus, KeyRef, LastResponse,
        MtlsHostnameSettingsStatus, ObjectKey, Scope, SecretKeyRef, SyncMode, ValidSpec,
    },
    cloudflare::RemoteList,
    sync::{self, Uid, View, Wish},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

const OBJECTS: usize = 10_000;
const ROUNDS: usize = 60;

const ON: Flags = Flags { client_certificate_forwarding: true, china_network: false };

/// An object with one hostname that was in sync at its former generation.
fn wish(number: usize, flags: Flags) -> Wish {
    let hostname = Hostname::parse(&format!("object-{number}.team-{}.example.com", number % 97)).unwrap();
    let secret = SecretKeyRef { name: "cloudflare".to_owned(), key: "token".to_owned() };
    let status = MtlsHostnameSettingsStatus {
        observed_generation: Some(1),
        hostnames: vec![HostnameStatus {
            hostname: hostname.as_str().to_owned(),
            state: HostnameState::InSync,
            applied: true,
            remote: Some(ON),
        }],
        ..MtlsHostnameSettingsStatus::default()
    };
    let spec = ValidSpec {
        scope: Scope::zone("023e105f4ecef8ad9ca31a8372d0c353").unwrap(),
        credential: CredentialRef { namespace: "team".to_owned(), key: KeyRef::ApiToken(secret) }.into(),
        settings: [(hostname, flags)].into_iter().collect(),
        mode: SyncMode::Enforce,
        deletion_policy: DeletionPolicy::Retain,
        interval: None,
        suspend: false,
    };
    let key = ObjectKey { namespace: "team".to_owned(), name: format!("object-{number}") };
    let uid = format!("6dbdb0b7-50a2-4a2b-9d5e-{number:012}");
    Wish::new(key, &uid, 1, Some(Timestamp::UNIX_EPOCH), spec, &status, None)
}

fn response() -> LastResponse {
    LastResponse {
        method: "GET".to_owned(),
        http_status: Some(200),
        success: true,
        errors: Vec::new(),
        messages: Vec::new(),
        ray_id: None,
        time: Time(Timestamp::UNIX_EPOCH),
    }
}

fn spread(mut times: Vec<Duration>) -> serde_json::Value {
    times.sort();
    let at = |percent: usize| times.get((times.len() - 1) * percent / 100).map(Duration::as_micros);
    json!({"p10": at(10), "median": at(50), "p90": at(90)})
}

fn timed<T>(work: impl Fn() -> T) -> serde_json::Value {
    let once = || {
        let started = Instant::now();
        let made = black_box(work());
        let took = started.elapsed();
        drop(made);
        took
    };
    spread((0..ROUNDS).map(|_| once()).collect())
}

fn main() {
    let wishes: BTreeMap<Uid, Wish> = (0..OBJECTS)
        .map(|number| wish(number, if number == 4711 { Flags::default() } else { ON }))
        .map(|wish| (wish.uid.clone(), wish))
        .collect();
    let remote: RemoteList = wishes
        .values()
        .flat_map(|wish| wish.spec.settings.keys())
        .map(|hostname| (hostname.as_str().to_owned(), ON))
        .collect();
    let mut view = View::default();
    view.read(remote, response(), Instant::now());
    let owners = sync::owners(wishes.values(), |wish, hostname, flags| {
        black_box(wish);
        view.stands_back(hostname, flags)
    });
    assert_eq!(sync::plan(wishes.values(), &owners, &view).len(), 1);
    let figures = json!({
        "owners": timed(|| sync::owners(wishes.values(), |_, hostname, flags| view.stands_back(hostname, flags))),
        "plan": timed(|| sync::plan(wishes.values(), &owners, &view)),
        "reports": timed(|| {
            wishes.values().map(|wish| sync::report(wish, &owners, |_| None, &view)).collect::<Vec<_>>()
        }),
    });
    println!("{figures}");
}
