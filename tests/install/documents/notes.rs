//! What Helm says after an install is a document too: its commands are typed, with the reader's zone and token in their places.

use harness::documents::{Block, Mark, Page};
use harness::helm::{Helm, Version, chart};

use super::session::{self, ZONE};

const OPERATOR: &str = "cloudflare-mtls-operator";

/// What Helm prints after an install with these values.
async fn notes(values: &[&str]) -> String {
    let chart = chart();
    let fixed = ["install", OPERATOR, &chart.to_string_lossy(), "--namespace", OPERATOR, "--dry-run=client"];
    let said = Helm::offline(Version::Four).run(&[&fixed[..], values].concat()).await.unwrap();
    said.split_once("\nNOTES:\n").unwrap_or_else(|| panic!("{said}")).1.to_owned()
}

/// The indented parts of a text, each a block of commands.
fn blocks(notes: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (number, line) in notes.lines().enumerate() {
        let Some(command) = line.strip_prefix("  ") else {
            inside = false;
            continue;
        };
        if !std::mem::replace(&mut inside, true) {
            blocks.push(Block { line: number + 1, language: "bash".to_owned(), text: String::new(), mark: Mark::Run });
        }
        blocks.last_mut().unwrap().text.extend([command, "\n"]);
    }
    blocks
}

/// What the reader looks at after having waited has to be there by then. A session would look again until it is, but for a block
/// that begins with a comment.
fn seen_at_once(mut block: Block) -> Block {
    if block.text.ends_with(" get mhs -o wide\n") {
        block.text = format!("# at once\n{} | grep -E ' (Observed|DriftDetected) '\n", block.text.trim_end());
    }
    block
}

async fn obeyed(values: &[&str], before: &str) {
    let notes = notes(values).await;
    let notes = notes.replace("read -rs TOKEN", "TOKEN=$CLOUDFLARE_API_TOKEN").replace(&"0".repeat(32), ZONE);
    // Slower than a kubectl starts, or no reader would be too early.
    let slow = r#"curl -fsS -X PUT "${CLOUDFLARE_API%/client/v4}/_emulator/switches" --data '{"latency_ms": 1500}'"#;
    let install = format!(
        "{before}\n{slow}\nhelm install {OPERATOR} charts/{OPERATOR} --namespace {OPERATOR} --create-namespace \\\n    \
         --set image.registry=\"$REGISTRY\" {}",
        values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(" ")
    );
    let first = Block { line: 0, language: "bash".to_owned(), text: install, mark: Mark::Run };
    let blocks: Vec<Block> = std::iter::once(first).chain(blocks(&notes)).map(seen_at_once).collect();
    assert!(blocks.len() >= 6 && blocks.iter().any(|block| block.text.contains("| grep -E")), "{notes}");
    let page = Page { name: format!("NOTES.txt with {values:?}"), blocks, spans: Vec::new() };
    session::read(&page).await.unwrap_or_else(|error| panic!("{error}\n{notes}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_helm_says_leads_to_an_object_that_is_ready() {
    obeyed(&[], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_helm_says_names_the_labels_that_the_selector_asks_for() {
    let prepare = "kubectl apply --server-side -k crds/; kubectl create namespace team-a";
    let values = ["--set", "watchNamespaces={team-a}", "--set-string", "selector=team=a\\,tier==1"];
    obeyed(&values, prepare).await;
}

#[tokio::test]
async fn what_helm_says_leaves_labels_to_the_reader_where_a_selector_is_not_simple() {
    let notes = notes(&["--set-string", "selector=team in (a\\, b)\\,!legacy"]).await;
    assert!(notes.contains("labels: {}    # put in what meets the selector team in (a, b),!legacy\n"), "{notes}");
}
