//! What the reader of the demo sees: headings, commands with what they really printed, requests and lists.

use std::cell::RefCell;
use std::fmt::{Display, Write as _};
use std::io::{IsTerminal as _, Stdout, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::cloudflare::{Exchange, Ledger, Setting};
use crate::error::{Context as _, Error, Result};
use crate::helm::{Helm, Version};
use crate::kubectl::Kubectl;
use crate::tools;

/// How long any one thing may take that needs a second.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

pub(super) const BOLD: &str = "\x1b[1m";
pub(super) const DIM: &str = "\x1b[2m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const CYAN: &str = "\x1b[36m";
pub(super) const YELLOW: &str = "\x1b[33m";
pub(super) const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Where the demo is shown.
pub(super) struct Stage {
    out: Stdout,
    colour: bool,
    steps: u32,
    heading: String,
    kubeconfig: PathBuf,
    /// All that was shown, in colour.
    shown: RefCell<String>,
}

impl Stage {
    /// Standard output; in colour when it is a terminal and nobody asked for none.
    pub(super) fn new() -> Self {
        let unwanted = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let out = std::io::stdout();
        let colour = out.is_terminal() && !unwanted("NO_COLOR") && !dumb;
        Self { out, colour, steps: 0, heading: String::new(), kubeconfig: PathBuf::new(), shown: RefCell::default() }
    }

    /// From now on kubectl talks to the cluster of this kubeconfig.
    pub(super) fn use_cluster(&mut self, kubeconfig: impl Into<PathBuf>) {
        self.kubeconfig = kubeconfig.into();
    }

    /// Which step is on, for the message about its failure.
    pub(super) fn where_it_is(&self) -> String {
        format!("step {} ({})", self.steps, self.heading)
    }

    /// Begins a step: one line of what and why.
    pub(super) fn step(&mut self, what: &str, why: &str) -> Result<()> {
        self.steps += 1;
        what.clone_into(&mut self.heading);
        let title = Self::paint(BOLD, format!("{}. {what}", self.steps));
        self.line(format!("\n{title} {}", Self::paint(DIM, format!("- {why}"))))
    }

    /// All that was shown so far, in colour.
    pub(super) fn shown(&self) -> String {
        self.shown.borrow().clone()
    }

    /// A line of the narrator's.
    pub(super) fn say(&self, text: impl Display) -> Result<()> {
        self.line(format!("   {text}"))
    }

    /// A line about something that another person does.
    pub(super) fn meanwhile(&self, text: &str) -> Result<()> {
        self.say(Self::paint(YELLOW, text))
    }

    /// A line about something that came true.
    pub(super) fn good(&self, text: impl Display) -> Result<()> {
        self.say(Self::paint(GREEN, text))
    }

    /// A line as it is.
    pub(super) fn line(&self, text: impl Display) -> Result<()> {
        let mut text = text.to_string();
        let _ = writeln!(self.shown.borrow_mut(), "{text}");
        if !self.colour {
            for style in [BOLD, DIM, GREEN, CYAN, YELLOW, RED, PLAIN] {
                text = text.replace(style, "");
            }
        }
        let mut out = self.out.lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).context("writing to standard output")
    }

    /// Shows a kubectl command, runs it and shows what it printed.
    pub(super) async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.command(&shell_line("kubectl", arguments))?;
        let printed = Kubectl::new(&self.kubeconfig).deadline(2 * DEADLINE).run(arguments).await?;
        self.output(&printed)?;
        Ok(printed)
    }

    /// Shows a Helm command, runs it and shows what it printed.
    pub(super) async fn helm(&self, arguments: &[&str]) -> Result<()> {
        self.command(&shell_line("helm", arguments))?;
        let printed = Helm::new(Version::Four, &self.kubeconfig).run(arguments).await?;
        self.output(printed.trim_end())
    }

    /// Shows a manifest being applied from a here-document, applies it and shows what kubectl printed.
    ///
    /// `$NAME` stands in the shown text for a value that is not shown, as it would in a shell.
    pub(super) async fn apply(&self, manifest: &str, variable: Option<(&str, &str)>) -> Result<()> {
        let arguments = ["apply", "--server-side", "-f", "-"];
        let end = if variable.is_some() { "EOF" } else { "'EOF'" };
        self.command(&format!("{} <<{end}", shell_line("kubectl", &arguments)))?;
        manifest.lines().try_for_each(|line| self.say(Self::paint(CYAN, line)))?;
        self.say(Self::paint(CYAN, "EOF"))?;
        let (name, value) = variable.unwrap_or_default();
        let filled = if name.is_empty() { manifest.to_owned() } else { manifest.replace(&format!("${name}"), value) };
        let printed = Kubectl::new(&self.kubeconfig).run_with_input(&arguments, &filled).await?;
        self.output(&printed)
    }

    /// Shows `kubectl ... --watch` and each line as it comes, until one satisfies the condition.
    pub(super) async fn watch_until(&self, arguments: &[&str], is_last: impl Fn(&str) -> bool) -> Result<()> {
        let line = shell_line("kubectl", arguments);
        self.command(&line)?;
        let watching = async {
            let mut child = Command::new(tools::tool("kubectl")?)
                .args(arguments)
                .env("KUBECONFIG", &self.kubeconfig)
                .env("KUBECACHEDIR", self.kubeconfig.with_file_name("kubectl-cache"))
                .env("KUBERC", "off")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            let stdout = child.stdout.take().ok_or_else(|| Error::new("kubectl has no standard output"))?;
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) = lines.next_line().await? {
                self.output(&line)?;
                if is_last(&line) {
                    child.kill().await?;
                    return Ok(());
                }
            }
            Err(Error::new(format!("the watch ended: {}", child.wait().await?)))
        };
        match tokio::time::timeout(DEADLINE, watching).await {
            Ok(outcome) => outcome.context(line),
            Err(_) => {
                Err(Error::new(format!("{line}: what is waited for did not show within {} s", DEADLINE.as_secs())))
            }
        }
    }

    /// Shows the requests that Cloudflare got: method, path and answer of each, and the body of a PUT.
    pub(super) fn requests(&self, ledger: &Ledger) -> Result<()> {
        self.say("What the emulated Cloudflare was asked, from its own record:")?;
        for exchange in ledger.all() {
            let answer = Self::paint(if refused(exchange) { RED } else { GREEN }, answer(exchange));
            self.say(format!("    {} {} -> {answer}", exchange.method, exchange.path))?;
            // As it was sent, but for the line breaks.
            let body = exchange.body.replace("[{", "[\n  {").replace("},{", "},\n  {");
            body.lines().try_for_each(|line| self.say(Self::paint(CYAN, format!("        {line}"))))?;
        }
        Ok(())
    }

    /// Shows Cloudflare's list as it is stored now; `note` says something about an entry.
    pub(super) fn remote_list(&self, entries: &[Setting], note: impl Fn(&Setting) -> &'static str) -> Result<()> {
        self.say("Cloudflare's list now:")?;
        self.say(Self::paint(
            DIM,
            format!("    {:<22}{:<31}{}", "hostname", "client_certificate_forwarding", "china_network"),
        ))?;
        for entry in entries {
            let (forwarding, china) = (entry.client_certificate_forwarding, entry.china_network);
            let columns = format!("    {:<22}{forwarding:<31}{china:<15}", entry.hostname);
            self.say(format!("{columns}{}", Self::paint(DIM, note(entry))).trim_end())?;
        }
        Ok(())
    }

    fn command(&self, line: &str) -> Result<()> {
        self.say(format!("{} {}", Self::paint(DIM, "$"), Self::paint(CYAN, line)))
    }

    fn output(&self, printed: &str) -> Result<()> {
        printed.lines().try_for_each(|line| self.say(line))
    }

    fn paint(style: &str, text: impl Display) -> String {
        format!("{style}{text}{PLAIN}")
    }
}

