//! A PostgreSQL server for this test process: started from its binaries on a free port with a
//! cluster of its own, stopped when the process ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Server {
    pub port: u16,
    pub folder: PathBuf,
    bin: PathBuf,
}

static SERVER: OnceLock<Server> = OnceLock::new();
static NAMES: AtomicU64 = AtomicU64::new(0);

/// The server of this process, started when it is first needed.
pub fn server() -> &'static Server {
    SERVER.get_or_init(Server::start)
}

impl Server {
    /// A server with a cluster of its own. It stops when this process ends: a shell waits for that.
    pub fn start() -> Self {
        let bin = binaries();
        let folder = tempfile::Builder::new().prefix("amanat-pg-").tempdir().expect("folder").keep();
        let port = free_port();
        give_away(&folder);
        let cluster = folder.join("cluster");
        succeed(as_user(
            &bin.join("initdb"),
            &["-D", path(&cluster), "-U", "amanat", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"],
        ));
        let server = Self { port, folder, bin };
        server.launch();
        server
    }

    /// Starts the server of the cluster.
    #[expect(clippy::zombie_processes, reason = "the watcher outlives this process")]
    pub fn launch(&self) {
        let cluster = self.folder.join("cluster");
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=400 -c shared_buffers=64MB",
            self.port,
            path(&self.folder)
        );
        let log = self.folder.join("log");
        succeed(as_user(
            &self.bin.join("pg_ctl"),
            &["-D", path(&cluster), "-w", "-l", path(&log), "-o", &options, "start"],
        ));
        // Whatever happens to this process, its server goes with it.
        let watch = format!(
            "while [ -d /proc/{} ]; do sleep 0.5; done; {} -D {} -m immediate stop >/dev/null 2>&1; rm -rf {}",
            std::process::id(),
            path(&self.bin.join("pg_ctl")),
            path(&cluster),
            path(&self.folder)
        );
        as_user(Path::new("/bin/sh"), &["-c", &watch])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("watcher");
    }

    /// Stops the server at once, as a crash of its machine would.
    pub fn crash(&self) {
        succeed(as_user(
            &self.bin.join("pg_ctl"),
            &["-D", path(&self.folder.join("cluster")), "-m", "immediate", "-w", "stop"],
        ));
    }

    /// The URL of a schema of its own.
    pub fn url(&self, schema: &str) -> String {
        format!("postgres://amanat@127.0.0.1:{}/postgres?amanat_schema={schema}", self.port)
    }

    /// A name that no other test of this process uses.
    pub fn fresh_name(&self) -> String {
        format!("t{}", NAMES.fetch_add(1, Ordering::Relaxed))
    }
}

/// PostgreSQL refuses to run as root, so as root it runs as `nobody`.
fn as_user(program: &Path, arguments: &[&str]) -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).args(arguments);
        command.current_dir("/tmp");
        command
    } else {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    }
}

fn give_away(folder: &Path) {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder, Some(65534), Some(65534)).expect("chown");
    }
}

fn succeed(mut command: Command) {
    // pg_ctl leaves its output open in the server it starts, so nothing may wait for its end.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("program");
    assert!(status.success(), "{command:?} failed");
}

fn binaries() -> PathBuf {
    if let Some(given) = std::env::var_os("AMANAT_TEST_POSTGRES_BIN") {
        return given.into();
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.filter_map(Result::ok).map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from("/usr/local/bin"))
}

/// A port that is free now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
