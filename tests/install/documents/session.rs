//! A reader who types every command of one document, from its first to its last, in a cluster of their own.

use std::{
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use harness::{
    canary,
    cloudflare::Cloudflare,
    control_plane::ControlPlane,
    documents::{Block, Mark, Page},
    fixture::{PATIENCE, eventually},
    shell::Shell,
    tools,
};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{is_run, node};

/// The zone and the account that documents take for an example.
pub(super) const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";
const ACCOUNT: &str = "699d98642c564d2e855e9661899b7252";
/// What readers have in `CLOUDFLARE_API_TOKEN`.
const TOKEN: &str = "cfut_Zt4Lb9Xe2Vq7Mw5Kd1Rs8Hy3Gj6Nf";

struct Session {
    control_plane: Arc<ControlPlane>,
    cloudflare: Arc<Cloudflare>,
    folder: tempfile::TempDir,
    used: bool,
    /// Whether the document is about the day when chart and image are published, which they are not yet.
    published: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    node: JoinHandle<harness::Result<()>>,
}

/// Runs all blocks of a document; the error names the line of the first that does not do what it says.
pub(super) async fn read(page: &Page) -> Result<(), String> {
    let mut session = Session::start().await.map_err(|error| format!("{}: {error}", page.name))?;
    for (number, block) in page.blocks.iter().enumerate() {
        let place = block.place(page);
        if block.mark == Mark::RunAfresh && session.used {
            session.end().await?;
            session = Session::start().await.map_err(|error| format!("{place}: {error}"))?;
        }
        // A reader who begins anew still has the files.
        for block in &page.blocks[..=number] {
            session.save(block).map_err(|error| format!("{place}: {error}"))?;
        }
        if is_run(block) {
            session.used = true;
            for command in commands(block).map_err(|error| format!("{place}: {error}"))? {
                let outcome = session.obey(&command).await;
                outcome.map_err(|error| format!("{place}: $ {}\n{error}", command.text))?;
            }
        }
    }
    session.end().await.map_err(|error| format!("{}: {error}", page.name))
}

impl Session {
    async fn start() -> harness::Result<Self> {
        let control_plane = Arc::new(ControlPlane::start_with_controllers().await?);
        until_admin_is_whole(&control_plane).await?;
        let cloudflare = Arc::new(Cloudflare::start().await?);
        cloudflare.add_account(ACCOUNT);
        let remote = cloudflare.add_zone(ZONE, "example.com").in_account(ACCOUNT);
        remote.set("legacy.example.com", true, false);
        cloudflare.token(TOKEN).named("token").may_write_everything();
        canary::watch_for(TOKEN);
        let (stop, stopped) = oneshot::channel();
        let published = Arc::<AtomicBool>::default();
        let node = tokio::spawn({
            let (control_plane, cloudflare, published) = (control_plane.clone(), cloudflare.clone(), published.clone());
            async move { node::run(&control_plane, &cloudflare, &published, stopped).await }
        });
        let folder = checkout()?;
        Ok(Self { control_plane, cloudflare, folder, used: false, published, stop, node })
    }

    /// Ends what was installed; the rest ends by being dropped.
    async fn end(self) -> Result<(), String> {
        let _ = self.stop.send(());
        let outcome = self.node.await.map_err(|error| error.to_string())?;
        outcome.map_err(|error| format!("what was installed did not run well: {error}"))
    }

    /// A block whose first line is `# NAME.yaml` is a file that the reader has saved.
    fn save(&self, block: &Block) -> std::io::Result<()> {
        if block.language != "yaml" {
            return Ok(());
        }
        let first = block.text.lines().next().and_then(|line| line.strip_prefix("# ")).map(str::trim);
        match first
            .filter(|name| name.split_once('.').is_some_and(|(_, end)| end == "yaml") && !name.contains([' ', '/']))
        {
            Some(name) => std::fs::write(self.folder.path().join("checkout").join(name), &block.text),
            None => Ok(()),
        }
    }

    async fn obey(&self, command: &Said) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let (succeeded, printed) = self.type_in(&command.text).await.map_err(|error| error.to_string())?;
            let seen = if succeeded { missing(&command.expected, &printed) } else { Some("it failed".to_owned()) };
            let Some(complaint) = seen else { return Ok(()) };
            // A reader who only looks may look again: a cluster needs a moment.
            if !command.only_looks() || started.elapsed() > PATIENCE {
                return Err(format!("{complaint}; it printed:\n{printed}"));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Whether the command succeeded, and all that it printed. What is to be published is in the checkout until it is.
    async fn type_in(&self, command: &str) -> harness::Result<(bool, String)> {
        let address = "oci://ghcr.io/cloudflare-mtls-operator/charts/";
        if command.contains(address) {
            self.published.store(true, Ordering::Relaxed);
        }
        let home = self.folder.path();
        let shell = Shell::new(self.control_plane.kubeconfig()).home(home).within(home.join("checkout"));
        let shell = shell.programs(home.join("bin")).variable("CLOUDFLARE_API_TOKEN", TOKEN);
        let shell =
            shell.variable("CLOUDFLARE_API", self.cloudflare.url()).variable("REGISTRY", "registry.example.com");
        let typed = shell.try_type(&command.replace(address, "charts/")).await?;
        Ok((typed.succeeded(), typed.printed()))
    }
}

/// Controllers put `admin` together from `edit` and others, and that from `view`, whose rights thus come last. Only `view` names
/// limit ranges itself.
async fn until_admin_is_whole(control_plane: &ControlPlane) -> harness::Result<()> {
    let get = ["get", "clusterrole", "admin", "--output=jsonpath={.rules[*].resources}"];
    let is_whole = async || match control_plane.kubectl(&get).await {
        Ok(resources) if resources.contains("\"limitranges\"") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    // The controllers may only be starting.
    eventually(3 * PATIENCE, "the role admin has all its rights", is_whole).await
}

/// A folder that looks like a checkout and may be written to, beside one with the programs under the names that people use.
fn checkout() -> harness::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let (bin, checkout) = (folder.path().join("bin"), folder.path().join("checkout"));
    std::fs::create_dir(&bin)?;
    std::fs::create_dir(&checkout)?;
    symlink(tools::tool("helm4")?, bin.join("helm"))?;
    symlink(tools::tool("helm3")?, bin.join("helm3"))?;
    symlink(tools::tool("kubectl")?, bin.join("kubectl"))?;
    symlink(PathBuf::from(env!("CARGO_BIN_EXE_cloudflare-mtls-operator")), bin.join("cloudflare-mtls-operator"))?;
    for entry in std::fs::read_dir(tools::workspace())? {
        let entry = entry?;
        if entry.file_name() != "target" && entry.file_name() != ".git" {
            symlink(entry.path(), checkout.join(entry.file_name()))?;
        }
    }
    Ok(folder)
}

/// A command and the lines that stand below it.
pub(super) struct Said {
    pub(super) text: String,
    expected: Vec<String>,
}

impl Said {
    fn only_looks(&self) -> bool {
        let mut words = self.text.split_whitespace();
        words.next() == Some("kubectl") && words.any(|word| ["get", "describe", "events", "diff"].contains(&word))
    }

    /// Whether the next line belongs to the command: after a backslash, and inside a here-document.
    fn goes_on(&self) -> bool {
        let inside = self.text.split_once("<<").is_some_and(|(_, rest)| {
            let word = rest.lines().next().unwrap_or_default().split_whitespace().next().unwrap_or_default();
            let word = word.trim_matches(['\'', '"']);
            !rest.lines().skip(1).any(|line| line == word)
        });
        inside || self.text.ends_with('\\')
    }
}

pub(super) fn commands(block: &Block) -> Result<Vec<Said>, String> {
    if block.language != "console" {
        return Ok(vec![Said { text: block.text.clone(), expected: Vec::new() }]);
    }
    let mut found: Vec<Said> = Vec::new();
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (_, Some(last)) if last.goes_on() => last.text.extend(["\n", line]),
            (Some(command), _) => found.push(Said { text: command.trim_end().to_owned(), expected: Vec::new() }),
            (None, Some(last)) if !line.trim().is_empty() => last.expected.push(line.to_owned()),
            (None, Some(_)) => {}
            (None, None) => return Err(format!("{line:?} stands before any command; commands begin with $")),
        }
    }
    Ok(found)
}

