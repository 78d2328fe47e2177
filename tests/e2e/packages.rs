//! What `tests/e2e/install` asks apt for, on machines that have some of the programs already.

use std::process::Command;

/// The words of `apt-get install` where these programs are, for root; nothing when it is not called.
fn asked(programs: &[&str]) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    // Made by a process of its own: what this one writes, its other threads' children may still hold open.
    let make = "for name in \"$@\"; do printf '#!/bin/sh\\n' >$name; done\n\
                printf '#!/bin/sh\\necho 0\\n' >id\n\
                printf '#!/bin/sh\\necho \"$@\" >>\"${0%%/*}/log\"\\n' >apt-get\n\
                chmod +x *\n";
    let written = Command::new("bash").args(["-ec", make, "make"]).args(programs).current_dir(folder.path()).status();
    assert!(written.unwrap().success());
    let script = harness::tools::workspace().join("tests/e2e/install");
    let ended = Command::new("/bin/bash").arg(script).env_clear().env("PATH", folder.path()).status();
    assert!(ended.unwrap().success());
    let log = std::fs::read_to_string(folder.path().join("log")).ok()?;
    let words = log.lines().find_map(|line| line.split_once(" install ").map(|(_, words)| words))?;
    Some(words.split_whitespace().map(str::to_owned).collect())
}

const ALL: [&str; 9] =
    ["containerd", "ctr", "containerd-shim-runc-v2", "runc", "ip", "openssl", "unshare", "setpriv", "cc"];

/// Debian's containerd would take Docker away, whose containerd has other packages' names.
#[test]
fn nothing_is_installed_in_the_place_of_programs_that_are_there() {
    let without = |gone: &str| ALL.into_iter().filter(|name| *name != gone).collect::<Vec<_>>();
    // What lies at fixed places depends on the machine.
    let elsewhere = ["containernetworking-plugins", "libc6-dev"];
    let packages = |words: &[String]| -> Vec<String> {
        let is_package = |word: &&String| !word.starts_with('-') && !elsewhere.contains(&word.as_str());
        words.iter().filter(is_package).cloned().collect()
    };
    assert_eq!(packages(&asked(&ALL).unwrap_or_default()), [""; 0]);
    for (gone, package) in [("runc", "runc"), ("ip", "iproute2"), ("setpriv", "util-linux"), ("ctr", "containerd")] {
        let words = asked(&without(gone)).unwrap();
        assert_eq!(packages(&words), [package], "{gone}");
        assert!(words.iter().any(|word| word == "--no-remove"), "{words:?}");
    }
    let words = asked(&[]).unwrap();
    assert_eq!(packages(&words), ["containerd", "runc", "iproute2", "openssl", "util-linux", "gcc"]);
}
