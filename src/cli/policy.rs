//! `amanat policy check|show|diff|reload`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::config::Loaded;
use crate::domain::policy::{Policy, PolicyHash};
use crate::gateway::policy::published;
use crate::policy::{self, Files, KnownNotices, Mistake};

use super::context::read_policy;
use super::in_force::{in_force, open};
use super::output::{print, print_json};
use super::{Context, Failure};

/// Checks, shows, compares and reloads the controller's policy.
#[derive(Args)]
pub(super) struct PolicyArguments {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// Checks a folder of policy files as a whole. Exit code 3 if it has mistakes.
    Check(Folder),
    /// Shows the policy in force, or that of a folder.
    Show {
        /// Show this folder and not what is in force.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Says in words what a folder would change against the policy in force.
    Diff {
        #[command(flatten)]
        folder: Folder,
        /// End with code 4 if anything differs.
        #[arg(long)]
        exit_code: bool,
    },
    /// Puts a folder in force; refused whole if it has mistakes. A running gateway follows within a
    /// second.
    Reload(Folder),
}

#[derive(Args)]
struct Folder {
    /// The folder; `policy.directory` if not named.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

impl Folder {
    fn files(&self, loaded: &Loaded) -> Result<Files, Failure> {
        read_policy(self.directory.as_ref().unwrap_or(&loaded.config.policy.directory))
    }
}

/// Runs the command.
pub(super) async fn run(arguments: PolicyArguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    match arguments.command {
        PolicyCommand::Check(folder) => check(&folder, &loaded),
        PolicyCommand::Show { directory, json } => show(directory, json, &loaded),
        PolicyCommand::Diff { folder, exit_code } => diff(&folder, exit_code, &loaded),
        PolicyCommand::Reload(folder) => reload(&folder, context, &loaded).await,
    }
}

fn check(folder: &Folder, loaded: &Loaded) -> Result<u8, Failure> {
    let files = folder.files(loaded)?;
    // Texts that people were shown must not change, so what is in force counts where there is a store.
    let known = in_force(loaded)?.map(|(policy, _)| published(&policy)).unwrap_or_default();
    match policy::load(&files, &known) {
        Ok(policy) => {
            if folder.json {
                print_json(&json!({"valid": true, "policy": hash(policy.hash), "mistakes": []}))?;
            } else {
                print(&format!("the policy is whole: {}", hash(policy.hash)))?;
            }
            Ok(0)
        }
        Err(mistakes) => {
            if folder.json {
                print_json(
                    &json!({"valid": false, "policy": hash(policy::content_hash(&files)), "mistakes": mistakes_json(&mistakes)}),
                )?;
            } else {
                let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                print(&format!("{}\n{} mistake(s)", lines.join("\n"), mistakes.len()))?;
            }
            Ok(3)
        }
    }
}

fn show(directory: Option<PathBuf>, as_json: bool, loaded: &Loaded) -> Result<u8, Failure> {
    let (policy, state) = match (directory, in_force(loaded)?) {
        (None, Some((policy, _))) => (policy, "in force"),
        (directory, _) => {
            let directory = directory.unwrap_or_else(|| loaded.config.policy.directory.clone());
            let policy =
                policy::load(&read_policy(&directory)?, &KnownNotices::new()).map_err(crate::gateway::Error::Policy)?;
            (policy, "not in force")
        }
    };
    if as_json {
        print_json(&summary(&policy, state))?;
    } else {
        print(&format!("{state}\n{}", policy::show(&policy)))?;
    }
    Ok(0)
}

fn diff(folder: &Folder, exit_code: bool, loaded: &Loaded) -> Result<u8, Failure> {
    let Some((before, _)) = in_force(loaded)? else {
        return Err(Failure::new("no policy is in force yet: nothing has been started with these databases"));
    };
    let after = policy::load(&folder.files(loaded)?, &published(&before)).map_err(crate::gateway::Error::Policy)?;
    let changes = policy::diff(&before, &after);
    if folder.json {
        let list: Vec<Value> = changes
            .iter()
            .map(|change| json!({"effect": change.effect.as_str(), "about": change.about, "what": change.what}))
            .collect();
        print_json(&json!({"in_force": hash(before.hash), "folder": hash(after.hash), "changes": list}))?;
    } else if before.hash == after.hash {
        print("the folder holds the policy in force")?;
    } else {
        let mut lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        if lines.is_empty() {
            lines.push("only comments or spelling differ".to_owned());
        }
        print(&lines.join("\n"))?;
    }
    Ok(if exit_code && before.hash != after.hash { 4 } else { 0 })
}

async fn reload(folder: &Folder, context: &Context, loaded: &Loaded) -> Result<u8, Failure> {
    let files = folder.files(loaded)?;
    let house = open(context, loaded).await?;
    let changed = house.reload_policy(files).await;
    let now = house.policy().policy.hash;
    house.close();
    let changed = changed?;
    if folder.json {
        print_json(&json!({"changed": changed, "policy": hash(now)}))?;
    } else {
        print(&format!(
            "{}: {}",
            if changed { "another policy is in force" } else { "the policy was in force already" },
            hash(now)
        ))?;
    }
    Ok(0)
}

fn mistakes_json(mistakes: &[Mistake]) -> Vec<Value> {
    mistakes
        .iter()
        .map(|mistake| {
            json!({
                "file": mistake.file,
                "line": mistake.line,
                "key": mistake.key,
                "code": mistake.code.map(policy::Code::as_str),
                "what": mistake.what,
                "hint": mistake.hint,
            })
        })
        .collect()
}

fn summary(policy: &Policy, state: &str) -> Value {
    let purposes: Vec<Value> = policy
        .purposes
        .values()
        .map(|purpose| json!({"id": purpose.id.as_str(), "basis": purpose.basis.as_str(), "active": purpose.active}))
        .collect();
    let recipients: Vec<Value> = policy
        .recipients
        .values()
        .map(|recipient| {
            let purposes: Vec<&str> = recipient.purposes.keys().map(|id| id.as_str()).collect();
            json!({"id": recipient.id.as_str(), "country": recipient.country, "role": recipient.role.as_str(), "purposes": purposes})
        })
        .collect();
    let collectors: Vec<Value> = policy
        .collectors
        .values()
        .map(|rules| json!({"id": rules.id.as_str(), "protocol": rules.protocol.as_str(), "trust": rules.trust.as_str()}))
        .collect();
    let fields: Vec<&str> = policy.fields.keys().map(|path| path.as_str()).collect();
    json!({
        "policy": hash(policy.hash),
        "state": state,
        "controller": policy.controller.name,
        "purposes": purposes,
        "recipients": recipients,
        "collectors": collectors,
        "fields": fields,
    })
}

fn hash(hash: PolicyHash) -> String {
    format!("sha256:{}", data_encoding::HEXLOWER.encode(&hash.0))
}
