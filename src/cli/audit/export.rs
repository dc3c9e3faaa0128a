//! `amanat audit export`: a bundle for an authority, or lines for other systems.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use data_encoding::HEXLOWER;

use crate::audit::tile::TILE_WIDTH;
use crate::cli::in_force::open;
use crate::cli::output::print;
use crate::cli::{Context, Failure};
use crate::domain::event::Role;
use crate::gateway::export::{BundleOrder, Exported, LineFormat, LineOrder, Opening, SealedParts, Shown};
use crate::gateway::prove::{StoredLog, Wanted};
use crate::gateway::{Error, LeafBytes};
use crate::storage::Location;

use super::{data_store, entry_id};

/// What to export, and in which form.
#[derive(Args)]
pub(in crate::cli) struct Export {
    /// The form. A bundle is one file that anybody can verify offline; the others are lines on
    /// standard output.
    #[arg(long, value_enum)]
    format: Format,
    /// The bundle's file.
    #[arg(required_if_eq("format", "bundle"))]
    out: Option<PathBuf>,
    /// Bundle: the first entry; whole files of 256 entries are exported. The hashes of the whole log
    /// come along, so that every checkpoint can be checked.
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Bundle: the first entry behind the range.
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Bundle: also the sealed parts, which nobody opens without the keys.
    #[arg(long)]
    sealed: bool,
    /// Bundle: shows a part in clear, `SEQ.ROLE` or `ENTRY.ROLE`, the role being `subject`, `officer`
    /// or `installation`; may be given several times.
    #[arg(long, value_name = "PART", value_parser = part, requires = "reason")]
    open: Vec<Shown>,
    /// Why parts are shown. Stands in the log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Lines: the position of the last entry that was exported before; the lines begin behind it.
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Lines: adds the bytes of each leaf (`ndjson` and `cloudevents`).
    #[arg(long)]
    with_leaf: bool,
    /// Lines: your private enterprise number, for `syslog`; 32473 stands for none.
    #[arg(long, value_name = "NUMBER")]
    enterprise: Option<u32>,
    /// Another database than the configured one (`sqlite:PATH` or a PostgreSQL URL), such as a copy.
    /// Nothing is written to it, so no entry tells of the export.
    #[arg(long, value_name = "URL", conflicts_with_all = ["open", "reason"])]
    database: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Bundle,
    Ndjson,
    Ocsf,
    #[value(name = "cloudevents")]
    CloudEvents,
    Syslog,
    Cef,
    Ecs,
}

/// Runs the command.
pub(in crate::cli) async fn run(wanted: Export, context: &Context) -> Result<u8, Failure> {
    wanted.check()?;
    let location = match &wanted.database {
        Some(url) => Location::parse(url).map_err(|error| Failure::with_exit(2, error.to_string()))?,
        None => data_store(context)?,
    };
    let format = match wanted.format {
        Format::Bundle => return bundle(wanted, location, context).await,
        Format::Ndjson => LineFormat::Ndjson,
        Format::Ocsf => LineFormat::Ocsf,
        Format::CloudEvents => LineFormat::CloudEvents,
        Format::Syslog => LineFormat::Syslog,
        Format::Cef => LineFormat::Cef,
        Format::Ecs => LineFormat::Ecs,
    };
    let bytes = if wanted.with_leaf { LeafBytes::Included } else { LeafBytes::Left };
    let order = LineOrder { format, after: wanted.after, bytes, enterprise: wanted.enterprise };
    let work = move || lines(&location, &order);
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::new("the work was broken off"))?
}

