//! A gateway for a test: real stores, real doors, a free port; verbs for each caller.
//!
//! When a test ends, its gateway checks without being asked what [`aftermath`] lists.

mod aftermath;
pub mod authority;
pub mod copied;
pub mod diagnostics;
pub mod postgres;
pub mod process;
pub mod recipient;
pub mod snapshot;
pub mod store;
pub mod wire;
pub mod witness;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amanat::audit::leaf::Cause;
use amanat::domain::id::CollectorId;
use amanat::gateway::source::Source;
use amanat::gateway::{Gateway, KeyringSource, Settings};
use amanat::http::app::{App, AppSettings, Phase};
use amanat::http::collect::Limits;
use amanat::policy::Files;
use amanat::storage::Location;
use serde_json::Value;

/// Which back end a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// Writes one test for each back end. After the type, a test may wish for a gateway other than the
/// usual one: `async fn name(gateway: TestGateway = Wish { .. }) { .. }`.
#[macro_export]
macro_rules! both {
    ($($(#[$meta:meta])* async fn $name:ident($gateway:ident: TestGateway $(= $wish:expr)?) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn behaves($gateway: $crate::harness::TestGateway) {
                $body
                $gateway.finish().await;
            }

            $(#[$meta])*
            #[test]
            fn sqlite() {
                $crate::harness::run($crate::harness::Backend::Sqlite, $crate::both!(@wish $($wish)?), behaves);
            }

            $(#[$meta])*
            #[test]
            fn postgres() {
                $crate::harness::run($crate::harness::Backend::Postgres, $crate::both!(@wish $($wish)?), behaves);
            }
        }
    )*};
    (@wish) => { $crate::harness::Wish::default() };
    (@wish $wish:expr) => { $wish };
}

/// What a test wants of its gateway.
pub struct Wish {
    pub files: Files,
    pub limits: Limits,
    pub body_time: Duration,
    /// Requests a second with one key.
    pub rate: u32,
    /// Whether anyone may read the entries of the log.
    pub public_entries: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            files: shipped_policy(),
            limits: Limits::default(),
            body_time: Duration::from_secs(5),
            rate: 100_000,
            public_entries: false,
        }
    }
}

/// Runs a test on a back end, with a gateway of its own.
pub fn run<F, Fut>(backend: Backend, wish: Wish, test: F)
where
    F: FnOnce(TestGateway) -> Fut,
    Fut: Future<Output = ()>,
{
    // actix's server wants its own system around.
    actix_web::rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
    })
    .block_on(async {
        test(TestGateway::start_as(backend, wish).await).await;
    });
}

/// A gateway with its doors open.
pub struct TestGateway {
    pub house: Gateway,
    pub url: String,
    pub client: reqwest::Client,
    pub source: Source,
    folder: tempfile::TempDir,
    server: actix_web::dev::ServerHandle,
    /// Where in this process' diagnostics this gateway's begin.
    said_from: usize,
    canaries: Mutex<Vec<String>>,
    /// What may be left of it; `None` where nobody can know.
    outbox: Mutex<Option<BTreeMap<String, i64>>>,
}

/// The policy that ships with the project.
pub fn shipped_policy() -> Files {
    let mut files = Files::new();
    read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")), "", &mut files);
    files
}

