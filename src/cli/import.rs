//! `amanat import`: a file goes in through the same path as live traffic.
//!
//! The file is read twice: once to know it (its hash and its length, by which a load that was cut
//! short is recognised), once to load it, a batch at a time, never more in memory than that.

mod rows;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::config::{Config, Loaded};
use crate::domain::id::CollectorId;
use crate::domain::personal::Personal;
use crate::gateway::housekeeping::Chores;
use crate::gateway::import::{Import, ImportRow, LeftOut, Tally};
use crate::gateway::{self, Gateway};
use crate::http::collect::{Limits, Setting, line};

use super::collector::unknown_collector;
use super::in_force::open;
use super::output::{print, print_json};
use super::{Context, Failure};

use rows::{Row, Rows};

/// Rows in one batch: one commit, and what a kill costs at most.
const BATCH: usize = 500;
/// Tries of a batch while a store is busy or away.
const TRIES: u32 = 6;

/// Loads NDJSON or CSV. A load that was cut short goes on where it stopped when the same file is
/// loaded again.
#[derive(Args)]
pub(super) struct ImportArguments {
    /// The file. NDJSON: one event of the collector's protocol a line. CSV: the first row names the
    /// fields: `user_id,timestamp,traits.email`; a column `properties.total:json` holds JSON.
    file: PathBuf,
    /// The collector of the policy that the rows come through.
    #[arg(long, value_name = "ID")]
    collector: String,
    /// What the file is; by its name if not said.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where rows that were not stored are reported, by line and code, never with a value;
    /// FILE.rejects.ndjson if not named.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Ndjson,
    Csv,
}

/// Runs the command.
pub(super) async fn run(arguments: ImportArguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let known = Known::of(&arguments.file)?;
    let house = open(context, &loaded).await?;
    let chores = house.keep_house(Chores::default());
    let done = load(&house, &arguments, &known, &loaded).await;
    chores.stop().await;
    house.close();
    let tally = done?;
    show(&tally, &arguments)?;
    Ok(0)
}

async fn load(house: &Gateway, arguments: &ImportArguments, known: &Known, loaded: &Loaded) -> Result<Tally, Failure> {
    let collector = CollectorId::new(&arguments.collector);
    let mut import = house.begin_import(&collector, &known.digest, known.lines).await.map_err(|error| match error {
        gateway::Error::NotFound => unknown_collector(house, &arguments.collector),
        other => Failure::from(other),
    })?;
    if import.tally().is_ended {
        return Ok(import.tally());
    }
    let limits = limits(&loaded.config);
    let mut rows = open_rows(house, &collector, arguments, &limits)?;
    let bar = progress_bar(known.bytes, &import.tally());
    let mut rejects = Rejects::new(arguments);
    loop {
        let (batch, bytes) = read_batch(&mut rows, import.tally().position)?;
        if batch.is_empty() {
            break;
        }
        let left_out = load_batch(house, &mut import, &collector, &batch, known, &limits).await?;
        rejects.write(&left_out, &batch)?;
        bar.set_position(bytes);
    }
    bar.finish_and_clear();
    Ok(house.finish_import(&mut import).await?)
}

/// What tells one file from another.
struct Known {
    digest: [u8; 32],
    lines: u64,
    bytes: u64,
}

impl Known {
    fn of(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("{} cannot be read: {error}", path.display()));
        let mut reader = BufReader::with_capacity(256 << 10, File::open(path).map_err(failed)?);
        let mut hash = Sha256::new();
        let (mut lines, mut bytes, mut ends_open) = (0_u64, 0_u64, false);
        loop {
            let read = reader.fill_buf().map_err(failed)?;
            let Some(last) = read.last() else { break };
            ends_open = *last != b'\n';
            hash.update(read);
            lines += u64::try_from(read.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0);
            let length = read.len();
            bytes += u64::try_from(length).unwrap_or(0);
            reader.consume(length);
        }
        Ok(Self { digest: hash.finalize().into(), lines: lines + u64::from(ends_open), bytes })
    }
}

fn open_rows(
    house: &Gateway,
    collector: &CollectorId,
    arguments: &ImportArguments,
    limits: &Limits,
) -> Result<Rows, Failure> {
    let by_name = arguments.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let file = File::open(&arguments.file)
        .map_err(|error| Failure::new(format!("{} cannot be read: {error}", arguments.file.display())))?;
    match arguments.format {
        Some(Format::Csv) => {}
        None if by_name => {}
        Some(Format::Ndjson) | None => return Ok(Rows::lines(file, limits.event)),
    }
    let policy = house.policy();
    let rules = policy.policy.collectors.get(collector).ok_or_else(|| unknown_collector(house, collector.as_str()))?;
    let setting = Setting { rules, fields: &policy.policy.fields, limits, received_at: house.source.now() };
    Rows::csv(file, limits.event, setting).map_err(|what| Failure::new(format!("{}: {what}", arguments.file.display())))
}

