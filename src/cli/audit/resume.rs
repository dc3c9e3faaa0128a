//! `amanat audit resume`: the operator says that what was doubted is right.

use clap::Args;

use crate::gateway::clock;
use crate::gateway::source::Source;

use super::super::context::{keyring, read_policy, settings};
use super::super::{Context, Failure, output};

/// Lets a gateway write again that does not believe its clock.
///
/// Set the clock right first. The log then says that from here on it is right, who said so and why;
/// a running gateway goes on by itself.
#[derive(Args)]
pub(in crate::cli) struct Resume {
    /// What is right again: the clock.
    #[arg(long, required = true)]
    clock: bool,
    /// Why, for the log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) async fn run(wanted: &Resume, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let files = read_policy(&loaded.config.policy.directory)?;
    let (settings, keyring) = (settings(&loaded)?, keyring(&loaded.config));
    let (before, after) = clock::correct(settings, keyring, files, Source::default(), &wanted.reason).await?;
    output::print(&format!("the newest entry before is of {before}; from here on the time is {after}\n"))?;
    Ok(0)
}
