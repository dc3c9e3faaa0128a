//! A log that is witnessed: cosignatures, what a witness stops, and what none of them can.

use amanat::audit::checkpoint::open;
use amanat::audit::evidence::{Evidence, Kind, Weight};
use amanat::audit::trust::Trust;
use amanat::gateway::witness::{TrustSettings, WhenUnwitnessed};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::store::Store;
use crate::harness::witness::TestWitness;

use super::*;

/// A log with one leaf more than it needs, a running witness of it, and a policy that asks for it.
async fn witnessed(log: &mut TestLog) -> TestWitness {
    let house = log.open().await;
    let key = house.log_verifier().expect("key").to_string();
    house.close();
    let mut witness = TestWitness::new(5, &key);
    witness.start();
    trust(log, &format!("log {key}\n{}quorum w5\n", witness.line()));
    witness
}

fn trust(log: &mut TestLog, policy: &str) {
    log.settings.trust = TrustSettings { policy: Some(policy.to_owned()), ..TrustSettings::default() };
}

impl TestLog {
    fn trusted(&self) -> Trust {
        Trust::parse(self.settings.trust.policy.as_deref().expect("policy")).expect("trust")
    }

    fn verify_trusting(&self, checkpoints: Vec<(String, Vec<u8>)>) -> Report {
        let verification = Verification {
            database: self.settings.database.clone(),
            keys: None,
            memory: None,
            checkpoints,
            trust: Some(self.trusted()),
            anchor_roots: Default::default(),
            maximum_age: Some(std::time::Duration::from_secs(3_600)),
            now: self.source.now(),
            business: true,
            destroyed_keys: false,
            opener: None,
        };
        verify(&verification, |_, _| {}).expect("verifiable")
    }

    /// Everybody who could remember more than the data is made to forget, but the witness.
    fn forget(&self) {
        tamper(&self.settings.keys, "DELETE FROM last_signed");
        std::fs::remove_dir_all(&self.settings.memory).expect("removed");
    }

    fn evidence(&self) -> Vec<Evidence> {
        let Ok(folder) = std::fs::read_dir(self.settings.memory.join("evidence")) else { return Vec::new() };
        let read = |path| Evidence::parse(&std::fs::read(path).expect("file")).expect("evidence");
        folder.map(|entry| read(entry.expect("entry").path())).collect()
    }
}

/// Grows, publishes and has it witnessed; the size.
async fn advance(house: &Gateway, leaves: usize) -> u64 {
    grow(house, leaves).await;
    let size = house.publish_once().await.expect("published").expect("a checkpoint").size;
    house.witness_once().await.expect("in order");
    size
}

fn cosigned(log: &TestLog, note: &str) -> usize {
    let trust = log.trusted();
    open(note.as_bytes(), None, trust.logs(), &trust.witness_keys()).expect("note").cosignatures.len()
}

/// Sets the data back to the head kept in `kept`.
const BACK: &str = "DELETE FROM audit_leaf WHERE seq >= (SELECT size FROM kept); DELETE FROM audit_checkpoint WHERE size > (SELECT size FROM kept);
    DELETE FROM audit_cosignature WHERE size > (SELECT size FROM kept);
    UPDATE audit_log SET size = (SELECT size FROM kept), root = (SELECT root FROM kept), frontier = (SELECT frontier FROM kept),
      last_hash = (SELECT last_hash FROM kept), last_time = (SELECT last_time FROM kept); DROP TABLE kept;";

