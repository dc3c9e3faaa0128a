//! Witnesses for tests: one in this process that can be stopped and come back, and the real program.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amanat::audit::trust::Trust;
use amanat::gateway::source::Source;
use amanat::storage::witness::WitnessStore;
use amanat::witness::{Witness, WitnessKey};
use zeroize::Zeroizing;

use super::postgres::free_port;
use super::process::Running;

/// A witness within this process.
pub struct TestWitness {
    pub url: String,
    pub vkey: String,
    seed: u8,
    log: String,
    folder: tempfile::TempDir,
    server: Option<actix_web::dev::ServerHandle>,
}

impl TestWitness {
    /// A witness of the log with this verifier key. It does not run yet.
    pub fn new(seed: u8, log: &str) -> Self {
        let key = WitnessKey::new(&format!("witness.test/{seed}"), Zeroizing::new([seed; 32])).expect("key");
        Self {
            url: format!("http://127.0.0.1:{}", free_port()),
            vkey: key.verifier().to_string(),
            seed,
            log: log.to_owned(),
            folder: tempfile::tempdir().expect("folder"),
            server: None,
        }
    }

    /// Its line in a trust policy.
    pub fn line(&self) -> String {
        format!("witness w{} {} {}\n", self.seed, self.vkey, self.url)
    }

    pub fn start(&mut self) {
        let key =
            WitnessKey::new(&format!("witness.test/{}", self.seed), Zeroizing::new([self.seed; 32])).expect("key");
        let trust = Trust::parse(&format!("log {}\nquorum none\n", self.log)).expect("trust");
        let witness = Witness::new(key, trust, self.store(), Arc::new(|_, _| {}));
        let listener = TcpListener::bind(self.url.trim_start_matches("http://")).expect("its port is free");
        let server = amanat::http::witness::start(witness, || Source::default().now(), listener).expect("server");
        self.server = Some(server.handle());
        tokio::spawn(server);
    }

    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(true).await;
        }
    }

    /// The evidence it kept.
    pub fn refusals(&self) -> Vec<String> {
        self.store().refusals().expect("refusals")
    }

    fn store(&self) -> WitnessStore {
        WitnessStore::open(&self.folder.path().join("witness.db")).expect("store")
    }
}

/// The real program as a witness.
pub struct WitnessProcess {
    pub url: String,
    pub vkey: String,
    folder: PathBuf,
    child: Running,
}

impl WitnessProcess {
    /// Makes its key and its trust policy in a folder of its own.
    pub fn install(folder: &Path, name: &str, log: &str) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).expect("folder");
        std::fs::write(folder.join("trust"), format!("log {log}\nquorum none\n")).expect("trust");
        let key = format!("{name}.test/witness");
        let output = program(&folder, &["new-key", "--key", "key", "--name", &key]).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let vkey = String::from_utf8(output.stdout).expect("text").trim().to_owned();
        Self { url: format!("http://127.0.0.1:{}", free_port()), vkey, folder, child: Running::default() }
    }

    pub fn start(&mut self) {
        let address = self.url.trim_start_matches("http://").to_owned();
        let said = std::fs::File::create(self.folder.join("said")).expect("file");
        let arguments = ["--listen", &address, "--key", "key", "--trust", "trust", "--store", "witness.db"];
        let child = program(&self.folder, &arguments)
            .stdout(said.try_clone().expect("file"))
            .stderr(said)
            .spawn()
            .expect("it runs");
        self.child = Running::of(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "it does not listen:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }

    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// SIGTERM, and its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.child.stop()
    }
}

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amanat"));
    command.args(["audit", "witness"]).args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}
