//! `amanat restore`: the way back after an older copy of the data was put in place.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::gateway::restore::{self, Restored};
use crate::gateway::source::Source;

use super::context::{keyring, read_policy, settings};
use super::{Context, Failure, output};

/// Brings the leaves that an older copy of the data lacks back from the mirror of the log, and makes
/// again what the journal of stops holds: withdrawals, refusals, objections, suppressions, erasures.
///
/// Stop every instance, put the copy in place, then run it; start the gateway when it is done. Cut short,
/// it goes on where it was. Exit codes: 0 done, or nothing was missing; 1 could not be done; 30 the copy is
/// apart from what was signed, or the mirror does not reach it; 40 the mirror or the copy is damaged. On
/// 30 and 40 nothing was changed.
#[derive(Args)]
pub(super) struct RestoreArguments {
    /// The folder that `audit.mirror` named: the log as static files.
    #[arg(long, value_name = "FOLDER")]
    mirror: PathBuf,
    /// Only says what would be done.
    #[arg(long)]
    check: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(wanted: RestoreArguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let settings = settings(&loaded)?;
    let bar = output::progress_bar("entries");
    let shown = bar.clone();
    let progress = move |done, total| {
        shown.set_length(total);
        shown.set_position(done);
    };
    let restored = if wanted.check {
        let mirror = wanted.mirror.clone();
        let work = tokio::task::spawn_blocking(move || restore::check(&settings, &mirror, progress));
        work.await.map_err(|_| Failure::new("the work was broken off"))?
    } else {
        let files = read_policy(&loaded.config.policy.directory)?;
        let keyring = keyring(&loaded.config);
        restore::from_mirror(settings, keyring, files, Source::default(), &wanted.mirror, progress).await
    };
    bar.finish_and_clear();
    let restored = restored?;
    if wanted.json {
        return output::print_json(&json!({"changed": !wanted.check, "restored": restored})).map(|()| 0);
    }
    output::print(&text(&restored, wanted.check)).map(|()| 0)
}

/// The report as people read it.
fn text(restored: &Restored, check: bool) -> String {
    let Restored { from, to, leaves, stops, stopped_again, of_nobody, erased_again, details_lost } = restored;
    if from == to {
        return format!("nothing is missing: the log has all {to} leaves that were signed\n");
    }
    let verb = if check { "would come" } else { "came" };
    let mut text = format!("leaves     {from} to {} {verb} back from the mirror\n", to - 1);
    for (event, lost) in leaves {
        // Writing to a string cannot fail.
        writeln!(text, "           {:>8} {event}, {} with rows or details that are lost", lost.count, lost.rows_lost)
            .unwrap_or_default();
    }
    let stops: Vec<String> = stops.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if !stops.is_empty() {
        writeln!(text, "journal    {} since the copy was made", stops.join(", ")).unwrap_or_default();
    }
    if check {
        text.push_str("nothing was changed\n");
        return text;
    }
    let [operation, evidence, system] = details_lost;
    writeln!(text, "erased     {erased_again} people again").unwrap_or_default();
    writeln!(text, "stopped    {stopped_again} choices and suppressions again; {of_nobody} are of people whom the copy does not know")
        .unwrap_or_default();
    writeln!(text, "lost       {operation} details of operation, {evidence} of evidence, {system} of the system")
        .unwrap_or_default();
    if ["token.revoked", "collector.disabled"].iter().any(|event| leaves.contains_key(event)) {
        text.push_str(
            "note       tokens or keys were revoked since the copy was made and live again: revoke them again\n",
        );
    }
    text.push_str("start the gateway again, and collect anew what was lost\n");
    text
}