impl Export {
    /// Whether every option belongs to the form: one that would be passed over is a mistake.
    fn check(&self) -> Result<(), Failure> {
        let is_bundle = self.format == Format::Bundle;
        let has_leaf = matches!(self.format, Format::Ndjson | Format::CloudEvents);
        let misplaced = [
            (self.out.is_some() && !is_bundle, "a file is written for --format bundle only; redirect standard output"),
            (self.from.is_some() && !is_bundle, "--from is of --format bundle; lines begin behind --after"),
            (self.to.is_some() && !is_bundle, "--to is of --format bundle"),
            (self.sealed && !is_bundle, "--sealed is of --format bundle"),
            (!self.open.is_empty() && !is_bundle, "--open is of --format bundle: lines are pseudonymous"),
            (self.after.is_some() && is_bundle, "--after is of lines; a bundle has --from and --to"),
            (self.with_leaf && !has_leaf, "--with-leaf is of --format ndjson and cloudevents"),
            (self.enterprise.is_some() && self.format != Format::Syslog, "--enterprise is of --format syslog"),
        ];
        match misplaced.into_iter().find(|(is_misplaced, _)| *is_misplaced) {
            Some((_, text)) => Err(Failure::with_exit(2, text)),
            None => Ok(()),
        }
    }
}

async fn bundle(wanted: Export, location: Location, context: &Context) -> Result<u8, Failure> {
    let out = wanted.out.ok_or_else(|| Failure::with_exit(2, "name the file of the bundle"))?;
    let sealed = if wanted.sealed { SealedParts::Included } else { SealedParts::Left };
    let order = BundleOrder { from: wanted.from, to: wanted.to, sealed };
    let bar = super::super::output::progress_bar("entries");
    let progress = {
        let bar = bar.clone();
        move |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        }
    };
    let written = if wanted.database.is_some() {
        let out = out.clone();
        let work = move || StoredLog::open(&location)?.export_bundle(&order, &out, progress);
        tokio::task::spawn_blocking(work).await.map_err(|_| Failure::new("the work was broken off"))?
    } else {
        let house = open(context, &context.load()?).await?;
        let opening = Opening { parts: wanted.open, reason: wanted.reason.unwrap_or_default() };
        let written = house.export_bundle(order, opening, &out, progress).await;
        house.close();
        written
    };
    bar.finish_and_clear();
    let Exported { size, from, to, digest } = written.map_err(|error| match error {
        Error::NotFound => Failure::new("a part that is to be shown is not there: it was erased, pruned, or never was"),
        Error::Pending { .. } => Failure::new("sealed parts are being deleted; export again in a moment"),
        error => error.into(),
    })?;
    print(&format!(
        "{}\nlog size   {size}\nentries    {} ({from} to {to})\nsha256     {}\n\nanybody can check it: amanat audit verify {}\n",
        out.display(),
        to - from,
        HEXLOWER.encode(&digest),
        out.display(),
    ))?;
    if wanted.from.is_some_and(|asked| !asked.is_multiple_of(TILE_WIDTH)) || wanted.to.is_some_and(|asked| asked != to)
    {
        print("the range was widened to whole files of 256 entries\n")?;
    }
    Ok(0)
}

fn lines(location: &Location, order: &LineOrder) -> Result<u8, Failure> {
    let mut log = StoredLog::open(location)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let failed = |source| Error::File { what: "cannot write to", path: "standard output".to_owned(), source };
    let written =
        log.lines(order, |line| out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(failed));
    match written.and_then(|_| out.flush().map_err(failed)) {
        // Whoever reads has enough; what was read says where to go on.
        Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        Err(Error::Unacceptable(what)) => {
            let after = order.after.unwrap_or_default();
            let size = log.checkpoint()?.map_or(0, |published| published.size);
            Err(Failure::with_exit(2, format!("--after {after}: {what}; it has {size} entries, from 0 on")))
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(0),
    }
}

fn part(text: &str) -> Result<Shown, String> {
    let wrong = || "write SEQ.ROLE or ENTRY.ROLE, such as 12.subject".to_owned();
    let (entry, role) = text.split_once('.').ok_or_else(wrong)?;
    let kept = |role: &&Role| **role != Role::Receipt;
    let role = Role::ALL.iter().filter(kept).find(|known| known.as_str() == role).ok_or_else(wrong)?;
    let entry = match entry.parse() {
        Ok(seq) if entry.len() < 32 => Wanted::Position(seq),
        _ => Wanted::Entry(entry_id(entry)?),
    };
    Ok(Shown { entry, role: *role })
}
