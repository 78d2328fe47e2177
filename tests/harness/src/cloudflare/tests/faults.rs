//! What goes wrong on purpose.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::{Effect, Fault, RequestLimit};
use super::{Outcome, SOON, TOKEN, World, code, sent};

#[tokio::test]
async fn faults_meet_their_requests_in_order_and_no_others() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    world.cloudflare.inject(Fault::code(12132).on("PUT").in_scope(scope).times(2));
    world.cloudflare.inject(Fault::raw(503, &[("retry-after", "7")], "down").on("PUT").after_passing(1));
    let put = || world.put(scope, &[("a.example.com", true, false)]);
    assert_eq!(sent(world.get(scope)).await?.0, 200);
    assert_eq!(sent(put()).await?.0, 409);
    assert_eq!(sent(put()).await?.0, 409);
    assert_eq!(sent(put()).await?.0, 202, "the first that the second fault lets pass");
    let down = put().send().await?;
    assert_eq!(
        (down.status().as_u16(), down.headers().get("retry-after").map(reqwest::header::HeaderValue::as_bytes)),
        (503, Some(&b"7"[..]))
    );
    assert!(down.headers().contains_key("cf-ray"));
    assert_eq!(sent(put()).await?.0, 202);
    Ok(())
}

#[tokio::test]
async fn every_code_of_the_table_can_be_had() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    for number in [
        0, 971, 1000, 6003, 7000, 7003, 9103, 9106, 9109, 9999, 10000, 10001, 10100, 10502, 12036, 12130, 12132, 12133,
        12135,
    ] {
        world.cloudflare.inject(Fault::code(number));
        let (status, body) = sent(world.get(scope)).await?;
        assert!(status >= 400);
        assert_eq!(code(&body), Some(number));
    }
    world.cloudflare.inject(Effect::Limited200);
    let (status, body) = sent(world.get(scope)).await?;
    assert_eq!((status, code(&body)), (200, Some(971)));
    Ok(())
}

#[tokio::test]
async fn the_edge_answers_in_text_and_html() -> Outcome {
    let world = World::start().await?;
    let faults = [
        (Effect::Text1015 { retry_after: Some("garbage".to_owned()) }, 429, "error code: 1015"),
        (Effect::Html520, 520, "Error code 520"),
        (Effect::Challenge403, 403, "Just a moment"),
    ];
    for (effect, status, text) in faults {
        world.cloudflare.inject(effect);
        let answer = world.get(world.zone.scope()).send().await?;
        assert_eq!(answer.status().as_u16(), status);
        assert!(answer.text().await?.contains(text));
    }
    world.cloudflare.inject(Fault::redirect(307, "http://127.0.0.1:1/elsewhere"));
    let answer = world.get(world.zone.scope()).send().await?;
    assert_eq!(
        answer.headers().get("location").map(reqwest::header::HeaderValue::as_bytes),
        Some(&b"http://127.0.0.1:1/elsewhere"[..])
    );
    Ok(())
}

#[tokio::test]
async fn a_reset_before_and_after_the_write() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    world.cloudflare.inject(Fault::from(Effect::Reset).on("PUT"));
    assert!(world.put(scope, &[("a.example.com", true, false)]).send().await.is_err());
    assert!(world.zone.entries().is_empty());
    world.cloudflare.inject(Fault::from(Effect::Reset).on("PUT").once_applied());
    assert!(world.put(scope, &[("a.example.com", true, false)]).send().await.is_err());
    assert_eq!(world.zone.entries().len(), 1);
    world
        .cloudflare
        .until("both ends", SOON, || world.cloudflare.ledger().all().iter().all(|e| e.end_us.is_some()))
        .await?;
    let ledger = world.cloudflare.ledger();
    assert!(ledger.all().iter().all(|exchange| exchange.status.is_none()));
    assert_eq!((ledger.puts(scope).len(), ledger.accepted_puts(scope).len()), (2, 1));
    Ok(())
}

#[tokio::test]
async fn bodies_are_cut_off_slow_and_huge() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    for (effect, reset) in [(Effect::Truncate { after: 10 }, false), (Effect::ResetInBody { after: 10 }, true)] {
        world.cloudflare.inject(effect);
        let cut = world.get(scope).send().await?;
        assert_eq!(cut.status(), 200);
        let error = cut.bytes().await.err().ok_or("a whole body")?;
        assert_eq!(format!("{error:?}").contains("ConnectionReset"), reset, "{error:?}");
    }
    world.cloudflare.inject(Effect::Slow { interval_ms: 2 });
    let begun = Instant::now();
    assert_eq!(sent(world.get(scope)).await?.0, 200);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    world.cloudflare.inject(Effect::Huge { bytes: 10 << 20 });
    assert!(world.get(scope).send().await?.bytes().await?.len() >= 10 << 20);
    Ok(())
}

