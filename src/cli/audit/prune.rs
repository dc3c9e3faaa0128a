//! `amanat audit prune`: leaves that are older than the policy keeps them go.

use clap::Args;
use jiff::Timestamp;

use crate::gateway::prune::Rows;

use super::super::{Context, Failure, output};

/// Prunes leaves of the log that are older than `audit_leaves` of `retention.toml`.
///
/// They are shown no more; the log says so, and everything left is proved as before.
#[derive(Args)]
pub(in crate::cli) struct Prune {
    /// No leaf from this position on.
    #[arg(long, value_name = "SEQ")]
    before: Option<u64>,
    /// Also deletes the rows. Without it they stay in the store and are not shown.
    #[arg(long)]
    delete: bool,
    /// Only says what would go.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(wanted: &Prune, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let house = context.open(&loaded).await?;
    let plan = house.plan_prune(wanted.before).await?;
    let verb = if wanted.dry_run { "would go" } else { "go" };
    let text = if plan.below == plan.from {
        "no leaf may be pruned: none is old enough, or parts about people still lie below".to_owned()
    } else {
        let newest = i64::try_from(plan.newest).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
        let newest = newest.map_or_else(String::new, |newest| format!(", the newest of {newest}"));
        format!("leaves {} to {} {verb}{newest}", plan.from, plan.below - 1)
    };
    output::print(&text)?;
    if !wanted.dry_run {
        house.prune(&plan, if wanted.delete { Rows::Deleted } else { Rows::Kept }).await?;
        house.publish_once().await?;
    }
    house.close();
    Ok(0)
}
