//! The panels of the dashboard as Grafana reads them, and what Prometheus answers to each.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::prometheus::{Prometheus, Series};

/// How a panel is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A heading.
    Row,
    /// One number or word.
    Stat,
    /// Rows of labels.
    Table,
    /// Lines, or areas on top of each other.
    Curves { stacked: bool },
}

/// A panel with its answers.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) kind: Kind,
    pub(super) unit: String,
    /// Whether a stat shows the name of its series in the place of its value.
    pub(super) shows_name: bool,
    /// Column, row, width, height, in the units of Grafana's grid.
    pub(super) place: (u32, u32, u32, u32),
    pub(super) queries: Vec<Query>,
}

/// A query of a panel.
pub(super) struct Query {
    /// With Grafana's variables filled in.
    pub(super) text: String,
    legend: String,
    pub(super) answer: Vec<Series>,
}

impl Query {
    /// What the legend says of a series.
    pub(super) fn name(&self, series: &Series) -> String {
        let labels = series.labels.as_object();
        labels.into_iter().flatten().fold(self.legend.clone(), |text, (label, value)| {
            text.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap_or_default())
        })
    }
}

/// All panels of a dashboard in their order.
pub(super) fn read(dashboard: &Value) -> Result<Vec<Panel>> {
    let panels = dashboard.get("panels").and_then(Value::as_array).ok_or_else(|| Error::new("no panels"))?;
    panels.iter().map(panel).collect()
}

fn panel(panel: &Value) -> Result<Panel> {
    let text = |pointer: &str| panel.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let title = text("/title");
    let kind = match text("/type").as_str() {
        "row" => Kind::Row,
        "stat" => Kind::Stat,
        "table" => Kind::Table,
        "timeseries" => Kind::Curves { stacked: text("/fieldConfig/defaults/custom/stacking/mode") == "normal" },
        other => return Err(Error::new(format!("{title}: nobody can draw a panel of type {other}"))),
    };
    let side = |side: &str| {
        let value = panel.pointer(&format!("/gridPos/{side}")).and_then(Value::as_u64);
        value
            .and_then(|value| u32::try_from(value).ok())
            .ok_or_else(|| Error::new(format!("{title}: no gridPos.{side}")))
    };
    let targets = panel.get("targets").and_then(Value::as_array).into_iter().flatten();
    let query = |target: &Value| {
        let text = |member: &str| target.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        Query { text: filled_in(&text("expr")), legend: text("legendFormat"), answer: Vec::new() }
    };
    let queries: Vec<Query> = targets.map(query).collect();
    if kind != Kind::Row && queries.is_empty() {
        return Err(Error::new(format!("{title}: no query")));
    }
    let place = (side("x")?, side("y")?, side("w")?, side("h")?);
    let (unit, shows_name) = (text("/fieldConfig/defaults/unit"), text("/options/textMode") == "name");
    Ok(Panel { title, kind, unit, shows_name, place, queries })
}

/// As Grafana fills in its variables when everything is chosen and Prometheus is asked every second.
fn filled_in(query: &str) -> String {
    query.replace("$__rate_interval", "20s").replace("$job", ".*").replace("$namespace", ".*")
}

/// Asks everything of a time.
///
/// # Errors
/// Names each query that Prometheus refuses, that gives nothing, or whose series lack a label that the legend names.
pub(super) async fn ask(prometheus: &Prometheus, panels: &mut [Panel], time: (f64, f64)) -> Result<()> {
    let mut complaints = Vec::new();
    for panel in panels {
        for query in &mut panel.queries {
            let answer = match panel.kind {
                Kind::Curves { .. } => prometheus.query_range(&query.text, time).await,
                _ => prometheus.query(&query.text, Some(time.1)).await,
            };
            let complaint = match answer {
                Ok(answer) => {
                    query.answer = answer;
                    let nameless =
                        query.answer.iter().map(|series| query.name(series)).find(|name| name.contains("{{"));
                    let number =
                        query.answer.iter().flat_map(|series| &series.samples).any(|(_, value)| value.is_finite());
                    match nameless {
                        Some(name) => Some(format!("a series has no label for {name}")),
                        None => (!number).then(|| "no data".to_owned()),
                    }
                }
                Err(error) => Some(error.to_string()),
            };
            complaints.extend(complaint.map(|complaint| format!("{}: {}: {complaint}", panel.title, query.text)));
        }
    }
    if complaints.is_empty() { Ok(()) } else { Err(Error::new(complaints.join("\n"))) }
}