/// The first expected line that is not among the printed ones, in their order.
fn missing(expected: &[String], printed: &str) -> Option<String> {
    let mut lines = printed.lines();
    let line = expected.iter().find(|line| !lines.any(|printed| is_like(line, printed)))?;
    Some(format!("not printed: {line}"))
}

/// Word by word; `…` stands for anything, and a time for any time.
fn is_like(expected: &str, printed: &str) -> bool {
    let plain = |line: &str| {
        let words = line.split_whitespace().map(|word| if is_time(word) { "0s" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    matches(&plain(expected), &plain(printed))
}

/// Whether a text is what is expected, where every `…` may be anything.
fn matches(expected: &str, printed: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else { return expected == printed };
    let Some(printed) = printed.strip_prefix(start) else { return false };
    let mut ends = printed.char_indices().map(|(at, _)| at).chain([printed.len()]);
    ends.any(|at| matches(rest, &printed[at..]))
}

/// Ages such as `12s` and `2m3s`, times of day and timestamps.
fn is_time(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
        && word.ends_with(|last: char| "smhdZ".contains(last))
        && word.chars().all(|one| one.is_ascii_digit() || "smhdTZ:.-".contains(one))
}

#[test]
fn what_is_printed_is_compared_word_by_word_but_for_times_and_dots() {
    for (expected, printed) in [
        ("admin   True   InSync   1/1       12s", "admin True InSync 1/1  3m4s"),
        ("Status: …", "Status:   True and more"),
        ("1 … deployed …", "1  Wed Nov 25   deployed  chart-0.1.0"),
        ("Host: 127.0.0.1:…", "Host: 127.0.0.1:8080"),
        (r#"{…"a":1…}"#, r#"{"b":2,"a":1,"c":3}"#),
        ("Time: 2026-08-22T10:00:00Z", "Time: 2027-01-01T00:00:00Z"),
    ] {
        assert!(is_like(expected, printed), "{expected}");
    }
    for (expected, printed) in
        [("admin True 12s", "admin False 12s"), ("admin", "admin True"), ("1/1 …", "2/2 x"), ("a…c", "abcd")]
    {
        assert!(!is_like(expected, printed), "{expected}");
    }
}

#[test]
fn a_command_goes_on_after_a_backslash_and_in_a_here_document() {
    let text = "$ a \\\n  b\nout\n$ c <<'EOF'\nx\n$ y\nEOF\nmore\n".to_owned();
    let block = Block { line: 1, language: "console".to_owned(), text, mark: Mark::Run };
    let found: Vec<_> = commands(&block).unwrap().into_iter().map(|said| (said.text, said.expected)).collect();
    let expected = [("a \\\n  b", vec!["out".to_owned()]), ("c <<'EOF'\nx\n$ y\nEOF", vec!["more".to_owned()])];
    assert_eq!(found, expected.map(|(text, lines)| (text.to_owned(), lines)));
}
