//! The witness as a program: what it answers, what it remembers, and a gateway whose log two of them
//! cosign.

use std::path::Path;
use std::time::{Duration, Instant};

use amanat::audit::checkpoint::{Checkpoint, open};
use amanat::audit::evidence::{Evidence, Kind, Weight};
use amanat::audit::note::{KeyKind, VerifierKey};
use amanat::audit::tree::{Hash, empty_root, hash_node};
use amanat::audit::trust::Trust;
use amanat::audit::witness::{AddCheckpoint, log_name};
use amanat::crypto::key::Key;
use amanat::crypto::signature::Signing;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::harness::postgres::server;
use crate::harness::process::Installed;
use crate::harness::wire::{Answer, Sent};
use crate::harness::witness::{TestWitness, WitnessProcess};

/// A log that signs whatever a test wants.
struct Signer {
    key: VerifierKey,
    signing: Signing,
}

impl Signer {
    fn new(name: &str) -> Self {
        let signing = Signing::from_seed(&Key::from_bytes(&mut Zeroizing::new([7; 32])));
        Self { key: VerifierKey::new(name, KeyKind::Ed25519, signing.public_key()).expect("key"), signing }
    }

    fn note(&self, size: u64, root: Hash) -> String {
        let checkpoint = Checkpoint { origin: self.key.name().to_owned(), size, root };
        checkpoint.note(&[(self.key.clone(), self.signing.sign(checkpoint.text().as_bytes()))])
    }
}

