//! 32: random histories of a log against a model that knows nothing of tiles, frontiers or proofs.

use std::collections::BTreeMap;

use amanat::audit::leaf::{Cause, Counts, Fact, leaf_hash};
use amanat::audit::tree::{Hash, empty_root, hash_node, verify_consistency};
use amanat::domain::event::{Event, Outcome};
use amanat::gateway::prune::Rows;
use amanat::gateway::{Error, Gateway};
use amanat::storage::{Id16, Step, Unit, audit_log};
use data_encoding::{BASE64, HEXLOWER};

use crate::harness::Backend;
use crate::harness::store::Store;
use crate::log::prune::{about, append};
use crate::log::{TestLog, grow, run};

use super::judges::of_store;

const YEAR: i64 = 366 * 24 * 3_600;
const HOLDER: &str = "SELECT DISTINCT lower(hex(holder)) AS value FROM audit_sealed WHERE class = 1";

/// What must be true of the log, kept the plainest way.
#[derive(Default)]
struct Model {
    /// The hash of every leaf there ever was.
    hashes: Vec<Hash>,
    /// Every checkpoint that was ever signed.
    signed: BTreeMap<u64, Hash>,
    /// How many parts about somebody's operation are sealed.
    sealed: u64,
}

/// RFC 6962 §2.1, as it is written there.
fn root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            hash_node(&root(left), &root(right))
        }
    }
}

/// A dice that falls the same way each time it begins with the same number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % count
    }
}

struct History {
    log: TestLog,
    /// Closed for a moment between an end and a start.
    house: Option<Gateway>,
    model: Model,
}

impl History {
    async fn begin() -> Self {
        let log = TestLog::new(Backend::Sqlite);
        let house = log.open().await;
        house.note_start(house.start_cause()).await.expect("start");
        Self { log, house: Some(house), model: Model::default() }
    }

    fn house(&self) -> &Gateway {
        self.house.as_ref().expect("a gateway")
    }

    /// Leaves with a sealed part about somebody.
    async fn collect(&mut self, count: u64) {
        let house = self.house();
        append(house, (0..count).map(|_| about(house, Event::RecordCollected)).collect()).await;
        self.count_sealed();
    }

    /// What an erasure does to the log: sealed parts go in the commit whose leaf counts them.
    async fn erase(&mut self, count: u64) {
        let count = count.min(self.model.sealed);
        let counts = Counts { operation: count, ..Counts::default() };
        let leaf =
            self.house().leaf(Event::ErasureProgressed, Outcome::Done).expect("leaf").fact(Fact::Deleted(counts));
        let holders = Store::open(&self.log.settings.database).column(HOLDER);
        let holder = |hex: &String| Id16(HEXLOWER.decode(hex.as_bytes()).expect("hex").try_into().expect("an id"));
        let holders: Vec<Id16> = holders.iter().map(holder).collect();
        let unit = Unit::change(Vec::new(), vec![leaf.finish().expect("draft")], move |transaction, _| {
            let limit = i64::try_from(count).expect("count");
            let gone = if limit == 0 { [0; 3] } else { audit_log::delete_parts(transaction, &holders, limit)? };
            assert_eq!(gone, [count, 0, 0]);
            Ok(Step::Commit)
        });
        self.house().database.write(unit).await.expect("erased");
        self.count_sealed();
    }

    async fn publish(&mut self) {
        let published = self.house().publish_once().await.expect("published").expect("a checkpoint");
        self.read();
        let text = published.note.lines().nth(2).expect("a root");
        let signed: Hash = BASE64.decode(text.as_bytes()).expect("base64").try_into().expect("a hash");
        let size = usize::try_from(published.size).expect("size");
        assert_eq!(signed, root(&self.model.hashes[..size]), "the signed root of {size} leaves");
        let before = self.model.signed.insert(published.size, signed);
        assert!(before.is_none_or(|before| before == signed), "two roots of {size} leaves");
    }

    /// Years pass between a stop and a start.
    async fn rest(&mut self, years: i64) {
        self.house().note_stop().await.expect("stop");
        self.publish().await;
        self.log.source.mislead(years * YEAR);
        self.log.source.shift(years * YEAR);
        self.open_again().await;
        self.house().expire_log_parts().await.expect("expired");
        self.count_sealed();
    }

