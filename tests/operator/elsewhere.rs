//! Where a credential must not go: to no host but the one that was configured, and to that one only once it has proved
//! who it is. Real hosts, which keep every byte that comes to them.

use std::time::Duration;

use harness::{
    canary,
    cloudflare::{Cloudflare, Fault},
    fixture::{PATIENCE, condition, eventually},
    hosts::{Face, Front, Proxy, Stranger},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    oracle::SUBJECT,
    world::{TOKEN, World},
};

/// A world whose operator finds the API at an address of its own, behind TLS.
struct Behind {
    world: World,
    front: Front,
    _folder: TempDir,
}

impl Behind {
    /// With these variables in the operator's environment too.
    async fn tls(face: Face, environment: &[(&'static str, String)]) -> Self {
        let mut world = World::new().await;
        let folder = tempfile::tempdir().unwrap();
        let front = Front::before(world.cloudflare.address(), folder.path()).await.unwrap();
        front.show(face);
        let (url, authority) = (front.url(), front.authority().display().to_string());
        let environment = environment.to_vec();
        world
            .restart_with(move |operator| {
                let operator = operator.cloudflare(url.clone()).env("SSL_CERT_FILE", authority.clone());
                environment.iter().fold(operator, |operator, (name, value)| operator.env(*name, value.clone()))
            })
            .await;
        Self { world, front, _folder: folder }
    }

    /// What the object says after a look that led to another connection, as `tried` counts them.
    async fn says(&self, tried: impl Fn() -> usize) -> String {
        let before = tried();
        self.world.ask_for_a_look(SUBJECT, &harness::fixture::random_id()).await;
        let another = async || if tried() > before { Ok(()) } else { Err("no connection") };
        eventually(PATIENCE, "another connection", another).await.unwrap();
        self.world.look(SUBJECT).await;
        let object = self.world.until_reason(SUBJECT, "ConnectionFailed").await;
        condition(&object, "Ready").unwrap()["message"].as_str().unwrap().to_owned()
    }
}

fn is_clean(place: &str, bytes: Vec<u8>) {
    assert_eq!(canary::complaint(place, Ok(bytes)), None);
}

fn holds_the_token(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).contains(TOKEN)
}

#[tokio::test]
async fn nothing_is_said_to_a_host_that_does_not_prove_who_it_is() {
    let behind = Behind::tls(Face::Expired, &[]).await;
    let Behind { world, front, .. } = &behind;
    world.apply(SUBJECT, &[("subject.example.com", true)]).await;
    for face in Face::BAD {
        front.show(face);
        let message = behind.says(|| front.connections()).await;
        assert!(face == Face::Plain || message.contains("TLS: "), "{face:?}: {message}");
        assert!(front.plain().is_empty(), "{face:?}: TLS stood");
        is_clean(&format!("{face:?}"), front.raw());
    }
    assert!(world.cloudflare.ledger().is_empty(), "{}", world.cloudflare.ledger());

    front.show(Face::Good);
    world.look(SUBJECT).await;
    world.assert_recovered(SUBJECT).await;
    assert!(holds_the_token(&front.plain()), "what is kept is what was sent");
    is_clean("the wire", front.raw());

    // A certificate that goes bad while the program runs, and its connections with it.
    let (sent, requests) = (front.plain().len(), world.cloudflare.ledger().len());
    front.show(Face::Expired);
    world.turn_subject().await;
    behind.says(|| front.connections()).await;
    assert_eq!((front.plain().len(), world.cloudflare.ledger().len()), (sent, requests));
    front.show(Face::Good);
    world.look(SUBJECT).await;
    world.assert_recovered(SUBJECT).await;
}

#[tokio::test]
async fn a_proxy_learns_where_to_and_nothing_else() {
    let proxy = Proxy::refusing("403 Forbidden").await.unwrap();
    let password = "wordpass-of-the-proxy";
    let url = format!("http://somebody:{password}@{}", proxy.address());
    let behind = Behind::tls(Face::Good, &[("HTTPS_PROXY", url)]).await;
    let Behind { world, front, .. } = &behind;
    world.apply(SUBJECT, &[("subject.example.com", true)]).await;
    for status in ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway", "302 Found"] {
        proxy.refuse(status);
        let message = behind.says(|| proxy.connections()).await;
        assert!(message.contains("proxy"), "{status}: {message}");
        is_clean("a proxy that refuses", proxy.received());
    }
    assert_eq!(front.connections(), 0, "nobody goes round the proxy");

