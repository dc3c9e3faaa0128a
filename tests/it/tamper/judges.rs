//! The two verifiers as processes, and what each says.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// A finding as both verifiers print it: code, and position or range.
pub type Found = (String, Option<u64>, Option<u64>);

/// What a verifier says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub exit: i32,
    pub findings: BTreeSet<Found>,
}

/// Both verifiers over one source: a data file, a proof, a receipt. Options are theirs in common.
pub fn both(source: &Path, options: &[OsString]) -> (Said, Said) {
    let is_receipt = std::fs::read(source).expect("source").starts_with(b"{");
    let mut ours = Command::new(env!("CARGO_BIN_EXE_amanat"));
    ours.args(if is_receipt { ["receipt", "verify"] } else { ["audit", "verify"] });
    let mut theirs = Command::new(python());
    theirs.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second_verifier"));
    // Whatever a verifier writes down, it writes beside its source.
    let folder = source.parent().expect("folder");
    for command in [&mut ours, &mut theirs] {
        command.current_dir(folder).arg(source).args(options).arg("--json").stdin(Stdio::null());
    }
    std::thread::scope(|scope| {
        let ours = scope.spawn(move || said(ours));
        let theirs = said(theirs);
        (ours.join().expect("thread"), theirs)
    })
}

/// The interpreter that the second verifier runs with: any Python 3.
pub fn python() -> OsString {
    std::env::var_os("AMANAT_TEST_PYTHON").unwrap_or_else(|| "python3".into())
}

fn said(mut command: Command) -> Said {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{command:?} said {text}{}", String::from_utf8_lossy(&output.stderr)));
    let exit = output.status.code().unwrap_or(-1);
    assert_eq!(report["exit"].as_i64(), Some(i64::from(exit)), "{report}");
    let findings = report["findings"].as_array().expect("findings").iter().map(|finding| {
        let from = finding["seq"].as_u64().or(finding["from"].as_u64());
        (finding["code"].as_str().expect("code").to_owned(), from, finding["to"].as_u64())
    });
    Said { exit, findings: findings.collect() }
}
