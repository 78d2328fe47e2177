//! What somebody on call sees: health, metrics, logs, events.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use harness::{
    cloudflare::{Effect, Fault, LockReach, Semantics},
    fixture::{PATIENCE, condition, eventually},
    operator::{Builder, Operator},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    behaviour::Behaviour,
    world::{World, electing},
};

/// The samples of a scrape: name and labels, with their values.
struct Scrape(BTreeMap<String, String>);

impl Scrape {
    async fn of(operator: &Operator) -> Self {
        let (status, text) = operator.get("/metrics").await.unwrap();
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.to_owned())
        });
        let count = text.lines().filter(|line| !line.starts_with('#')).count();
        let samples: BTreeMap<String, String> = samples.collect();
        assert_eq!(samples.len(), count, "no sample is there twice:\n{text}");
        Self(samples)
    }

    fn value(&self, sample: &str) -> &str {
        self.0.get(sample).map_or("absent", String::as_str)
    }

    /// Name and label names of every metric, as the documentation has them; parts of a histogram are one metric.
    fn metrics(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for sample in self.0.keys() {
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
            let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('='));
            let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
            metrics.entry(name.to_owned()).or_default().extend(labels);
        }
        metrics
    }
}

/// The table of the documentation: name and label names.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string("docs/metrics.md").unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        (cells[1].trim_matches('`').to_owned(), labels.filter(|label| !label.is_empty()).collect())
    };
    rows.map(row).collect()
}

#[tokio::test]
async fn the_metrics_are_those_that_are_documented_and_go_with_their_object() {
    let world = World::with(electing).await;
    let unknown = Scrape::of(&world.operator).await;
    assert!(!unknown.metrics().contains_key("cfmtls_ratelimit_remaining"), "nobody has said yet what is left");
    let limit = world.cloudflare.inject(Fault::from(Effect::Html520).on("GET"));
    world.apply("one", &[("one.example.com", true), ("two.example.com", true)]).await;
    limit.until_met(1, PATIENCE).await.unwrap();
    world.until_ready("one").await;
    world.remote.set("one.example.com", false, false);
    world.look("one").await;
    world.until_ready("one").await;
    world.cloudflare.inject(Fault::code(12036).on("PUT"));
    world.apply("bad", &[("bad.example.com", true)]).await;
    world.until_reason("bad", "HostnameNotInScope").await;

    let namespace = world.fixture.namespace();
    let object = |name: &str| format!("namespace=\"{namespace}\",name=\"{name}\"");
    let of_one = format!("cfmtls_resource_condition{{{},type=\"Ready\",status=\"True\"}}", object("one"));
    let of_bad = format!("cfmtls_resource_condition{{{},type=\"Stalled\",status=\"True\"}}", object("bad"));
    let shown = || async {
        let scrape = Scrape::of(&world.operator).await;
        let values = [&of_one, &of_bad].map(|sample| scrape.value(sample).to_owned());
        if values == ["1", "1"] { Ok(scrape) } else { Err(format!("{values:?}")) }
    };
    let scrape = eventually(PATIENCE, "the conditions as metrics", shown).await.unwrap();
    assert_eq!(scrape.metrics(), documented());
    for (sample, value) in [
        (format!("cfmtls_resource_reason{{{},reason=\"InSync\"}}", object("one")), "1"),
        (format!("cfmtls_resource_reason{{{},reason=\"HostnameNotInScope\"}}", object("bad")), "1"),
        (format!("cfmtls_resource_interval_seconds{{{}}}", object("one")), "600.0"),
        (format!("cfmtls_hostnames{{{},state=\"InSync\"}}", object("one")), "2"),
        (format!("cfmtls_hostnames{{{},state=\"Rejected\"}}", object("bad")), "1"),
        ("cfmtls_drift_detected_total".to_owned(), "1"),
        ("cfmtls_drift_corrected_total".to_owned(), "1"),
        ("cfmtls_foreign_writer_total".to_owned(), "0"),
        ("cfmtls_unexpected_remote_change_total".to_owned(), "0"),
        ("cfmtls_cloudflare_requests_total{method=\"PUT\",status=\"202\"}".to_owned(), "2"),
        ("cfmtls_cloudflare_requests_total{method=\"GET\",status=\"520\"}".to_owned(), "1"),
        ("cfmtls_cloudflare_errors_total{code=\"12036\"}".to_owned(), "1"),
        ("leader_election_master_status{name=\"cloudflare-mtls-operator\"}".to_owned(), "1"),
        ("controller_runtime_reconcile_errors_total{controller=\"mtlshostnamesettings\"}".to_owned(), "0"),
    ] {
        assert_eq!(scrape.value(&sample), value, "{sample}: {:#?}", scrape.0);
    }
    let synced = scrape.value(&format!("cfmtls_last_successful_sync_timestamp_seconds{{{}}}", object("one")));
    let now = jiff::Timestamp::now().as_second();
    assert!((now - 600..=now).contains(&synced.parse::<i64>().unwrap()), "{synced}");

    world.fixture.patch("bad", &json!({"spec": {"interval": "1h30m"}})).await.unwrap();
    world.fixture.patch("one", &json!({"spec": {"suspend": true}})).await.unwrap();
    let intervals = || async {
        let scrape = Scrape::of(&world.operator).await;
        let of = |name| scrape.value(&format!("cfmtls_resource_interval_seconds{{{}}}", object(name))).to_owned();
        let (suspended, told) = (of("one"), of("bad"));
        if suspended == "absent" && told == "5400.0" { Ok(()) } else { Err(format!("{suspended}, {told}")) }
    };
    eventually(PATIENCE, "an interval that was told, and none while suspended", intervals).await.unwrap();

    world.fixture.delete("one").await.unwrap();
    let gone = || async {
        let scrape = Scrape::of(&world.operator).await;
        let left: Vec<String> = scrape.0.into_keys().filter(|sample| sample.contains(&object("one"))).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    };
    eventually(PATIENCE, "the series of a deleted object gone", gone).await.unwrap();
}

