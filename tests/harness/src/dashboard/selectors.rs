//! Whether every metric that a query names, with every label that it selects or groups by, is really scraped.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::prometheus::Prometheus;

/// Labels by metric.
type Wanted = BTreeMap<String, BTreeSet<String>>;

/// Looks up each selector of these queries.
///
/// # Errors
/// Names the metrics and labels that no series has, and the queries that Prometheus cannot parse.
pub(super) async fn check(prometheus: &Prometheus, queries: impl IntoIterator<Item = &str>) -> Result<usize> {
    let mut wanted = Wanted::new();
    for query in queries {
        gather(&prometheus.get("parse_query", &[("query", query)]).await?, &BTreeSet::new(), &mut wanted);
    }
    let mut complaints = Vec::new();
    for (metric, labels) in &wanted {
        let series = prometheus.get("series", &[("match[]", metric)]).await?;
        let series: Vec<&Value> = series.as_array().into_iter().flatten().collect();
        if series.is_empty() {
            complaints.push(format!("no series is called {metric}"));
            continue;
        }
        let missing = labels.iter().filter(|label| series.iter().all(|one| one.get(label.as_str()).is_none()));
        complaints.extend(missing.map(|label| format!("no series of {metric} has a label {label}")));
    }
    if complaints.is_empty() { Ok(wanted.len()) } else { Err(Error::new(complaints.join("\n"))) }
}

/// Walks the syntax tree of a query. What an aggregation or a match names has to be a label of each metric below it.
fn gather(node: &Value, above: &BTreeSet<String>, wanted: &mut Wanted) {
    let names = |value: Option<&Value>| -> Vec<String> {
        value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let kind = node.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut labels = above.clone();
    match kind {
        "vectorSelector" | "matrixSelector" => {
            let name = node.get("name").and_then(Value::as_str).unwrap_or_default();
            let matchers = node.get("matchers").and_then(Value::as_array).into_iter().flatten();
            let matched = matchers.filter_map(|matcher| matcher.get("name").and_then(Value::as_str));
            labels.extend(matched.filter(|label| *label != "__name__").map(str::to_owned));
            wanted.entry(name.to_owned()).or_default().extend(labels);
            return;
        }
        // What is above an aggregation sees no more labels than it leaves.
        "aggregation" if node.get("without") == Some(&json!(false)) => {
            labels = names(node.get("grouping")).into_iter().collect();
        }
        "binaryExpr" if node.pointer("/matching/on") == Some(&json!(true)) => {
            labels.extend(names(node.pointer("/matching/labels")));
        }
        _ => {}
    }
    for child in ["expr", "lhs", "rhs", "param"] {
        if let Some(child) = node.get(child) {
            gather(child, &labels, wanted);
        }
    }
    for argument in node.get("args").and_then(Value::as_array).into_iter().flatten() {
        gather(argument, &labels, wanted);
    }
}
