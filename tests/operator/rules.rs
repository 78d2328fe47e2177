//! Every rule of the CRD on objects that keep or break it, asked of three judges that have to agree: the real API
//! server; the CRD's CEL evaluated here, with serde; and `ValidSpec`, which sees objects that another CRD let through.

use cloudflare_mtls_operator::api::{MtlsHostnameSettings, ValidSpec, crd};
use futures::StreamExt as _;
use harness::{
    control_plane::ControlPlane,
    fixture::{API_VERSION, Fixture},
};
use kube::{
    api::{DynamicObject, PostParams},
    core::cel::{CompiledSchema, Validator, compile_schema},
};
use serde_json::{Value, json};

mod spec;
mod table;

/// An object, new or changed from an old one, and what is to come of it.
pub(crate) struct Row {
    what: String,
    old: Option<Value>,
    spec: Value,
    verdict: Verdict,
}

#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    Accepted,
    /// CEL refuses it with just these messages.
    Cel(&'static [&'static str]),
    /// The schema refuses it, and the API server says something like this.
    Schema(&'static str),
}

#[test]
fn the_rules_evaluated_here_decide_as_the_table_says() {
    let rules = rules();
    let wrong: Vec<_> = table::rows().iter().filter_map(|row| judge_here(&rules, row).err()).collect();
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn the_api_server_decides_as_the_table_says_and_the_parser_agrees() {
    let rows = table::rows();
    let refused = rows.iter().filter(|row| !matches!(row.verdict, Verdict::Accepted)).count();
    assert!(refused >= 70 && rows.len() - refused >= 40, "{refused} of {} rows are refusals", rows.len());

    let fixture = Fixture::new(ControlPlane::shared().await.unwrap()).await.unwrap();
    let judged = futures::stream::iter(rows.iter().enumerate().map(|(index, row)| judge_there(&fixture, index, row)));
    let wrong: Vec<_> = judged.buffer_unordered(8).filter_map(|judged| async { judged.err() }).collect().await;
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

fn rules() -> CompiledSchema {
    let crd = crd().unwrap();
    let rules = compile_schema(crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap());
    assert!(!rules.has_errors(), "{:?}", rules.compilation_errors());
    rules
}

fn object(name: &str, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": API_VERSION,
        "kind": "MtlsHostnameSettings",
        "metadata": {"name": name, "namespace": "somewhere"},
    });
    if !spec.is_null() {
        object["spec"] = spec.clone();
    }
    object
}

fn judge_here(rules: &CompiledSchema, row: &Row) -> Result<(), String> {
    let (new, old) = (object("row", &row.spec), row.old.as_ref().map(|old| object("row", old)));
    let broken = Validator::new().validate_compiled(rules, &without_nulls(&new), old.as_ref()).err();
    let messages: Vec<_> = broken.iter().flatten().map(|broken| broken.message.clone()).collect();
    let parsed = serde_json::from_value::<MtlsHostnameSettings>(new)
        .map_err(|error| error.to_string())
        .and_then(|object| ValidSpec::parse(&object).map_err(|invalid| invalid.to_string()));
    let right = match row.verdict {
        Verdict::Accepted => messages.is_empty() && parsed.is_ok(),
        Verdict::Cel(expected) => same(&messages, expected) && (parsed.is_err() || is_transition(expected)),
        Verdict::Schema(_) => parsed.is_err(),
    };
    if right { Ok(()) } else { Err(format!("{}: CEL {messages:?}, parser {:?}", row.what, parsed.err())) }
}

/// As the API server does it before it looks at the rules.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, child)| !child.is_null())
            .map(|(key, child)| (key.clone(), without_nulls(child)))
            .collect(),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

async fn judge_there(fixture: &Fixture, index: usize, row: &Row) -> Result<(), String> {
    let (name, dry_run) = (format!("row-{index}"), PostParams { dry_run: true, ..PostParams::default() });
    let dynamic = |spec: &Value| {
        let mut object = object(&name, spec);
        object["metadata"]["namespace"] = json!(fixture.namespace());
        serde_json::from_value::<DynamicObject>(object).unwrap()
    };
    let answer = if let Some(old) = &row.old {
        let stored = fixture.objects().create(&PostParams::default(), &dynamic(old)).await;
        let mut new = dynamic(&row.spec);
        new.metadata.resource_version =
            stored.map_err(|error| format!("{}: {error}", row.what))?.metadata.resource_version;
        fixture.objects().replace(&name, &dry_run, &new).await
    } else {
        fixture.objects().create(&dry_run, &dynamic(&row.spec)).await
    };
    let refusal = match answer {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.code == 422 => Some(status.message),
        Err(other) => return Err(format!("{}: {other}", row.what)),
    };
    let right = match (row.verdict, &refusal) {
        (Verdict::Accepted, None) => true,
        // A rule that fails, instead of saying no, is "evaluated" in the message.
        (Verdict::Cel(expected), Some(refusal)) => {
            expected.iter().all(|message| refusal.contains(message)) && !refusal.contains("evaluating rule")
        }
        (Verdict::Schema(part), Some(refusal)) => refusal.contains(part),
        _ => false,
    };
    if !right {
        return Err(format!("{}: {}", row.what, refusal.as_deref().unwrap_or("accepted")));
    }
    the_parser_agrees(&dynamic(&row.spec), row, refusal.as_deref())
}

/// Whatever decodes is accepted and refused by the parser as by the server, with the same field named. The parser sees
/// no former state, so that what only a transition breaks is nothing to it.
fn the_parser_agrees(object: &DynamicObject, row: &Row, refusal: Option<&str>) -> Result<(), String> {
    let Ok(object) = serde_json::from_value::<MtlsHostnameSettings>(serde_json::to_value(object).unwrap()) else {
        return refusal.map(|_| ()).ok_or_else(|| format!("{}: accepted, though it doesn't decode", row.what));
    };
    let transition = matches!(row.verdict, Verdict::Cel(expected) if is_transition(expected));
    match (ValidSpec::parse(&object), refusal) {
        (Ok(_), None) => Ok(()),
        (Ok(_), Some(_)) if transition => Ok(()),
        (Err(invalid), Some(refusal)) if !transition && refusal.contains(&format!("{}: ", invalid.field)) => Ok(()),
        (parsed, refusal) => Err(format!("{}: server {refusal:?}, parser {:?}", row.what, parsed.err())),
    }
}

fn same(messages: &[String], expected: &[&str]) -> bool {
    messages.len() == expected.len() && expected.iter().all(|message| messages.iter().any(|seen| seen == message))
}

fn is_transition(messages: &[&str]) -> bool {
    messages.iter().all(|message| message.contains("is immutable"))
}
