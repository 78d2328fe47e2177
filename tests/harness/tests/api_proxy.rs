//! That the fault proxy is invisible without a fault, and does with one what its name says.

use std::time::{Duration, Instant};

use harness::account::Account;
use harness::api_proxy::{ApiProxy, Effect, Fault, status};
use harness::control_plane::ControlPlane;
use harness::fixture::{Fixture, PATIENCE, eventually};
use harness::{Error, Result};
use serde_json::{Value, json};

const OBJECTS: &str = "mtlshostnamesettings";
const SHORT: Duration = Duration::from_millis(300);

/// A client of the API server through a proxy, with the rights of an operator.
struct Through {
    proxy: ApiProxy,
    fixture: Fixture,
    http: reqwest::Client,
    token: String,
}

impl Through {
    async fn new() -> Result<Self> {
        let control_plane = ControlPlane::shared().await?;
        let proxy = ApiProxy::start(control_plane).await?;
        let ca = reqwest::Certificate::from_pem(&std::fs::read(proxy.ca_certificate())?)?;
        let http = reqwest::Client::builder().tls_certs_only([ca]).retry(reqwest::retry::never()).no_proxy().build()?;
        let token = Account::new(control_plane).await?.token().await?;
        Ok(Self { proxy, fixture: Fixture::new(control_plane).await?, http, token })
    }

    fn request(&self, query: &str) -> reqwest::RequestBuilder {
        let (url, namespace) = (self.proxy.url(), self.fixture.namespace());
        let url = format!("{url}/apis/cloudflare-mtls.dev/v1alpha1/namespaces/{namespace}/{OBJECTS}{query}");
        self.http.get(url).bearer_auth(&self.token)
    }

    /// Status and body of a list.
    async fn list(&self) -> Result<(u16, Value)> {
        let answer = self.request("").send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// How many objects a list has.
    async fn count(&self) -> Result<usize> {
        let (_, list) = self.list().await?;
        list.get("items").and_then(Value::as_array).map(Vec::len).ok_or_else(|| Error::new(format!("{list:#}")))
    }

    async fn watch(&self) -> Result<reqwest::Response> {
        Ok(self.request("?watch=true").send().await?)
    }

    async fn apply(&self, name: &str) -> Result<Value> {
        self.fixture.apply(&self.fixture.settings(name).hostname("a.example.com", true).build()).await
    }
}

/// The next line of a watch.
async fn line(watch: &mut reqwest::Response) -> Result<Option<Value>> {
    let chunk = tokio::time::timeout(PATIENCE, watch.chunk()).await??;
    Ok(chunk.map(|chunk| serde_json::from_slice(&chunk)).transpose()?)
}

fn name(event: Option<&Value>) -> Option<&str> {
    event?.pointer("/object/metadata/name")?.as_str()
}

#[tokio::test]
async fn without_a_fault_it_is_invisible_and_keeps_a_record() -> Result<()> {
    let through = Through::new().await?;
    let mut watch = through.watch().await?;
    through.apply("one").await?;
    assert_eq!(name(line(&mut watch).await?.as_ref()), Some("one"));
    assert_eq!(through.count().await?, 1);
    let unknown = through.http.get(format!("{}/nowhere", through.proxy.url()));
    // By name, so that the audit log does not take it for an operator's.
    let unknown = unknown.header("user-agent", "test").bearer_auth(&through.token);
    assert_eq!(unknown.send().await?.status(), 403, "an answer is passed on, whatever it is");
    let ledger = through.proxy.ledger();
    assert_eq!(
        ledger.of("watch", OBJECTS).all().first().map(|watch| (watch.status, watch.end)),
        Some((Some(200), None))
    );
    let lists = ledger.of("list", OBJECTS);
    assert!(lists.all().iter().all(|list| list.status == Some(200) && list.end.is_some()), "{ledger}");
    drop(watch);
    let ended = || through.proxy.ledger().of("watch", OBJECTS).all().iter().all(|watch| watch.end.is_some());
    through.proxy.until("the watch has ended", PATIENCE, ended).await
}

#[tokio::test]
async fn each_fault_does_what_its_name_says() -> Result<()> {
    let through = Through::new().await?;
    let proxy = &through.proxy;
    proxy.inject(Fault::refusal_with(429, "TooManyRequests", &[("retry-after", "7")]).on("list").after_passing(1));
    assert_eq!(through.list().await?.0, 200);
    let limited = through.request("").send().await?;
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].as_bytes()), (429, b"7".as_slice()));
    assert_eq!(through.list().await?.0, 200);

    for effect in [Effect::Reset, Effect::Close, Effect::Truncate { after: 10 }] {
        proxy.inject(Fault::from(effect.clone()).of(OBJECTS));
        assert!(through.list().await.is_err(), "{effect:?}");
    }
    let silence = proxy.inject(Effect::Silence);
    let silent = async {
        silence.until_met(1, PATIENCE).await?;
        tokio::time::sleep(SHORT).await;
        Ok::<(), Error>(())
    };
    tokio::select! {
        listed = through.list() => return Err(Error::new(format!("{listed:?} from silence"))),
        silent = silent => silent?,
    }

    let started = Instant::now();
    proxy.inject(Fault::from(Effect::Pass).delayed(SHORT));
    assert_eq!(through.list().await?.0, 200);
    assert!(started.elapsed() >= SHORT);

    let held = proxy.inject(Effect::Hold);
    let release = async {
        held.until_met(1, PATIENCE).await?;
        held.release();
        Ok::<(), Error>(())
    };
    let (listed, released) = tokio::join!(through.list(), release);
    released?;
    assert_eq!(listed?.0, 200);

    proxy.inject(Fault::rewrite(|list| vec![json!({"was": list["kind"]})]));
    assert_eq!(through.list().await?.1, json!({"was": "MtlsHostnameSettingsList"}));
    Ok(())
}

