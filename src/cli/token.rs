//! `amanat token add|list|revoke`: API tokens of recipient systems and services.

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::domain::id::{RecipientId, TokenId};
use crate::gateway::tokens::Scope;
use crate::storage::tokens::{StoredToken, TokenKind};

use super::in_force::open;
use super::output::{columns, print, print_json};
use super::{Context, Failure};

/// Makes, lists and revokes API tokens.
#[derive(Args)]
pub(super) struct TokenArguments {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Makes a token and shows its text, once.
    Add {
        /// What people call it.
        name: String,
        /// What it may do: decisions, disclosures, consents, requests, audit:read, tasks.
        #[arg(long = "scope", required = true, value_name = "SCOPE")]
        scopes: Vec<String>,
        /// The recipient of the policy that it speaks for.
        #[arg(long)]
        recipient: Option<String>,
        /// Days after which it ends.
        #[arg(long, value_name = "DAYS")]
        expires: Option<u32>,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Lists tokens; never their text.
    List {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Ends a token. Every instance refuses it within five seconds.
    Revoke {
        /// Its id, as `list` shows it.
        id: String,
    },
}

/// Runs the command.
pub(super) async fn run(arguments: TokenArguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let house = open(context, &loaded).await?;
    let done = match arguments.command {
        TokenCommand::Add { name, scopes, recipient, expires, json } => {
            let scopes = scopes.iter().map(|text| scope(text)).collect::<Result<Vec<_>, _>>()?;
            let recipient = recipient.map(|id| RecipientId::new(&id));
            let now = house.source.now();
            let end = expires.and_then(|days| now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok());
            let made = house.add_token(&name, &scopes, recipient.as_ref(), end).await.map_err(|error| {
                match (&error, &recipient) {
                    (crate::gateway::Error::NotFound, Some(id)) => Failure::new(format!(
                        "the policy in force has no recipient {}; see `amanat policy show`",
                        id.as_str()
                    )),
                    _ => Failure::from(error),
                }
            });
            made.and_then(|(id, text)| show_made(id, &text, json))
        }
        TokenCommand::List { json } => house
            .all_tokens()
            .await
            .map_err(Failure::from)
            .and_then(|tokens| list(&tokens, |kind| kind == TokenKind::Api, json)),
        TokenCommand::Revoke { id } => end(&house, &id).await,
    };
    house.close();
    done.map(|()| 0)
}

fn scope(text: &str) -> Result<Scope, Failure> {
    Scope::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        Failure::with_exit(2, format!("--scope {text}: known are {}", known.join(", ")))
    })
}

/// Shows a new token's text, the only time.
pub(super) fn show_made(id: TokenId, text: &str, as_json: bool) -> Result<(), Failure> {
    if as_json {
        print_json(&json!({"id": id.to_string(), "token": text}))
    } else {
        print(&format!("{text}\nid {id}; the text is shown this once and stored only as a keyed hash"))
    }
}

/// Lists tokens of some kinds.
pub(super) fn list(tokens: &[StoredToken], wanted: impl Fn(TokenKind) -> bool, as_json: bool) -> Result<(), Failure> {
    let tokens: Vec<&StoredToken> = tokens.iter().filter(|token| wanted(token.kind)).collect();
    if as_json {
        let list: Vec<Value> = tokens.iter().map(|token| json(token)).collect();
        return print_json(&Value::from(list));
    }
    let mut rows = vec![["id", "for", "name", "may", "ends with", "state"].map(str::to_owned).to_vec()];
    for token in tokens {
        let whose = token.collector.as_ref().map(|id| id.as_str().to_owned());
        let whose = whose
            .or_else(|| token.recipient.as_ref().map(|id| id.as_str().to_owned()))
            .unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            token.id.to_string(),
            whose,
            token.name.clone(),
            if token.scopes.is_empty() { kind(token.kind).to_owned() } else { token.scopes.join(" ") },
            token.last_four.clone(),
            state(token),
        ]);
    }
    print(&columns(&rows))
}

/// Ends a token or write key.
pub(super) async fn end(house: &crate::gateway::Gateway, id: &str) -> Result<(), Failure> {
    let token =
        TokenId::parse(id).ok_or_else(|| Failure::with_exit(2, format!("{id} is not an id; `list` shows them")))?;
    if house.disable_token(token).await? {
        print(&format!("{id} has ended; every instance refuses it within five seconds"))
    } else {
        Err(Failure::new(format!("{id}: there is no such live token or key")))
    }
}

const fn kind(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::ServerKey => "collect (server)",
        TokenKind::PublicKey => "collect (public)",
        TokenKind::Api => "api",
    }
}

fn state(token: &StoredToken) -> String {
    match (token.disabled_at, token.expires_at) {
        (Some(at), _) => format!("ended {}", at.timestamp()),
        (None, Some(at)) => format!("until {}", at.timestamp()),
        (None, None) => "live".to_owned(),
    }
}

fn json(token: &StoredToken) -> Value {
    json!({
        "id": token.id.to_string(),
        "kind": kind(token.kind),
        "name": token.name,
        "scopes": token.scopes,
        "collector": token.collector.as_ref().map(|id| id.as_str()),
        "recipient": token.recipient.as_ref().map(|id| id.as_str()),
        "last_four": token.last_four,
        "created_at": token.created_at.timestamp().to_string(),
        "expires_at": token.expires_at.map(|at| at.timestamp().to_string()),
        "disabled_at": token.disabled_at.map(|at| at.timestamp().to_string()),
        "last_used_at": token.last_used_at.map(|at| at.timestamp().to_string()),
    })
}
