//! `amanat audit witness`: a witness for somebody who is not the gateway's operator. It reads no
//! configuration and no store of the gateway.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::audit::evidence::{Evidence, Kind, Weight};
use crate::cli::Failure;
use crate::cli::output::print;
use crate::gateway::source::Source;
use crate::storage::witness::WitnessStore;
use crate::telemetry;
use crate::witness::{Witness, WitnessKey};

use super::read_trust;

/// Runs a witness, or makes its key.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct WitnessArguments {
    #[command(subcommand)]
    command: Option<WitnessCommand>,
    #[command(flatten)]
    run: Option<Run>,
}

/// Where a witness listens and what it keeps.
#[derive(Args)]
struct Run {
    /// Address and port, such as `0.0.0.0:8085`. TLS is the proxy's in front of it.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The witness's key file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A trust policy: its `log` lines name the logs that are witnessed.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// The witness's own SQLite file, made at the first start. Never restore it from a backup.
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// The folder for evidence files; `evidence` beside the store if not given.
    #[arg(long, value_name = "FOLDER")]
    evidence: Option<PathBuf>,
}

#[derive(Subcommand)]
enum WitnessCommand {
    /// Makes a key file with mode 0600 and prints the verifier key.
    NewKey {
        /// The file; one that exists is never replaced.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The name of the witness, such as `dpo.example.org/witness`.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Prints the verifier key of a key file, for the trust policies of others.
    Vkey {
        /// The file.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Prints everything that was refused although its log had signed it, one `amanat-evidence/1` a
    /// line.
    Evidence {
        /// The witness's store.
        #[arg(long, value_name = "FILE")]
        store: PathBuf,
    },
}

pub(super) async fn run(arguments: WitnessArguments) -> Result<u8, Failure> {
    match (arguments.command, arguments.run) {
        (Some(WitnessCommand::NewKey { key, name }), _) => new_key(&key, &name),
        (Some(WitnessCommand::Vkey { key }), _) => print(&read_key(&key)?.verifier().to_string()).map(|()| 0),
        (Some(WitnessCommand::Evidence { store }), _) => {
            let refused = open_store(&store)?.refusals().map_err(|error| of_store(&store, &error))?;
            print(&refused.concat()).map(|()| 0)
        }
        (None, Some(run)) => serve(run).await,
        (None, None) => Err(Failure::with_exit(2, "name --listen, --key, --trust and --store, or new-key")),
    }
}

fn new_key(path: &Path, name: &str) -> Result<u8, Failure> {
    let seed = Zeroizing::new(Source::default().random().map_err(|error| Failure::new(error.to_string()))?);
    let key = WitnessKey::make(path, name, &seed)
        .map_err(|error| Failure::new(format!("{} was not made: {error}", path.display())))?;
    print(&key.verifier().to_string()).map(|()| 0)
}

fn read_key(path: &Path) -> Result<WitnessKey, Failure> {
    WitnessKey::read(path)
        .map_err(|error| Failure::new(format!("{}: {error}; `amanat audit witness new-key` makes one", path.display())))
}

fn open_store(path: &Path) -> Result<WitnessStore, Failure> {
    WitnessStore::open(path).map_err(|error| of_store(path, &error))
}

fn of_store(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(format!("the store {} cannot be used: {}", path.display(), crate::cli::context::chain(error)))
}

async fn serve(run: Run) -> Result<u8, Failure> {
    let settings = telemetry::Settings { level: "info", form: telemetry::Form::Text, clock: now };
    telemetry::install(&settings).map_err(|error| Failure::new(error.to_string()))?;
    let key = read_key(&run.key)?;
    let trust = read_trust(&run.trust)?;
    let store = open_store(&run.store)?;
    let listener =
        TcpListener::bind(run.listen).map_err(|error| Failure::new(format!("--listen {}: {error}", run.listen)))?;
    let address = listener.local_addr().map_err(|error| Failure::new(error.to_string()))?;
    let beside = || run.store.parent().unwrap_or(Path::new("")).join("evidence");
    let folder = run.evidence.clone().unwrap_or_else(beside);
    let witness = Witness::new(key, trust, store, Arc::new(move |evidence, weight| keep(&folder, evidence, weight)));

    print(&format!("witness {address} {}\n", witness.verifier()))?;
    for origin in witness.origins() {
        print(&format!("log     {origin}\n"))?;
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signal)?;
    let server = crate::http::witness::start(witness, now, listener)
        .map_err(|error| Failure::new(format!("the witness cannot start: {error}")))?;
    let handle = server.handle();
    let mut server = tokio::spawn(server);
    tracing::info!(address = %address, "the witness serves");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut server => {
            return Err(Failure::new(format!("the witness ended by itself: {ended:?}")));
        }
    }
    handle.stop(true).await;
    match server.await {
        Ok(Ok(())) => Ok(0),
        _ => Err(Failure::new("the witness did not end in order")),
    }
}

/// A fork is what the witness is there for. An older checkpoint is not: signed notes are public and
/// carry no time, so it may be late or somebody's game. It stands in the store.
fn keep(folder: &Path, evidence: &Evidence, weight: Weight) {
    let kind = evidence.kind.as_str();
    if evidence.kind == Kind::Rollback {
        tracing::info!(kind, "a log offered an older checkpoint than was cosigned; it stands in the store");
        return;
    }
    match crate::gateway::evidence::write(folder, evidence) {
        Ok(path) if weight == Weight::Proven => {
            tracing::error!(kind, file = %path.display(), "a log signed two views that cannot both be true; the proof was written");
        }
        Ok(path) => {
            tracing::warn!(kind, file = %path.display(), "a log offered a checkpoint that is not proven to extend what was cosigned; both were written");
        }
        Err(error) => {
            tracing::error!(
                kind,
                error = telemetry::cause(&error),
                "evidence stands in the store and could not be written to a file"
            );
        }
    }
}

fn now() -> jiff::Timestamp {
    Source::default().now()
}

fn no_signal(error: std::io::Error) -> Failure {
    Failure::new(format!("signals cannot be received: {error}"))
}
