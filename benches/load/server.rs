//! The servers under load: the real binary on a folder and stores of its own, and what `/proc` says
//! of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amanat::domain::id::CollectorId;
use amanat::gateway::source::Source;
use amanat::gateway::{Gateway, KeyringSource, Settings};
use amanat::policy::Files;
use amanat::storage::{Connection, Location};
use diesel::prelude::*;

use super::{people, postgres};

/// Which back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// How the gateway of a group of cells is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Promises wait: the recipient has no address.
    Paused,
    /// The recipient is a file; parcels are dispatched while events come in.
    Dispatching,
    /// The floor: every unit of work is a commit of its own.
    Naive,
}

/// The stores of a gateway, with people in them and a write key.
pub struct House {
    pub folder: tempfile::TempDir,
    pub key: String,
    pub backend: Backend,
    pub seeding: Duration,
    data: String,
    keys: String,
}

impl House {
    /// Makes stores with this many people.
    pub fn new(backend: Backend, people: u64) -> Self {
        let folder = tempfile::Builder::new().prefix("amanat-load-").tempdir().expect("folder");
        let (data, keys) = match backend {
            Backend::Sqlite => {
                let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
                (url("amanat.db"), url("keys.db"))
            }
            Backend::Postgres => {
                let server = postgres::server();
                let name = server.fresh_name();
                (server.url(&format!("{name}_data")), server.url(&format!("{name}_keys")))
            }
        };
        let began = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
        let key = runtime.block_on(async {
            let house = Gateway::open(
                settings(folder.path(), &data, &keys),
                KeyringSource::File { path: folder.path().join("root.key"), managed: true },
                policy(),
                Source::default(),
            )
            .await
            .expect("the gateway opens");
            people::store(&house, people).await;
            let (_, key) = house.add_collector_key(&CollectorId::new("shop-server"), "load").await.expect("key");
            house.close();
            key.to_string()
        });
        // Settled, as after a night.
        for url in [&data, &keys] {
            settle(url);
        }
        Self { folder, key, backend, seeding: began.elapsed(), data, keys }
    }

    /// Starts the real binary on it.
    pub fn serve(&self, mode: Mode) -> Serving {
        let port = postgres::free_port();
        let folder = self.folder.path().display();
        let mut config = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\n[storage]\ndatabase = \"{}\"\n[keys]\ndatabase = \"{}\"\nroot_file = \"{folder}/root.key\"\n\
             [audit]\nmemory = \"{folder}/memory\"\norigin = \"load.example/log\"\n[journal]\nplaces = [\"{folder}/journal\"]\n\
             [policy]\ndirectory = \"{}\"\n[limits]\nserver_key_rate = 1000000\n[log]\nlevel = \"warn\"\n",
            self.data, self.keys, POLICY
        );
        match mode {
            Mode::Paused => {}
            Mode::Dispatching => config.push_str(&format!(
                "[delivery]\nfiles = \"{folder}/deliveries\"\n[recipients.analytics]\nkind = \"file\"\n"
            )),
            Mode::Naive => config = config.replace("[storage]\n", "[storage]\nbatch_units = 1\n"),
        }
        let file = self.folder.path().join("amanat.toml");
        fs::write(&file, config).expect("configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_amanat"));
        command.arg("--config").arg(&file).arg("serve");
        Serving::start(command, port, self.backend == Backend::Postgres)
    }

    /// Records stored.
    pub fn records(&self) -> i64 {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            count: i64,
        }
        let query = diesel::sql_query("SELECT count(*) AS count FROM record");
        let count: Count = match &mut Location::parse(&self.data).expect("URL").connect().expect("database") {
            Connection::Sqlite(c) => query.get_result(c),
            Connection::Postgres(c) => query.get_result(c),
        }
        .expect("count");
        count.count
    }

    /// Bytes of the data's files, where they are files.
    pub fn bytes(&self) -> u64 {
        let length = |name: &str| fs::metadata(self.folder.path().join(name)).map_or(0, |metadata| metadata.len());
        ["amanat.db", "amanat.db-wal", "keys.db", "keys.db-wal"].into_iter().map(length).sum()
    }
}

const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/policy");

/// The policy of the bench.
pub fn policy() -> Files {
    let mut files = Files::new();
    read(Path::new(POLICY), "", &mut files);
    files
}