/// Run by `make metrics`, which builds promtool.
#[tokio::test]
#[ignore = "needs promtool: make metrics"]
async fn promtool_finds_no_fault_in_the_metrics() {
    let world = World::with(electing).await;
    world.apply("one", &[("one.example.com", true)]).await;
    world.until_ready("one").await;
    world.look("one").await;
    let metrics = world.operator.metrics_as_text().await.unwrap();
    assert!(metrics.contains("cfmtls_resource_condition{"), "{metrics}");
    let mut promtool = std::process::Command::new(harness::tools::tool("promtool").unwrap())
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}\n{metrics}");
}

#[tokio::test]
async fn what_somebody_else_does_to_the_list_is_counted() {
    let world = World::under(Behaviour::new(Semantics::Replace, LockReach::Scope)).await;
    world.remote.set("foreign.example.com", true, false);
    world.apply("one", &[("one.example.com", true)]).await;
    world.until_ready("one").await;
    let scrape = Scrape::of(&world.operator).await;
    assert_eq!(scrape.value("cfmtls_unexpected_remote_change_total"), "1");
    let manifest = world.fixture.settings("one").with("syncMode", json!("Warn")).hostname("one.example.com", true);
    world.fixture.apply(&manifest.build()).await.unwrap();
    world.until_ready("one").await;
    world.remote.set("one.example.com", false, false);
    world.ask_for_a_look("one", "now").await;
    world.until_reason("one", "DriftDetected").await;
    world.look("one").await;
    let scrape = Scrape::of(&world.operator).await;
    assert_eq!(scrape.value("cfmtls_drift_detected_total"), "1", "it is counted once");
    assert_eq!(scrape.value("cfmtls_drift_corrected_total"), "0");
}

#[tokio::test]
async fn each_task_that_hangs_or_panics_is_caught_by_the_liveness_or_ends_the_program() {
    let hangs = |task: &str, check: &str| (format!("{task}=hang"), Some(check.to_owned()));
    let panics = |task: &str| (format!("{task}=panic"), None);
    let faults = [
        hangs("lease", "lease"),
        hangs("scope", "zones/"),
        hangs("events", "events"),
        panics("lease"),
        panics("scope"),
        panics("events"),
        panics("server"),
    ];
    let judged = faults.map(|(fault, check)| async move {
        let told = fault.clone();
        let elects = fault.starts_with("lease");
        let mut world = World::without_waiting(move |operator| {
            let operator = if elects { operator.leader_elect() } else { operator };
            operator.env("CFMTLS_FAILPOINTS", told.clone()).env("CFMTLS_PATIENCE", "3")
        })
        .await;
        world.apply("one", &[("one.example.com", true)]).await;
        let Some(check) = check else {
            assert_eq!(world.operator.wait_exit(PATIENCE).await.unwrap(), 1, "{fault}");
            let logs = world.operator.logs().unwrap();
            assert!(logs.contains("panicked"), "{fault}: {logs}");
            return;
        };
        let caught = || async {
            let (status, body) = world.operator.get("/healthz").await.map_err(|error| error.to_string())?;
            let failed = status == 503 && body.contains(&format!("[-]{check}")) && body.contains("no sign of life");
            if failed { Ok(()) } else { Err(format!("{status} {body}")) }
        };
        eventually(PATIENCE, format!("{fault} is caught"), caught).await.unwrap();
    });
    futures::future::join_all(judged).await;
}

