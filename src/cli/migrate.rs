//! `amanat migrate`: brings both stores to the schema of this version, and nothing else.

use clap::Args;
use serde_json::json;

use crate::gateway;

use super::context::settings;
use super::output::{print, print_json};
use super::{Context, Failure};

/// Runs the migrations that the stores lack. `serve` does the same when it starts.
#[derive(Args)]
pub(super) struct MigrateArguments {
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &MigrateArguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let (data, keys) = gateway::migrate(&settings(&loaded)?)?;
    if arguments.json {
        print_json(&json!({"data": data, "keys": keys}))?;
    } else if data + keys == 0 {
        print("both stores have the schema of this version")?;
    } else {
        print(&format!("migrations run: {data} in the data store, {keys} in the key store"))?;
    }
    Ok(0)
}
