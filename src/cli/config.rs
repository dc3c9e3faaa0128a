//! `amanat config`: every option, its value and where that came from.

use clap::Args;
use serde_json::{Value, json};

use crate::config;

use super::output::{print, print_json};
use super::{Context, Failure};

/// Prints the configuration as it is read, with the text of every option. Secrets are left out.
#[derive(Args)]
pub(super) struct ConfigArguments {
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &ConfigArguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    if arguments.json {
        let options: Vec<Value> = loaded
            .values
            .iter()
            .map(|shown| {
                json!({
                    "option": format!("{}.{}", shown.section, shown.option),
                    "value": shown.value,
                    "withheld": shown.withheld,
                    "source": shown.source.to_string(),
                    "kind": shown.kind,
                    "text": shown.text.trim(),
                })
            })
            .collect();
        print_json(&Value::from(options))?;
    } else {
        print(&config::print_reference(&loaded.values))?;
    }
    Ok(0)
}