#[tokio::test]
async fn an_object_on_which_the_operator_fails_says_so_and_its_neighbours_are_served() {
    let failpoints = "reconcile of poison=panic,filing of late-poison=panic";
    let mut world = World::with(move |operator| operator.env("CFMTLS_FAILPOINTS", failpoints)).await;
    for name in ["poison", "late-poison"] {
        world.apply(name, &[(&format!("{name}.example.com"), true)]).await;
        let object = world.until_reason(name, "InternalError").await;
        assert!(condition(&object, "Stalled").is_some(), "{object:#}");
    }
    world.apply("good", &[("good.example.com", true)]).await;
    world.until_ready("good").await;
    assert_eq!(world.operator.get("/healthz").await.unwrap().0, 200);
    let errors = "controller_runtime_reconcile_errors_total{controller=\"mtlshostnamesettings\"}";
    assert_eq!(Scrape::of(&world.operator).await.value(errors), "2");
    assert_eq!(world.remote.get("late-poison.example.com"), None, "nothing more is done for it: {}", world.ledger());
    world.operator.signal("TERM").unwrap();
    assert_eq!(world.operator.wait_exit(PATIENCE).await.unwrap(), 0, "nobody waits for its status");
    for line in world.operator.logs().unwrap().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[tokio::test]
async fn connections_that_say_nothing_too_much_or_too_slowly_do_not_keep_others_from_the_health_endpoints() {
    let world = World::new().await;
    let address = world.operator.http_url().trim_start_matches("http://").to_owned();
    // More than the server holds at a time, and none of them says anything.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    let answered = || async {
        let (status, body) = world.operator.get("/healthz").await.map_err(|error| error.to_string())?;
        if status == 200 { Ok(()) } else { Err(format!("{status} {body}")) }
    };
    eventually(PATIENCE, "an answer in spite of silent connections", answered).await.unwrap();
    // The silent ones are not kept for ever.
    for connection in &mut silent {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a silent connection was kept");
    }
    // Endless headers are refused, not gathered.
    let mut greedy = TcpStream::connect(&address).await.unwrap();
    greedy.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Much: ").await.unwrap();
    let much = vec![b'a'; 1024];
    let mut sent = 0_usize;
    while sent < 4 * 1024 * 1024 && greedy.write_all(&much).await.is_ok() {
        sent += much.len();
    }
    assert!(sent < 4 * 1024 * 1024, "4 MiB of headers were taken");
    // And one that sends a byte now and then is cut off.
    let mut slow = TcpStream::connect(&address).await.unwrap();
    let cut_off = async {
        while slow.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut_off).await.expect("a slow connection was kept");
    let (status, body) = world.operator.get("/healthz?verbose").await.unwrap();
    assert_eq!(status, 200);
    assert!(body.contains("[+]watch of ") && body.contains("healthz check passed"), "{body}");
}

fn everywhere(operator: Builder<'_>) -> Builder<'_> {
    operator.listen_everywhere()
}

#[tokio::test]
async fn the_health_endpoints_answer_over_both_versions_of_ip() {
    let world = World::with(everywhere).await;
    let port = world.operator.http_url().rsplit_once(':').unwrap().1.to_owned();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let answered = || async {
            let mut connection = TcpStream::connect(&address).await.map_err(|error| error.to_string())?;
            connection
                .write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
                .await
                .map_err(|error| error.to_string())?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
            if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(answer) }
        };
        eventually(PATIENCE, format!("an answer at {address}"), answered).await.unwrap();
    }
}
