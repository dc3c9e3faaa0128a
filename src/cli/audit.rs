//! `amanat audit`: verify the log, take its checkpoint, prove an entry. None of that changes the store,
//! and none of it needs a key but `verify --payloads`. What an operator must say to the log has a file of
//! its own.

mod export;
mod keyed;
mod prune;
pub(super) mod report;
mod resume;
mod witness;

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::audit::evidence::Evidence;
use crate::audit::finding::Report;
use crate::audit::trust::Trust;
use crate::domain::id::EntryId;
use crate::gateway::Error;
use crate::gateway::anchor::{Roots, roots};
use crate::gateway::prove::{StoredLog, Wanted};
use crate::gateway::source::Source;
use crate::gateway::verify::{BundleVerification, Verification, notes_of_bundle, verify, verify_bundle, verify_proof};
use crate::storage::Location;

use super::{Context, Failure};

/// What to do with the audit log.
#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Verifies the whole log: hashes every entry again and tries every known checkpoint.
    ///
    /// Exit codes: 0 intact; 10 intact, but no witness vouches for it; 20 incomplete; 30 forked or
    /// rolled back; 40 invalid; 50 less attested than the trust policy asks for; 1 could not run.
    Verify(Verify),
    /// Shows the newest signed checkpoint. Keep it elsewhere: whoever has it finds later tampering.
    Checkpoint {
        /// Also writes it to a file.
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// Proves that an entry stands in the log, or that one size extends another.
    Prove(Prove),
    /// Takes the log out of the house: a bundle that anybody can verify offline, or lines for other
    /// systems.
    Export(export::Export),
    /// Prints the verifier key of the log, for the trust policies of witnesses and verifiers.
    Vkey,
    Witness(witness::WitnessArguments),
    Resume(resume::Resume),
    Prune(prune::Prune),
}

/// What to verify, and against what.
#[derive(Args)]
pub(super) struct Verify {
    /// A database (`sqlite:PATH` or a PostgreSQL URL), a bundle (the file, or the folder it was
    /// unpacked to), a `.tlog-proof` file or an evidence file; the configured database if nothing is
    /// named.
    source: Option<String>,
    /// A checkpoint saved before; may be given several times.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// A trust policy: the keys of the log and of the witnesses to believe.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Root certificates (PEM) of the authorities that dated the log; those of the configuration if
    /// it is the configured log that is verified.
    #[arg(long, value_name = "FILE")]
    anchor_roots: Option<PathBuf>,
    /// Another bundle of the same log: finds two signed views that cannot both be true.
    #[arg(long, value_name = "BUNDLE")]
    against: Option<PathBuf>,
    /// How old the newest entry may be, such as `24h`.
    #[arg(long, value_name = "TIME", value_parser = age)]
    max_age: Option<Duration>,
    /// Also checks that every business row has its entry, and every choice and disclosure its row; with
    /// `--payloads`, that every row is what its entry says of it.
    #[arg(long)]
    business: bool,
    /// Also checks that no destroyed key is in the key store again: in the configured one, or in this
    /// one. Needs no root key.
    #[arg(
        long,
        value_name = "LOCATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    keys: Option<String>,
    /// Also opens everything that is sealed and whose key lives, and checks what it says. Needs the key
    /// store and the configured root key.
    #[arg(long)]
    payloads: bool,
    /// The folder for evidence files, written where signed notes contradict each other.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    evidence: PathBuf,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// What to prove.
#[derive(Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["seq", "entry", "from"])))]
pub(super) struct Prove {
    /// The position of the entry.
    seq: Option<u64>,
    /// The id of the entry, in hexadecimal digits.
    #[arg(long, value_name = "HEX", value_parser = entry_id)]
    entry: Option<EntryId>,
    /// The older size.
    #[arg(long, value_name = "SIZE", requires = "to")]
    from: Option<u64>,
    /// The newer size.
    #[arg(long, value_name = "SIZE", requires = "from")]
    to: Option<u64>,
}

pub(super) async fn run(command: AuditCommand, context: &Context) -> Result<u8, Failure> {
    let work: Box<dyn FnOnce() -> Result<u8, Failure> + Send> = match command {
        AuditCommand::Export(wanted) => return export::run(wanted, context).await,
        AuditCommand::Witness(wanted) => return witness::run(wanted).await,
        AuditCommand::Vkey => {
            let location = data_store(context)?;
            Box::new(move || print(&format!("{}\n", StoredLog::open(&location)?.verifier()?)).map(|()| 0))
        }
        AuditCommand::Verify(wanted) => {
            let verification = Sourced::of(wanted, context)?;
            Box::new(move || verification.run())
        }
        AuditCommand::Checkpoint { save } => {
            let location = data_store(context)?;
            Box::new(move || checkpoint(&location, save.as_deref()))
        }
        AuditCommand::Prune(wanted) => return prune::run(&wanted, context).await,
        AuditCommand::Resume(wanted) => return resume::run(&wanted, context).await,
        AuditCommand::Prove(wanted) => {
            let location = data_store(context)?;
            Box::new(move || prove(&location, &wanted))
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::new("the work was broken off"))?
}

fn checkpoint(location: &Location, save: Option<&Path>) -> Result<u8, Failure> {
    let published = StoredLog::open(location)?.checkpoint()?;
    let published =
        published.ok_or_else(|| Failure::new("no checkpoint was signed yet; start the gateway and wait a second"))?;
    if let Some(path) = save {
        std::fs::write(path, &published.note)
            .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))?;
    }
    print(&published.note)?;
    Ok(0)
}

