//! Everything that can happen to a request on its way to Cloudflare and back: it is reported while it lasts, it heals by
//! itself, and nothing is written twice. `docs/reliability.md` names the test for each fault.

use std::time::{Duration, Instant};

use futures::future::join_all;
use harness::{
    cloudflare::{Effect, Fault, Injected},
    fixture::{CREDENTIAL, condition, random_id},
};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};

use crate::{
    answers,
    oracle::{SUBJECT, Vigil, assert_rested, peak_memory},
    world::World,
};

/// What it is, the fault, and the reason that the object gives for it.
type Trial = (String, Fault, String);

/// Tries everything, in so many worlds side by side: a write that got no clear answer is not sent again for a while.
async fn endured_by(worlds: usize, trials: Vec<Trial>) -> Vec<World> {
    let mut shares: Vec<Vec<Trial>> = (0..worlds).map(|_| Vec::new()).collect();
    for (index, trial) in trials.into_iter().enumerate() {
        shares[index % worlds].push(trial);
    }
    let endured = shares.into_iter().map(|share| async {
        let world = World::with_subject().await;
        for (what, fault, reason) in share {
            world.endures(&what, fault, &reason).await;
        }
        world
    });
    join_all(endured).await
}

/// The same fault on a read and on a write.
fn on_both(what: &str, fault: &Fault, reason: &str) -> [Trial; 2] {
    ["GET", "PUT"].map(|method| (format!("{what} on {method}"), fault.clone().on(method), reason.to_owned()))
}

#[tokio::test]
async fn a_closed_port_is_reported_and_heals() {
    let world = World::with_subject().await;
    let vigil = Vigil::over(&world).await;
    world.cloudflare.close_port();
    world.turn_subject().await;
    let object = world.until_reason(SUBJECT, "ConnectionFailed").await;
    let message = condition(&object, "Ready").unwrap()["message"].to_string();
    assert!(message.contains("refused"), "{message}");
    world.cloudflare.open_port();
    world.assert_recovered(SUBJECT).await;
    vigil.end();
}