fn refused(exchange: &Exchange) -> bool {
    exchange.status.is_none_or(|status| status >= 400) || !exchange.codes.is_empty()
}

fn answer(exchange: &Exchange) -> String {
    let status = exchange.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let codes: Vec<_> = exchange.codes.iter().map(|code| format!(", code {code}")).collect();
    format!("{status}{}", codes.concat())
}

/// The command as one would type it: what the shell would touch is quoted.
fn shell_line(program: &str, arguments: &[&str]) -> String {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=./,:@".contains(&byte));
    let typed = arguments.iter().map(|argument| {
        let template = argument.find('{').zip(argument.rfind('}'));
        match template.and_then(|(start, end)| {
            Some((argument.get(..start)?, argument.get(start..=end)?, argument.get(end + 1..)?))
        }) {
            _ if plain(argument) => (*argument).to_owned(),
            Some((before, template, after)) if plain(before) && plain(after) => format!("{before}'{template}'{after}"),
            _ => format!("'{argument}'"),
        }
    });
    std::iter::once(program.to_owned()).chain(typed).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_can_be_typed() {
        assert_eq!(shell_line("kubectl", &["get", "mhs", "-o", "wide"]), "kubectl get mhs -o wide");
        assert_eq!(
            shell_line("kubectl", &["wait", "--for=jsonpath={.status.summary}=2/2", "mhs/admin"]),
            "kubectl wait --for=jsonpath='{.status.summary}'=2/2 mhs/admin"
        );
        assert_eq!(shell_line("kubectl", &["get", "a b"]), "kubectl get 'a b'");
    }
}