    // One that connects, but to a host that nobody knows.
    proxy.connect();
    front.show(Face::OtherAuthority);
    behind.says(|| front.connections()).await;
    assert!(front.plain().is_empty());
    front.show(Face::Good);
    world.look(SUBJECT).await;
    world.assert_recovered(SUBJECT).await;
    assert!(holds_the_token(&front.plain()), "the host itself gets it");
    is_clean("a proxy that connects", proxy.received());
    let kept = String::from_utf8_lossy(&proxy.received()).into_owned();
    assert!(kept.starts_with("CONNECT localhost:"), "{kept:.200}");
    let logs = world.operator.logs().unwrap();
    assert!(!logs.contains(password), "{logs}");
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_reported_and_heals_with_a_name_that_somebody_knows() {
    let mut world = World::new().await;
    world.restart_with(|operator| operator.cloudflare("https://api.cloudflare.invalid/client/v4")).await;
    world.apply(SUBJECT, &[("subject.example.com", true)]).await;
    // A resolver may be slower than a connection may be.
    let says = |object: &Value| {
        let ready = condition(object, "Ready").cloned().unwrap_or_default();
        ready["reason"] == "ConnectionFailed" && ready["message"].to_string().contains("name")
    };
    let object = world.fixture.until(SUBJECT, "ConnectionFailed for the name", says).await.unwrap();
    assert!(condition(&object, "Reconciling").is_some(), "{object:#}");
    assert!(world.cloudflare.ledger().is_empty());
    let url = world.cloudflare.url();
    world.restart_with(move |operator| operator.cloudflare(url.clone())).await;
    world.assert_recovered(SUBJECT).await;
}

#[tokio::test]
async fn no_redirect_of_any_kind_is_followed_by_a_read() {
    let (stranger, other) = (Stranger::start().await.unwrap(), Cloudflare::start().await.unwrap());
    let world = World::with_subject().await;
    let path = format!("client/v4/{}/access/certificates/settings", world.scope());
    let to = [
        format!("http://{}/{path}", stranger.address()),
        format!("https://{}/{path}", stranger.address()),
        format!("//{}/{path}", stranger.address()),
        format!("http://localhost:{}/{path}", stranger.address().port()),
        format!("{}/x", other.url()),
        format!("{}/{path}", world.cloudflare.url().trim_end_matches("/client/v4")),
        format!("/{path}"),
        "?page=2".to_owned(),
        "http://[".to_owned(),
        String::new(),
    ];
    let all =
        to.iter().map(|location| (307, location)).chain([300, 301, 302, 303, 304, 305, 306, 308].map(|s| (s, &to[0])));
    for (status, location) in all {
        let redirect = world.cloudflare.inject(Fault::redirect(status, location).for_ever());
        let mark = world.cloudflare.ledger().mark();
        world.ask_for_a_look(SUBJECT, &harness::fixture::random_id()).await;
        let object = world.until_reason(SUBJECT, "CloudflareUnavailable").await;
        assert_eq!(object["status"]["lastResponse"]["httpStatus"], status, "{location}");
        redirect.clear();
        // One that was followed on the same host would stand there as a second request without a fault.
        let ledger = world.ledger().since(mark);
        assert!(ledger.all().iter().all(|exchange| exchange.fault.is_some()), "{status} {location}:\n{ledger}");
        world.look(SUBJECT).await;
        world.until_ready(SUBJECT).await;
    }
    world.assert_recovered(SUBJECT).await;
    assert_eq!(stranger.connections(), 0, "{:?}", stranger.received());
    assert!(other.ledger().is_empty(), "{}", other.ledger());
}

#[tokio::test]
async fn no_redirect_carries_a_write_away() {
    let stranger = Stranger::start().await.unwrap();
    let world = World::with_subject().await;
    for status in [301, 302, 303, 307, 308] {
        let target = format!("http://{}/elsewhere", stranger.address());
        world.endures(&format!("{status}"), Fault::redirect(status, target).on("PUT"), "CloudflareUnavailable").await;
    }
    assert_eq!(stranger.connections(), 0, "{:?}", stranger.received());
}

#[tokio::test]
async fn a_host_that_headers_name_is_not_asked() {
    let stranger = Stranger::start().await.unwrap();
    let world = World::with_subject().await;
    let (address, clear) = (stranger.address(), "text/html");
    let elsewhere = format!("http://{address}/");
    let headers = [
        ("content-type", clear),
        ("refresh", &format!("0; url={elsewhere}")),
        ("link", &format!("<{elsewhere}>; rel=\"next\"")),
        ("alt-svc", &format!("h2=\"{address}\"; ma=86400")),
        ("content-location", &elsewhere),
        ("location", &elsewhere),
        ("set-cookie", "session=1; Path=/"),
    ];
    for status in [200, 201, 503] {
        world.endures(&format!("{status}"), Fault::raw(status, &headers, "<html>"), "CloudflareUnavailable").await;
    }
    assert_eq!(stranger.connections(), 0, "{:?}", stranger.received());
    let cookies = |headers: &[String]| headers.iter().any(|name| name == "cookie");
    assert!(
        !world.ledger().all().iter().any(|exchange| cookies(&exchange.headers)),
        "nothing is remembered for a server"
    );
}

#[tokio::test]
async fn a_stranger_that_was_told_a_credential_fails_the_test() {
    let world = World::new().await;
    let stranger = Stranger::start().await.unwrap();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    client.get(format!("http://{}/", stranger.address())).bearer_auth(TOKEN).send().await.unwrap();
    assert!(holds_the_token(&stranger.received()) && stranger.connections() == 1);
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(stranger)));
    assert!(dropped.is_err(), "it kept quiet about it");
    drop(world);
}