fn read(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(folder).expect("policy") {
        let entry = entry.expect("entry");
        let path = format!("{prefix}{}", entry.file_name().into_string().expect("UTF-8"));
        if entry.file_type().expect("type").is_dir() {
            read(&entry.path(), &format!("{path}/"), files);
        } else {
            files.insert(path, fs::read(entry.path()).expect("file"));
        }
    }
}

/// The settings under which people are stored; the same stores are then served.
pub fn settings(folder: &Path, data: &str, keys: &str) -> Settings {
    Settings {
        database: Location::parse(data).expect("URL"),
        keys: Location::parse(keys).expect("URL"),
        readers: 2,
        batch_units: 4,
        queue: 64,
        public_url: "http://127.0.0.1".to_owned(),
        origin: Some("load.example/log".to_owned()),
        memory: folder.join("memory"),
        mirror: None,
        journal: vec![folder.join("journal")],
        key_life: Duration::from_secs(30),
        checkpoint_every: Duration::from_secs(1),
        heartbeat_every: Duration::from_secs(3600),
        anchors: Vec::new(),
        trust: amanat::gateway::witness::TrustSettings::default(),
        delivery_time_limit: Duration::from_secs(10),
        delivery_lease: Duration::from_secs(20),
        public_entries: false,
        stated_age_days: None,
        config_digest: [0; 32],
        observe: Arc::new(|_, _, _| {}),
    }
}

fn settle(url: &str) {
    use diesel::connection::SimpleConnection;
    match &mut Location::parse(url).expect("URL").connect().expect("database") {
        Connection::Sqlite(connection) => {
            connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").expect("checkpoint")
        }
        Connection::Postgres(connection) => connection.batch_execute("ANALYZE").expect("settling"),
    }
}

/// A server in a process of its own.
pub struct Serving {
    pub address: SocketAddr,
    /// From the start of the process to the first answer that it is ready.
    pub start: Duration,
    child: Child,
    with_postgres: bool,
}

/// Processor time used so far, in seconds.
#[derive(Clone, Copy)]
pub struct Usage {
    pub server: f64,
    pub database: f64,
    pub client: f64,
}

impl Serving {
    /// The bare handler.
    pub fn bare() -> Self {
        let port = postgres::free_port();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("--serve-bare").arg(port.to_string());
        Self::start(command, port, false)
    }

    fn start(mut command: Command, port: u16, with_postgres: bool) -> Self {
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).spawn().expect("server");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while !ready(address) {
            assert!(began.elapsed() < Duration::from_secs(60), "the server does not start");
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { address, start: began.elapsed(), child, with_postgres }
    }

    /// Processor time so far.
    pub fn usage(&self) -> Usage {
        let database = if self.with_postgres { postgres_seconds() } else { 0.0 };
        Usage { server: process_seconds(self.child.id()), database, client: process_seconds(std::process::id()) }
    }

    /// Megabytes resident: now, and at most so far.
    pub fn resident(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
        };
        (kilobytes("VmRSS:") / 1024, kilobytes("VmHWM:") / 1024)
    }

    /// Its process, for a profiler.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("signal");
        self.child.wait().expect("end");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer)?;
        // The bare handler knows no such path and answers 400.
        Ok(answer[..length].starts_with(b"HTTP/1.1 200") || answer[..length].starts_with(b"HTTP/1.1 400"))
    };
    ask().unwrap_or(false)
}

/// Seconds of processor time of a process; the kernel counts hundredths.
fn process_seconds(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Seconds of processor time of the database server and its children, living and ended.
fn postgres_seconds() -> f64 {
    let pid = fs::read_to_string(postgres::server().folder.join("cluster/postmaster.pid")).unwrap_or_default();
    let postmaster = pid.lines().next().unwrap_or_default().trim().to_owned();
    let mut total = 0.0;
    for entry in fs::read_dir("/proc").expect("/proc").filter_map(Result::ok) {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let own = entry.file_name().to_string_lossy() == postmaster.as_str();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        if own || fields.get(1) == Some(&postmaster.as_str()) {
            let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
            total += ticks(11) + ticks(12) + if own { ticks(13) + ticks(14) } else { 0.0 };
        }
    }
    total / 100.0
}
