//! `amanat collector add|list|disable`: write keys of the collectors that the policy names.

use clap::{Args, Subcommand};

use crate::domain::id::CollectorId;
use crate::storage::tokens::TokenKind;

use super::in_force::open;
use super::token::{end, list, show_made};
use super::{Context, Failure};

/// Makes, lists and disables write keys.
#[derive(Args)]
pub(super) struct CollectorArguments {
    #[command(subcommand)]
    command: CollectorCommand,
}

#[derive(Subcommand)]
enum CollectorCommand {
    /// Makes a write key and shows it, once. Whether it is a public or a server key stands in
    /// `collectors.toml`.
    Add {
        /// The collector, as `collectors.toml` names it.
        collector: String,
        /// What people call the key.
        #[arg(long, default_value = "")]
        name: String,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Lists write keys; never their text.
    List {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Disables a write key. Every instance refuses it within five seconds.
    Disable {
        /// Its id, as `list` shows it.
        id: String,
    },
}

/// Runs the command.
pub(super) async fn run(arguments: CollectorArguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let house = open(context, &loaded).await?;
    let done = match arguments.command {
        CollectorCommand::Add { collector, name, json } => {
            let id = CollectorId::new(&collector);
            let made = house.add_collector_key(&id, &name).await.map_err(|error| match error {
                crate::gateway::Error::NotFound => unknown_collector(&house, &collector),
                other => Failure::from(other),
            });
            made.and_then(|(id, text)| show_made(id, &text, json))
        }
        CollectorCommand::List { json } => house
            .all_tokens()
            .await
            .map_err(Failure::from)
            .and_then(|tokens| list(&tokens, |kind| kind != TokenKind::Api, json)),
        CollectorCommand::Disable { id } => end(&house, &id).await,
    };
    house.close();
    done.map(|()| 0)
}

/// Names the collectors that there are.
pub(super) fn unknown_collector(house: &crate::gateway::Gateway, wanted: &str) -> Failure {
    let policy = house.policy();
    let known: Vec<&str> = policy.policy.collectors.keys().map(|id| id.as_str()).collect();
    Failure::new(format!("the policy in force has no collector {wanted}; known are {}", known.join(", ")))
}