/// The next rows after `done`, and how far into the file they reach.
fn read_batch(rows: &mut Rows, done: u64) -> Result<(Vec<Row>, u64), Failure> {
    let mut batch = Vec::with_capacity(BATCH);
    while batch.len() < BATCH {
        let Some(row) = rows.next_row().map_err(Failure::new)? else { break };
        if row.number > done {
            batch.push(row);
        }
    }
    Ok((batch, rows.bytes()))
}

/// Loads one batch, again while the stores are busy: rows that were stored before are duplicates.
async fn load_batch(
    house: &Gateway,
    import: &mut Import,
    collector: &CollectorId,
    batch: &[Row],
    known: &Known,
    limits: &Limits,
) -> Result<Vec<LeftOut>, Failure> {
    let mut tries = 0;
    loop {
        let rows = events(house, collector, batch, known, limits)?;
        match house.import(import, rows).await {
            Ok(left_out) => return Ok(left_out),
            Err(
                gateway::Error::StoreUnavailable(_)
                | gateway::Error::KeysUnavailable(_)
                | gateway::Error::ClockSuspended
                | gateway::Error::Contention,
            ) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_secs(u64::from(tries))).await;
            }
            Err(error) => {
                let failure = Failure::from(error);
                let done = import.tally().position;
                return Err(Failure::with_exit(
                    failure.exit(),
                    format!("{failure}\n  {done} rows are done; the same command goes on from there"),
                ));
            }
        }
    }
}

/// The events of a batch, read under the policy in force now.
fn events(
    house: &Gateway,
    collector: &CollectorId,
    batch: &[Row],
    known: &Known,
    limits: &Limits,
) -> Result<Vec<ImportRow>, Failure> {
    let policy = house.policy();
    let rules = policy.policy.collectors.get(collector).ok_or_else(|| unknown_collector(house, collector.as_str()))?;
    let setting = Setting { rules, fields: &policy.policy.fields, limits, received_at: house.source.now() };
    let file = data_encoding::HEXLOWER.encode(known.digest.get(..16).unwrap_or_default());
    Ok(batch
        .iter()
        .map(|row| {
            let event = match &row.content {
                Ok(text) => line::read(text, setting).map_err(|flaw| flaw.code().as_str()),
                Err(code) => Err(*code),
            };
            let event = event.map(|mut event| {
                // A row that names no message is known by its place, so that no repetition counts twice.
                event.message_id.get_or_insert_with(|| Personal::new(format!("import-{file}-{}", row.number)));
                event
            });
            ImportRow { number: row.number, event }
        })
        .collect())
}

fn limits(config: &Config) -> Limits {
    Limits {
        body: config.limits.body_decoded.get(),
        batch: config.limits.batch_events.get(),
        segment_event: config.limits.event_segment.get(),
        event: config.limits.event_other.get(),
        message_id: config.limits.message_id.get(),
    }
}

fn progress_bar(bytes: u64, tally: &Tally) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("loading {bar:40} {bytes}/{total_bytes}, {eta} left {msg}") {
        bar.set_style(style);
    }
    if tally.position > 0 {
        bar.set_message(format!("(goes on after row {})", tally.position));
    }
    bar
}

/// The report of rows that were not stored; the file is made with the first of them.
struct Rejects {
    path: PathBuf,
    file: Option<File>,
}

impl Rejects {
    fn new(arguments: &ImportArguments) -> Self {
        Self { path: rejects_path(arguments), file: None }
    }

    fn write(&mut self, left_out: &[LeftOut], batch: &[Row]) -> Result<(), Failure> {
        if left_out.is_empty() {
            return Ok(());
        }
        let failed =
            |error: std::io::Error| Failure::new(format!("{} cannot be written: {error}", self.path.display()));
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path).map_err(failed)?;
                self.file.insert(file)
            }
        };
        let mut text = String::new();
        for row in left_out {
            let line = batch.iter().find(|known| known.number == row.number).map_or(row.number, |known| known.line);
            text.push_str(&json!({"line": line, "codes": row.codes}).to_string());
            text.push('\n');
        }
        file.write_all(text.as_bytes()).map_err(failed)
    }
}

fn rejects_path(arguments: &ImportArguments) -> PathBuf {
    match &arguments.rejects {
        Some(path) => path.clone(),
        None => {
            let mut name = arguments.file.clone().into_os_string();
            name.push(".rejects.ndjson");
            name.into()
        }
    }
}

fn show(tally: &Tally, arguments: &ImportArguments) -> Result<(), Failure> {
    let path = rejects_path(arguments);
    let report = (tally.refused + tally.rejected > 0).then(|| path.display().to_string());
    if arguments.json {
        return print_json(&json!({
            "rows": tally.accepted + tally.refused + tally.rejected,
            "accepted": tally.accepted,
            "refused": tally.refused,
            "rejected": tally.rejected,
            "rejects": report,
        }));
    }
    let mut text =
        format!("{} rows stored, {} refused by policy, {} not readable", tally.accepted, tally.refused, tally.rejected);
    if let Some(report) = report {
        text.push_str(&format!("\nwhich and why: {report}"));
    }
    print(&text)
}

#[cfg(test)]
mod tests;
