//! A real Prometheus that scrapes operators, and what it can be asked.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::control_plane::{OPERATOR, free_port};
use crate::error::{Context as _, Error, Result};
use crate::fixture::{PATIENCE, eventually};
use crate::guard::Guarded;
use crate::operator::Operator;
use crate::tools;

/// The job that the alerts name, and the namespace of its pods.
const JOB: &str = OPERATOR;

/// One that scrapes every second. It ends when this value is dropped.
#[derive(Debug)]
pub struct Prometheus {
    _process: Guarded,
    url: String,
    client: reqwest::Client,
    _dir: TempDir,
}

/// A series of an answer: its labels, and its samples as seconds and values.
#[derive(Clone, Debug)]
pub struct Series {
    /// The labels, `__name__` among them.
    pub labels: Value,
    /// The samples in their order.
    pub samples: Vec<(f64, f64)>,
}

impl Prometheus {
    /// Starts one that scrapes these operators, each as a pod of its own, and evaluates the rules of a file.
    ///
    /// # Errors
    /// When the program is missing, or is not ready in time.
    pub async fn start(pods: &[(&str, &Operator)], rules: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let targets: Vec<Value> = pods
            .iter()
            .map(|(pod, operator)| {
                let address = operator.http_url().trim_start_matches("http://");
                json!({"targets": [address], "labels": {"namespace": OPERATOR, "pod": pod}})
            })
            .collect();
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules.canonicalize().context(rules.display())?],
            "scrape_configs": [{"job_name": JOB, "honor_labels": true, "static_configs": targets}],
        });
        // JSON is YAML.
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string()).context(file.display())?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let program = tools::tool("prometheus")?;
        let process = Guarded::spawn(&dir.path().join("log"), |command| {
            command
                .arg(program)
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
                .arg(format!("--web.listen-address={address}"));
        })?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?;
        let prometheus = Self { _process: process, url: format!("http://{address}"), client, _dir: dir };
        eventually(PATIENCE, "Prometheus is ready", async || {
            let answer = prometheus.client.get(format!("{}/-/ready", prometheus.url)).send().await;
            answer.and_then(reqwest::Response::error_for_status)
        })
        .await?;
        Ok(prometheus)
    }

    /// The `data` of an answer of its HTTP API.
    ///
    /// # Errors
    /// When it refuses the request, with its reason.
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/{path}", self.url), parameters)?;
        let mut answer: Value = serde_json::from_str(&self.client.get(url).send().await?.text().await?)?;
        if answer.get("status") == Some(&json!("success")) {
            return Ok(answer.get_mut("data").map(Value::take).unwrap_or_default());
        }
        Err(Error::new(format!("{path} {parameters:?}: {answer}")))
    }

    /// What a query gives at a time (seconds since 1970), or now.
    ///
    /// # Errors
    /// When it is no query.
    pub async fn query(&self, query: &str, at: Option<f64>) -> Result<Vec<Series>> {
        let at = at.map(|at| at.to_string());
        let time = at.as_deref().map(|at| ("time", at));
        let parameters: Vec<(&str, &str)> = [("query", query)].into_iter().chain(time).collect();
        series(&self.get("query", &parameters).await?)
    }

    /// What a query gives from one time to another, second by second.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_range(&self, query: &str, (start, end): (f64, f64)) -> Result<Vec<Series>> {
        let (start, end) = (start.to_string(), end.to_string());
        let parameters = [("query", query), ("start", &start), ("end", &end), ("step", "1")];
        series(&self.get("query_range", &parameters).await?)
    }
}

fn series(data: &Value) -> Result<Vec<Series>> {
    let result =
        data.get("result").and_then(Value::as_array).ok_or_else(|| Error::new("an answer without a result"))?;
    result
        .iter()
        .map(|one| {
            let single = one.get("value").map(std::slice::from_ref);
            let samples = one.get("values").and_then(Value::as_array).map(Vec::as_slice).or(single).unwrap_or_default();
            let labels = one.get("metric").cloned().unwrap_or_default();
            Ok(Series { labels, samples: samples.iter().map(sample).collect::<Result<_>>()? })
        })
        .collect()
}

/// `[seconds, "value"]`.
fn sample(pair: &Value) -> Result<(f64, f64)> {
    let at = pair.get(0).and_then(Value::as_f64).ok_or_else(|| Error::new(format!("no time in {pair}")))?;
    let value = pair.get(1).and_then(Value::as_str).ok_or_else(|| Error::new(format!("no value in {pair}")))?;
    Ok((at, value.parse()?))
}
