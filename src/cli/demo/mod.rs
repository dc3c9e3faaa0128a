//! `amanat demo`: from nothing to a running gateway, and a tour of what it does.
//!
//! Everything happens for real: the example policy, a throw-away folder, requests through the
//! collectors' doors, signed webhooks to a recipient of the tour's own, requests of a person answered,
//! the log verified. A step that fails makes the tour fail.

#![expect(clippy::print_stdout, reason = "the tour prints what happens")]

mod client;
mod recipient;
mod tour;
mod traffic;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use zeroize::Zeroizing;

use crate::delivery::signing::SigningSecret;
use crate::domain::id::CollectorId;
use crate::gateway::source::Source;
use crate::gateway::tokens::Scope;
use crate::policy::Files;

use super::serve::Serving;
use super::{Context, Failure};

static EXAMPLE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/policies");

/// What `amanat demo` takes.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Ends after the tour; the exit code says whether every step worked.
    #[arg(long)]
    exit: bool,
    /// The port to serve on; a free one if it is taken.
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

/// The recipients that the tour plays itself.
const WEBHOOKS: [&str; 3] = ["letterbox", "analytics-eu", "helpdesk-us"];

/// Runs the tour.
pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let source = Source::default();
    let folder = throw_away_folder(&source)?;
    let outcome = run_in(context, arguments, &source, &folder).await;
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        println!("The folder {} could not be removed: {error}", folder.display());
    }
    outcome
}

async fn run_in(context: &Context, arguments: &Arguments, source: &Source, folder: &Path) -> Result<u8, Failure> {
    let mut secrets = BTreeMap::new();
    let mut options = options(folder);
    for recipient in WEBHOOKS {
        let random: Zeroizing<[u8; 32]> =
            Zeroizing::new(source.random().map_err(|error| Failure::new(error.to_string()))?);
        let secret = SigningSecret::from_random(&random);
        let file = folder.join(format!("{recipient}.secret"));
        write_private(&file, &secret.text())?;
        options.insert(format!("recipients.{recipient}.secret_file"), file.display().to_string());
        secrets.insert(recipient.to_owned(), secret);
    }
    let (address, received) = recipient::start(secrets)?;
    for recipient in WEBHOOKS {
        options.insert(format!("recipients.{recipient}.kind"), "webhook".to_owned());
        options.insert(format!("recipients.{recipient}.url"), format!("http://{address}/{recipient}"));
    }
    options.insert("delivery.allow_ports".to_owned(), address.port().to_string());

    let listener = TcpListener::bind(("127.0.0.1", arguments.port))
        .or_else(|_| TcpListener::bind("127.0.0.1:0"))
        .map_err(|error| Failure::new(format!("no port is free on this machine: {error}")))?;
    let listen = listener.local_addr().map_err(|error| Failure::new(error.to_string()))?;
    options.insert("server.listen".to_owned(), listen.to_string());
    options.insert("log.level".to_owned(), "warn".to_owned());

    let loaded = context.load_with(options)?;
    let figures = super::serve::start_telemetry(&loaded)?;
    println!("Amanat: a tour\n");
    println!("Everything lives in {} and goes when the tour ends.", folder.display());
    let house = context.open_with(&loaded, example_policy()).await?;
    let web_key = house.add_collector_key(&CollectorId::new("shop-web"), "demo").await?.1;
    let server_key = house.add_collector_key(&CollectorId::new("shop-server"), "demo").await?.1;
    let scopes = [Scope::Decisions, Scope::Consents, Scope::Requests, Scope::AuditRead];
    let token = house.add_token("demo", &scopes, None, None).await?.1;
    let serving = Serving::start(house, &loaded, listener, Some(figures)).await?;

    let guide = tour::Guide {
        url: format!("http://{}", serving.address),
        web_key: web_key.to_string(),
        server_key: server_key.to_string(),
        token: token.to_string(),
        received,
        folder: folder.to_path_buf(),
        settings: serving.app.house.settings.clone(),
    };
    let toured = tour::walk(&guide).await;
    let code = match &toured {
        Ok(()) => 0,
        Err(failure) => {
            println!("\n✗ the tour failed: {}", failure.text());
            1
        }
    };
    if !arguments.exit {
        guide.print_what_to_try();
        wait_for_the_end().await?;
    }
    serving.stop().await?;
    Ok(code)
}

async fn wait_for_the_end() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let no_signal = |error: std::io::Error| Failure::new(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signal)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn options(folder: &Path) -> BTreeMap<String, String> {
    let place = |name: &str| folder.join(name).display().to_string();
    BTreeMap::from([
        ("storage.database".to_owned(), format!("sqlite:{}", place("amanat.db"))),
        ("keys.database".to_owned(), format!("sqlite:{}", place("keys.db"))),
        ("keys.root_file".to_owned(), place("root.key")),
        ("audit.memory".to_owned(), place("memory")),
        ("audit.checkpoint_every".to_owned(), "200ms".to_owned()),
        ("journal.places".to_owned(), place("journal")),
        ("delivery.files".to_owned(), place("deliveries")),
        ("delivery.allow_loopback".to_owned(), "true".to_owned()),
        ("recipients.warehouse.kind".to_owned(), "file".to_owned()),
    ])
}

/// The policy that ships with the program.
pub(super) fn example_policy() -> Files {
    let mut files = Files::new();
    let mut folders = vec![&EXAMPLE];
    while let Some(folder) = folders.pop() {
        folders.extend(folder.dirs());
        for file in folder.files() {
            if let Some(path) = file.path().to_str() {
                files.insert(path.to_owned(), file.contents().to_vec());
            }
        }
    }
    files
}

fn throw_away_folder(source: &Source) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let random: [u8; 6] = source.random().map_err(|error| Failure::new(error.to_string()))?;
    let folder = std::env::temp_dir().join(format!("amanat-demo-{}", data_encoding::HEXLOWER.encode(&random)));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(|error| Failure::new(format!("{} cannot be made: {error}", folder.display())))?;
    Ok(folder)
}

fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
}
