//! Odd input by the million for everything that reads what others wrote. `make test` tries some thousands of each kind,
//! `make fuzz` a million; `FUZZ_RUNS` says how many.
//!
//! A new target is one line below: its name, how its input is made, and what must hold for it. What once failed is kept in
//! `tests/fuzz/regressions/` and tried first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "how many executions there were, for who runs it with --nocapture")]

mod credentials;
mod durations;
mod leases;
mod objects;
#[path = "../operator/properties/raw.rs"]
#[allow(dead_code, reason = "shared with the properties, which ask for more")]
mod raw;
mod retry_after;
mod secrets;

use std::{cell::Cell, time::Instant};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner},
};

/// How many inputs of each kind are tried unless `FUZZ_RUNS` says otherwise.
const RUNS: u32 = 10_000;

macro_rules! targets {
    ($($name:ident: $input:expr => $check:expr;)+) => {$(
        #[test]
        fn $name() {
            let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/regressions/", stringify!($name), ".txt");
            run(stringify!($name), kept, &$input, $check);
        }
    )+};
}

targets! {
    answers_of_the_api: raw::enveloped() => raw::examine;
    answers_of_any_json: raw::raw(raw::values().prop_map(|value| value.to_string().into_bytes())) => raw::examine;
    answers_of_any_bytes: raw::raw(vec(any::<u8>(), 0..300)) => raw::examine;
    retry_after_headers: retry_after::headers() => retry_after::examine;
    secrets_of_the_api_server: secrets::texts() => secrets::examine;
    values_of_secrets: credentials::values() => credentials::examine;
    stored_objects: objects::objects() => objects::examine;
    records_of_leases: leases::leases() => leases::examine;
    lengths_of_time: durations::texts() => durations::examine;
}

fn run<S: Strategy>(name: &str, kept: &'static str, input: &S, check: impl Fn(&S::Value) -> Result<(), TestCaseError>) {
    let asked = std::env::var("FUZZ_RUNS").ok().map(|runs| runs.parse().expect("FUZZ_RUNS is a number"));
    let runs = asked.unwrap_or(RUNS);
    let config = Config {
        cases: runs,
        // Inputs that a strategy throws away, such as a date that there is not, are none that count.
        max_local_rejects: u32::MAX,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..Config::default()
    };
    let (started, executions) = (Instant::now(), Cell::new(0_u32));
    let outcome = TestRunner::new(config).run(input, |value| {
        executions.set(executions.get() + 1);
        check(&value)
    });
    println!("{name}: {} executions in {:.1} s", executions.get(), started.elapsed().as_secs_f64());
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, input)) => {
            panic!("{name}: {why}\nfor this input, made as small as possible: {input:#?}")
        }
        Err(TestError::Abort(why)) => panic!("{name}: {why}"),
    }
}

#[test]
fn a_target_that_fails_says_so_with_its_input() {
    let outcome = std::panic::catch_unwind(|| {
        let kept = concat!(env!("CARGO_TARGET_TMPDIR"), "/never-kept.txt");
        run(
            "a test",
            kept,
            &any::<u64>(),
            |number| if *number > 41 { Err(TestCaseError::fail("big")) } else { Ok(()) },
        );
    });
    let message = outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("a test: big") && message.ends_with("42"), "{message}");
}
