//! The emulator's own API under `/_emulator`, for people and for clients in other languages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::{Right, Secret};
use super::deliver::{Body, plain, text};
use super::fault::Fault;
use super::handles::{Credential, Remote};
use super::scope::{Scope, Setting};
use super::server::{Port, Shared};
use super::state::own_account;
use super::switches::LockReach;

/// The routes, for `--help` and for `GET /_emulator`.
pub(super) const ROUTES: &str = "\
GET    /_emulator/ledger[?since=SEQ]              every request: who, what, when, how it was answered
DELETE /_emulator/ledger                          forget them
GET    /_emulator/scopes                          zones and accounts
POST   /_emulator/scopes                          {\"zone\": ID, \"domain\": D, \"account\": ID, \"china_network\": false}, or {\"account\": ID}
DELETE /_emulator/scopes/SCOPE                    the zone is gone: 7003 from now on
GET    /_emulator/entries/SCOPE                   what is stored now, without any lag
PUT    /_emulator/entries/SCOPE                   [{\"hostname\": H, \"client_certificate_forwarding\": true, \"china_network\": false}]:
                                                  somebody else's edit of these entries, without a request
DELETE /_emulator/entries/SCOPE[/HOSTNAME]        somebody else removes one entry, or all
GET    /_emulator/switches[/SCOPE]                how the API behaves; for all, or for one scope
PUT    /_emulator/switches[/SCOPE]                {\"semantics\": \"replace\", \"apply_delay_ms\": 2000, ...}: only these
                                                  change; GET lists all of them
DELETE /_emulator/switches[/SCOPE]                back to the beginning
GET    /_emulator/faults                          what waits for requests, in order
POST   /_emulator/faults                          {\"effect\": {\"kind\": \"refuse\", \"code\": 12132}, \"method\": \"PUT\", \"scope\": SCOPE,
                                                  \"credential\": NAME, \"times\": 2 (null: for ever), \"skip\": 0, \"delay_ms\": 0,
                                                  \"apply_first\": false}; kinds and their members:
                                                  answer(status, headers [[name, value]], body), refuse(code, status, message),
                                                  rate_limited(retry_after), text_1015(retry_after), limited_200, html_520,
                                                  challenge_403, silence, reset, close, bytes(bytes), slow(interval_ms),
                                                  truncate(after), reset_in_body(after), huge(bytes),
                                                  redirect(status, location), echo_credential(status), hold, pass
POST   /_emulator/faults/ID/release               let held requests go on
DELETE /_emulator/faults[/ID]                     take one away, or all
GET    /_emulator/credentials                     names, rights, whether revoked
POST   /_emulator/credentials                     {\"token\": T, or \"email\": E and \"key\": K, \"name\": N,
                                                  \"everywhere\": \"write\", \"rights\": {SCOPE: \"read\"}}
POST   /_emulator/credentials/NAME/revoke         and /restore
POST   /_emulator/locks/SCOPE                     {\"for_ms\": 5000, \"reach\": \"scope\" | \"account\"}: another client's change is
                                                  being applied, PUTs are refused with 409
DELETE /_emulator/locks/SCOPE                     it is done
POST   /_emulator/connections/drop                close every open connection
SCOPE is zones/ID or accounts/ID.
";

/// The largest body of a control request.
const LARGEST: usize = 16 << 20;

/// Why a control request was not done.
enum Refused {
    NoRoute,
    Wrong(String),
}

impl From<serde_json::Error> for Refused {
    fn from(error: serde_json::Error) -> Self {
        Self::Wrong(error.to_string())
    }
}

pub(super) async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST).collect().await else {
        return plain(400, &json!({"error": "the body cannot be read"}));
    };
    let body = body.to_bytes();
    let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
    let path = parts.uri.path().trim_start_matches("/_emulator").trim_matches('/');
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let outcome = body
        .map_err(Refused::from)
        .and_then(|body| route(shared, parts.method.as_str(), &segments, parts.uri.query().unwrap_or_default(), body));
    match outcome {
        Ok(Value::String(help)) => text(200, &help),
        Ok(value) => plain(200, &value),
        Err(Refused::NoRoute) => text(404, &format!("No such route. There are:\n{ROUTES}")),
        Err(Refused::Wrong(reason)) => plain(400, &json!({"error": reason})),
    }
}

fn route(shared: &Arc<Shared>, method: &str, path: &[&str], query: &str, body: Value) -> Result<Value, Refused> {
    let done = Ok(json!({"done": true}));
    match (method, path) {
        ("GET", []) => Ok(Value::String(ROUTES.to_owned())),
        ("GET", ["ledger"]) => {
            let since = query.strip_prefix("since=").map_or(Ok(0), str::parse);
            let since = since.map_err(|_| Refused::Wrong("`since` is a sequence number".to_owned()))?;
            Ok(json!(shared.lock().ledger.since(since)))
        }
        ("DELETE", ["ledger"]) => {
            shared.lock().ledger.clear();
            done
        }
        (_, ["scopes", rest @ ..]) => scopes(shared, method, rest, body),
        (_, ["entries", kind, id, rest @ ..]) => entries(&remote(shared, kind, id)?, method, rest, body),
        (_, ["switches", rest @ ..]) => switches(shared, method, rest, &body),
        (_, ["faults", rest @ ..]) => faults(shared, method, rest, body),
        (_, ["credentials", rest @ ..]) => credentials(shared, method, rest, body),
        ("POST", ["locks", kind, id]) => {
            let lock: Lock = serde_json::from_value(body)?;
            let until = std::time::Instant::now() + Duration::from_millis(lock.for_ms);
            let remote = remote(shared, kind, id)?;
            shared.lock().store.lock(remote.scope(), until, lock.reach);
            done
        }
        ("DELETE", ["locks", kind, id]) => {
            let remote = remote(shared, kind, id)?;
            let mut inner = shared.lock();
            for reach in [LockReach::Scope, LockReach::Account] {
                inner.store.lock(remote.scope(), std::time::Instant::now(), reach);
            }
            done
        }
        ("POST", ["connections", "drop"]) => {
            // After this answer: it travels on one of them.
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                shared.port.send_modify(|port| {
                    if let Port::Taking(count) = port {
                        *count += 1;
                    }
                });
            });
            done
        }
        _ => Err(Refused::NoRoute),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    for_ms: u64,
    #[serde(default = "scope_reach")]
    reach: LockReach,
}

fn scope_reach() -> LockReach {
    LockReach::Scope
}

fn remote(shared: &Arc<Shared>, kind: &str, id: &str) -> Result<Remote, Refused> {
    let scope = Scope::from_segments(kind, id).ok_or(Refused::NoRoute)?;
    if !shared.lock().store.knows(&scope) {
        return Err(Refused::Wrong(format!("there is no {scope}; POST it to /_emulator/scopes")));
    }
    Ok(Remote::new(Arc::clone(shared), scope))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewScope {
    zone: Option<String>,
    domain: Option<String>,
    account: Option<String>,
    #[serde(default)]
    china_network: bool,
}

fn scopes(shared: &Arc<Shared>, method: &str, path: &[&str], body: Value) -> Result<Value, Refused> {
    let now = std::time::Instant::now();
    match (method, path) {
        ("GET", []) => {
            let known = shared.lock().store.scopes();
            let scopes = known
                .into_iter()
                .map(|(scope, account, domain)| json!({"scope": scope, "account": account, "domain": domain}));
            Ok(scopes.collect())
        }
        ("POST", []) => {
            let new: NewScope = serde_json::from_value(body)?;
            let mut inner = shared.lock();
            let scope = match (new.zone, new.domain, new.account) {
                (Some(zone), Some(domain), account) => {
                    let account = account.unwrap_or_else(|| own_account(&zone));
                    inner.store.add_zone(&zone, &domain, &account, now);
                    Scope::zone(zone)
                }
                (None, None, Some(account)) => {
                    inner.store.add_account(&account, now);
                    Scope::account(account)
                }
                _ => return Err(Refused::Wrong("a scope is a zone with its domain, or an account".to_owned())),
            };
            inner.store.set_china(&scope, new.china_network);
            Ok(json!({"scope": scope}))
        }
        ("DELETE", [kind, id]) => {
            remote(shared, kind, id)?.delete();
            Ok(json!({"done": true}))
        }
        _ => Err(Refused::NoRoute),
    }
}

fn entries(remote: &Remote, method: &str, path: &[&str], body: Value) -> Result<Value, Refused> {
    match (method, path) {
        ("GET", []) => {}
        ("PUT", []) => {
            let settings: Vec<Setting> = serde_json::from_value(body)?;
            for setting in settings {
                remote.set(&setting.hostname, setting.client_certificate_forwarding, setting.china_network);
            }
        }
        ("DELETE", []) => remote.clear(),
        ("DELETE", [hostname]) => remote.remove(hostname),
        _ => return Err(Refused::NoRoute),
    }
    Ok(json!(remote.entries()))
}

fn switches(shared: &Arc<Shared>, method: &str, path: &[&str], changes: &Value) -> Result<Value, Refused> {
    let remote = match path {
        [] => None,
        [kind, id] => Some(remote(shared, kind, id)?),
        _ => return Err(Refused::NoRoute),
    };
    let mut inner = shared.lock();
    let scope = remote.as_ref().map(Remote::scope);
    let switches = match method {
        "GET" => return Ok(json!(inner.switches_of(scope))),
        "PUT" => Some(inner.switches_of(scope).patched(changes)?),
        "DELETE" => None,
        _ => return Err(Refused::NoRoute),
    };
    match (scope, switches) {
        (None, switches) => inner.switches = switches.unwrap_or_default(),
        (Some(scope), Some(switches)) => drop(inner.own_switches.insert(scope.clone(), switches)),
        (Some(scope), None) => drop(inner.own_switches.remove(scope)),
    }
    Ok(json!(inner.switches_of(scope)))
}

fn faults(shared: &Arc<Shared>, method: &str, path: &[&str], body: Value) -> Result<Value, Refused> {
    let id = match path.first() {
        None => None,
        Some(id) => Some(id.parse().map_err(|_| Refused::Wrong(format!("`{id}` is no number of a fault")))?),
    };
    let mut inner = shared.lock();
    let found = match (method, path) {
        ("GET", []) => return Ok(json!(inner.queue.all())),
        ("POST", []) => {
            let fault: Fault = serde_json::from_value(body)?;
            return Ok(json!(inner.queue.push(fault)));
        }
        ("POST", [_, "release"]) => inner.queue.release(id),
        ("DELETE", []) => {
            inner.queue.clear(None);
            true
        }
        ("DELETE", [_]) => inner.queue.clear(id),
        _ => return Err(Refused::NoRoute),
    };
    if found { Ok(json!({"done": true})) } else { Err(Refused::Wrong("there is no such fault".to_owned())) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCredential {
    token: Option<String>,
    email: Option<String>,
    key: Option<String>,
    name: Option<String>,
    everywhere: Option<Right>,
    #[serde(default)]
    rights: BTreeMap<Scope, Right>,
}

fn credentials(shared: &Arc<Shared>, method: &str, path: &[&str], body: Value) -> Result<Value, Refused> {
    match (method, path) {
        ("GET", []) => {
            let inner = shared.lock();
            let all = inner.register.all().iter().map(|record| {
                json!({
                    "name": record.name,
                    "everywhere": record.everywhere,
                    "rights": record.rights,
                    "revoked": record.revoked,
                })
            });
            Ok(all.collect())
        }
        ("POST", []) => {
            let new: NewCredential = serde_json::from_value(body)?;
            let secret = match (new.token, new.email, new.key) {
                (Some(token), None, None) => Secret::Token(token),
                (None, Some(email), Some(key)) => Secret::Key { email, key },
                _ => return Err(Refused::Wrong("a credential is a token, or an email and a key".to_owned())),
            };
            let mut inner = shared.lock();
            let name = inner.register.add(secret, new.name);
            if let Some(record) = inner.register.get_mut(&name) {
                record.everywhere = new.everywhere;
                record.rights = new.rights;
            }
            Ok(json!({"name": name}))
        }
        ("POST", [name, action @ ("revoke" | "restore")]) => {
            if shared.lock().register.get_mut(name).is_none() {
                return Err(Refused::Wrong(format!("there is no credential named {name}")));
            }
            let credential = Credential::new(Arc::clone(shared), (*name).to_owned());
            if *action == "revoke" {
                credential.revoke()
            } else {
                credential.restore()
            };
            shared.lock().register.forget_failures();
            Ok(json!({"done": true}))
        }
        _ => Err(Refused::NoRoute),
    }
}