fn prove(location: &Location, wanted: &Prove) -> Result<u8, Failure> {
    let mut log = StoredLog::open(location)?;
    let text = match wanted {
        Prove { seq: Some(seq), .. } => log.prove_entry(Wanted::Position(*seq)).map_err(no_proof)?.to_string(),
        Prove { entry: Some(entry), .. } => log.prove_entry(Wanted::Entry(*entry)).map_err(no_proof)?.to_string(),
        Prove { from: Some(from), to: Some(to), .. } => {
            let proof = log.prove_consistency(*from, *to)?;
            serde_json::to_string(&proof).map_err(|error| Failure::new(error.to_string()))? + "\n"
        }
        Prove { .. } => return Err(Failure::with_exit(2, "name a position, --entry, or --from and --to")),
    };
    print(&text)?;
    Ok(0)
}

fn no_proof(error: Error) -> Failure {
    match error {
        Error::NotFound => Failure::new("the log has no such entry, or it was pruned"),
        Error::Pruned => Failure::new("the entry was pruned, which the log itself says"),
        Error::Pending { .. } => {
            Failure::new("no checkpoint covers this entry yet; a running gateway signs one within a second")
        }
        error => error.into(),
    }
}

/// A verification with everything read that it needs.
struct Sourced {
    what: What,
    evidence: PathBuf,
    is_json: bool,
}

enum What {
    Database(Box<Verification>),
    Bundle(Box<BundleVerification>),
    Proof { text: String, trust: Option<Trust>, maximum_age: Option<Duration> },
    Evidence(Evidence, Trust),
}

