//! `amanat keys status|rotate|rewrap`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::audit::leaf::Cause;
use crate::config::Config;
use crate::gateway::keys::{Epochs, KeyStatus, LogKeyRotated, NextLogKey, Progress, Rotated, Rotation};

use super::in_force::open;
use super::output::{columns, print, print_json};
use super::{Context, Failure};

/// Shows and rotates keys, beside a running gateway.
#[derive(Args)]
pub(super) struct KeysArguments {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Shows versions, jobs, instances and whether old backups become unreadable.
    Status {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Rotates a key. Everything stays readable throughout; a rotation that is cut short is taken up
    /// by `rewrap`, by the next `rotate`, or by a running gateway.
    Rotate {
        /// Which key.
        #[arg(value_enum, default_value_t = Kind::Kek)]
        kind: Kind,
        /// Only makes the next key of the log and prints it, so that trust files can have it first.
        #[arg(long)]
        announce: bool,
        /// Because the key may be known to others.
        #[arg(long)]
        compromised: bool,
        /// Seconds to wait until every instance holds the new version.
        #[arg(long, default_value_t = 30, value_name = "SECONDS")]
        patience: u64,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Goes on with a rotation that was cut short.
    Rewrap {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// The root key.
    Kek,
    /// The key that signs the log.
    Log,
}

/// Runs the command.
pub(super) async fn run(arguments: KeysArguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let config = &loaded.config;
    let house = open(context, &loaded).await?;
    let rotation =
        |cause, patience| Rotation { copies: copies(config), cause, patience: Duration::from_secs(patience) };
    let bar = progress_bar();
    let told = |progress: Progress| {
        bar.set_length(u64::try_from(progress.total).unwrap_or(0));
        bar.set_position(u64::try_from(progress.done).unwrap_or(0));
    };
    let done = match arguments.command {
        KeysCommand::Status { json } => match house.key_status(&copies(config), config.keys.epoch_days).await {
            Ok(status) => show_status(&status, json),
            Err(error) => Err(error.into()),
        },
        KeysCommand::Rotate { kind: Kind::Kek, announce: true, .. } => {
            Err(Failure::with_exit(2, "--announce is for the key of the log; a root key is told to nobody"))
        }
        KeysCommand::Rotate { kind: Kind::Log, announce: true, json, .. } => match house.announce_log_key().await {
            Ok(keys) => show_announced(&keys, json),
            Err(error) => Err(error.into()),
        },
        KeysCommand::Rotate { kind: Kind::Log, compromised, patience, json, .. } => {
            match house.rotate_log_key(cause(compromised), Duration::from_secs(patience)).await {
                Ok(rotated) => show_log_key(&rotated, json),
                Err(error) => Err(error.into()),
            }
        }
        KeysCommand::Rotate { kind: Kind::Kek, compromised, patience, json, .. } => {
            let cause = cause(compromised);
            let rotated = house.rotate_root_key(&rotation(cause, patience), told).await;
            bar.finish_and_clear();
            rotated.map_err(Failure::from).and_then(|rotated| show_rotated(&rotated, json))
        }
        KeysCommand::Rewrap { json } => {
            let rotated = house.rewrap(&rotation(Cause::Planned, 30), told).await;
            bar.finish_and_clear();
            match rotated {
                Ok(Some(rotated)) => show_rotated(&rotated, json),
                Ok(None) if json => print_json(&json!({"rewrapped": 0, "unreadable": 0})).map(|()| 0),
                Ok(None) => print("everything is wrapped under the active version").map(|()| 0),
                Err(error) => Err(error.into()),
            }
        }
    };
    house.leave_instances().await?;
    house.close();
    done
}

const fn cause(compromised: bool) -> Cause {
    if compromised { Cause::SuspectedCompromise } else { Cause::Planned }
}

/// Second places of the root key.
pub(super) fn copies(config: &Config) -> Vec<std::path::PathBuf> {
    config.keys.copies.iter().cloned().collect()
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("wrapping again {bar:40} {pos}/{len} keys, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn show_announced(keys: &NextLogKey, as_json: bool) -> Result<u8, Failure> {
    if as_json {
        print_json(&json!({"current": keys.current.to_string(), "next": keys.next.to_string()}))?;
    } else {
        print(&format!(
            "signs now:  {}\nsigns next: {}\nAdd `log {}` to audit.trust and to the trust files of witnesses and auditors, \
             then run `amanat keys rotate log`.\n",
            keys.current, keys.next, keys.next
        ))?;
    }
    Ok(0)
}

fn show_log_key(rotated: &LogKeyRotated, as_json: bool) -> Result<u8, Failure> {
    let LogKeyRotated { keys, size, checkpoint } = rotated;
    if as_json {
        print_json(&json!({
            "from": keys.current.to_string(),
            "to": keys.next.to_string(),
            "size": size,
            "checkpoint": checkpoint,
        }))?;
        return Ok(0);
    }
    print(&format!("signed so far: {}\nsigns now:     {}\n", keys.current, keys.next))?;
    print(&match checkpoint {
        Some(note) => format!("The checkpoint of {size} leaves has the signatures of both:\n\n{note}"),
        None => format!(
            "The checkpoint of {size} leaves, with the signatures of both, is not published yet; the next gateway to start or to \
             publish signs it.\n"
        ),
    })?;
    Ok(0)
}

fn show_rotated(rotated: &Rotated, as_json: bool) -> Result<u8, Failure> {
    if as_json {
        print_json(&json!({
            "from": rotated.from,
            "to": rotated.to,
            "rewrapped": rotated.rewrapped,
            "unreadable": rotated.unreadable,
        }))?;
    } else {
        print(&format!("version {} wraps; {} keys were wrapped again", rotated.to, rotated.rewrapped))?;
        if rotated.unreadable > 0 {
            print(&format!(
                "{} keys cannot be opened and stay under their old version. Nothing was lost by the rotation: they were damaged \
                 before. Keep every version, and bring these rows back from a backup of the key store",
                rotated.unreadable
            ))?;
        }
    }
    Ok(u8::from(rotated.unreadable > 0))
}

fn show_status(status: &KeyStatus, as_json: bool) -> Result<u8, Failure> {
    if as_json {
        print_json(&status_json(status))?;
        return Ok(0);
    }
    let mut rows = vec![["version", "state", "fingerprint", "keys", "held here", "since"].map(str::to_owned).to_vec()];
    for version in &status.versions {
        rows.push(vec![
            version.version.to_string(),
            version.state.clone(),
            version.fingerprint.clone(),
            version.wraps.to_string(),
            if version.held { "yes" } else { "no" }.to_owned(),
            version.retired_at.unwrap_or(version.created_at).to_string(),
        ]);
    }
    let mut text = format!("root key\n{}", columns(&rows));
    if let Some(job) = &status.job {
        let worked = if job.worked_at { "at work" } else { "cut short; `amanat keys rewrap` goes on" };
        text.push_str(&format!(
            "rotation from {} to {}: {}, {} of {} keys, {worked}\n",
            job.from, job.to, job.state, job.done, job.total
        ));
    }
    match &status.epochs {
        Epochs::Off { why } => text.push_str(&format!("epochs are off: {why}\n")),
        Epochs::On { stated_age_days, next_at, faulty_copies } => {
            text.push_str(&format!("a backup of the key store is meant to be unreadable after {stated_age_days} days; next version due {next_at}\n"));
            text.push_str("old copies of the root key are yours to destroy: only the newest is kept by the gateway\n");
            for copy in faulty_copies {
                text.push_str(&format!(
                    "the copy {} does not open everything; `amanat keys rotate` writes it anew\n",
                    copy.display()
                ));
            }
        }
    }
    let retired = status.versions.iter().filter(|version| version.state == "retired").count();
    if retired > 0 {
        text.push_str(&format!("{retired} retired version(s) are kept: this version of the gateway destroys none\n"));
    }
    for (instance, version) in &status.instances {
        text.push_str(&format!("instance {instance} holds version {version}\n"));
    }
    let secrets: Vec<String> =
        status.secrets.iter().map(|(purpose, version, state)| format!("{purpose} {version} ({state})")).collect();
    text.push_str(&format!("secrets: {}\n", secrets.join(", ")));
    print(&text)?;
    Ok(0)
}

fn status_json(status: &KeyStatus) -> Value {
    let versions: Vec<Value> = status
        .versions
        .iter()
        .map(|version| {
            json!({
                "version": version.version,
                "state": version.state,
                "fingerprint": version.fingerprint,
                "wraps": version.wraps,
                "held": version.held,
                "created_at": version.created_at.to_string(),
                "retired_at": version.retired_at.map(|at| at.to_string()),
            })
        })
        .collect();
    let job = status.job.as_ref().map(|job| {
        json!({"from": job.from, "to": job.to, "state": job.state, "done": job.done, "total": job.total, "worked_at": job.worked_at})
    });
    let epochs = match &status.epochs {
        Epochs::Off { why } => json!({"on": false, "why": why}),
        Epochs::On { stated_age_days, next_at, faulty_copies } => {
            let faulty: Vec<String> = faulty_copies.iter().map(|path| path.display().to_string()).collect();
            json!({"on": true, "stated_age_days": stated_age_days, "next_at": next_at.to_string(), "faulty_copies": faulty})
        }
    };
    let secrets: Vec<Value> = status
        .secrets
        .iter()
        .map(|(purpose, version, state)| json!({"purpose": purpose, "version": version, "state": state}))
        .collect();
    let instances: Vec<Value> =
        status.instances.iter().map(|(id, version)| json!({"id": id, "kek_version": version})).collect();
    json!({"versions": versions, "job": job, "epochs": epochs, "secrets": secrets, "instances": instances})
}
