//! Logs on standard error, as text or JSON, without the places that would print a Secret.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Starts logging. `directives` is a level, or a filter in the syntax of `RUST_LOG`.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(format: LogFormat, directives: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        format!("{directives:?} is neither a level (error, warn, info, debug, trace) nor a filter: {error}")
    })?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    // A panic is a line like any other, so that who reads JSON can read it.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    tracing_subscriber::registry()
        .with(layer.with_filter(filter).with_filter(filter_fn(may_be_shown)))
        .try_init()
        .map_err(|error| error.to_string())
}

/// The last word about what is shown: no filter of a user can undo it.
///
/// kube logs a body that does not decode, at WARN; the HTTP stack shows headers at its lower levels.
fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= cap(metadata.target())
}

/// The most that is ever shown of a part of the program.
fn cap(target: &str) -> LevelFilter {
    // What fails here is said by the stream that watches, in words for people.
    if target == "kube_runtime::watcher" {
        return LevelFilter::ERROR;
    }
    match target.split("::").next().unwrap_or_default() {
        "kube_client" => LevelFilter::ERROR,
        "kube_runtime" | "cloudflare_mtls_operator" => LevelFilter::TRACE,
        _ => LevelFilter::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_that_print_bodies_and_headers_are_capped() {
        // kube logs a body that does not decode at WARN; a truncated Secret is such a body.
        assert!(cap("kube_client::client") < LevelFilter::WARN);
        for target in ["hyper_util::client::legacy", "reqwest::connect", "h2", "rustls::client", "tower"] {
            assert!(cap(target) < LevelFilter::DEBUG, "{target}");
        }
        assert_eq!(cap("cloudflare_mtls_operator::controller::round"), LevelFilter::TRACE);
    }
}
