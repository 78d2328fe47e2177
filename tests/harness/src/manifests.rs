//! Manifests and other documents, as YAML has them: what the chart renders, what is in a folder, what stands where.

use std::path::Path;

use serde_json::Value;

use crate::error::{Context as _, Result};

/// The documents of a text of YAML, without those that are empty.
///
/// # Errors
/// When it is no YAML.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_saphyr::from_multiple::<Option<Value>>(text).context("parsing YAML")?;
    Ok(documents.into_iter().flatten().filter(|document| !document.is_null()).collect())
}

/// Shows every part of a value, the value itself first, each with its path (`/spec/settings/0`).
pub fn walk(value: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, value);
    match value {
        Value::Object(map) => map.iter().for_each(|(key, child)| walk(child, &format!("{path}/{key}"), visit)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, child)| walk(child, &format!("{path}/{index}"), visit));
        }
        _ => {}
    }
}

/// Copies a folder with everything in it.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).context(to.display())?;
    for entry in std::fs::read_dir(from).context(from.display())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).context(target.display())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart_by_yaml_and_not_by_their_text() {
        let text = "---\na: 1\n---\n# Nothing but a comment.\n---\nb: |\n  x\n   ---\n  y\n--- # the last\nc: [2]\n";
        let found = documents(text).unwrap_or_default();
        let paths = |value: &Value| {
            let mut paths = Vec::new();
            walk(value, "", &mut |path, _| paths.push(path.to_owned()));
            paths.join(" ")
        };
        assert_eq!(found.iter().map(paths).collect::<Vec<_>>(), [" /a", " /b", " /c /c/0"]);
        assert!(documents("a: [").is_err());
    }
}
