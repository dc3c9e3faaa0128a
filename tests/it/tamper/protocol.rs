//! What a witness answers to whoever shows it a log: one that was restored and went on, and what is no request at all.

use std::convert::Infallible;

use amanat::audit::leaf::leaf_hash;
use amanat::audit::tree::{Frontier, Hash, HashSource, consistency_proof};
use amanat::audit::witness::AddCheckpoint;

use crate::harness::wire::{Answer, Sent};
use crate::harness::witness::TestWitness;

use super::judges::both;
use super::made::{MadeKey, MadeLog};
use super::rows::Rows;
use super::scene::{Scene, signed_size};

/// The tree over some leaves, worked out anew for every node.
struct Leaves(Vec<Hash>);

impl HashSource for Leaves {
    type Error = Infallible;

    fn hash(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        let count = 1_usize << level;
        let first = usize::try_from(index).expect("index") * count;
        let mut frontier = Frontier::new();
        self.0[first..first + count].iter().for_each(|hash| frontier.append(hash));
        Ok(frontier.root())
    }
}

async fn offer(witness: &TestWitness, old: u64, proof: &[Hash], note: &str) -> Answer {
    let body = AddCheckpoint { old, proof: proof.to_vec(), note: note.to_owned() }.to_string();
    post(witness, body).await
}

async fn post(witness: &TestWitness, body: impl Into<Vec<u8>>) -> Answer {
    Sent::post("/add-checkpoint", body.into()).to(&witness.url).await
}

/// 5, 6, 9, 10: the backup is restored, the gateway that would refuse is not asked, and the log goes on. The witness saw
/// the other branch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_goes_on_is_refused_by_the_witness() {
    // The scene runs processes and waits for them.
    let scene = tokio::task::spawn_blocking(Scene::get).await.expect("scene");
    let trust = scene.text("trust");
    let key = trust.lines().next().and_then(|line| line.strip_prefix("log ")).expect("key");
    let mut witness = TestWitness::new(11, key);
    witness.start();
    let (saved, short, long) = (scene.text("saved"), scene.text("saved-short"), scene.text("saved-long"));
    assert_eq!(offer(&witness, 0, &[], &saved).await.status, 200);

    // It asks from where it stands: the witness is ahead.
    let conflict = offer(&witness, scene.older, &[], &short).await;
    assert_eq!((conflict.status, conflict.text()), (409, format!("{}\n", scene.size)));
    // Having grown past that, it proves what it can: its own tree.
    let leaves = Leaves(Rows::of(&scene.path("long.db")).leaves.iter().map(|leaf| leaf_hash(leaf)).collect());
    let proof = consistency_proof(scene.size, signed_size(&long), &leaves).expect("infallible");
    assert_eq!(offer(&witness, scene.size, &proof, &long).await.status, 422);
    // The honest one goes on.
    assert_eq!(offer(&witness, scene.size, &[], &saved).await.status, 200);

    let kept = witness.refusals();
    assert_eq!(kept.len(), 2, "a rollback and a fork");
    let folder = tempfile::tempdir().expect("folder");
    for (number, evidence) in kept.iter().enumerate() {
        let file = folder.path().join(format!("{number}.json"));
        std::fs::write(&file, evidence).expect("file");
        let (ours, theirs) = both(&file, &["--trust".into(), scene.path("trust").into()]);
        assert_eq!(ours, theirs, "they do not agree");
        assert!(ours.exit == 30 && (ours.has("fork") || ours.has("rollback")), "{ours:?}");
    }
    witness.stop().await;
}

/// 25: at the door of a witness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_is_refused_at_the_door_of_a_witness() {
    let key = MadeKey::new(1);
    let log = MadeLog::of(&key, 10);
    let mut witness = TestWitness::new(12, &key.verifier.to_string());
    witness.start();
    let note = log.note(10, &[&key]);
    let huge = |size: &str| note.replacen("\n10\n", &format!("\n{size}\n"), 1);
    let signed = |lines: usize| note.clone() + &"\u{2014} somebody.test/w AAAAAAA=\n".repeat(lines);
    let asked = |old: &str, proof: &str, note: &str| format!("old {old}\n{proof}\n{note}");
    let line = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    let wrong = [
        ("33 signature lines", asked("0", "", &signed(32))),
        ("a size of 2^63", asked("0", "", &huge("9223372036854775808"))),
        ("a size of 2^64", asked("0", "", &huge("18446744073709551616"))),
        ("a size with a sign", asked("0", "", &huge("+10"))),
        ("a size with a zero before it", asked("0", "", &huge("010"))),
        ("an old size of 2^63", asked("9223372036854775808", "", &note)),
        ("an old size of 2^64", asked("18446744073709551616", "", &note)),
        ("an old size with a zero before it", asked("00", "", &note)),
        ("an old size above the size", asked("11", "", &note)),
        ("lines that end in CR LF", asked("0", "", &note).replace('\n', "\r\n")),
        ("a note whose lines end in CR LF", asked("0", "", &note.replace('\n', "\r\n"))),
        ("64 lines of proof", asked("1", &line.repeat(64), &note)),
        ("half a hash", asked("1", "AAAAAAAAAAAAAAAAAAAAAA==\n", &note)),
        ("a hash without its padding", asked("1", &line.replace('=', ""), &note)),
        ("no note", asked("0", "", "")),
        ("no signature", asked("0", "", note.split('\u{2014}').next().expect("text"))),
        ("an extension line", asked("0", "", &note.replacen("\n\n", "\nmore\n\n", 1))),
        ("a control byte", asked("0", "", &note.replacen("made", "ma\u{7}de", 1))),
        ("nothing", String::new()),
    ];
    for (what, body) in wrong {
        let answer = post(&witness, body).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    }
    assert_eq!(post(&witness, vec![0xff; 1_000]).await.status, 400, "no text");
    assert_eq!(post(&witness, vec![b'\n'; 70_000]).await.status, 400, "longer than any");
    assert_eq!(witness.refusals(), Vec::<String>::new(), "nobody signed any of it");
    // As many lines as may be, and it still works.
    assert_eq!(post(&witness, asked("0", "", &signed(31))).await.status, 200);
    witness.stop().await;
}