on_both! {
    async fn a_cosigned_log_is_intact_and_attested(log: TestLog) {
        let mut log = log;
        let mut witness = witnessed(&mut log).await;
        let house = log.open().await;
        let size = advance(&house, 40).await;
        let shown = house.published().expect("shown");
        assert_eq!((shown.size, cosigned(&log, &shown.note)), (size, 1));
        let proof = house.prove_entry(Wanted::Position(3)).await.expect("proof").to_string();
        let report = amanat::gateway::verify::verify_proof(&proof, Some(&log.trusted()), None, log.source.now());
        assert_eq!(report.exit, 0, "{report:?}");
        let size = advance(&house, 300).await;
        let status = house.log_status().await.expect("status");
        assert_eq!((status.witnesses[0].name.as_str(), status.witnesses[0].size, status.unwitnessed_since), ("w5", Some(size), None));
        let heard = |log: &TestLog| Store::open(&log.settings.database).column("SELECT CAST(max(time) AS text) AS value FROM audit_cosignature");
        let before = heard(&log);
        house.witness_once().await.expect("nothing is due");
        assert_eq!(heard(&log), before, "what was cosigned just now is not shown again");
        log.source.shift(61);
        house.witness_once().await.expect("in order");
        assert_ne!(heard(&log), before, "an idle log is cosigned every minute");
        house.close();

        let report = log.verify_trusting(Vec::new());
        assert_eq!((report.exit, report.witnessed_to), (0, Some(size)), "{report:?}");
        // The same log, opened again, shows the cosignatures that are stored.
        let house = log.open().await;
        assert_eq!(cosigned(&log, &house.published().expect("shown").note), 1);
        // A checkpoint that nobody has cosigned yet: intact, not attested.
        grow(&house, 1).await;
        house.publish_once().await.expect("published");
        house.close();
        let report = log.verify_trusting(Vec::new());
        assert_eq!((report.exit, report.witnessed_to), (10, Some(size)), "{report:?}");
        // Whoever strips them is found out.
        log.tamper("DELETE FROM audit_cosignature");
        let report = log.verify_trusting(Vec::new());
        assert_eq!(report.exit, 50, "{report:?}");
        assert!(faults(&report).contains(&(Code::Downgrade, Position::Whole {})));
        witness.stop().await;
    }

    async fn a_witness_that_is_down_holds_nobody_up_and_catches_up(log: TestLog) {
        let mut log = log;
        let mut witness = witnessed(&mut log).await;
        let house = log.open().await;
        let before = advance(&house, 5).await;
        witness.stop().await;
        let without = advance(&house, 300).await;
        let shown = house.published().expect("shown");
        assert_eq!((shown.size, cosigned(&log, &shown.note)), (without, 0));
        house.close();
        // Not even a start waits for it.
        let house = log.open().await;
        witness.start();
        let after = advance(&house, 1).await;
        assert!(before < without && without < after);
        assert_eq!(cosigned(&log, &house.published().expect("shown").note), 1);
        // What the store forgot, the witness says: it is proven from there.
        log.tamper("DELETE FROM audit_cosignature");
        advance(&house, 2).await;
        assert_eq!(cosigned(&log, &house.published().expect("shown").note), 1);
        house.close();
        witness.stop().await;
    }

    async fn a_backup_that_only_the_witness_knows_to_be_old_is_refused(log: TestLog) {
        let mut log = log;
        let mut witness = witnessed(&mut log).await;
        let house = log.open().await;
        let older = advance(&house, 290).await;
        log.tamper("CREATE TABLE kept AS SELECT * FROM audit_log");
        let newer = advance(&house, 30).await;
        house.close();
        log.tamper(BACK);
        log.forget();

        let (exit, what) = log.refusal().await;
        assert_eq!(exit, 30, "{what}");
        assert!(what.starts_with("rollback: the witness w5 ") && what.contains(&newer.to_string()) && what.contains(&older.to_string()), "{what}");
        let evidence = log.evidence();
        assert_eq!((evidence.len(), evidence[0].kind), (1, Kind::Rollback));
        assert_eq!(evidence[0].judge(log.trusted().logs()), Ok(Weight::Claimed));
        witness.stop().await;
    }

    async fn a_branch_that_went_on_from_a_backup_is_refused_while_it_runs_and_at_the_start(log: TestLog) {
        let mut log = log;
        let mut witness = witnessed(&mut log).await;
        let house = log.open().await;
        advance(&house, 20).await;
        log.tamper("CREATE TABLE kept AS SELECT * FROM audit_log");
        advance(&house, 30).await;
        house.close();
        log.tamper(BACK);
        log.forget();

        // While the witness is away, the branch goes on beyond what was witnessed.
        witness.stop().await;
        let house = log.open().await;
        grow(&house, 77).await;
        house.publish_once().await.expect("published");
        house.witness_once().await.expect("nobody says anything");
        witness.start();
        grow(&house, 1).await;
        house.publish_once().await.expect("published");
        let error = house.witness_once().await.expect_err("refused");
        assert!(matches!(&error, Error::LogRefused { exit: 30, what } if what.starts_with("fork: the witness w5 ")), "{error:?}");
        assert!(house.log_refusal().is_some() && house.note_stop().await.is_err(), "nothing more is written");
        house.close();
        let evidence = log.evidence();
        assert_eq!((evidence.len(), evidence[0].kind), (1, Kind::Fork));
        let keys = log.trusted().logs().to_vec();
        assert_eq!(evidence[0].judge(&keys), Ok(Weight::Proven));
        // The witness kept what it was offered, too.
        assert!(!witness.refusals().is_empty());

        let (exit, what) = log.refusal().await;
        assert!(exit == 30 && what.starts_with("fork: "), "{what}");
        // A stranger with the old checkpoint sees it without any witness, and has evidence.
        let saved = vec![("saved".to_owned(), evidence[0].notes[0].clone().into_bytes())];
        let report = log.verify_trusting(saved);
        assert_eq!(report.exit, 30, "{report:?}");
        assert_eq!(report.evidence.iter().map(|evidence| evidence.judge(&keys)).collect::<Vec<_>>(), [Ok(Weight::Proven)]);
        witness.stop().await;
    }

    async fn a_quorum_that_is_missed_is_told_and_so_is_its_return(log: TestLog) {
        let mut log = log;
        let mut witness = witnessed(&mut log).await;
        let house = log.open().await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let publisher = tokio::spawn({
            let house = house.clone();
            async move { house.run_publisher(stopped).await }
        });
        let mut store = Store::open(&log.settings.database);
        let mut told = move |event: u16| store.number(&format!("SELECT count(*) FROM audit_leaf WHERE event = {event}"));
        eventually(|| told(106) == 1).await;
        eventually(|| house.published().is_some_and(|shown| cosigned(&log, &shown.note) == 1)).await;
        witness.stop().await;
        log.source.shift(601);
        grow(&house, 1).await;
        eventually(|| told(107) == 1).await;
        assert!(house.log_status().await.expect("status").unwitnessed_since.is_some());
        witness.start();
        grow(&house, 1).await;
        eventually(|| told(108) == 1).await;
        stop.send_replace(true);
        publisher.await.expect("ended").expect("in order");
        assert_eq!((told(106), told(107), told(108)), (1, 1, 1), "each once");
        house.close();
        let report = log.verify_trusting(Vec::new());
        assert_eq!(report.exit, 0, "the last word of the log is witnessed: {report:?}");

        // Another policy is told once; the same one not again.
        let policy = format!("{}# another line\n", log.settings.trust.policy.clone().expect("policy"));
        trust(&mut log, &policy);
        for _ in 0..2 {
            let house = log.open().await;
            let (_stop, stopped) = tokio::sync::watch::channel(true);
            house.run_publisher(stopped).await.expect("in order");
            house.close();
        }
        let mut store = Store::open(&log.settings.database);
        assert_eq!(store.number("SELECT count(*) FROM audit_leaf WHERE event = 106"), 2);
        witness.stop().await;
    }

    async fn where_the_operator_waits_nothing_is_shown_without_the_quorum(log: TestLog) {
        let mut log = log;
        let mut witness = witnessed(&mut log).await;
        log.settings.trust.when_unwitnessed = WhenUnwitnessed::Wait;
        let house = log.open().await;
        grow(&house, 3).await;
        house.publish_once().await.expect("published");
        assert!(house.published().is_none());
        assert!(matches!(house.prove_entry(Wanted::Position(0)).await, Err(Error::Pending { .. })));
        house.witness_once().await.expect("in order");
        let shown = house.published().expect("shown");
        assert_eq!(cosigned(&log, &shown.note), 1);
        witness.stop().await;
        let newer = advance(&house, 3).await;
        assert_eq!(house.published().expect("shown"), shown, "the older one stays, and appends go on");
        house.close();
        let house = log.open().await;
        assert_eq!(house.published().expect("shown"), shown, "after a start too");
        witness.start();
        grow(&house, 1).await;
        house.publish_once().await.expect("published");
        house.witness_once().await.expect("in order");
        assert!(house.published().expect("shown").size > newer);
        house.close();
        witness.stop().await;
    }

    async fn the_bare_word_of_a_witness_stops_nothing(log: TestLog) {
        let mut log = log;
        let mut witness = witnessed(&mut log).await;
        witness.stop().await;
        for reply in [
            ResponseTemplate::new(409).set_body_raw("99999\n", "text/x.tlog.size"),
            ResponseTemplate::new(422).set_body_string("no\n"),
            ResponseTemplate::new(403),
            ResponseTemplate::new(404),
            ResponseTemplate::new(500),
            ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"),
            ResponseTemplate::new(200).set_body_string("\u{2014} nobody AAAAAAAA\n"),
            ResponseTemplate::new(200).set_body_bytes(vec![b'x'; 100_000]),
        ] {
            let liar = MockServer::start().await;
            Mock::given(method("POST")).respond_with(reply.clone()).mount(&liar).await;
            Mock::given(method("GET")).respond_with(reply).mount(&liar).await;
            let policy = log.settings.trust.policy.clone().expect("policy");
            let before = policy.lines().find_map(|line| line.strip_prefix("witness w5 ")?.split(' ').nth(1)).expect("address");
            trust(&mut log, &policy.replace(before, &liar.uri()));
            let house = log.open().await;
            let size = advance(&house, 1).await;
            let shown = house.published().expect("shown");
            assert_eq!((shown.size, cosigned(&log, &shown.note)), (size, 0));
            assert!(house.log_refusal().is_none());
            house.close();
        }
    }
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    for _ in 0..300 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("it did not come to that in 30 seconds");
}
