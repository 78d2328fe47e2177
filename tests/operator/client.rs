//! The client of the remote API by itself: one attempt, a deadline, nothing followed, nothing carried away.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cloudflare_mtls_operator::{
    api::{Flags, Reason, Scope},
    cloudflare::{ApiUrl, Client, Credential, Failure},
};
use harness::{
    cloudflare::{Cloudflare, Effect, Fault},
    fixture::random_id,
};

use crate::world::{DOMAIN, TOKEN};

struct Remote {
    cloudflare: Cloudflare,
    client: Client,
    scope: Scope,
}

async fn remote() -> Remote {
    rustls::crypto::ring::default_provider().install_default().ok();
    let cloudflare = Cloudflare::start().await.unwrap();
    let id = random_id();
    let zone = cloudflare.add_zone(&id, DOMAIN);
    cloudflare.token(TOKEN).named("team").may_write(zone.scope());
    let url: ApiUrl = cloudflare.url().parse().unwrap();
    Remote { cloudflare, client: Client::new(&url).unwrap(), scope: Scope::zone(&id).unwrap() }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn token() -> Credential {
    Credential::api_token(TOKEN.as_bytes()).unwrap()
}

fn one_entry() -> BTreeMap<String, Flags> {
    let flags = Flags { client_certificate_forwarding: true, china_network: false };
    BTreeMap::from([("a.example.com".to_owned(), flags)])
}

impl Remote {
    async fn get(&self) -> Result<(), Failure> {
        self.client.get(&self.scope, &token()).await.map(|_| ())
    }

    async fn put(&self) -> Result<(), Failure> {
        self.client.put(&self.scope, &token(), &one_entry(), deadline()).await.map(|_| ())
    }
}

#[tokio::test]
async fn a_write_is_seen_by_the_next_read() {
    let remote = remote().await;
    remote.put().await.unwrap();
    let read = remote.client.get(&remote.scope, &token()).await.unwrap();
    assert_eq!(read.list.keys().collect::<Vec<_>>(), ["a.example.com"]);
    assert_eq!(read.response.http_status, Some(200));
    let left = read.left.unwrap();
    assert!((1..1200).contains(&left.remaining) && left.renewed_in <= std::time::Duration::from_secs(300), "{left:?}");
    assert!(read.response.ray_id.is_some());
}

#[tokio::test]
async fn one_call_is_one_request_whatever_the_answer() {
    let remote = remote().await;
    for status in [408, 425, 429, 500, 502, 503, 504, 520] {
        let mark = remote.cloudflare.ledger().mark();
        remote.cloudflare.inject(Fault::raw(status, &[("retry-after", "0")], "{}"));
        remote.put().await.unwrap_err();
        assert_eq!(remote.cloudflare.ledger().since(mark).len(), 1, "{status}");
    }
    let mark = remote.cloudflare.ledger().mark();
    remote.cloudflare.inject(Effect::Reset);
    let failure = remote.put().await.unwrap_err();
    assert_eq!(failure.refusal.reason, Reason::ConnectionFailed);
    assert_eq!(remote.cloudflare.ledger().since(mark).len(), 1);
}

#[tokio::test]
async fn whether_a_write_may_have_been_carried_out_is_told() {
    let remote = remote().await;
    remote.cloudflare.inject(Fault::from(Effect::Reset).once_applied());
    assert!(remote.put().await.unwrap_err().unclear);
    remote.cloudflare.inject(Fault::answer(502, "<html>"));
    assert!(remote.put().await.unwrap_err().unclear);
    remote.cloudflare.inject(Fault::code(12132));
    assert!(!remote.put().await.unwrap_err().unclear);
    remote.cloudflare.stop().await;
    let failure = remote.client.put(&remote.scope, &token(), &one_entry(), deadline()).await.unwrap_err();
    assert!(!failure.unclear, "nothing was sent");
    assert_eq!(failure.detail.as_deref(), Some("connection refused"));
}

#[tokio::test]
async fn a_write_whose_time_is_over_is_not_sent() {
    let remote = remote().await;
    let over = remote.client.put(&remote.scope, &token(), &one_entry(), Instant::now()).await.unwrap_err();
    assert_eq!(over.refusal.reason, Reason::ConnectionFailed);
    assert!(!over.unclear && over.detail.as_deref() == Some("no time was left to send it"), "{over:?}");
    assert!(remote.cloudflare.ledger().is_empty(), "{}", remote.cloudflare.ledger());
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_one_mebibyte() {
    let remote = remote().await;
    remote.cloudflare.inject(Effect::Huge { bytes: 1 << 33 });
    let failure = remote.get().await.unwrap_err();
    assert_eq!(failure.refusal.reason, Reason::CloudflareUnavailable, "8 GiB would not have ended before the deadline");
    // The connection of the cut answer is not used again.
    remote.get().await.unwrap();
}

#[tokio::test]
async fn silence_and_a_slow_body_end_at_the_deadline() {
    let silent = remote().await;
    silent.cloudflare.inject(Effect::Silence);
    let slow = remote().await;
    slow.cloudflare.inject(Effect::Slow { interval_ms: 1000 });
    let (one, other) = tokio::join!(silent.put(), slow.get());
    for failure in [one.unwrap_err(), other.unwrap_err()] {
        assert_eq!(failure.refusal.reason, Reason::ConnectionFailed);
        assert_eq!(failure.detail.as_deref(), Some("no complete answer within the deadline"));
    }
}

#[tokio::test]
async fn what_the_server_echoes_of_the_credential_is_masked() {
    let remote = remote().await;
    remote.cloudflare.inject(Effect::EchoCredential { status: 403 });
    let failure = remote.get().await.unwrap_err();
    let printed = format!("{failure:?} {failure} {:?}", token());
    assert!(printed.contains("***"), "{printed}");
    for piece in TOKEN.as_bytes().windows(8).map(|piece| std::str::from_utf8(piece).unwrap()) {
        assert!(!printed.contains(piece), "{printed}");
    }
}

#[test]
fn credentials_go_over_https_or_stay_on_this_machine() {
    for url in
        ["https://api.cloudflare.com/client/v4", "http://127.0.0.1:80", "http://[::1]:1/x/", "http://localhost:8787"]
    {
        assert!(url.parse::<ApiUrl>().is_ok(), "{url}");
    }
    for url in [
        "http://api.cloudflare.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://0.0.0.0",
        "file:///etc/passwd",
        "https://user@example.com",
        "https://example.com?x=1",
        "https://example.com#x",
        "example.com",
        "",
    ] {
        assert!(url.parse::<ApiUrl>().is_err(), "{url}");
    }
}
