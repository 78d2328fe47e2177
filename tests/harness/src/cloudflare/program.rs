//! `harness cloudflare`: the emulator as a program, started by people, demos and the conformance run.

#![allow(clippy::print_stdout, reason = "a program tells on standard output how it can be used")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Cloudflare, Scope, control};

/// The arguments of `harness cloudflare`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
It answers GET and PUT on /client/v4/{{zones|accounts}}/ID/access/certificates/settings and the two token verification
endpoints, and refuses what Cloudflare refuses. Everything is kept in memory and gone at the end.

While it runs, it is steered and watched over HTTP:

{}", control::ROUTES))]
pub struct Args {
    /// Address to listen on; whoever can reach it can also steer the emulator
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// A zone and its domain; repeat it for more zones
    #[arg(long = "zone", value_name = "ID=DOMAIN", value_parser = zone,
        default_value = "023e105f4ecef8ad9ca31a8372d0c353=example.com")]
    zones: Vec<(String, String)>,
    /// The account that owns the zones
    #[arg(long, value_name = "ID", default_value = "699d98642c564d2e855e9661899b7252")]
    account: String,
    /// An API token that may read and write all of them
    #[arg(long, default_value = "emulated-cloudflare-api-token-1234567890")]
    token: String,
}

fn zone(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((id, domain)) if !id.is_empty() && !domain.is_empty() => Ok((id.to_owned(), domain.to_owned())),
        _ => Err("write ID=DOMAIN, for example 023e105f4ecef8ad9ca31a8372d0c353=example.com".to_owned()),
    }
}

/// Serves until the process is asked to stop.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn run(args: Args) -> io::Result<()> {
    let address = SocketAddr::new(args.host, args.port);
    let emulator = Cloudflare::start_on(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
    emulator.add_account(&args.account);
    for (id, domain) in &args.zones {
        let _ = emulator.add_zone(id, domain).in_account(&args.account);
    }
    emulator.token(&args.token).named("token").may_write_everything();
    println!("{}", welcome(&emulator, &args));
    stopped().await
}

fn welcome(emulator: &Cloudflare, args: &Args) -> String {
    let mut lines = vec![
        "An emulated Cloudflare API is listening.".to_owned(),
        String::new(),
        format!("  base URL  {}", emulator.url()),
        format!("  token     {}", args.token),
        format!("  account   {}", args.account),
    ];
    lines.extend(args.zones.iter().map(|(id, domain)| format!("  zone      {id}  {domain}")));
    let scope = args.zones.first().map_or_else(|| Scope::account(&args.account), |(id, _)| Scope::zone(id));
    lines.push(String::new());
    lines.push(format!(
        "Ask it:    curl -H 'Authorization: Bearer {}' {}/{scope}/access/certificates/settings",
        args.token,
        emulator.url()
    ));
    lines.push(format!(
        "Steer it:  curl http://{}/_emulator   (lists what can be turned and watched)",
        emulator.address()
    ));
    lines.push("Stop it:   Ctrl-C".to_owned());
    lines.join("\n")
}

async fn stopped() -> io::Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}
