//! The two verifiers as processes, and what each says.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};

use amanat::storage::Location;
use serde_json::Value;

use crate::harness::copied;

/// A finding as both verifiers print it: code, and position or range.
pub type Found = (String, Option<u64>, Option<u64>);

/// What a verifier says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub exit: i32,
    pub findings: BTreeSet<Found>,
}

impl Said {
    /// Whether it says this, wherever.
    pub fn has(&self, code: &str) -> bool {
        self.findings.iter().any(|(found, _, _)| found == code)
    }

    /// Whether nothing is said against the log but that no witness vouches for it.
    pub fn is_plain(&self) -> bool {
        self.exit <= 10 && self.findings.iter().all(|(code, _, _)| code == "unwitnessed")
    }
}

/// Both verifiers over one source: a data file, a bundle, a proof, a receipt, evidence. Options are theirs in
/// common.
pub fn both(source: &Path, options: &[OsString]) -> (Said, Said) {
    let is_receipt = source.is_file() && starts_as_receipt(&std::fs::read(source).expect("source"));
    // Whatever a verifier writes down, it writes beside its source.
    let folder = source.parent().expect("folder");
    let what = if is_receipt { "receipt" } else { "audit" };
    at_once(ours(what, source.as_os_str(), folder, options), theirs(source, options))
}

/// What both verifiers say of a store that may be in use. They must agree. The second one reads SQLite alone, so it gets
/// a copy of the rows of a server.
pub fn of_store(location: &Location, options: &[OsString]) -> Said {
    let folder = tempfile::tempdir().expect("folder");
    let copy = folder.path().join("copy.db");
    let (ours, theirs) = match location {
        Location::Sqlite(path) => both(path, options),
        Location::Postgres { .. } => {
            copied::to_sqlite(location, &copy);
            at_once(ours("audit", &address(location), folder.path(), options), theirs(&copy, options))
        }
    };
    assert_eq!(ours, theirs, "they do not agree");
    ours
}

/// What this program's verifier says of a store.
pub fn ours_of(location: &Location, folder: &Path, options: &[OsString]) -> Said {
    said(ours("audit", &address(location), folder, options))
}

/// The interpreter that the second verifier runs with: any Python 3.
pub fn python() -> OsString {
    std::env::var_os("AMANAT_TEST_PYTHON").unwrap_or_else(|| "python3".into())
}

fn address(location: &Location) -> OsString {
    match location {
        Location::Sqlite(path) => path.into(),
        Location::Postgres { url, schema } => {
            format!("{url}?amanat_schema={}", schema.as_deref().unwrap_or("public")).into()
        }
    }
}

fn starts_as_receipt(bytes: &[u8]) -> bool {
    bytes.starts_with(b"{") && !bytes.starts_with(b"{\"format\":\"amanat-evidence/1\"")
}

fn ours(what: &str, source: &OsStr, folder: &Path, options: &[OsString]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amanat"));
    command.args([what, "verify"]).arg(source).args(options).arg("--json").current_dir(folder).stdin(Stdio::null());
    command
}

fn theirs(source: &Path, options: &[OsString]) -> Command {
    let mut command = Command::new(python());
    command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second_verifier"));
    command.arg(source).args(options).arg("--json").stdin(Stdio::null());
    command
}

fn at_once(ours: Command, theirs: Command) -> (Said, Said) {
    std::thread::scope(|scope| {
        let ours = scope.spawn(move || said(ours));
        let theirs = said(theirs);
        (ours.join().expect("thread"), theirs)
    })
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
