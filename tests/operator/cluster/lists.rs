//! Lists and the beginning of watches: where the operator learns what there is.

use std::time::Duration;

use futures::StreamExt as _;
use harness::{
    api_proxy::{Effect, Fault, status},
    fixture::{PATIENCE, condition, eventually},
};
use kube::api::ListParams;
use serde_json::{Value, json};

use super::{Cluster, OBJECTS};

const CROWD: usize = 1000;
/// For a thousand objects on a busy machine.
const LONG: Duration = Duration::from_secs(90);

/// An operator whose first requests of this verb go wrong, one after the other.
async fn begins_in_spite_of(verb: &str, faults: Vec<Fault>) {
    let count = faults.len();
    let faults = faults.into_iter().map(|fault| fault.on(verb).of(OBJECTS)).collect();
    let cluster = Cluster::starting(|operator| operator, faults).await;
    cluster.apply("first", &[("first.example.com", true)]).await;
    cluster.settles(&["first"], &["trying again"]).await;
    let requests = cluster.proxy.ledger().of(verb, OBJECTS);
    let met = requests.filtered(|exchange| exchange.fault.is_some());
    assert_eq!(met.len(), count, "{requests}");
}

#[tokio::test]
async fn whatever_comes_instead_of_a_list_or_a_watch_it_is_asked_for_again() {
    let html = || Fault::raw(200, &[("content-type", "text/html")], "<html>Bad gateway</html>");
    let other = || Fault::raw(200, &[], status(200, "OK").to_string());
    let empty = || Fault::raw(200, &[], "");
    let away = || Fault::refusal_with(503, "ServiceUnavailable", &[("retry-after", "3600")]);
    let limited = || Fault::refusal_with(429, "TooManyRequests", &[("retry-after", "3600")]);
    let error = || Fault::refusal(500, "InternalError");
    let reset = || Fault::from(Effect::Reset);
    tokio::join!(
        begins_in_spite_of("list", vec![Effect::Truncate { after: 60 }.into(), html(), other()]),
        begins_in_spite_of("list", vec![error(), away(), limited()]),
        begins_in_spite_of("list", vec![reset(), empty(), Fault::refusal(410, "Expired")]),
        begins_in_spite_of("watch", vec![html(), other(), reset()]),
        begins_in_spite_of("watch", vec![error(), away(), limited()]),
        begins_in_spite_of("watch", vec![empty(), Fault::refusal(410, "Expired"), Effect::Close.into()]),
    );
}

#[tokio::test]
async fn a_list_or_a_watch_that_disappears_is_given_up_after_a_while() {
    let silence = || vec![Effect::Silence.into()];
    tokio::join!(begins_in_spite_of("list", silence()), begins_in_spite_of("watch", silence()));
}

/// Gives the object `poison` a spec that does not decode, wherever it is shown.
fn poisoned(mut shown: Value) -> Vec<Value> {
    let spoil = |object: &mut Value| {
        if object["metadata"]["name"] == "poison" {
            object["spec"]["settings"] = json!("admin.example.com");
        }
    };
    spoil(&mut shown);
    if let Some(object) = shown.get_mut("object") {
        spoil(object);
    }
    shown.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(spoil);
    vec![shown]
}

#[tokio::test]
async fn an_expired_page_and_one_poisoned_object_among_a_thousand_harm_nobody() {
    let mut cluster = Cluster::new().await;
    cluster.world.stop().await;
    let name = |n: usize| format!("n{n:03}");
    let manifests: Vec<Value> = (1..CROWD)
        .map(|n| cluster.fixture.settings(&name(n)).hostname(&format!("{}.example.com", name(n)), true).build())
        .chain([cluster.fixture.settings("poison").hostname("poison.example.com", true).build()])
        .collect();
    let applied = futures::stream::iter(manifests.iter().map(|manifest| cluster.fixture.apply(manifest)));
    applied.buffer_unordered(16).for_each(|stored| async { drop(stored.unwrap()) }).await;
    cluster.proxy.inject(Fault::refusal(410, "Expired").on("list").of(OBJECTS).after_passing(5));
    cluster.proxy.inject(Fault::rewrite(poisoned).of(OBJECTS).for_ever());
    cluster.world.restart().await;

    let is_ready = |object: &Value| condition(object, "Ready").is_some_and(|ready| ready["status"] == "True");
    eventually(LONG, "all but one are ready", async || {
        let objects =
            cluster.fixture.objects().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let objects = objects.items.iter().map(|object| serde_json::to_value(object).unwrap());
        let count = objects.filter(is_ready).count();
        if count == CROWD - 1 { Ok(()) } else { Err(format!("{count} are ready")) }
    })
    .await
    .unwrap();
    let poison = cluster.until_reason("poison", "SpecInvalid").await;
    assert!(condition(&poison, "Stalled").is_some(), "{poison:#}");
    cluster.settles(&[&name(1), &name(CROWD - 1)], &["trying again"]).await;
    assert_eq!(cluster.remote.get("poison.example.com"), None);
    assert!(cluster.puts() <= 2, "{} writes", cluster.puts());
    let pages = cluster.proxy.ledger().of("list", OBJECTS);
    assert!(pages.all().iter().any(|page| page.status == Some(410)), "{pages}");
}

#[tokio::test]
async fn a_list_that_lacks_an_object_turns_nothing_off() {
    let cluster = Cluster::new().await;
    cluster.apply_resetting("there", "there.example.com").await;
    cluster.until_ready("there").await;
    let puts = cluster.puts();
    let empty = |mut list: Value| {
        list["items"] = json!([]);
        vec![list]
    };
    let lied = cluster.proxy.inject(Fault::rewrite(empty).on("list").of(OBJECTS));
    cluster.proxy.insert_line(&super::event("ERROR", &status(410, "Expired")));
    lied.until_met(1, PATIENCE).await.unwrap();
    cluster.proxy.until("a watch", PATIENCE, || cluster.is_watching()).await.unwrap();
    assert_eq!(cluster.remote.get("there.example.com"), Some((true, false)), "{}", cluster.ledger());
    cluster.proxy.insert_line(&super::event("ERROR", &status(410, "Expired")));
    cluster.apply_resetting("there", "elsewhere.example.com").await;
    cluster.settles(&["there"], &["trying again"]).await;
    assert_eq!(cluster.remote.get("there.example.com"), None, "what it let go is turned off");
    assert_eq!(cluster.puts(), puts + 1, "{}", cluster.ledger());
}