    async fn prune(&mut self) {
        match self.house().plan_prune(None).await {
            Ok(plan) => self.house().prune(&plan, Rows::Deleted).await.expect("pruned"),
            Err(Error::WrongState(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    /// One key of the log hands over to the next, at a checkpoint that both sign.
    async fn rotate(&mut self) {
        let patience = std::time::Duration::from_secs(5);
        let rotated = self.house().rotate_log_key(Cause::Planned, patience).await.expect("rotated");
        self.read();
        let root = root(&self.model.hashes[..usize::try_from(rotated.size).expect("size")]);
        let note = rotated.checkpoint.expect("published");
        assert!(note.contains(&BASE64.encode(&root)), "{note}");
        self.model.signed.insert(rotated.size, root);
    }

    /// Nothing is said, nothing is published: it is gone.
    async fn kill(&mut self) {
        self.open_again().await;
    }

    async fn open_again(&mut self) {
        self.house.take().expect("a gateway").close();
        self.house = Some(self.log.open().await);
        self.house().resume_prune().await.expect("resumed");
        self.house().note_start(self.house().start_cause()).await.expect("start");
    }

    /// Takes over what was appended, and holds what was there before against what is there now.
    fn read(&mut self) {
        let rows = Store::open(&self.log.settings.database)
            .column("SELECT seq || ' ' || lower(hex(leaf)) AS value FROM audit_leaf ORDER BY seq");
        for row in rows {
            let (seq, leaf) = row.split_once(' ').expect("two columns");
            let (seq, leaf) = (seq.parse::<usize>().expect("number"), HEXLOWER.decode(leaf.as_bytes()).expect("hex"));
            match self.model.hashes.get(seq) {
                Some(known) => assert_eq!(*known, leaf_hash(&leaf), "leaf {seq} is another one now"),
                None => {
                    assert_eq!(self.model.hashes.len(), seq, "the log is dense");
                    self.model.hashes.push(leaf_hash(&leaf));
                }
            }
        }
    }

    fn count_sealed(&mut self) {
        let held = Store::open(&self.log.settings.database).number("SELECT count(*) FROM audit_sealed WHERE class = 1");
        self.model.sealed = u64::try_from(held).expect("a number");
    }

    /// Every pair of checkpoints is consistent, and the log verifies.
    async fn conclude(mut self) -> usize {
        self.house().note_stop().await.expect("stop");
        self.publish().await;
        let first = Store::open(&self.log.settings.database).number("SELECT minimum_index FROM audit_log");
        let first = u64::try_from(first).expect("position");
        let signed: Vec<(u64, Hash)> = self.model.signed.iter().map(|(size, root)| (*size, *root)).collect();
        for (place, (older, old)) in signed.iter().enumerate() {
            for (newer, new) in signed[place..].iter().filter(|_| *older >= first) {
                let proof = self.house().prove_consistency(*older, *newer).await.expect("proof");
                let decode = |hash: &String| BASE64.decode(hash.as_bytes()).expect("base64").try_into().expect("hash");
                let hashes: Vec<Hash> = proof.hashes.iter().map(decode).collect();
                assert!(verify_consistency(*older, old, *newer, new, &hashes).is_ok(), "{older} and {newer}");
            }
        }
        self.house.take().expect("a gateway").close();
        let saved = self.log.folder.path().join("saved-note");
        std::fs::write(&saved, &self.log.saved()[0].1).expect("note");
        let said = of_store(&self.log.settings.database, &["--checkpoint".into(), saved.into()]);
        assert!(said.is_plain(), "{said:?}");
        signed.len()
    }
}

#[test]
fn random_histories_agree_with_a_naive_model() {
    let runs = if std::env::var_os("AMANAT_TEST_LONG").is_some() { 100 } else { 10 };
    for number in 1..=runs {
        println!("history {number}");
        run(Backend::Sqlite, async |_| {
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number));
            let mut history = History::begin().await;
            for _ in 0..30 {
                let deed = dice.below(20);
                print!("{deed} ");
                match deed {
                    0..7 => grow(history.house(), 1 + usize::try_from(dice.below(120)).expect("count")).await,
                    7..10 => history.collect(1 + dice.below(10)).await,
                    10..12 => history.erase(1 + dice.below(5)).await,
                    12..14 => history.publish().await,
                    14 => history.rotate().await,
                    15..17 => history.kill().await,
                    17 => history.rest(1 + i64::try_from(dice.below(2)).expect("years")).await,
                    18 => history.rest(11).await,
                    _ => history.prune().await,
                }
            }
            // At the least once everything old goes.
            history.rest(11).await;
            history.prune().await;
            let signed = history.conclude().await;
            println!("| {signed} checkpoints");
            assert!(signed > 2, "few checkpoints");
        });
    }
}
