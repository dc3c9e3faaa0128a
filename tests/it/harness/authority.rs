//! Time-stamping authorities of tests, made with the `openssl` command line: certificates, replies,
//! and a second opinion on ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// With which keys, and when they are valid.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub root: &'static [&'static str],
    pub signer: &'static [&'static str],
    /// What the authority signs with, as `openssl` calls it.
    pub digest: &'static str,
    /// How a token names its certificate.
    pub names_by: &'static str,
    pub through: Through,
    pub until: &'static str,
}

/// Who signed the authority's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    Root,
    Intermediate,
}

pub const P256: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub const P384: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
pub const RSA_2048: &[&str] = &["rsa:2048"];
pub const RSA_4096: &[&str] = &["rsa:4096"];

/// An authority as most are today.
pub const USUAL: Made = Made {
    root: P256,
    signer: P256,
    digest: "sha256",
    names_by: "sha256",
    through: Through::Root,
    until: "20450101000000Z",
};

/// An authority with its keys in a folder.
pub struct Authority {
    folder: tempfile::TempDir,
    made: Made,
}

impl Authority {
    pub fn make(made: Made) -> Self {
        let authority = Self { folder: tempfile::tempdir().expect("folder"), made };
        std::fs::write(authority.path("openssl.cnf"), configuration(&made)).expect("configuration");
        for (name, text) in [("index.txt", ""), ("serial", "01"), ("tokens", "01")] {
            std::fs::write(authority.path(name), text).expect("file");
        }
        authority.key("root", made.root, &["-x509", "-extensions", "root", "-days", "9000"]);
        if made.through == Through::Intermediate {
            authority.key("between", made.root, &[]);
            authority.certify("between", "root", "root");
        }
        authority.key("signer", made.signer, &[]);
        authority.certify("signer", "signer", if made.through == Through::Root { "root" } else { "between" });
        authority
    }

    /// The PEM file of the root.
    pub fn roots(&self) -> PathBuf {
        self.path("root.pem")
    }

    pub fn roots_pem(&self) -> Vec<u8> {
        std::fs::read(self.roots()).expect("root")
    }

    /// The reply to a request.
    pub fn reply(&self, query: &[u8]) -> Vec<u8> {
        reply(self.folder.path(), self.made.through, query)
    }

    /// Whether `openssl` believes that the reply dates this text.
    pub fn vouches(&self, reply: &[u8], text: &str) -> bool {
        std::fs::write(self.path("reply"), reply).expect("reply");
        std::fs::write(self.path("text"), text).expect("text");
        let arguments = ["ts", "-verify", "-in", "reply", "-data", "text", "-CAfile", "root.pem"];
        openssl(self.folder.path(), &arguments).is_ok()
    }

    /// Opens the authority's door.
    pub async fn serve(&self) -> Served {
        let served = Served {
            server: MockServer::start().await,
            is_open: Arc::new(AtomicBool::new(true)),
            asked: Arc::new(AtomicUsize::new(0)),
        };
        let door = Door {
            folder: self.folder.path().to_path_buf(),
            through: self.made.through,
            is_open: Arc::clone(&served.is_open),
            asked: Arc::clone(&served.asked),
        };
        Mock::given(wiremock::matchers::method("POST")).respond_with(door).mount(&served.server).await;
        served
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self, name: &str, kind: &[&str], more: &[&str]) {
        let (key, out) = (format!("{name}.key"), format!("{name}.{}", if name == "root" { "pem" } else { "csr" }));
        let subject = format!("/CN=amanat test {name}");
        let mut arguments = vec!["req", "-config", "openssl.cnf", "-new", "-nodes", "-keyout", &key, "-out", &out];
        arguments.extend(["-subj", &subject, "-newkey"]);
        arguments.extend(kind.iter().chain(more));
        openssl(self.folder.path(), &arguments).expect("a key");
    }

    fn certify(&self, name: &str, extensions: &str, issuer: &str) {
        let [request, out, certificate, key] =
            [format!("{name}.csr"), format!("{name}.pem"), format!("{issuer}.pem"), format!("{issuer}.key")];
        let until = if name == "signer" { self.made.until } else { USUAL.until };
        let mut arguments = vec!["ca", "-config", "openssl.cnf", "-batch", "-notext", "-in", &request, "-out", &out];
        arguments.extend(["-cert", &certificate, "-keyfile", &key, "-extensions", extensions]);
        arguments.extend(["-startdate", "20200101000000Z", "-enddate", until]);
        openssl(self.folder.path(), &arguments).expect("a certificate");
    }
}

/// The open door of an authority.
pub struct Served {
    server: MockServer,
    is_open: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Served {
    pub fn url(&self) -> url::Url {
        format!("{}/tsa", self.server.uri()).parse().expect("address")
    }

    pub fn close(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    pub fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

struct Door {
    folder: PathBuf,
    through: Through,
    is_open: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Respond for Door {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let is_query =
            request.headers.get("content-type").is_some_and(|kind| kind.as_bytes() == b"application/timestamp-query");
        if !is_query || !self.is_open.load(Ordering::SeqCst) {
            return ResponseTemplate::new(503);
        }
        let reply = reply(&self.folder, self.through, &request.body);
        ResponseTemplate::new(200).set_body_raw(reply, "application/timestamp-reply")
    }
}

fn reply(folder: &Path, through: Through, query: &[u8]) -> Vec<u8> {
    std::fs::write(folder.join("query"), query).expect("query");
    let mut arguments = vec!["ts", "-reply", "-config", "openssl.cnf", "-queryfile", "query", "-out", "replied"];
    arguments.extend(["-signer", "signer.pem", "-inkey", "signer.key"]);
    if through == Through::Intermediate {
        arguments.extend(["-chain", "between.pem"]);
    }
    openssl(folder, &arguments).expect("a reply");
    std::fs::read(folder.join("replied")).expect("reply")
}

fn openssl(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl is installed");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn configuration(made: &Made) -> String {
    let Made { digest, names_by, .. } = made;
    format!(
        "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = unused\n\
         [root]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\n\
         [signer]\nbasicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\n\
         extendedKeyUsage = critical,timeStamping\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n\
         [ca]\ndefault_ca = issuer\n[issuer]\nnew_certs_dir = .\ndatabase = index.txt\nserial = serial\n\
         default_md = sha256\npolicy = any\nunique_subject = no\n[any]\ncommonName = supplied\n\
         [tsa]\ndefault_tsa = authority\n[authority]\nserial = tokens\ndefault_policy = 1.2.3.4.1\n\
         digests = sha256, sha384, sha512\nsigner_digest = {digest}\naccuracy = secs:1, millisecs:500, microsecs:100\n\
         clock_precision_digits = 3\nordering = yes\ntsa_name = yes\ness_cert_id_chain = no\ness_cert_id_alg = {names_by}\n"
    )
}
