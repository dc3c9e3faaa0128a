//! `amanat receipt verify`: checks a receipt without a gateway, a database or a network.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::audit::finding::{Code, Finding, Report};
use crate::audit::receipt::{Receipt, TrustSource};
use crate::audit::trust::Trust;

use super::Failure;
use super::audit::report;
use super::output::print;

/// Checks receipts.
#[derive(Args)]
pub(super) struct ReceiptArguments {
    #[command(subcommand)]
    command: ReceiptCommand,
}

#[derive(Subcommand)]
enum ReceiptCommand {
    /// Checks a receipt file: that the log signed it, and that it says what the log committed to.
    ///
    /// Exit codes: 0 valid; 10 valid, but by the receipt's own word on the keys; 40 invalid; 50 less
    /// attested than the trust policy asks for; 1 could not run.
    Verify {
        /// The file, `*.amanat-receipt.json`.
        file: PathBuf,
        /// A trust policy of your own: the keys of the log and of the witnesses to believe.
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
        /// Prints the report as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(super) fn run(arguments: &ReceiptArguments) -> Result<u8, Failure> {
    let ReceiptCommand::Verify { file, trust, json } = &arguments.command;
    let bytes =
        std::fs::read(file).map_err(|error| Failure::new(format!("{} cannot be read: {error}", file.display())))?;
    let own = match trust {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(format!("{} cannot be read: {error}", path.display())))?;
            Some(Trust::parse(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?)
        }
    };
    let receipt = Receipt::parse(&bytes).ok();
    let source = own.as_ref().map_or(TrustSource::Receipt, TrustSource::Own);
    let checked = receipt.as_ref().map_or_else(unreadable, |receipt| receipt.verify(source));
    if *json {
        let text = serde_json::to_string(&checked).map_err(|error| Failure::new(error.to_string()))?;
        print(&(text + "\n"))?;
        return Ok(checked.exit);
    }
    let Some(receipt) = receipt else {
        print(&report::text(&checked))?;
        return Ok(checked.exit);
    };
    let mut text = String::new();
    // What is not complete is said before anything else.
    if receipt.statement.get("completeness") == Some(&crate::audit::payload::Value::from("partial")) {
        text.push_str("This erasure is partial: something is kept. See `kept` in the statement.\n");
    }
    text.push_str(&report::text(&checked));
    text.push_str(&serde_json::to_string_pretty(&receipt.statement).map_err(|error| Failure::new(error.to_string()))?);
    print(&text)?;
    Ok(checked.exit)
}

/// What is said of a file that is no receipt.
fn unreadable() -> Report {
    let mut report = Report::new();
    let text = format!("The file is not a receipt of the format {}.", Receipt::format());
    report.findings.push(Finding::whole(Code::Malformed, text));
    report.conclude();
    report
}