#[tokio::test]
async fn silence_and_a_trickle_end_at_the_deadline_and_heal() {
    let trickle = || Effect::Slow { interval_ms: 2000 };
    let trials = [
        Fault::from(Effect::Silence).on("GET"),
        Fault::from(Effect::Silence).on("PUT"),
        Fault::from(trickle()).on("GET"),
        Fault::from(trickle()).on("PUT"),
    ];
    join_all(trials.map(|fault| async {
        let world = World::with_subject().await;
        let object = world.endures(&format!("{fault:?}"), fault, "ConnectionFailed").await;
        let message = condition(&object, "Ready").unwrap()["message"].to_string();
        assert!(message.contains("deadline"), "{message}");
    }))
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_off_anywhere_is_reported_and_heals() {
    let broken = [
        Effect::Reset,
        Effect::Close,
        Effect::ResetInBody { after: 0 },
        Effect::ResetInBody { after: 30 },
        Effect::Truncate { after: 0 },
        Effect::Truncate { after: 40 },
        Effect::Bytes { bytes: b"HTTP/1.1 200 OK\r\ncontent-le".to_vec() },
    ];
    let trials = |effect: &Effect| on_both(&format!("{effect:?}"), &effect.clone().into(), "ConnectionFailed");
    let worlds = endured_by(4, broken.iter().flat_map(trials).collect()).await;
    for effect in broken {
        worlds[0].finds_what_it_wrote(&format!("{effect:?}"), effect).await;
    }
}

#[tokio::test]
async fn a_gateway_that_loses_an_answer_does_not_make_it_write_twice() {
    let world = World::with_subject().await;
    for fault in [
        Fault::answer(502, "<html>bad gateway</html>"),
        Fault::answer(500, r#"{"success":false,"errors":[{"code":10000,"message":"internal"}]}"#),
        Fault::answer(200, ""),
        Fault::from(Effect::Html520),
        Fault::from(Effect::Challenge403),
        Fault::redirect(307, "/elsewhere"),
    ] {
        world.finds_what_it_wrote(&format!("{fault:?}"), fault).await;
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_meets_its_own_lock_and_is_not_sent_again() {
    let world = World::with_subject().await;
    world.cloudflare.switch(|switches| switches.apply_delay_ms = 4000);
    world.finds_what_it_wrote("reset", Effect::Reset).await;
    world.finds_what_it_wrote("bad gateway", Fault::answer(502, "<html>")).await;
}

#[tokio::test]
async fn every_refusal_of_the_corpus_is_reported_and_heals() {
    let trials: Vec<Trial> = answers::refusals().into_iter().map(|r| (r.name, r.fault, r.reason)).collect();
    assert!(trials.len() > 200, "most of the corpus is refused");
    endured_by(16, trials).await;
}

/// A 429 with this `Retry-After`, and this `Date` of the server's.
fn limited(retry_after: Option<&str>, date: Option<&str>) -> Fault {
    let date = date.map(|date| ("date", date));
    let headers: Vec<(&str, &str)> = retry_after.map(|after| ("retry-after", after)).into_iter().chain(date).collect();
    Fault::raw(429, &headers, r#"{"success":false,"errors":[{"code":971,"message":"slow down"}]}"#)
}

/// A time as HTTP writes it.
fn date(time: Timestamp) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap()
}

#[tokio::test]
async fn a_short_rest_is_kept_to_its_end_however_it_is_said() {
    const HOUR: i64 = 3600;
    let seconds = |text: &'static str, rest| (format!("{text} s"), text.to_owned(), None, rest);
    // By the server's own clock where it tells it: the two clocks need not agree.
    let dated = |what: &str, clock: i64, seconds: i64, rest| {
        let now = Timestamp::now() + SignedDuration::from_secs(clock);
        (what.to_owned(), date(now + SignedDuration::from_secs(seconds)), Some(date(now)), rest)
    };
    let trials = [
        seconds("0", 1),
        seconds("1", 1),
        seconds("1.5", 2),
        seconds(" 4 ", 4),
        dated("a date", 0, 4, 4),
        dated("a date that is past", 0, -100, 1),
        dated("a server an hour ahead", HOUR, 4, 4),
        dated("a server an hour behind", -HOUR, 4, 4),
    ];
    join_all(trials.map(|(what, after, date, rest)| async move {
        let world = World::with_subject().await;
        for method in ["GET", "PUT"] {
            let mark = world.cloudflare.ledger().mark();
            let object = world.endures(&what, limited(Some(&after), date.as_deref()).on(method), "RateLimited").await;
            assert!(condition(&object, "Reconciling").is_some(), "{what}: {object:#}");
            assert_rested(&world.ledger().since(mark), Duration::from_secs(rest));
        }
    }))
    .await;
}

#[tokio::test]
async fn during_a_long_rest_nothing_leads_to_a_request_but_another_token() {
    let world = World::with(|operator| operator.arg("--secret-poll=1s")).await;
    world.apply(SUBJECT, &[("subject.example.com", true)]).await;
    world.until_ready(SUBJECT).await;
    // No time that can be used means the five minutes for which Cloudflare blocks.
    for after in [Some("300"), Some("86400"), Some("99999999999999999999"), Some("-1"), Some("soon"), None] {
        let vigil = Vigil::over(&world).await;
        let limit: Injected = world.cloudflare.inject(limited(after, None).for_ever());
        world.turn_subject().await;
        world.until_reason(SUBJECT, "RateLimited").await;
        limit.clear();
        let requests = world.cloudflare.ledger().len();
        // Each of these is acknowledged, so that it has been thought about, and none is worth a request: for longer than the
        // shortest rest would be.
        let limited = Instant::now();
        while limited.elapsed() < Duration::from_secs(3) {
            world.look(SUBJECT).await;
        }
        world.turn_subject().await;
        world.until_reason(SUBJECT, "RateLimited").await;
        world.apply("another", &[("another.example.com", false)]).await;
        world.until_reason("another", "RateLimited").await;
        assert_eq!(world.cloudflare.ledger().len(), requests, "{after:?}:\n{}", world.ledger());

        let token = format!("cfut_{}", random_id());
        world.cloudflare.token(&token).may_write(world.remote.scope());
        let (secret, key) = CREDENTIAL;
        world.fixture.apply(&world.fixture.secret(secret, key, &token)).await.unwrap();
        world.assert_recovered(SUBJECT).await;
        world.fixture.delete("another").await.unwrap();
        vigil.end();
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_and_costs_no_memory() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let bytes = |text: String| Effect::Bytes { bytes: text.into_bytes() };
    let bomb =
        Fault::raw(200, &[("content-encoding", "gzip")], b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".repeat(1000));
    let trials = [
        ("10 GiB", Fault::from(Effect::Huge { bytes: 10 << 30 }), "CloudflareUnavailable"),
        ("a compressed answer", bomb, "CloudflareUnavailable"),
        ("many headers", bytes(format!("{head}{}", "x-more: and more\r\n".repeat(100_000))).into(), "ConnectionFailed"),
        ("a long header", bytes(format!("{head}x-long: {}", "y".repeat(2 << 20))).into(), "ConnectionFailed"),
        (
            "many answers before the answer",
            bytes("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000)).into(),
            "ConnectionFailed",
        ),
        (
            "a chunk of 16 EiB",
            bytes(format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{{")).into(),
            "ConnectionFailed",
        ),
        (
            "a long name of a chunk",
            bytes(format!("{head}transfer-encoding: chunked\r\n\r\n1;{}", "z".repeat(2 << 20))).into(),
            "ConnectionFailed",
        ),
        (
            "two lengths",
            bytes(format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}")).into(),
            "ConnectionFailed",
        ),
        ("a length below zero", bytes(format!("{head}content-length: -1\r\n\r\n{{}}")).into(), "ConnectionFailed"),
        ("no HTTP", bytes("220 mail.example.com ESMTP\r\n".to_owned()).into(), "ConnectionFailed"),
    ];
    let worlds =
        endured_by(5, trials.iter().flat_map(|(what, fault, reason)| on_both(what, fault, reason)).collect()).await;
    let calm = peak_memory(&World::with_subject().await);
    for world in worlds {
        let peak = peak_memory(&world);
        assert!(peak < calm + 32 * 1024, "{peak} KiB instead of {calm} KiB");
    }
}

#[tokio::test]
async fn a_lock_of_seconds_is_waited_for_and_knocked_at_ever_more_seldom() {
    let world = World::with_subject().await;
    let vigil = Vigil::over(&world).await;
    world.remote.lock_for(Duration::from_secs(8));
    world.turn_subject().await;
    let object = world.until_reason(SUBJECT, "RemoteBusy").await;
    assert!(condition(&object, "Reconciling").is_some(), "{object:#}");
    world.assert_recovered(SUBJECT).await;
    vigil.end();
    let ledger = world.ledger();
    let refused: Vec<_> = ledger.all().iter().filter(|exchange| exchange.status == Some(409)).collect();
    // After 1..2, 2..4, 4..8 s: the fourth comes after 7 s at the earliest.
    assert!((2..=5).contains(&refused.len()), "{ledger}");
}

#[tokio::test]
async fn a_read_that_lags_behind_is_waited_for_without_another_write() {
    let world = World::with_subject().await;
    world.cloudflare.switch(|switches| switches.get_lag_reads = 3);
    let (vigil, mark) = (Vigil::over(&world).await, world.cloudflare.ledger().mark());
    world.turn_subject().await;
    world.assert_recovered(SUBJECT).await;
    vigil.end();
    assert_eq!(world.ledger().since(mark).puts(&world.scope()).len(), 1, "{}", world.ledger());
}

#[tokio::test]
async fn a_write_of_ours_that_lands_after_a_newer_one_is_undone() {
    let world = World::with_subject().await;
    let lost = world.cloudflare.inject(Fault::from(Effect::Reset).on("PUT"));
    world.turn_subject().await;
    lost.until_met(1, harness::fixture::PATIENCE).await.unwrap();
    let late = world.ledger().puts(&world.scope()).last().unwrap().settings();
    world.turn_subject().await;
    world.assert_recovered(SUBJECT).await;
    // Some proxy on the way held it back, and lets it go now.
    for (hostname, forwarding, china) in late {
        world.remote.set(&hostname, forwarding, china);
    }
    world.look(SUBJECT).await;
    world.assert_recovered(SUBJECT).await;
}

#[tokio::test]
async fn connections_that_died_in_the_pool_cost_no_failure_and_no_second_write() {
    let world = World::with_subject().await;
    for _ in 0..10 {
        let (vigil, mark) = (Vigil::over(&world).await, world.cloudflare.ledger().mark());
        world.cloudflare.drop_connections();
        world.turn_subject().await;
        world.assert_recovered(SUBJECT).await;
        let ledger = world.ledger().since(mark);
        assert_eq!(ledger.puts(&world.scope()).len(), 1, "{ledger}");
        vigil.end();
    }
    // And those that the server says it will close, without and with its word being kept.
    let closing = Fault::raw(503, &[("connection", "close")], "going away").for_ever();
    world.endures("going away", closing, "CloudflareUnavailable").await;
}

#[tokio::test]
async fn an_entry_that_the_plan_of_the_zone_does_not_allow_is_rejected_until_it_does() {
    let world = World::with_subject().await;
    let china = || world.fixture.settings(SUBJECT).hostname_with("subject.example.com", true, true).build();
    world.fixture.apply(&china()).await.unwrap();
    let object = world.until_reason(SUBJECT, "Rejected").await;
    assert_eq!(object["status"]["hostnames"][0]["state"], "Rejected");
    assert!(condition(&object, "Stalled").is_some(), "{object:#}");
    world.apply(SUBJECT, &[("subject.example.com", true)]).await;
    world.assert_recovered(SUBJECT).await;
    world.remote.set_china_network(true);
    world.fixture.apply(&china()).await.unwrap();
    world.assert_recovered(SUBJECT).await;
}

#[tokio::test]
async fn a_server_that_repeats_the_credential_everywhere_gets_none_of_it_shown() {
    let world = World::with_subject().await;
    for (status, reason) in
        [(200, "AuthenticationFailed"), (401, "AuthenticationFailed"), (500, "CloudflareUnavailable")]
    {
        for method in ["GET", "PUT"] {
            let echo = Fault::from(Effect::EchoCredential { status }).on(method);
            let object = world.endures(&format!("{status} on {method}"), echo, reason).await;
            let said = object["status"]["lastResponse"].to_string();
            assert!(said.contains("Authentication error for authorization: Bearer ***"), "{said}");
        }
    }
    let key = format!("{}{}", random_id(), &random_id()[..5]);
    world.cloudflare.api_key("owner@example.com", &key).may_write(world.remote.scope());
    world.fixture.apply(&world.fixture.secret("global", "api-key", &key)).await.unwrap();
    let global = serde_json::json!({
        "globalApiKey": {"email": "owner@example.com", "secretKeyRef": {"name": "global", "key": "api-key"}},
    });
    let manifest = world.fixture.settings(SUBJECT).with("credentials", global).hostname("subject.example.com", true);
    world.fixture.apply(&manifest.build()).await.unwrap();
    world.assert_recovered(SUBJECT).await;
    let echo = world.cloudflare.inject(Fault::from(Effect::EchoCredential { status: 403 }).for_ever());
    world.ask_for_a_look(SUBJECT, "echo").await;
    let object = world.until_reason(SUBJECT, "AuthenticationFailed").await;
    let said = object["status"]["lastResponse"].to_string();
    assert!(said.contains("x-auth-key: ***") && !said.contains("owner@"), "{said}");
    echo.clear();
    world.look(SUBJECT).await;
    world.assert_recovered(SUBJECT).await;
    // Whether it leaked elsewhere is looked at in the end.
}

#[test]
fn every_test_that_the_table_of_faults_names_is_there() {
    let table = std::fs::read_to_string("docs/reliability.md").unwrap();
    let names = table.split('`').filter(|text| text.contains("::") && !text.contains(' '));
    let mut found = 0;
    for name in names {
        let (module, test) = name.rsplit_once("::").unwrap();
        let file = module.replace("::", "/");
        let sources = [format!("tests/operator/{file}.rs"), format!("tests/{file}.rs"), format!("src/{file}.rs")];
        let source = sources.iter().find_map(|path| std::fs::read_to_string(path).ok());
        assert!(source.is_some_and(|source| source.contains(&format!("fn {test}("))), "{name} is not there");
        found += 1;
    }
    assert!(found >= 28, "{found} tests are named");
}
