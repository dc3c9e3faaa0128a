//! The real program as a process of its own, which a test may kill.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::postgres::free_port;

/// A gateway that is installed in a folder: its options, and its process while it runs.
pub struct Installed {
    pub url: String,
    options: Vec<String>,
    folder: PathBuf,
    child: Running,
}

impl Installed {
    /// Writes down where everything lies. Nothing runs yet.
    pub fn new(folder: &Path, database: &str, keys: &str) -> Self {
        let port = free_port();
        let below = |name: &str| folder.join(name).display().to_string();
        let options = [
            ("server.listen", format!("127.0.0.1:{port}")),
            ("server.workers", "2".to_owned()),
            ("storage.database", database.to_owned()),
            ("keys.database", keys.to_owned()),
            ("keys.root_file", below("root.key")),
            ("audit.memory", below(&format!("memory-{port}"))),
            ("audit.checkpoint_every", "100ms".to_owned()),
            ("audit.origin", "amanat.test/log".to_owned()),
            ("journal.places", below(&format!("journal-{port}"))),
            ("policy.directory", concat!(env!("CARGO_MANIFEST_DIR"), "/policies").to_owned()),
            ("delivery.files", below("deliveries")),
            ("log.level", "warn".to_owned()),
        ];
        let options = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Self {
            url: format!("http://127.0.0.1:{port}"),
            options,
            folder: folder.to_path_buf(),
            child: Running::default(),
        }
    }

    /// Sets one option more, from the next start on.
    pub fn set(&mut self, option: &str, value: &str) {
        self.options.push(format!("{option}={value}"));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amanat"));
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        for option in &self.options {
            command.args(["--set", option]);
        }
        command
    }

    /// Runs a command to its end: exit code, and what it said.
    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        ended(&mut self.command(arguments))
    }

    /// Runs a command so that it ends by itself at a failpoint. -1: it did.
    pub fn run_to_end_at(&self, failpoint: &str, arguments: &[&str]) -> (i32, String) {
        ended(self.command(arguments).env("AMANAT_FAILPOINT", failpoint))
    }

    /// A write key for a collector of the policy.
    pub fn key(&self, collector: &str) -> String {
        let (code, said) = self.run(&["collector", "add", collector, "--json"]);
        assert_eq!(code, 0, "{said}");
        let text = said.split('"').find(|part| part.starts_with("amanat_"));
        text.unwrap_or_else(|| panic!("a key in {said}")).to_owned()
    }

    /// Starts it and waits until it serves.
    pub fn start(&mut self) {
        self.spawn(None);
        let ended = self.wait_until_it_serves();
        assert!(ended.is_none(), "it does not serve ({ended:?}):\n{}", self.said());
    }

    /// Starts it so that it ends by itself at a failpoint, and waits until it serves or ended.
    pub fn start_to_end_at(&mut self, failpoint: &str) {
        self.spawn(Some(failpoint));
        self.wait_until_it_serves();
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.ended()
    }

    fn spawn(&mut self, failpoint: Option<&str>) {
        let said = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("said")).expect("file");
        let mut command = self.command(&["serve"]);
        if let Some(failpoint) = failpoint {
            command.env("AMANAT_FAILPOINT", failpoint);
        }
        let child = command.stdout(said.try_clone().expect("file")).stderr(said).spawn().expect("the program starts");
        self.child = Running::of(child);
    }

    /// Nothing once it serves, or how it ended before.
    fn wait_until_it_serves(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let address = self.url.trim_start_matches("http://").to_owned();
        loop {
            let ready = std::net::TcpStream::connect(&address).ok().and_then(|mut stream| {
                use std::io::{Read as _, Write as _};
                stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
                stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).ok()?;
                answer.starts_with("HTTP/1.1 200").then_some(())
            });
            if ready.is_some() {
                return None;
            }
            if let Some(ended) = self.child.ended() {
                return Some(ended);
            }
            assert!(Instant::now() < deadline, "it does not serve in time:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it wrote to its standard output and error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// SIGTERM, and its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.child.stop()
    }

    /// SIGSTOP: it stands still in the middle of whatever it does.
    pub fn freeze(&self) {
        self.child.tell(rustix::process::Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.child.tell(rustix::process::Signal::CONT);
    }
}

/// A process while it runs; killed when it is dropped.
#[derive(Default)]
pub struct Running(Option<Child>);

impl Running {
    pub const fn of(child: Child) -> Self {
        Self(Some(child))
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.as_mut().and_then(|child| child.try_wait().expect("state"))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
    }

    /// SIGTERM, and its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.tell(rustix::process::Signal::TERM);
        let mut child = self.0.take()?;
        child.wait().expect("gone").code()
    }

    fn tell(&self, signal: rustix::process::Signal) {
        if let Some(child) = &self.0 {
            rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("told");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ended(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("the program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), said)
}
