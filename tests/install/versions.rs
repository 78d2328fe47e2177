//! The table of what was tried with what, held against the versions that the tests run.

use harness::tools;

const PAGE: &str = "docs/upgrades.md";

/// A row of the table, and the module below `tests/tools` that has a version it names.
const PINNED: [(&str, &str, &str); 13] = [
    ("Kubernetes", "kubernetes", "k8s.io/kubernetes"),
    ("Helm", "helm3", "helm.sh/helm/v3"),
    ("Helm", "helm4", "helm.sh/helm/v4"),
    ("Flux", "kustomize-controller", "github.com/fluxcd/kustomize-controller"),
    ("Flux", "helm-controller", "github.com/fluxcd/helm-controller"),
    ("Flux", "crds", "github.com/fluxcd/source-controller"),
    ("SOPS, age", "kustomize-controller", "github.com/getsops/sops/v3"),
    ("SOPS, age", "kustomize-controller", "filippo.io/age"),
    ("Sealed Secrets", "sealed-secrets", "github.com/bitnami/sealed-secrets"),
    ("External Secrets", "crds", "github.com/external-secrets/external-secrets"),
    ("Argo CD", "crds", "github.com/argoproj/argo-cd/v3"),
    ("Prometheus", "prometheus", "github.com/prometheus/prometheus"),
    ("Prometheus Operator", "crds", "github.com/prometheus-operator/prometheus-operator"),
];

fn read(path: &str) -> String {
    std::fs::read_to_string(tools::workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The version of a module, without its `v`.
fn pinned(folder: &str, module: &str) -> String {
    let file = format!("tests/tools/{folder}/go.mod");
    let text = read(&file);
    let version = text.lines().find_map(|line| {
        let mut words = line.trim_start_matches("require").split_whitespace();
        (words.next() == Some(module)).then(|| words.next()?.strip_prefix('v'))?
    });
    version.unwrap_or_else(|| panic!("{file} has no {module}")).to_owned()
}

/// The version that a `go.mod` asks for, as numbers.
fn asked_for(module: &str) -> Option<Vec<u32>> {
    let version = module.lines().find_map(|line| line.strip_prefix("go "))?;
    version.trim().split('.').map(|number| number.parse().ok()).collect()
}

/// The lowest version of Go that builds everything, and the file that asks for it.
pub(crate) fn go() -> (String, String) {
    let tools = std::fs::read_dir(tools::workspace().join("tests/tools")).unwrap();
    let tools = tools.map(|entry| format!("tests/tools/{}/go.mod", entry.unwrap().file_name().to_string_lossy()));
    let files = tools.chain(["image/go.mod".to_owned(), "tests/conformance/go/go.mod".to_owned()]);
    let asking = files.filter_map(|file| {
        let text = std::fs::read_to_string(tools::workspace().join(&file)).ok()?;
        Some((asked_for(&text).unwrap_or_else(|| panic!("{file} asks for no version of Go")), file))
    });
    let (version, file) = asking.max().unwrap();
    (version.iter().map(u32::to_string).collect::<Vec<_>>().join("."), file)
}

/// Numbers with dots between them, as versions have.
fn versions(cell: &str) -> Vec<&str> {
    let words = cell.split(|one: char| !(one.is_ascii_alphanumeric() || one == '.'));
    let number =
        |word: &&str| word.split('.').count() == 3 && word.bytes().all(|one| one.is_ascii_digit() || one == b'.');
    words.map(|word| word.trim_end_matches('.')).filter(number).collect()
}

#[test]
fn the_versions_in_the_table_are_those_that_the_tests_run() {
    let page = read(PAGE);
    let table = page.split_once("\n## What was tried with what\n").unwrap().1.split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").collect())
        .collect();
    let (compilers, rows): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row[1].ends_with(" or newer"));
    let mut named: Vec<(&str, &str)> =
        rows.iter().flat_map(|row| versions(row[1]).into_iter().map(|version| (row[0], version))).collect();
    let mut run: Vec<(&str, String)> =
        PINNED.iter().map(|(row, folder, module)| (*row, pinned(folder, module))).collect();
    named.sort_unstable();
    run.sort_unstable();
    assert_eq!(named, run.iter().map(|(row, version)| (*row, version.as_str())).collect::<Vec<_>>(), "{PAGE}");
    let lowest = read("Cargo.toml");
    let lowest = lowest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    let compilers: Vec<_> = compilers.iter().map(|row| (row[0].split(',').next().unwrap(), row[1])).collect();
    let (rust, go) = (format!("{lowest} or newer"), format!("{} or newer", go().0));
    assert_eq!(compilers, [("Rust", rust.as_str()), ("Go", go.as_str())], "{PAGE}");
    let readme = read("README.md");
    for wanted in [format!("Rust ({rust}"), format!("Go ({go})")] {
        assert!(readme.contains(&wanted), "README.md: no {wanted}");
    }
}