#[tokio::test]
async fn a_watch_can_be_changed_ended_muted_and_added_to() -> Result<()> {
    let through = Through::new().await?;
    let proxy = &through.proxy;
    let twice = |event: Value| vec![event.clone(), event];
    proxy.inject(Fault::rewrite(twice).on("watch"));
    let mut doubled = through.watch().await?;
    let mut plain = through.watch().await?;
    proxy.inject(Effect::Mute);
    let mut mute = through.watch().await?;
    through.apply("one").await?;
    assert_eq!(name(line(&mut doubled).await?.as_ref()), Some("one"));
    assert_eq!(name(line(&mut doubled).await?.as_ref()), Some("one"));
    assert_eq!(name(line(&mut plain).await?.as_ref()), Some("one"));
    proxy.insert_line(&json!({"type": "ERROR", "object": status(410, "Expired")}));
    assert_eq!(line(&mut plain).await?.and_then(|event| event.pointer("/object/code").cloned()), Some(json!(410)));
    assert!(tokio::time::timeout(SHORT, mute.chunk()).await.is_err());
    // Long enough for what is there already to come before the end.
    proxy.inject(Effect::End { after: 10 * SHORT });
    let mut short = through.watch().await?;
    assert_eq!(name(line(&mut short).await?.as_ref()), Some("one"));
    assert_eq!(line(&mut short).await?, None, "an end in order");
    Ok(())
}

#[tokio::test]
async fn the_past_can_be_shown_and_the_port_shut() -> Result<()> {
    let through = Through::new().await?;
    let proxy = &through.proxy;
    through.apply("one").await?;
    assert_eq!(through.count().await?, 1);
    let past = proxy.snapshot();
    let mut watch = through.watch().await?;
    assert_eq!(name(line(&mut watch).await?.as_ref()), Some("one"));
    proxy.freeze_at(&past);
    through.apply("two").await?;
    assert_eq!(through.count().await?, 1);
    let one = through.request("/one").send().await?.json::<Value>().await?;
    assert_eq!(one.pointer("/metadata/name"), Some(&json!("one")), "taken from the list");
    proxy.thaw();
    assert_eq!(name(line(&mut watch).await?.as_ref()), Some("two"));
    assert_eq!(through.count().await?, 2);

    proxy.close_port();
    assert!(tokio::time::timeout(PATIENCE, through.list()).await?.is_err());
    proxy.open_port();
    proxy
        .until("the port is open", PATIENCE, || {
            std::net::TcpStream::connect(proxy.url().trim_start_matches("https://")).is_ok()
        })
        .await?;
    assert_eq!(through.count().await?, 2);
    proxy.fall_silent();
    assert!(tokio::time::timeout(SHORT, through.list()).await.is_err());
    proxy.open_port();
    eventually(PATIENCE, "new connections are served", async || {
        tokio::time::timeout(SHORT, through.count()).await.map_err(|_| Error::new("silence"))?
    })
    .await?;
    Ok(())
}
