//! The ledger, and the control API over HTTP.

use serde_json::{Value, json};

use super::super::{Effect, Fault, Semantics};
use super::{Outcome, SOON, TOKEN, World, ZONE, hostnames, sent};

#[tokio::test]
async fn the_ledger_has_everything_but_the_credential() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    sent(world.get(scope)).await?;
    let mark = world.cloudflare.ledger().mark();
    sent(world.put(scope, &[("a.example.com", true, false)]).header("user-agent", "tester/1")).await?;
    let ledger = world.cloudflare.ledger();
    assert_eq!((ledger.len(), ledger.since(mark).len()), (2, 1));
    let put = ledger.puts(scope).into_iter().next().ok_or("no PUT")?.clone();
    assert_eq!((put.seq, put.status, put.credential.as_deref()), (2, Some(202), Some("writer")));
    assert_eq!(put.user_agent.as_deref(), Some("tester/1"));
    assert_eq!(put.settings(), [("a.example.com".to_owned(), true, false)]);
    assert!(put.accepted_us >= Some(put.start_us) && put.end_us >= put.accepted_us);
    assert!(put.headers.iter().any(|name| name == "authorization"));
    assert!(ledger.to_string().contains("PUT /client/v4/zones/"));
    Ok(())
}

#[tokio::test]
async fn overlapping_puts_are_seen_and_consecutive_ones_are_not() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    for _ in 0..50 {
        sent(world.put(scope, &[("a.example.com", true, false)])).await?;
    }
    assert!(world.cloudflare.ledger().overlapping_puts().is_empty());
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT").times(2));
    let (first, second, met) = tokio::join!(
        sent(world.put(scope, &[("a.example.com", true, false)])),
        sent(world.put(scope, &[("b.example.com", true, false)])),
        async {
            let met = held.until_met(2, SOON).await;
            held.release();
            met
        },
    );
    met?;
    assert_eq!((first?.0, second?.0), (202, 202));
    assert_eq!(world.cloudflare.ledger().overlapping_puts().len(), 1);
    Ok(())
}

#[tokio::test]
async fn two_scopes_have_switches_of_their_own() -> Outcome {
    let world = World::start().await?;
    world.zone.set("old.example.com", true, false);
    world.other.set("old.example.org", true, false);
    world.cloudflare.switch_in(world.zone.scope(), |switches| switches.semantics = Semantics::Replace);
    sent(world.put(world.zone.scope(), &[("new.example.com", true, false)])).await?;
    sent(world.put(world.other.scope(), &[("new.example.org", true, false)])).await?;
    assert_eq!((world.zone.entries().len(), world.other.entries().len()), (1, 2));
    Ok(())
}

#[tokio::test]
async fn everything_is_steered_over_http_too() -> Outcome {
    let world = World::start().await?;
    let base = format!("http://{}/_emulator", world.cloudflare.address());
    let call = async |method: &str, path: &str, body: Value| -> Result<(u16, Value), reqwest::Error> {
        let method = method.parse().unwrap_or(reqwest::Method::GET);
        let request = world.http.request(method, format!("{base}/{path}"));
        sent(if body.is_null() { request } else { request.json(&body) }).await
    };
    let scope = world.zone.scope();
    let help = world.http.get(&base).send().await?.text().await?;
    assert!(help.contains("/_emulator/faults"));

    let entry = json!([{"hostname": "theirs.example.com", "client_certificate_forwarding": true}]);
    assert_eq!(call("PUT", &format!("entries/{scope}"), entry).await?.0, 200);
    assert_eq!(hostnames(&sent(world.get(scope)).await?.1), ["theirs.example.com"]);
    call("DELETE", &format!("entries/{scope}/theirs.example.com"), Value::Null).await?;
    assert!(world.zone.entries().is_empty());

    let fault = json!({"effect": {"kind": "refuse", "code": 12036}, "method": "GET", "scope": scope, "times": null});
    let (_, made) = call("POST", "faults", fault).await?;
    assert_eq!(sent(world.get(scope)).await?.0, 400);
    let id = made.get("id").and_then(Value::as_u64).ok_or("no id")?;
    call("DELETE", &format!("faults/{id}"), Value::Null).await?;
    assert_eq!(sent(world.get(scope)).await?.0, 200);

    call("PUT", &format!("switches/{scope}"), json!({"empty_result": "absent"})).await?;
    assert!(sent(world.get(scope)).await?.1.get("result").is_none());
    assert_eq!(call("PUT", "switches", json!({"no_such_switch": 1})).await?.0, 400);
    call("DELETE", &format!("switches/{scope}"), Value::Null).await?;

    let lock = format!("locks/{scope}");
    call("POST", &lock, json!({"for_ms": 60_000})).await?;
    assert_eq!(sent(world.put(scope, &[("a.example.com", true, false)])).await?.0, 409);
    call("DELETE", &lock, Value::Null).await?;
    assert_eq!(sent(world.put(scope, &[("a.example.com", true, false)])).await?.0, 202);

    call("POST", "credentials/writer/revoke", Value::Null).await?;
    assert_eq!(sent(world.get(scope)).await?.0, 403);
    call("POST", "credentials/writer/restore", Value::Null).await?;
    let key = json!({"email": "me@example.com", "key": "0000", "rights": {scope.to_string(): "read"}});
    assert_eq!(call("POST", "credentials", key).await?.1, json!({"name": "key-2"}));

    let (_, ledger) = call("GET", "ledger?since=1", Value::Null).await?;
    assert!(ledger.as_array().is_some_and(|all| all.len() > 4) && !ledger.to_string().contains(TOKEN));
    let (_, scopes) = call("GET", "scopes", Value::Null).await?;
    assert_eq!(scopes.as_array().map(Vec::len), Some(3), "{scopes}");
    call("DELETE", &format!("scopes/{scope}"), Value::Null).await?;
    assert_eq!(sent(world.get(scope)).await?.0, 404);
    let zone = json!({"zone": ZONE, "domain": "example.com", "china_network": true});
    call("POST", "scopes", zone).await?;
    assert_eq!(sent(world.get(scope)).await?.0, 200);
    let missing = world.http.get(format!("{base}/no/such/route")).send().await?;
    assert_eq!(missing.status(), 404);
    Ok(())
}
