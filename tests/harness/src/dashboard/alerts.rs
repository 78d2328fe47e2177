//! Whether the alerts come true with their trouble, and only then. What `for` waits for is left to promtool.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{now, until_none};
use crate::error::{Error, Result};
use crate::prometheus::Prometheus;

/// The alerts that a Prometheus has loaded.
pub(super) struct Alerts<'a> {
    prometheus: &'a Prometheus,
    /// Queries by name.
    queries: BTreeMap<String, String>,
    /// Those that were seen to come true.
    true_once: RefCell<BTreeSet<String>>,
}

impl<'a> Alerts<'a> {
    pub(super) async fn of(prometheus: &'a Prometheus) -> Result<Self> {
        let rules = rules(prometheus).await?;
        let text = |rule: &Value, member: &str| rule.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let queries: BTreeMap<_, _> = rules.iter().map(|rule| (text(rule, "name"), text(rule, "query"))).collect();
        if queries.is_empty() {
            return Err(Error::new("Prometheus has no rules"));
        }
        Ok(Self { prometheus, queries, true_once: RefCell::default() })
    }

    /// What they ask.
    pub(super) fn queries(&self) -> impl Iterator<Item = &str> {
        self.queries.values().map(String::as_str)
    }

    /// Waits until Prometheus itself holds all of these for true, and has written what it will say of them.
    pub(super) async fn until(&self, names: &[&str]) -> Result<()> {
        until_none(format!("{names:?} come true"), async || {
            let rules = rules(self.prometheus).await?;
            let alerts = |name: &str| -> Vec<Value> {
                let rule = rules.iter().find(|rule| rule.get("name") == Some(&json!(name)));
                rule.and_then(|rule| rule.get("alerts")).and_then(Value::as_array).cloned().unwrap_or_default()
            };
            let complaint = |name: &&str| match alerts(name).as_slice() {
                [] => Some(format!("{name} is not true")),
                alerts => alerts.iter().find_map(unreadable),
            };
            Ok(names.iter().filter_map(complaint).collect())
        })
        .await?;
        self.true_once.borrow_mut().extend(names.iter().map(|name| (*name).to_owned()));
        Ok(())
    }

    /// Waits until none is true but these.
    pub(super) async fn until_silent_but(&self, names: &[&str]) -> Result<()> {
        self.until_silent(format!("no alert but {names:?}"), |name| !names.contains(&name)).await
    }

    /// Waits until one is not true any more.
    pub(super) async fn until_over(&self, name: &str) -> Result<()> {
        self.until_silent(format!("{name} is over"), |one| one == name).await
    }

    async fn until_silent(&self, what: String, concerns: impl Fn(&str) -> bool) -> Result<()> {
        until_none(what, async || {
            let rules = rules(self.prometheus).await?;
            let true_now = rules.iter().filter(|rule| rule.get("state") != Some(&json!("inactive")));
            let names = true_now.filter_map(|rule| rule.get("name").and_then(Value::as_str));
            Ok(names.filter(|name| concerns(name)).map(|name| format!("{name} is true")).collect())
        })
        .await
    }

    /// Whether an alert is not true now, and would be if nothing more were scraped for so long. For what takes minutes.
    pub(super) async fn would_come_true(&self, name: &str, later: Duration) -> Result<()> {
        let query = self.queries.get(name).ok_or_else(|| Error::new(format!("there is no alert {name}")))?;
        let at = async |at: f64| Ok::<_, Error>(!self.prometheus.query(query, Some(at)).await?.is_empty());
        if at(now()).await? || !at(now() + later.as_secs_f64()).await? {
            return Err(Error::new(format!("{name} is true now, or would not be in {later:?}")));
        }
        self.true_once.borrow_mut().insert(name.to_owned());
        Ok(())
    }

    /// Whether each alert was true at some time.
    pub(super) fn all_came_true(&self) -> Result<()> {
        let true_once = self.true_once.borrow();
        let never: Vec<&String> = self.queries.keys().filter(|name| !true_once.contains(*name)).collect();
        if never.is_empty() { Ok(()) } else { Err(Error::new(format!("never true here: {never:?}"))) }
    }
}

/// The rules as Prometheus has evaluated them.
async fn rules(prometheus: &Prometheus) -> Result<Vec<Value>> {
    let data = prometheus.get("rules", &[]).await?;
    let groups = data.get("groups").and_then(Value::as_array).into_iter().flatten();
    let rules: Vec<Value> =
        groups.flat_map(|group| group.get("rules").and_then(Value::as_array).into_iter().flatten()).cloned().collect();
    match rules.iter().find(|rule| rule.get("health") == Some(&json!("err"))) {
        Some(failed) => Err(Error::new(format!("Prometheus cannot evaluate a rule: {failed:#}"))),
        None => Ok(rules),
    }
}

/// What is wrong with the words of an alert.
fn unreadable(alert: &Value) -> Option<String> {
    let annotations = alert.get("annotations").and_then(Value::as_object).into_iter().flatten();
    let mut texts = annotations.filter_map(|(_, text)| text.as_str());
    let wrong =
        texts.find(|text| text.contains("<no value>") || text.contains("error expanding") || text.contains(" / "));
    wrong.map(|text| format!("nobody can read {text:?}"))
}
