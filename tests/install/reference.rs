//! docs/reference.md: what is generated in it comes from the CRD and is current, and every reason has its row.

use std::{fmt::Write as _, path::PathBuf};

use cloudflare_mtls_operator::api::{Class, FIELD_MANAGER, FINALIZER, RECONCILE_AT, Reason, crd};
use harness::tools;
use serde_json::Value;

const VERSION: &str = "/spec/versions/0";

fn file() -> PathBuf {
    tools::workspace().join("docs/reference.md")
}

fn page() -> String {
    std::fs::read_to_string(file()).unwrap()
}

/// With `BLESS=1` in the environment, as `make reference` sets it, the page is written anew.
#[test]
fn the_reference_says_what_the_crd_says() {
    let crd = crd().unwrap();
    let (mut renewed, page) = (page(), page());
    for (name, text) in [("spec", spec(&crd)), ("status", status(&crd)), ("columns", columns(&crd))] {
        let (begin, end) = (format!("<!-- generated: {name} -->\n"), "<!-- end of what is generated -->");
        let start = renewed.find(&begin).unwrap_or_else(|| panic!("no {begin}")) + begin.len();
        let length = renewed[start..].find(end).unwrap_or_else(|| panic!("{begin} has no end"));
        renewed.replace_range(start..start + length, &format!("\n{text}\n"));
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(file(), renewed).unwrap();
        return;
    }
    let mut lines = page.lines().zip(renewed.lines()).enumerate();
    let first = lines.find(|(_, (old, new))| old != new);
    assert!(page == renewed, "docs/reference.md is stale: run `make reference`. First line, old and new: {first:?}");
}

#[test]
fn every_reason_has_a_row_with_its_class_its_meaning_and_what_to_do() {
    let page = page();
    let section = page.split("\n## Reasons\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let documented: Vec<_> = rows.iter().map(|row| (row[0].trim_matches('`').to_owned(), row[1])).collect();
    let class = |reason: &Reason| match reason.class() {
        Class::Ready => "Ready",
        Class::Reconciling => "Reconciling",
        Class::Stalled => "Stalled",
        Class::Reported => "–",
    };
    let closed: Vec<_> = Reason::ALL.iter().map(|reason| (reason.to_string(), class(reason))).collect();
    assert_eq!(documented, closed);
    for row in rows {
        assert!(row.len() == 4 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}

#[test]
fn the_names_that_others_depend_on_are_there() {
    let page = page();
    for name in [RECONCILE_AT, FINALIZER, FIELD_MANAGER] {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn every_flag_is_in_the_table_of_flags_with_its_variable_and_its_default() {
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_cloudflare-mtls-operator"));
    let help = { program }.args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let page = std::fs::read_to_string(tools::workspace().join("docs/operation.md")).unwrap();
    let mut flags = 0;
    for about in help.split("\n      --").skip(1) {
        let flag = about.split([' ', '[', '\n']).next().unwrap();
        let said = |what: &str| Some(about.split_once(what)?.1.split_once(']').unwrap().0);
        let row = page.lines().find(|line| line.starts_with(&format!("| `--{flag}` |")));
        let row = row.unwrap_or_else(|| panic!("--{flag} is not in docs/operation.md"));
        let variable = said("[env: ").unwrap().trim_end_matches('=');
        assert!(row.contains(&format!("| `{variable}` |")), "{row}");
        if let Some(default) = said("[default: ").filter(|default| !default.starts_with('[')) {
            assert!(row.contains(&format!("| `{default}` |")), "{row}: {default}");
        }
        flags += 1;
    }
    assert!(flags > 15, "{flags}");
}

/// A field of the schema, with the path under which a manifest has it.
struct Field<'a> {
    path: String,
    schema: &'a Value,
    required: bool,
}

impl Field<'_> {
    fn text(&self, name: &str) -> &str {
        self.schema[name].as_str().unwrap_or_default()
    }

    /// The type, with the limits that the schema sets.
    fn kind(&self) -> String {
        let kind = match self.text("type") {
            "array" => format!("list of {}s", self.schema["items"]["type"].as_str().unwrap()),
            "integer" => "integer".to_owned(),
            "string" if self.text("format") == "date-time" => "time".to_owned(),
            other => other.to_owned(),
        };
        if let Some(values) = self.schema["enum"].as_array() {
            let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.as_str().unwrap())).collect();
            return values.join(", ");
        }
        let limit = |name: &str| self.schema[name].as_u64();
        let items = if self.text("type") == "array" { "" } else { " characters" };
        let (least, most) = (limit("minLength").or(limit("minItems")), limit("maxLength").or(limit("maxItems")));
        match (least, most) {
            (Some(least), Some(most)) => format!("{kind}, {least} to {most}{items}"),
            (None, Some(most)) => format!("{kind}, at most {most}{items}"),
            _ => kind,
        }
    }

    /// Defaults are applied by the operator, so that they are in the descriptions and not in the schema.
    fn default(&self) -> Option<&str> {
        self.text("description").split("Default: `").nth(1)?.split('`').next()
    }

    fn rules(&self) -> impl Iterator<Item = &str> {
        self.schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|rule| rule["message"].as_str().unwrap())
    }
}

