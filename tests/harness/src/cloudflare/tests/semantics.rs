//! What is stored, what is shown, who is refused.

use std::time::Duration;

use serde_json::json;

use super::super::{EmptyResult, Entitlement, LockReach, Order, PutResult, Semantics, Setting};
use super::{ACCOUNT, Outcome, SOON, TOKEN, World, ZONE, code, hostnames, sent};

#[tokio::test]
async fn under_merge_a_put_leaves_the_others_alone() -> Outcome {
    let world = World::start().await?;
    world.zone.set("old.example.com", true, false);
    let (status, body) = sent(world.put(world.zone.scope(), &[("new.example.com", true, false)])).await?;
    assert_eq!((status, hostnames(&body)), (202, vec!["new.example.com", "old.example.com"]));
    assert_eq!(world.cloudflare.entries(world.zone.scope()).len(), 2);
    Ok(())
}

#[tokio::test]
async fn under_replace_a_zone_put_replaces_the_zone_and_an_account_put_everything() -> Outcome {
    let world = World::start().await?;
    world.cloudflare.switch(|switches| switches.semantics = Semantics::Replace);
    world.zone.set("old.example.com", true, false);
    world.other.set("theirs.example.org", true, false);
    sent(world.put(world.zone.scope(), &[("new.example.com", true, false)])).await?;
    assert_eq!(world.zone.entries(), [Setting::new("new.example.com", true, false)]);
    assert_eq!(world.other.entries(), [Setting::new("theirs.example.org", true, false)]);
    sent(world.put(world.account.scope(), &[("only.example.org", true, false)])).await?;
    assert_eq!(world.account.entries(), [Setting::new("only.example.org", true, false)]);
    Ok(())
}

#[tokio::test]
async fn an_entry_with_both_flags_off_vanishes_unless_it_is_kept() -> Outcome {
    let world = World::start().await?;
    world.zone.set("a.example.com", true, false);
    sent(world.put(world.zone.scope(), &[("a.example.com", false, false)])).await?;
    assert_eq!(hostnames(&sent(world.get(world.zone.scope())).await?.1), Vec::<&str>::new());
    world.zone.switch(|switches| switches.keep_all_false = true);
    sent(world.put(world.zone.scope(), &[("a.example.com", false, false)])).await?;
    assert_eq!(hostnames(&sent(world.get(world.zone.scope())).await?.1), ["a.example.com"]);
    Ok(())
}

#[tokio::test]
async fn a_hostname_of_another_zone_has_the_whole_put_refused() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    let (status, body) =
        sent(world.put(scope, &[("a.example.com", true, false), ("a.example.org", true, false)])).await?;
    assert_eq!((status, code(&body)), (400, Some(12036)));
    assert!(world.account.entries().is_empty());
    let lookalike = sent(world.put(scope, &[("notexample.com", true, false)])).await?.1;
    assert_eq!(code(&lookalike), Some(12036));
    assert_eq!(sent(world.put(scope, &[("*.example.com", true, false), ("example.com", true, false)])).await?.0, 202);
    assert_eq!(sent(world.put(world.account.scope(), &[("a.example.net", true, false)])).await?.0, 400);
    Ok(())
}

#[tokio::test]
async fn a_zones_get_shows_foreign_entries_when_it_is_switched_on() -> Outcome {
    let world = World::start().await?;
    world.other.set("theirs.example.org", true, false);
    assert!(hostnames(&sent(world.get(world.zone.scope())).await?.1).is_empty());
    world.zone.switch(|switches| switches.foreign_visible = true);
    assert_eq!(hostnames(&sent(world.get(world.zone.scope())).await?.1), ["theirs.example.org"]);
    assert!(world.zone.entries().is_empty());
    Ok(())
}

#[tokio::test]
async fn while_a_change_is_applied_it_is_not_shown_and_the_next_put_is_refused() -> Outcome {
    let world = World::start().await?;
    world.cloudflare.switch(|switches| switches.apply_delay_ms = 2000);
    let scope = world.zone.scope();
    assert_eq!(sent(world.put(scope, &[("a.example.com", true, false)])).await?.0, 202);
    assert!(hostnames(&sent(world.get(scope)).await?.1).is_empty());
    let (status, body) = sent(world.put(scope, &[("b.example.com", true, false)])).await?;
    assert_eq!((status, code(&body)), (409, Some(12132)));
    assert!(body.to_string().contains("previous certificate settings still being updated"));
    assert_eq!(sent(world.put(world.other.scope(), &[("b.example.org", true, false)])).await?.0, 202, "another zone");
    world.cloudflare.until("the change", SOON, || world.zone.is_settled()).await?;
    assert_eq!(hostnames(&sent(world.get(scope)).await?.1), ["a.example.com"]);
    Ok(())
}