async fn add(witness: &TestWitness, old: u64, proof: &[Hash], note: &str) -> Answer {
    let body = AddCheckpoint { old, proof: proof.to_vec(), note: note.to_owned() }.to_string();
    Sent::post("/add-checkpoint", body).to(&witness.url).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_the_table_over_the_wire() {
    let signer = Signer::new("log.test/one");
    let mut witness = TestWitness::new(3, &signer.key.to_string());
    witness.start();
    let (a, b, c) = ([1; 32], [2; 32], [3; 32]);
    let two = hash_node(&a, &b);
    let four = hash_node(&two, &hash_node(&c, &c));
    let forked = hash_node(&two, &hash_node(&b, &b));
    let shown = format!("/{}/checkpoint", log_name("log.test/one"));
    let get = |path: String| Sent { method: "GET".to_owned(), target: path, ..Sent::default() };

    assert_eq!(get(shown.clone()).to(&witness.url).await.status, 404, "nothing was cosigned yet");
    let cosigned = add(&witness, 0, &[], &signer.note(2, two)).await;
    assert_eq!(cosigned.status, 200);
    let vkey = VerifierKey::parse(&witness.vkey).expect("vkey");
    let whole = format!("{}{}", signer.note(2, two), cosigned.text());
    let verified = open(whole.as_bytes(), None, std::slice::from_ref(&signer.key), &[vkey]).expect("it holds");
    assert_eq!(verified.cosignatures.len(), 1);
    assert_eq!(get(shown.clone()).to(&witness.url).await.text(), whole);

    let conflict = add(&witness, 0, &[], &signer.note(2, two)).await;
    assert_eq!((conflict.status, conflict.text().as_str()), (409, "2\n"));
    assert_eq!(conflict.header("content-type"), Some("text/x.tlog.size"));
    let proof = [hash_node(&c, &c)];
    assert_eq!(add(&witness, 2, &proof, &signer.note(4, four)).await.status, 200);

    // It remembers across a restart, and goes on from there.
    witness.stop().await;
    witness.start();
    assert_eq!(add(&witness, 2, &proof, &signer.note(4, four)).await.text(), "4\n");
    assert_eq!(add(&witness, 4, &[], &signer.note(4, four)).await.status, 200, "the same again");
    assert_eq!(add(&witness, 4, &[], &signer.note(4, forked)).await.status, 422);
    assert_eq!(add(&witness, 4, &[[9; 32]], &signer.note(5, [8; 32])).await.status, 422);
    assert_eq!(add(&witness, 2, &[], &signer.note(2, two)).await.status, 409, "a rollback");
    assert_eq!(add(&witness, 0, &[], &signer.note(2, two)).await.status, 409, "kept once");

    let evidence: Vec<Evidence> =
        witness.refusals().iter().map(|kept| Evidence::parse(kept.as_bytes()).expect("evidence")).collect();
    let judged: Vec<(Kind, Weight)> = evidence
        .iter()
        .map(|evidence| (evidence.kind, evidence.judge(std::slice::from_ref(&signer.key)).expect("judged")))
        .collect();
    assert_eq!(
        judged,
        [(Kind::Fork, Weight::Proven), (Kind::Fork, Weight::Claimed), (Kind::Rollback, Weight::Claimed)]
    );

    assert_eq!(add(&witness, 5, &[], &signer.note(4, four)).await.status, 400, "old above size");
    assert_eq!(Sent::post("/add-checkpoint", "old one\n\n").to(&witness.url).await.status, 400);
    assert_eq!(Sent::post("/add-checkpoint", vec![b'x'; 70_000]).to(&witness.url).await.status, 400);
    assert_eq!(add(&witness, 0, &[], &Signer::new("log.test/two").note(0, empty_root())).await.status, 404);
    let edited = signer.note(4, four).replacen("\n4\n", "\n6\n", 1);
    assert_eq!(add(&witness, 4, &[], &edited).await.status, 403);
    let unsigned = signer.note(4, four).replacen(" log.test/one ", " log.test/none ", 1);
    assert_eq!(add(&witness, 4, &[], &unsigned).await.status, 403);
    for path in ["/", "/checkpoint", "/0000/checkpoint", "/v1/policy"] {
        assert_eq!(get(path.to_owned()).to(&witness.url).await.status, 404, "{path}");
    }
    assert_eq!(witness.refusals().len(), 3, "what no log signed is not kept");
    witness.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_branches_offered_at_once_one_is_cosigned() {
    let signer = Signer::new("log.test/one");
    let mut witness = TestWitness::new(3, &signer.key.to_string());
    witness.start();
    let branches: Vec<String> = (1..=16_u8).map(|branch| signer.note(1, [branch; 32])).collect();
    let answers = futures_util::future::join_all(branches.iter().map(|note| add(&witness, 0, &[], note))).await;
    let cosigned = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((cosigned, refused), (1, 15));
    witness.stop().await;
}

#[test]
fn two_witnesses_cosign_a_gateway_on_sqlite() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    witnessed_by_two(folder.path(), &path("amanat.db"), &path("keys.db"));
}

#[test]
fn two_witnesses_cosign_a_gateway_on_postgres() {
    let folder = tempfile::tempdir().expect("folder");
    let server = server();
    let name = server.fresh_name();
    witnessed_by_two(folder.path(), &server.url(&format!("{name}_data")), &server.url(&format!("{name}_keys")));
}

fn witnessed_by_two(folder: &Path, database: &str, keys: &str) {
    let mut gateway = Installed::new(folder, database, keys);
    let key = gateway.key("shop-server");
    let (code, said) = gateway.run(&["audit", "vkey"]);
    assert_eq!(code, 0, "{said}");
    let log = said.trim().to_owned();
    let mut witnesses =
        [WitnessProcess::install(folder, "dpo", &log), WitnessProcess::install(folder, "council", &log)];
    witnesses.iter_mut().for_each(WitnessProcess::start);
    let lines: String = witnesses
        .iter()
        .zip(["dpo", "council"])
        .map(|(w, name)| format!("witness {name} {} {}\n", w.vkey, w.url))
        .collect();
    let trust = format!("log {log}\n{lines}group both all dpo council\nquorum both\n");
    let file = folder.join("trust").display().to_string();
    std::fs::write(&file, &trust).expect("trust");
    gateway.set("audit.trust", &file);

    gateway.start();
    collect(&gateway.url, &key, "first");
    let parsed = Trust::parse(&trust).expect("trust");
    wait_for_quorum(&gateway, &parsed);
    // One is killed: the gateway goes on. It comes back: what it missed is proven to it.
    witnesses[1].kill();
    collect(&gateway.url, &key, "second");
    witnesses[1].start();
    collect(&gateway.url, &key, "third");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.said());

    let verify = |more: &[&str]| {
        let (code, said) = gateway.run(&[&["audit", "verify", "--json", "--trust", &file], more].concat());
        let report: Value = serde_json::from_str(said.lines().next().unwrap_or_default()).unwrap_or_default();
        (code, report)
    };
    let (code, report) = verify(&["--max-age", "1h"]);
    assert_eq!(code, 0, "{report}\n{}", gateway.said());
    assert_eq!((report["verdict"].as_str(), &report["witnessed_to"]), (Some("intact"), &report["size"]));
    // The newest checkpoint of the command line carries both.
    let (_, note) = gateway.run(&["audit", "checkpoint"]);
    let verified = open(note.as_bytes(), None, parsed.logs(), &parsed.witness_keys()).expect("note");
    assert_eq!(verified.cosignatures.len(), 2, "{note}");
    let (_, proof) = gateway.run(&["audit", "prove", "0"]);
    std::fs::write(folder.join("proof"), proof).expect("proof");
    let (code, report) = verify(&[&folder.join("proof").display().to_string()]);
    assert_eq!(code, 0, "{report}");
    // A restart finds what the witnesses saw in order.
    gateway.start();
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.said());
    for witness in &mut witnesses {
        assert_eq!(witness.stop(), Some(0), "{}", witness.said());
    }
}

fn collect(url: &str, key: &str, name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let body = json!({"type": "track", "event": name, "anonymousId": "device-of-the-witness-test", "properties": {}});
    let sent = Sent::post("/v1/track", body.to_string()).header("content-type", "application/json").key(key);
    let answer = runtime.block_on(sent.to(url));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn wait_for_quorum(gateway: &Installed, trust: &Trust) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let get = Sent { method: "GET".to_owned(), target: "/log/checkpoint".to_owned(), ..Sent::default() };
        let answer = runtime.block_on(get.to(&gateway.url));
        let verified = open(&answer.body, None, trust.logs(), &trust.witness_keys());
        if verified.is_ok_and(|verified| trust.is_met_by(verified.cosignatures.iter().map(|c| &c.key))) {
            return;
        }
        assert!(Instant::now() < deadline, "no quorum:\n{}\n{}", answer.text(), gateway.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}
