//! The emulator's own tests: over real sockets, as its users see it.

mod faults;
mod semantics;
mod steering;

use std::time::Duration;

use serde_json::{Value, json};

use super::{Cloudflare, Remote, Scope};

const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";
const OTHER_ZONE: &str = "123e105f4ecef8ad9ca31a8372d0c353";
const ACCOUNT: &str = "699d98642c564d2e855e9661899b7252";
const TOKEN: &str = "a-token-that-may-write";
const SOON: Duration = Duration::from_secs(10);

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// An account with two zones and a token that may write everywhere.
struct World {
    cloudflare: Cloudflare,
    zone: Remote,
    other: Remote,
    account: Remote,
    http: reqwest::Client,
}

impl World {
    async fn start() -> Result<Self, Box<dyn std::error::Error>> {
        // Fails when another test of this process has installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cloudflare = Cloudflare::start().await?;
        let account = cloudflare.add_account(ACCOUNT);
        let zone = cloudflare.add_zone(ZONE, "example.com").in_account(ACCOUNT);
        let other = cloudflare.add_zone(OTHER_ZONE, "example.org").in_account(ACCOUNT);
        cloudflare.token(TOKEN).named("writer").may_write_everything();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(SOON).build()?;
        Ok(Self { cloudflare, zone, other, account, http })
    }

    fn settings_url(&self, scope: &Scope) -> String {
        format!("{}/{scope}/access/certificates/settings", self.cloudflare.url())
    }

    fn get(&self, scope: &Scope) -> reqwest::RequestBuilder {
        self.http.get(self.settings_url(scope)).bearer_auth(TOKEN)
    }

    /// A PUT of entries given as `(hostname, forwarding, china)`.
    fn put(&self, scope: &Scope, settings: &[(&str, bool, bool)]) -> reqwest::RequestBuilder {
        let settings: Vec<Value> = settings
            .iter()
            .map(|(hostname, forwarding, china)| {
                json!({"hostname": hostname, "client_certificate_forwarding": forwarding, "china_network": china})
            })
            .collect();
        self.put_body(scope, &json!({"settings": settings}))
    }

    fn put_body(&self, scope: &Scope, body: &Value) -> reqwest::RequestBuilder {
        self.http.put(self.settings_url(scope)).bearer_auth(TOKEN).json(body)
    }
}

/// Status and body.
async fn sent(request: reqwest::RequestBuilder) -> Result<(u16, Value), reqwest::Error> {
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.json().await?))
}

fn code(body: &Value) -> Option<i64> {
    body.pointer("/errors/0/code").and_then(Value::as_i64)
}

fn hostnames(body: &Value) -> Vec<&str> {
    let items = body.get("result").and_then(Value::as_array);
    items.into_iter().flatten().filter_map(|item| item.get("hostname")?.as_str()).collect()
}