#[tokio::test]
async fn silence_lasts_until_the_client_leaves() -> Outcome {
    let world = World::start().await?;
    world.cloudflare.inject(Effect::Silence);
    let request = world.get(world.zone.scope()).timeout(Duration::from_millis(50));
    assert!(request.send().await.is_err_and(|error| error.is_timeout()));
    world
        .cloudflare
        .until("its end", SOON, || world.cloudflare.ledger().all().iter().all(|e| e.end_us.is_some()))
        .await?;
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_http_and_a_plain_close() -> Outcome {
    let world = World::start().await?;
    for effect in [Effect::Bytes { bytes: b"SSH-2.0-hello\r\n".to_vec() }, Effect::Close] {
        world.cloudflare.inject(effect);
        assert!(world.get(world.zone.scope()).send().await.is_err());
    }
    let handmade = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec();
    world.cloudflare.inject(Effect::Bytes { bytes: handmade });
    assert_eq!(sent(world.get(world.zone.scope())).await?, (200, json!({})));
    Ok(())
}

#[tokio::test]
async fn a_held_put_waits_before_or_after_its_effect() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    for after in [false, true] {
        let mut fault = Fault::from(Effect::Hold).on("PUT");
        fault.apply_first = after;
        world.zone.clear();
        let held = world.cloudflare.inject(fault);
        let (answer, acted) = tokio::join!(sent(world.put(scope, &[("a.example.com", true, false)])), async {
            held.until_met(1, SOON).await?;
            if after {
                world.cloudflare.until("the effect", SOON, || world.zone.entries().len() == 1).await?;
            } else {
                assert!(world.zone.entries().is_empty());
            }
            world.zone.set("theirs.example.com", true, false);
            held.release();
            Ok::<(), super::super::TimedOut>(())
        });
        acted?;
        assert_eq!(answer?.0, 202);
        assert_eq!(world.zone.entries().len(), 2);
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_may_echo_the_credential() -> Outcome {
    let world = World::start().await?;
    world.cloudflare.inject(Effect::EchoCredential { status: 403 });
    let answer = world.get(world.zone.scope()).send().await?;
    assert!(answer.headers().get("x-echo").is_some_and(|value| value.to_str().is_ok_and(|text| text.contains(TOKEN))));
    assert!(answer.text().await?.contains(TOKEN));
    let ledger = serde_json::to_string(&world.cloudflare.ledger())?;
    assert!(!ledger.contains(TOKEN) && ledger.contains("\"writer\""), "{ledger}");
    Ok(())
}

#[tokio::test]
async fn the_budget_is_shown_and_enforced() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    let answer = world.get(scope).send().await?;
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("ratelimit"), Some("\"default\";r=1199;t=300"));
    assert_eq!(header("ratelimit-policy"), Some("\"default\";q=1200;w=300"));
    world.cloudflare.switch(|switches| {
        switches.request_limit = Some(RequestLimit { requests: 3, window_ms: 60_000, block_ms: 200 });
    });
    assert_eq!(sent(world.get(scope)).await?.0, 200);
    assert_eq!(sent(world.get(scope)).await?.0, 200);
    let begun = Instant::now();
    let refused = world.get(scope).send().await?;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (429, true));
    while sent(world.get(scope)).await?.0 == 429 && begun.elapsed() < SOON {}
    assert!((Duration::from_millis(100)..SOON).contains(&begun.elapsed()));
    Ok(())
}

#[tokio::test]
async fn too_many_refused_credentials_close_the_door() -> Outcome {
    let world = World::start().await?;
    world.cloudflare.switch(|switches| switches.auth_failure_limit = Some(2));
    let url = world.settings_url(world.zone.scope());
    for wanted in [9109, 9109, 10502] {
        assert_eq!(code(&sent(world.http.get(&url).bearer_auth("no-such-token")).await?.1), Some(wanted));
    }
    assert_eq!(code(&sent(world.get(world.zone.scope())).await?.1), Some(10502));
    Ok(())
}

#[tokio::test]
async fn the_port_closes_and_opens_and_dropping_ends_it() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope().clone();
    assert_eq!(sent(world.get(&scope)).await?.0, 200);
    world.cloudflare.drop_connections();
    let again = async || world.get(&scope).send().await.is_ok();
    assert!(again().await || again().await, "a new connection is taken");
    world.cloudflare.close_port();
    let begun = Instant::now();
    while again().await && begun.elapsed() < SOON {}
    assert!(!again().await);
    world.cloudflare.open_port();
    while !again().await && begun.elapsed() < SOON {}
    assert!(again().await);
    let World { cloudflare, http, .. } = world;
    let url = cloudflare.url();
    cloudflare.stop().await;
    assert!(http.get(url).send().await.is_err());
    Ok(())
}
