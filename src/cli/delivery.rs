//! `amanat delivery status|dead|replay|pause|resume`: promises and their recipients from a shell.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::id::RecipientId;
use crate::gateway::Gateway;

use super::in_force::open;
use super::output::{columns, print, print_json};
use super::{Context, Failure};

/// Shows what waits for recipients, replays dead letters, pauses and resumes recipients.
#[derive(Args)]
pub(super) struct DeliveryArguments {
    #[command(subcommand)]
    command: DeliveryCommand,
}

#[derive(Subcommand)]
enum DeliveryCommand {
    /// How many promises wait, are on the wire or are dead, by recipient.
    Status {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Lists dead letters: ids, purposes and reasons, never a field.
    Dead {
        /// Only those of this recipient.
        #[arg(long)]
        recipient: Option<String>,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Makes dead letters due again, under their ids; each is decided again when it is sent.
    Replay {
        /// Only those of this recipient.
        #[arg(long)]
        recipient: Option<String>,
        /// Only those that ended for this reason.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Lets deliveries to a recipient wait.
    Pause {
        /// The recipient.
        recipient: String,
        /// Why, for the log.
        #[arg(long)]
        reason: String,
    },
    /// Lets deliveries to a recipient flow again.
    Resume {
        /// The recipient.
        recipient: String,
        /// Why, for the log.
        #[arg(long)]
        reason: String,
    },
}

/// Runs the command.
pub(super) async fn run(arguments: DeliveryArguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let house = open(context, &loaded).await?;
    let done = carry_out(&house, arguments.command).await;
    house.close();
    done.map(|()| 0)
}

async fn carry_out(house: &Gateway, command: DeliveryCommand) -> Result<(), Failure> {
    let named = |id: Option<String>| id.map(|id| RecipientId::new(&id));
    match command {
        DeliveryCommand::Status { json } => status(house, json).await,
        DeliveryCommand::Dead { recipient, json } => dead(house, named(recipient).as_ref(), json).await,
        DeliveryCommand::Replay { recipient, reason } => {
            let replayed = house.replay_dead_letters(named(recipient).as_ref(), reason.as_deref()).await?;
            print(&format!("{replayed} dead letters are due again; each is decided again when it is sent"))
        }
        DeliveryCommand::Pause { recipient, reason } => {
            house.pause_recipient(&RecipientId::new(&recipient), &reason).await?;
            print(&format!("{recipient} is paused; what it is promised waits"))
        }
        DeliveryCommand::Resume { recipient, reason } => {
            house.resume_recipient(&RecipientId::new(&recipient), &reason).await?;
            print(&format!("{recipient} is resumed"))
        }
    }
}

async fn status(house: &Gateway, as_json: bool) -> Result<(), Failure> {
    let counts = house.unsettled_deliveries().await?;
    if as_json {
        let list: Vec<Value> = counts
            .iter()
            .map(|(id, state, count)| json!({ "recipient": id.as_str(), "state": state.as_str(), "count": count }))
            .collect();
        return print_json(&Value::from(list));
    }
    let mut rows = vec![["recipient", "state", "promises"].map(str::to_owned).to_vec()];
    rows.extend(
        counts
            .iter()
            .map(|(id, state, count)| vec![id.as_str().to_owned(), state.as_str().to_owned(), count.to_string()]),
    );
    print(&columns(&rows))
}

async fn dead(house: &Gateway, recipient: Option<&RecipientId>, as_json: bool) -> Result<(), Failure> {
    let mut rows = vec![["id", "recipient", "purpose", "tries", "reason"].map(str::to_owned).to_vec()];
    let mut list = Vec::new();
    let mut after = None;
    loop {
        let page = house.dead_letters(recipient, after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for letter in &page {
            let reason = letter.reason.clone().unwrap_or_default();
            if as_json {
                list.push(json!({
                    "id": letter.id.to_string(), "recipient": letter.recipient.as_str(),
                    "purpose": letter.purpose.as_str(), "tries": letter.attempts, "reason": reason,
                }));
            } else {
                rows.push(vec![
                    letter.id.to_string(),
                    letter.recipient.as_str().to_owned(),
                    letter.purpose.as_str().to_owned(),
                    letter.attempts.to_string(),
                    reason,
                ]);
            }
        }
    }
    if as_json { print_json(&Value::from(list)) } else { print(&columns(&rows)) }
}