#[tokio::test]
async fn the_lock_can_reach_over_the_account_or_nobody() -> Outcome {
    let world = World::start().await?;
    world.cloudflare.switch(|switches| {
        switches.apply_delay_ms = 60_000;
        switches.lock = LockReach::Account;
    });
    assert_eq!(sent(world.put(world.zone.scope(), &[("a.example.com", true, false)])).await?.0, 202);
    assert_eq!(sent(world.put(world.other.scope(), &[("a.example.org", true, false)])).await?.0, 409);
    let free = World::start().await?;
    free.cloudflare.switch(|switches| {
        switches.apply_delay_ms = 50;
        switches.lock = LockReach::Nobody;
    });
    for flag in [true, false, true] {
        assert_eq!(sent(free.put(free.zone.scope(), &[("a.example.com", flag, false)])).await?.0, 202);
    }
    free.cloudflare.until("the last", SOON, || free.zone.is_settled()).await?;
    assert_eq!(free.zone.get("a.example.com"), Some((true, false)));
    Ok(())
}

#[tokio::test]
async fn another_client_locks_a_scope_or_its_account() -> Outcome {
    let world = World::start().await?;
    world.zone.lock_for(Duration::from_secs(60));
    assert_eq!(sent(world.put(world.zone.scope(), &[("a.example.com", true, false)])).await?.0, 409);
    assert_eq!(sent(world.put(world.other.scope(), &[("a.example.org", true, false)])).await?.0, 202);
    world.zone.unlock();
    assert_eq!(sent(world.put(world.zone.scope(), &[("a.example.com", true, false)])).await?.0, 202);
    world.cloudflare.switch(|switches| switches.lock = LockReach::Account);
    world.zone.lock_for(Duration::from_secs(60));
    assert_eq!(sent(world.put(world.other.scope(), &[("a.example.org", true, false)])).await?.0, 409);
    Ok(())
}

#[tokio::test]
async fn reads_lag_by_count_and_by_time() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    world.zone.switch(|switches| switches.get_lag_reads = 2);
    sent(world.put(scope, &[("a.example.com", true, false)])).await?;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(hostnames(&sent(world.get(scope)).await?.1).len());
    }
    assert_eq!(seen, [0, 0, 1, 1]);
    assert_eq!(world.zone.entries().len(), 1, "what is stored does not lag");

    world.other.switch(|switches| switches.get_lag_ms = 60_000);
    world.other.set("b.example.org", true, false);
    assert!(hostnames(&sent(world.get(world.other.scope())).await?.1).is_empty());
    world.other.switch(|switches| switches.get_lag_ms = 0);
    assert_eq!(hostnames(&sent(world.get(world.other.scope())).await?.1), ["b.example.org"]);
    Ok(())
}

#[tokio::test]
async fn bodies_that_break_the_schema_are_refused_and_missing_flags_are_not() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    let wrong = [
        json!({"settings": [{"hostname": "a.example.com", "china_network": false, "owner": "me"}]}),
        json!({"settings": [{"hostname": "a.example.com", "client_certificate_forwarding": "true"}]}),
        json!({"settings": [{"client_certificate_forwarding": true}]}),
        json!({"settings": [{"hostname": ""}]}),
        json!({"settings": [{"hostname": "a.example.com"}, {"hostname": "A.example.com"}]}),
        json!({"settings": {"hostname": "a.example.com"}}),
        json!({}),
    ];
    for body in wrong {
        let (status, answer) = sent(world.put_body(scope, &body)).await?;
        assert_eq!((status, code(&answer)), (400, Some(12130)), "{body}");
    }
    let lenient = json!({"settings": [{"hostname": "a.example.com", "client_certificate_forwarding": true}]});
    assert_eq!(sent(world.put_body(scope, &lenient)).await?.0, 202);
    assert_eq!(world.zone.get("a.example.com"), Some((true, false)));
    Ok(())
}

#[tokio::test]
async fn the_china_network_needs_a_zone_that_has_it() -> Outcome {
    let world = World::start().await?;
    let put = || world.put(world.zone.scope(), &[("a.example.com", true, true)]);
    assert_eq!(sent(put()).await?.0, 400);
    world.zone.set_china_network(true);
    assert_eq!(sent(put()).await?.0, 202);
    Ok(())
}

#[tokio::test]
async fn answers_take_the_odd_forms_that_were_seen() -> Outcome {
    let world = World::start().await?;
    let scope = world.zone.scope();
    for (form, wanted) in
        [(EmptyResult::Array, Some(json!([]))), (EmptyResult::Null, Some(json!(null))), (EmptyResult::Absent, None)]
    {
        world.zone.switch(|switches| switches.empty_result = form);
        assert_eq!(sent(world.get(scope)).await?.1.get("result").cloned(), wanted);
    }
    world.zone.switch(|switches| {
        switches.order = Order::Reversed;
        switches.omit_messages = true;
        switches.omit_errors = true;
        switches.extra_members = true;
        switches.uppercase_hostnames = true;
        switches.result_info = true;
        switches.put_result = PutResult::Written;
    });
    world.zone.set("a.example.com", true, false);
    world.zone.set("b.example.com", true, false);
    let body = sent(world.get(scope)).await?.1;
    assert_eq!(hostnames(&body), ["B.EXAMPLE.COM", "A.EXAMPLE.COM"]);
    assert!(body.get("messages").is_none() && body.get("errors").is_none() && body.get("timing").is_some());
    assert_eq!(body.pointer("/result_info/count"), Some(&json!(2)));
    let written = sent(world.put(scope, &[("c.example.com", true, false)])).await?.1;
    assert_eq!(hostnames(&written), ["C.EXAMPLE.COM"]);
    Ok(())
}

