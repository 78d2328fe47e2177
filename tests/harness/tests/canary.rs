//! That no operator gets away with a credential, wherever it shows it: each place once, with a program that leaks there.

#![allow(clippy::string_slice, reason = "the credentials here are ASCII")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use harness::canary;
use harness::control_plane::ControlPlane;
use harness::fixture::{PATIENCE, eventually};
use harness::operator::{Builder, Operator};
use harness::{Error, Result};

/// A program that runs this shell script in place of the operator, and has printed its first line.
async fn started(script: &str, tell: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Result<Operator> {
    let control_plane = ControlPlane::shared().await?;
    let path = control_plane.dir().join(format!("leaky-{:08x}", fastrand::u32(..)));
    // It waits in the shell itself, for a pipe that nobody opens: its arguments stay visible, and it has no child to outlive it.
    std::fs::write(&path, format!("#!/bin/sh\n{script}\nmkfifo \"$0.pipe\"\necho started\nread line < \"$0.pipe\"\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    let operator = tell(Operator::builder(path, control_plane)).spawn().await?;
    eventually(PATIENCE, "the script's last line", async || {
        let logs = operator.logs()?;
        if logs.contains("started") { Ok(()) } else { Err(Error::new(logs)) }
    })
    .await?;
    Ok(operator)
}

/// A credential that no other test knows.
fn credential() -> String {
    let credential = format!("cfut_{:032x}", fastrand::u128(..));
    canary::watch_for(&credential);
    credential
}

/// The operator shows a credential in this place and in no other one, and dropping it says so.
fn assert_caught(mut operator: Operator, place: &str) {
    let leaks = operator.leaks();
    assert!(!leaks.is_empty() && leaks.iter().all(|leak| leak.starts_with(place)), "{place}: {leaks:?}");
    assert!(catch_unwind(AssertUnwindSafe(|| drop(operator))).is_err(), "{place}: dropped as if nothing was wrong");
}

#[tokio::test]
async fn a_program_that_keeps_its_credentials_to_itself_may_go() -> Result<()> {
    let mut operator = started(&format!("key='{}'", &credential()[..7]), |operator| operator).await?;
    assert_eq!(operator.leaks(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn one_line_on_either_stream_is_caught_also_when_the_program_has_ended() -> Result<()> {
    for redirection in ["", ">&2"] {
        assert_caught(started(&format!("echo '{}' {redirection}", credential()), |o| o).await?, "the log");
    }
    let mut operator = started(&format!("echo 'panicked at {}'", credential()), |o| o).await?;
    operator.signal("KILL")?;
    operator.wait_exit(PATIENCE).await?;
    assert_caught(operator, "the log");
    Ok(())
}

#[tokio::test]
async fn an_argument_and_a_variable_are_caught() -> Result<()> {
    let argument = format!("--token={}", credential());
    assert_caught(started("", |operator| operator.arg(argument)).await?, "/proc/PID/cmdline");
    let variable = credential();
    assert_caught(started("", |operator| operator.env("TOKEN", variable)).await?, "/proc/PID/environ");
    Ok(())
}

#[tokio::test]
async fn what_it_serves_is_caught_in_the_head_and_in_the_body() -> Result<()> {
    for path in ["/metrics", "/healthz", "/readyz"] {
        for in_head in [true, false] {
            let operator = started("", |operator| operator).await?;
            let listener = TcpListener::bind(operator.http_url().trim_start_matches("http://"))?;
            let credential = credential();
            let (head, body) = if in_head { (credential, String::new()) } else { ("none".to_owned(), credential) };
            std::thread::spawn(move || serve(&listener, path, &head, &body));
            assert_caught(operator, path);
        }
    }
    Ok(())
}

/// Answers one path with this head and body, and all others with nothing, until the test ends.
fn serve(listener: &TcpListener, path: &str, head: &str, body: &str) {
    for mut stream in listener.incoming().flatten() {
        let mut lines = BufReader::new(&stream).lines().map_while(std::result::Result::ok);
        let asked = lines.next().is_some_and(|line| line.contains(path));
        lines.take_while(|line| !line.is_empty()).for_each(drop);
        let (head, body) = if asked { (head, body) } else { ("none", "") };
        let answer = format!("HTTP/1.1 200 OK\r\nx-head: {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes());
    }
}