fn read(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in std::fs::read_dir(folder).expect("policies") {
        let entry = entry.expect("entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        let path = format!("{prefix}{name}");
        if entry.file_type().expect("type").is_dir() {
            read(&entry.path(), &format!("{path}/"), files);
        } else {
            files.insert(path, std::fs::read(entry.path()).expect("file"));
        }
    }
}

/// Where the stores of a test lie.
pub fn locations(backend: Backend, folder: &Path) -> (Location, Location) {
    match backend {
        Backend::Sqlite => (Location::Sqlite(folder.join("amanat.db")), Location::Sqlite(folder.join("keys.db"))),
        Backend::Postgres => {
            let server = postgres::server();
            let name = server.fresh_name();
            let parse = |schema: &str| Location::parse(&server.url(&format!("{name}_{schema}"))).expect("URL");
            (parse("data"), parse("keys"))
        }
    }
}

/// Settings for a gateway of a test.
pub fn settings(backend: Backend, folder: &Path) -> Settings {
    let (database, keys) = locations(backend, folder);
    Settings {
        database,
        keys,
        readers: 3,
        batch_units: 256,
        queue: 4096,
        public_url: "http://127.0.0.1".to_owned(),
        origin: Some("amanat.test/log".to_owned()),
        memory: folder.join("memory"),
        mirror: None,
        journal: vec![folder.join("journal")],
        key_life: Duration::from_secs(30),
        public_entries: false,
        checkpoint_every: Duration::from_millis(200),
        heartbeat_every: Duration::from_secs(3600),
        anchors: Vec::new(),
        trust: amanat::gateway::witness::TrustSettings::default(),
        delivery_time_limit: Duration::from_secs(10),
        delivery_lease: Duration::from_secs(20),
        stated_age_days: None,
        config_digest: [0; 32],
        observe: Arc::new(|_, _, _| {}),
    }
}

impl TestGateway {
    /// Opens a gateway.
    pub async fn start_as(backend: Backend, wish: Wish) -> Self {
        let said_from = diagnostics::listen();
        let folder = tempfile::tempdir().expect("folder");
        let source = Source::default();
        let house = Gateway::open(
            Settings { public_entries: wish.public_entries, ..settings(backend, folder.path()) },
            KeyringSource::File { path: folder.path().join("root.key"), managed: true },
            wish.files,
            source.clone(),
        )
        .await
        .expect("the gateway opens");
        house.note_start(Cause::CleanStop).await.expect("start is noted");
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let app = App::new(
            house.clone(),
            AppSettings {
                limits: wish.limits,
                body_time: wish.body_time,
                public_key_rate: NonZeroU32::new(wish.rate).expect("rate"),
                server_key_rate: NonZeroU32::new(wish.rate).expect("rate"),
                metrics_token: None,
                figures: None,
            },
        );
        let server =
            amanat::http::server::start(Arc::clone(&app), listener, Some(2), Duration::from_secs(2)).expect("server");
        let handle = server.handle();
        actix_web::rt::spawn(server);
        app.enter(Phase::Serving);
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("client");
        Self {
            house,
            url,
            client,
            source,
            folder,
            server: handle,
            said_from,
            canaries: Mutex::default(),
            outbox: Mutex::new(Some(BTreeMap::new())),
        }
    }

    /// A write key for a collector of the policy.
    pub async fn key(&self, collector: &str) -> String {
        let (_, text) = self.house.add_collector_key(&CollectorId::new(collector), "test").await.expect("key");
        text.to_string()
    }

    /// A personal value that must never be found in the clear.
    pub fn canary(&self, stem: &str) -> String {
        let canary = format!("{stem}-canary-{}", uuid::Uuid::new_v4().simple());
        self.canaries.lock().expect("canaries").push(canary.clone());
        canary
    }

    /// Declares how many promises to each recipient are open when the test ends. Of the shipped
    /// policy only the recipients that a test gives an address are served.
    pub fn leaves_open(&self, promises: &[(&str, i64)]) {
        let promises = promises.iter().map(|(recipient, count)| ((*recipient).to_owned(), *count));
        *self.outbox.lock().expect("outbox") = Some(promises.collect());
    }

    /// Declares that promises may be open when the test ends, where chance says how many.
    pub fn leaves_any_open(&self) {
        *self.outbox.lock().expect("outbox") = None;
    }

    /// The folder of the test's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Posts JSON with a write key.
    pub async fn post(&self, key: &str, path: &str, body: &Value) -> (u16, Value) {
        let answer = self
            .client
            .post(format!("{}{path}", self.url))
            .basic_auth(key, Some(""))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .expect("answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("text");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Posts JSON with a bearer token.
    pub async fn call(&self, token: &str, method: reqwest::Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.expect("answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("text");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

/// The interpreter and the path of a driver below `tests/clients`, as `tests/run --set-up` installs them.
pub fn client_tool(driver: &str) -> (PathBuf, PathBuf) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("AMANAT_TEST_CLIENTS").map_or_else(|| root.join("tests/clients"), PathBuf::from);
    let (variable, usual) = match driver.ends_with(".py") {
        true => ("AMANAT_TEST_PYTHON", root.join("target/clients/python/bin/python")),
        false => ("AMANAT_TEST_NODE", folder.join("node_modules/.bin/node")),
    };
    (std::env::var_os(variable).map_or(usual, PathBuf::from), folder.join(driver))
}

/// Every file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("folder") {
            let entry = entry.expect("entry");
            if entry.file_type().expect("type").is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}

/// The forms in which a leaked value could stand.
pub fn forms(canary: &str) -> Vec<Vec<u8>> {
    use sha2::Digest;
    vec![
        canary.as_bytes().to_vec(),
        canary.to_lowercase().into_bytes(),
        canary.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        data_encoding::HEXLOWER.encode(canary.as_bytes()).into_bytes(),
        data_encoding::BASE64.encode(canary.as_bytes()).trim_end_matches('=').as_bytes()[..canary.len().min(16)]
            .to_vec(),
        sha2::Sha256::digest(canary.as_bytes()).to_vec(),
    ]
}

pub fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && bytes.windows(wanted.len()).any(|window| window == wanted)
}