#[tokio::test]
async fn each_wrong_credential_has_its_code() -> Outcome {
    let world = World::start().await?;
    let url = world.settings_url(world.zone.scope());
    let reader = world.cloudflare.token("a-token-that-may-read").named("reader");
    reader.may_read(world.zone.scope());
    world.cloudflare.token("a-token-without-rights");
    world.cloudflare.api_key("me@example.com", "c2547eb745079dac9320b638f5e225cf483cc").may_write_everything();
    let get = || world.http.get(&url);
    let key = |email: &str, key: &str| get().header("X-Auth-Email", email).header("X-Auth-Key", key);
    let known_key = "c2547eb745079dac9320b638f5e225cf483cc";
    let cases = [
        ("nothing", get(), 400, 9106, None),
        ("no such token", get().bearer_auth("no-such-token"), 403, 9109, None),
        ("no rights", get().bearer_auth("a-token-without-rights"), 403, 10000, None),
        ("base64", get().bearer_auth("YS10b2tlbgo="), 400, 6003, Some(6111)),
        ("another scheme", get().header("Authorization", format!("Token {TOKEN}")), 400, 6003, Some(6111)),
        ("a token as key", key("me@example.com", TOKEN), 400, 6003, Some(6103)),
        ("no such key", key("me@example.com", &"0".repeat(37)), 403, 9103, None),
        ("somebody else's key", key("you@example.com", known_key), 403, 9103, None),
        ("a key without e-mail", get().header("X-Auth-Key", known_key), 400, 9106, None),
    ];
    for (what, request, status, number, chain) in cases {
        let (answered, body) = sent(request).await?;
        assert_eq!((answered, code(&body)), (status, Some(number)), "{what}");
        let link = body.pointer("/errors/0/error_chain/0/code").and_then(serde_json::Value::as_i64);
        assert_eq!(link, chain, "{what}");
    }
    assert_eq!(sent(key("me@example.com", known_key)).await?.0, 200);
    assert_eq!(sent(get().bearer_auth("a-token-that-may-read")).await?.0, 200);
    let body = json!({"settings": []});
    let (status, answer) = sent(world.http.put(&url).bearer_auth("a-token-that-may-read").json(&body)).await?;
    assert_eq!((status, code(&answer)), (403, Some(0)));
    assert!(answer.to_string().contains("requires permission"));
    reader.revoke();
    assert_eq!(code(&sent(get().bearer_auth("a-token-that-may-read")).await?.1), Some(9109));
    reader.restore();
    assert_eq!(sent(get().bearer_auth("a-token-that-may-read")).await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn verify_endpoints_know_tokens_and_nothing_of_their_rights() -> Outcome {
    let world = World::start().await?;
    world.cloudflare.token("a-token-without-rights");
    for path in ["user".to_owned(), format!("accounts/{ACCOUNT}")] {
        let url = format!("{}/{path}/tokens/verify", world.cloudflare.url());
        let (status, body) = sent(world.http.get(&url).bearer_auth("a-token-without-rights")).await?;
        assert_eq!((status, body.pointer("/messages/0/code")), (200, Some(&json!(10000))));
        let (status, body) = sent(world.http.get(&url).bearer_auth("no-such-token")).await?;
        assert_eq!((status, code(&body)), (401, Some(1000)));
    }
    world.cloudflare.token("cfat_of-an-account");
    world.cloudflare.token("cfut_of-a-user");
    for (path, token, wanted) in [
        ("user", "cfut_of-a-user", 200),
        ("user", "cfat_of-an-account", 401),
        ("accounts/a", "cfut_of-a-user", 401),
        ("accounts/a", "cfat_of-an-account", 200),
    ] {
        let url = format!("{}/{path}/tokens/verify", world.cloudflare.url());
        assert_eq!(sent(world.http.get(&url).bearer_auth(token)).await?.0, wanted, "{path} {token}");
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_exist_is_7003() -> Outcome {
    let world = World::start().await?;
    world.zone.delete();
    let (status, body) = sent(world.get(world.zone.scope())).await?;
    assert_eq!((status, code(&body)), (404, Some(7003)));
    assert_eq!(body.pointer("/errors/1/code"), Some(&json!(7000)));
    let unknown = format!("{}/zones/{ZONE}/no/such/path", world.cloudflare.url());
    assert_eq!(sent(world.http.get(unknown).bearer_auth(TOKEN)).await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn what_was_not_bought_is_refused() -> Outcome {
    let world = World::start().await?;
    for (bought, number) in
        [(Entitlement::NoAccess, 9999), (Entitlement::NoQuota, 12130), (Entitlement::OtherPlan, 12133)]
    {
        world.cloudflare.switch(|switches| switches.entitlement = bought);
        assert_eq!(code(&sent(world.get(world.zone.scope())).await?.1), Some(number));
    }
    Ok(())
}
