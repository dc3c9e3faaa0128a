//! A report of the verifier as people read it.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::audit::finding::{Position, Report, Severity, Verdict};

/// The report, one fact a line, findings last.
pub(in crate::cli) fn text(report: &Report) -> String {
    let mut lines = vec![format!("{} (exit {})", verdict(report.verdict), report.exit)];
    if let Some(origin) = &report.origin {
        lines.push(format!("log        {origin}"));
    }
    lines.push(format!("entries    {} of {} hashed again", report.checked, report.size));
    if report.pruned > 0 {
        lines.push(format!("pruned     {}", report.pruned));
    }
    if report.opened > 0 {
        lines.push(format!("opened     {} sealed parts", report.opened));
    }
    if report.erased > 0 {
        lines.push(format!("erased     {} sealed parts", report.erased));
    }
    if let Some(size) = report.witnessed_to {
        lines.push(format!("witnessed  up to {size}"));
    }
    if let Some(size) = report.anchored_to {
        lines.push(format!("dated      up to {size}"));
    }
    if let Some(newest) = report
        .newest
        .and_then(|micros| i64::try_from(micros).ok())
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
    {
        lines.push(format!("newest     {newest}"));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    for finding in &report.findings {
        let place = match finding.position {
            Position::Leaf { seq } => format!(" at {seq}"),
            Position::Between { from, to } => format!(" from {from} to {to}"),
            Position::Whole {} => String::new(),
        };
        let mark = if finding.severity <= Severity::NotAttested { "note" } else { "FAULT" };
        // Writing to a string cannot fail.
        writeln!(text, "{mark:<10} {}{place}: {}", finding.code.as_str(), finding.text).unwrap_or_default();
    }
    text
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Intact => "intact",
        Verdict::NotAttested => "intact, and nobody outside vouches for it",
        Verdict::Incomplete => "incomplete: something is missing, without proof of deceit",
        Verdict::Downgraded => "downgraded: less is attested than the trust policy asks for",
        Verdict::Invalid => "INVALID: something is not what it was",
        Verdict::Forked => "FORKED OR ROLLED BACK: the log contradicts what it signed",
    }
}