/// All fields below a schema, each before what is in it.
fn fields<'a>(schema: &'a Value, path: &str, found: &mut Vec<Field<'a>>) {
    let required = schema["required"].as_array();
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let required = required.is_some_and(|names| names.iter().any(|one| one.as_str() == Some(name)));
        let list = inner["type"] == "array";
        let path = format!("{path}.{name}");
        found.push(Field { path: path.clone(), schema: inner, required });
        let (inner, path) = if list { (&inner["items"], format!("{path}[]")) } else { (inner, path) };
        fields(inner, &path, found);
    }
}

fn below<'a>(crd: &'a Value, part: &str) -> (&'a Value, Vec<Field<'a>>) {
    let schema = crd.pointer(&format!("{VERSION}/schema/openAPIV3Schema/properties/{part}")).unwrap();
    let mut found = Vec::new();
    fields(schema, part, &mut found);
    assert!(found.len() > 10, "{part}");
    (schema, found)
}

fn spec(crd: &Value) -> String {
    let (schema, fields) = below(crd, "spec");
    let mut text = "| field | type | |\n|---|---|---|\n".to_owned();
    for field in &fields {
        let presence = if field.required {
            "required".to_owned()
        } else {
            field.default().map_or("optional".to_owned(), |default| format!("default `{default}`"))
        };
        // GitHub's anchors: the text in lower case without dots and brackets.
        let anchor = field.path.to_lowercase().replace(['.', '[', ']'], "");
        writeln!(text, "| [`{}`](#{anchor}) | {} | {presence} |", field.path, field.kind()).unwrap();
    }
    let whole = Field { path: "spec".to_owned(), schema, required: true };
    writeln!(text, "\nOf the whole of `spec`:\n").unwrap();
    for rule in whole.rules() {
        writeln!(text, "- {rule}").unwrap();
    }
    for field in &fields {
        writeln!(text, "\n### `{}`\n\n{}", field.path, field.text("description")).unwrap();
        let mut rules = field.rules().peekable();
        if rules.peek().is_some() {
            text.push('\n');
        }
        for rule in rules {
            writeln!(text, "- Rule: {rule}").unwrap();
        }
    }
    text
}

fn status(crd: &Value) -> String {
    let mut text = "| field | type | meaning |\n|---|---|---|\n".to_owned();
    for field in below(crd, "status").1 {
        let required = if field.required { ", always there" } else { "" };
        writeln!(text, "| `{}` | {}{required} | {} |", field.path, field.kind(), field.text("description")).unwrap();
    }
    text
}

fn columns(crd: &Value) -> String {
    let mut text = "| column | | shows | from |\n|---|---|---|---|\n".to_owned();
    for column in crd.pointer(&format!("{VERSION}/additionalPrinterColumns")).unwrap().as_array().unwrap() {
        let wide = if column["priority"].as_u64().unwrap_or_default() > 0 { "with `-o wide`" } else { "always" };
        let [name, shows, path] = ["name", "description", "jsonPath"].map(|part| column[part].as_str().unwrap());
        writeln!(text, "| {name} | {wide} | {shows} | `{path}` |").unwrap();
    }
    text
}
