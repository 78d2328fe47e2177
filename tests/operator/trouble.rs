//! What Cloudflare refuses, limits or fails to answer, as it shows in the status, and how it heals.

use harness::{
    cloudflare::{Effect, Entitlement, Fault},
    fixture::condition,
};
use serde_json::{Value, json};

use crate::world::World;

/// An object whose first look is refused in this way.
async fn refused(fault: impl Into<Fault>, reason: &str) -> (World, Value) {
    let world = World::new().await;
    world.cloudflare.inject(fault.into().for_ever());
    world.apply("bad", &[("bad.example.com", true)]).await;
    let object = world.until_reason("bad", reason).await;
    (world, object)
}

fn code(object: &Value) -> &Value {
    &object["status"]["lastResponse"]["errors"][0]["code"]
}

#[tokio::test]
async fn a_revoked_token_shows_its_code_and_heals() {
    let world = World::new().await;
    world.apply("admin", &[("admin.example.com", true)]).await;
    world.until_ready("admin").await;
    world.token.revoke();
    world.ask_for_a_look("admin", "1").await;
    let object = world.until_reason("admin", "AuthenticationFailed").await;
    assert!(condition(&object, "Stalled").is_some() && condition(&object, "Reconciling").is_none());
    assert!(code(&object).is_i64());
    assert_eq!(object["status"]["lastHandledReconcileAt"], "1");
    let message = condition(&object, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Secret") && message.contains(&code(&object).to_string()), "{message}");
    world.token.restore();
    world.ask_for_a_look("admin", "2").await;
    let object = world.until_ready("admin").await;
    assert!(object["status"]["lastResponse"].get("errors").is_none());
}

#[tokio::test]
async fn a_rate_limit_is_obeyed_to_the_second_even_when_the_spec_changes_meanwhile() {
    let world = World::new().await;
    world.cloudflare.inject(Fault::rate_limited(Some("12")));
    world.apply("many", &[("many.example.com", true)]).await;
    let object = world.until_reason("many", "RateLimited").await;
    assert!(condition(&object, "Reconciling").is_some());
    world.apply("many", &[("many.example.com", true), ("more.example.com", true)]).await;
    // The new generation is acknowledged at once, though nothing may be asked for it yet.
    world.until_reason("many", "RateLimited").await;
    assert_eq!(world.methods(), ["GET"]);
    world.until_ready("many").await;
    let ledger = world.ledger();
    let limited = ledger.all()[0].end_us.unwrap();
    let next = ledger.all()[1].start_us;
    assert!(next - limited >= 12_000_000, "asked again after {} us", next - limited);
}

#[tokio::test]
async fn a_limit_holds_for_the_token_in_whichever_secret_and_scope_it_is_used() {
    let world = World::new().await;
    let other = world.cloudflare.add_zone(&harness::fixture::random_id(), "example.org");
    world.token.may_write(other.scope());
    world.fixture.apply(&world.fixture.secret("copy", "token", crate::world::TOKEN)).await.unwrap();
    world.cloudflare.inject(Fault::rate_limited(Some("12")));
    world.apply("first", &[("first.example.com", true)]).await;
    world.until_reason("first", "RateLimited").await;
    let id = other.scope().to_string();
    let manifest = world.fixture.settings("second").zone(id.rsplit('/').next().unwrap()).credential("copy", "token");
    world.fixture.apply(&manifest.hostname("second.example.org", true).build()).await.unwrap();
    world.until_reason("second", "RateLimited").await;
    assert_eq!(world.cloudflare.ledger().len(), 1, "the second scope did not ask at all");
    world.until_ready("second").await;
    world.until_ready("first").await;
}

#[tokio::test]
async fn no_more_requests_are_made_than_the_budget_has() {
    let world = World::with(|operator| operator.arg("--requests-per-5m=3")).await;
    world.apply("thrift", &[("thrift.example.com", true)]).await;
    world.until_ready("thrift").await;
    world.apply("thrift", &[("thrift.example.com", false)]).await;
    world.until_reason("thrift", "Pending").await;
    assert_eq!(world.methods(), ["GET", "PUT", "GET"], "the fourth request would be one too many");
}

#[tokio::test]
async fn a_hostname_outside_the_zone_is_named_and_not_tried_again() {
    let world = World::new().await;
    world.apply("outside", &[("www.elsewhere.org", true)]).await;
    let object = world.until_reason("outside", "HostnameNotInScope").await;
    assert!(condition(&object, "Stalled").is_some());
    assert_eq!(code(&object), 12036);
    assert_eq!(object["status"]["hostnames"][0]["state"], "Rejected");
    world.look("outside").await;
    assert_eq!(world.ledger().puts(&world.scope()).len(), 1, "a refused entry costs nothing later");
    let object = world.until_reason("outside", "HostnameNotInScope").await;
    assert_eq!(code(&object), 12036, "what was refused stays in view");
    world.apply("outside", &[("www.example.com", true)]).await;
    world.until_ready("outside").await;
}

#[tokio::test]
async fn what_a_person_has_to_mend_is_stalled_with_its_reason() {
    let (_world, object) = refused(Fault::code(0), "PermissionDenied").await;
    let message = condition(&object, "Ready").unwrap()["message"].to_string();
    assert!(message.contains("Access: Mutual TLS Certificates Write"), "{message}");
    assert!(condition(&object, "Stalled").is_some());
    let (_world, object) = refused(Fault::code(7003), "ScopeNotFound").await;
    assert!(condition(&object, "Stalled").is_some());
    let (_world, object) = refused(Fault::code(9999), "NotEntitled").await;
    assert!(condition(&object, "Stalled").is_some());
    let world = World::new().await;
    world.cloudflare.switch(|switches| switches.entitlement = Entitlement::NoQuota);
    world.apply("plan", &[("plan.example.com", true)]).await;
    world.until_reason("plan", "NotEntitled").await;
}

#[tokio::test]
async fn what_gets_better_by_itself_is_reconciling_and_heals() {
    for (fault, reason) in [
        (Fault::from(Effect::Html520), "CloudflareUnavailable"),
        (Fault::from(Effect::Challenge403), "CloudflareUnavailable"),
        (Fault::from(Effect::Huge { bytes: 3_000_000 }), "CloudflareUnavailable"),
        (Fault::from(Effect::Truncate { after: 20 }), "ConnectionFailed"),
        (Fault::from(Effect::Reset), "ConnectionFailed"),
    ] {
        let effect = fault.effect.kind();
        let (world, object) = refused(fault, reason).await;
        assert!(condition(&object, "Reconciling").is_some(), "{effect}");
        assert!(condition(&object, "Stalled").is_none(), "{effect}");
        assert_eq!(object["status"]["hostnames"][0]["state"], "Pending", "{effect}");
        world.cloudflare.clear_faults();
        world.until_ready("bad").await;
    }
}

#[tokio::test]
async fn what_cloudflare_says_is_kept_whole_but_bounded_cleaned_and_masked() {
    let errors: Vec<Value> = (0..40)
        .map(|n| {
            json!({
                "code": 10000 + n,
                "message": format!("token {} is bad\u{7}\u{1b}[31m {}", crate::world::TOKEN, "x".repeat(3000)),
                "documentation_url": "https://developers.cloudflare.com/api/",
                "source": {"pointer": "/settings/0"},
                "more": [1, 2, 3],
            })
        })
        .collect();
    let body = json!({"success": false, "errors": errors, "messages": [{"code": 1, "message": "hm", "type": null}]});
    let answer = Fault::raw(403, &[("content-type", "application/json")], body.to_string());
    let (_world, object) = refused(answer, "AuthenticationFailed").await;
    let response = &object["status"]["lastResponse"];
    assert_eq!(response["httpStatus"], 403);
    assert_eq!(response["success"], false);
    assert_eq!(response["errors"].as_array().unwrap().len(), 16);
    let first = &response["errors"][0];
    assert_eq!(first["documentationUrl"], "https://developers.cloudflare.com/api/");
    assert_eq!(first["source"]["pointer"], "/settings/0");
    let message = first["message"].as_str().unwrap();
    assert!(message.starts_with("token *** is bad[31m xxx") && message.len() <= 1024, "{message}");
    assert_eq!(response["messages"], json!([{"code": 1, "message": "hm"}]));
}