impl Sourced {
    fn of(wanted: Verify, context: &Context) -> Result<Self, Failure> {
        let trust = wanted.trust.as_deref().map(read_trust).transpose()?;
        let named = wanted.anchor_roots.as_deref().map(read_roots).transpose()?;
        let now = Source::default().now();
        let mut checkpoints = wanted
            .checkpoint
            .iter()
            .map(|path| Ok((path.display().to_string(), read(path)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        if let Some(source) = wanted.source.as_ref().filter(|source| is_bundle(Path::new(source))) {
            keyed::none_for(&wanted, "a bundle")?;
            let what = What::Bundle(Box::new(BundleVerification {
                bundle: source.into(),
                against: wanted.against,
                checkpoints,
                trust,
                anchor_roots: named.unwrap_or_default(),
                maximum_age: wanted.max_age,
                now,
            }));
            return Ok(Self { what, evidence: wanted.evidence, is_json: wanted.json });
        }
        if let Some(path) = &wanted.against {
            let notes = notes_of_bundle(path)?;
            checkpoints.extend(notes.map_err(|text| Failure::new(format!("{}: {text}", path.display())))?);
        }
        let mut anchor_roots = named.clone().unwrap_or_default();
        let (database, keys, memory) = match &wanted.source {
            None => {
                let loaded = context.load()?;
                let settings = super::context::settings(&loaded)?;
                if named.is_none() {
                    settings.anchors.iter().for_each(|anchor| anchor_roots.add(&anchor.roots));
                }
                (settings.database, exists(&settings.keys).then_some(settings.keys), Some(settings.memory))
            }
            Some(source) if source.starts_with("sqlite:") || source.contains("://") => {
                let location = Location::parse(source).map_err(|error| Failure::with_exit(2, error.to_string()))?;
                (location, None, None)
            }
            Some(source) => {
                let bytes = read(Path::new(source))?;
                if bytes.starts_with(b"SQLite format 3\0") {
                    (Location::Sqlite(source.into()), None, None)
                } else {
                    keyed::none_for(&wanted, "a proof or evidence")?;
                    if wanted.against.is_some() {
                        return Err(Failure::with_exit(2, "--against holds a bundle against a bundle or a database"));
                    }
                    let what = match (Evidence::parse(&bytes), trust) {
                        (Ok(evidence), Some(trust)) => What::Evidence(evidence, trust),
                        (Ok(_), None) => {
                            return Err(Failure::with_exit(2, "evidence is judged with the log's key: name --trust"));
                        }
                        (Err(_), trust) => {
                            let text = String::from_utf8(bytes).map_err(|_| {
                                Failure::with_exit(2, format!("{source} is no database, bundle or proof"))
                            })?;
                            What::Proof { text, trust, maximum_age: wanted.max_age }
                        }
                    };
                    return Ok(Self { what, evidence: wanted.evidence, is_json: wanted.json });
                }
            }
        };
        let keys = keyed::store(&wanted, keys, context)?;
        let opener = match &keys {
            Some(keys) if wanted.payloads => Some(keyed::opener(keys, context)?),
            _ => None,
        };
        let verification = Verification {
            database,
            keys,
            memory,
            checkpoints,
            trust,
            anchor_roots,
            maximum_age: wanted.max_age,
            now,
            business: wanted.business,
            destroyed_keys: wanted.keys.is_some(),
            opener,
        };
        Ok(Self { what: What::Database(Box::new(verification)), evidence: wanted.evidence, is_json: wanted.json })
    }

    fn run(self) -> Result<u8, Failure> {
        let report = match self.what {
            What::Database(verification) => with_progress(|progress| verify(&verification, progress))?,
            What::Bundle(verification) => with_progress(|progress| verify_bundle(&verification, progress))?,
            What::Proof { text, trust, maximum_age } => {
                verify_proof(&text, trust.as_ref(), maximum_age, Source::default().now())
            }
            What::Evidence(evidence, trust) => evidence.report(trust.logs()),
        };
        let text = if self.is_json {
            serde_json::to_string(&report).map_err(|error| Failure::new(error.to_string()))? + "\n"
        } else {
            report::text(&report)
        };
        print(&text)?;
        for evidence in &report.evidence {
            let path = crate::gateway::evidence::write(&self.evidence, evidence)?;
            eprintln!("evidence was written to {}", path.display());
        }
        Ok(report.exit)
    }
}

fn with_progress(
    work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> crate::gateway::Result<Report>,
) -> Result<Report, Failure> {
    let bar = super::output::progress_bar("entries");
    let report = work(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    Ok(report?)
}

/// A folder, or a file that begins as archives do.
fn is_bundle(path: &Path) -> bool {
    let mut start = [0; 4];
    path.is_dir()
        || std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
            && start.starts_with(b"PK")
}

fn data_store(context: &Context) -> Result<Location, Failure> {
    Ok(super::context::settings(&context.load()?)?.database)
}

/// A key store that is not there is left out: an auditor may have the data alone.
fn exists(location: &Location) -> bool {
    match location {
        Location::Sqlite(path) => path.exists(),
        Location::Postgres { .. } => true,
    }
}

fn read_roots(path: &Path) -> Result<Roots, Failure> {
    roots(&read(path)?).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn read_trust(path: &Path) -> Result<Trust, Failure> {
    let text = String::from_utf8(read(path)?).map_err(|_| Failure::new(format!("{} is not UTF-8", path.display())))?;
    Trust::parse(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::new(format!("{} cannot be read: {error}", path.display())))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("the output cannot be written: {error}")))
}

fn age(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "write a time such as 24h or 90m".to_owned())?;
    Duration::try_from(span).map_err(|_| "an age is not negative".to_owned())
}

fn entry_id(text: &str) -> Result<EntryId, String> {
    let wrong = || "an entry id has 32 hexadecimal digits".to_owned();
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| wrong())?;
    Ok(EntryId::from_bytes(bytes.try_into().map_err(|_| wrong())?))
}
