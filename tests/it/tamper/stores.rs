//! Attacks on logs that a gateway wrote on either database, while it could still be running.

use std::ffi::OsString;
use std::sync::OnceLock;

use amanat::audit::leaf::{Cause, Counts, Fact};
use amanat::domain::event::{Class, Event, Outcome};
use amanat::storage::{Database, Location};

use crate::harness::Backend;
use crate::harness::authority::USUAL;
use crate::harness::postgres::server;
use crate::harness::store::Store;
use crate::log::anchors::with_authority;
use crate::log::prune::{about, append, pruned_just_now};
use crate::log::{TestLog, grow, on_both, run};

use super::judges::{Said, of_store};

const YEAR: i64 = 366 * 24 * 3_600;

/// A schema of PostgreSQL with all tables and no row.
pub fn empty() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = format!("{}_empty", server().fresh_name());
        Database::migrate(&Location::parse(&server().url(&name)).expect("URL")).expect("migrated");
        name
    })
}

impl TestLog {
    /// What both verifiers say of the data store, by the log's own word and with these options.
    fn judged(&self, options: &[&str]) -> Said {
        of_store(&self.settings.database, &options.iter().map(OsString::from).collect::<Vec<_>>())
    }

    /// The same with the newest checkpoint that somebody saved.
    fn judged_with(&self, note: &[u8]) -> Said {
        let path = self.folder.path().join("saved-note");
        std::fs::write(&path, note).expect("note");
        self.judged(&["--checkpoint", path.to_str().expect("path")])
    }
}

fn found(said: &Said) -> Vec<(&str, Option<u64>, Option<u64>)> {
    let others = said.findings.iter().filter(|(code, _, _)| code != "unwitnessed");
    others.map(|(code, from, to)| (code.as_str(), *from, *to)).collect()
}

on_both! {
    // 11, 33: what the gateway itself leaves when its clock is wrong.
    async fn a_clock_that_was_wrong_leaves_a_log_in_order(log: TestLog) {
        let house = log.open().await;
        grow(&house, 610).await;
        log.source.mislead(-30);
        grow(&house, 3).await;
        log.source.mislead(30);
        grow(&house, 3).await;
        log.source.mislead(2 * YEAR);
        append(&house, vec![house.leaf(Event::LogHeartbeat, Outcome::Done).expect("leaf").finish().expect("draft")]).await;
        log.source.mislead(-2 * YEAR);
        // It agrees again with the time that passed.
        grow(&house, 3).await;
        house.publish_once().await.expect("published");
        house.close();
        let mut store = Store::open(&log.settings.database);
        let told = |store: &mut Store, event: u16| store.number(&format!("SELECT count(*) FROM audit_leaf WHERE event = {event}"));
        assert_eq!((told(&mut store, 120), told(&mut store, 121)), (1, 1));
        let said = log.judged(&[]);
        assert!(said.is_plain(), "{said:?}");
    }

    // 5, 10: the same rows as they were, and what was signed since.
    async fn an_older_state_is_a_rollback_to_whoever_saved_a_checkpoint(log: TestLog) {
        let older = log.lived(610).await;
        log.tamper("CREATE TABLE kept AS SELECT * FROM audit_log");
        let newer = log.lived(20).await;
        let saved = log.saved()[0].1.clone();
        log.tamper(&format!(
            "DELETE FROM audit_leaf WHERE seq >= {older}; DELETE FROM audit_checkpoint WHERE size > {older};
             DELETE FROM audit_sealed WHERE NOT EXISTS (SELECT 1 FROM audit_leaf WHERE audit_leaf.entry = audit_sealed.entry);
             UPDATE audit_log SET size = (SELECT size FROM kept), root = (SELECT root FROM kept), frontier = (SELECT frontier FROM kept),
               last_hash = (SELECT last_hash FROM kept), last_time = (SELECT last_time FROM kept); DROP TABLE kept;"
        ));
        assert!(log.judged(&[]).is_plain(), "by itself it is sound");
        let said = log.judged_with(&saved);
        assert_eq!((said.exit, found(&said)), (30, vec![("rollback", Some(older), Some(newer - 1))]));
        assert_eq!(log.refusal().await.0, 30);
    }

    // 18: an old log for ever.
    async fn an_old_log_is_stale(log: TestLog) {
        log.source.mislead(-3 * 24 * 3_600);
        log.lived(600).await;
        let said = log.judged(&["--max-age", "24h"]);
        assert_eq!((said.exit, found(&said)), (10, vec![("stale", None, None)]));
        assert!(log.judged(&["--max-age", "96h"]).is_plain());
    }

    // 17: an hour in which nothing was said, on the database.
    async fn a_silence_that_nothing_explains_is_told(log: TestLog) {
        let house = log.open().await;
        grow(&house, 600).await;
        let last = house.publish_once().await.expect("published").expect("a checkpoint").size - 1;
        house.close();
        log.source.mislead(5 * 3_600);
        let house = log.open().await;
        grow(&house, 10).await;
        house.publish_once().await.expect("published");
        house.close();
        let said = log.judged(&[]);
        assert_eq!((said.exit, found(&said)), (20, vec![("silence", Some(last), Some(last + 1))]));
    }

    // 23: pruned by the rules, then further than they allow.
    async fn a_prune_is_held_against_its_policy(log: TestLog) {
        log.source.mislead(-11 * YEAR);
        let house = log.open().await;
        house.note_start(house.start_cause()).await.expect("start");
        append(&house, (0..20).map(|_| about(&house, Event::RecordCollected)).collect()).await;
        grow(&house, 800).await;
        house.note_stop().await.expect("stop");
        house.publish_once().await.expect("published");
        house.close();
        log.source.mislead(11 * YEAR);
        let house = log.open().await;
        house.note_start(house.start_cause()).await.expect("start");
        grow(&house, 300).await;
        house.expire_log_parts().await.expect("expired");
        let plan = house.plan_prune(None).await.expect("plan");
        house.prune(&plan, amanat::gateway::prune::Rows::Deleted).await.expect("pruned");
        house.publish_once().await.expect("published");
        let said = log.judged(&["--business"]);
        assert!(said.is_plain(), "{said:?}");

        // Young leaves, with sealed parts below.
        append(&house, (0..5).map(|_| about(&house, Event::RecordCollected)).collect()).await;
        grow(&house, 600).await;
        house.publish_once().await.expect("published");
        let below = 1_024;
        let leaf = pruned_just_now(&log, &house, below, Counts::default());
        append(&house, vec![leaf]).await;
        let size = house.publish_once().await.expect("published").expect("a checkpoint").size;
        house.close();
        log.tamper(&format!("UPDATE audit_log SET minimum_index = {below}"));
        let said = log.judged(&[]);
        assert!(said.exit == 40 && said.findings.contains(&("prune_beyond_policy".to_owned(), Some(size - 1), None)), "{said:?}");
        log.tamper("UPDATE audit_log SET minimum_index = 1280");
        let said = log.judged(&[]);
        assert!(said.exit == 40 && said.findings.contains(&("prune_beyond_policy".to_owned(), Some(0), Some(1_279))), "{said:?}");
    }

    // 23: an erasure leaf while the rows live; 19: rows that went uncounted.
    async fn parts_and_the_leaves_that_count_them_balance(log: TestLog) {
        let house = log.open().await;
        append(&house, (0..10).map(|_| about(&house, Event::RecordCollected)).collect()).await;
        grow(&house, 600).await;
        let counts = Counts { operation: 4, ..Counts::default() };
        let lie = house.leaf(Event::RetentionExpired, Outcome::Done).expect("leaf").fact(Fact::Deleted(counts));
        append(&house, vec![lie.finish().expect("draft")]).await;
        house.publish_once().await.expect("published");
        house.close();
        let said = log.judged(&[]);
        assert_eq!((said.exit, found(&said)), (40, vec![("false_erasure", None, None)]));
        let operation = Class::Operation.number();
        log.tamper(&format!("DELETE FROM audit_sealed WHERE class = {operation}"));
        let said = log.judged(&[]);
        assert!(said.exit == 20 && said.has("sealed_missing"), "{said:?}");
    }

    // 15: keys that handed over, to whoever knows the first of them.
    async fn a_key_that_was_rotated_signs_what_it_may(log: TestLog) {
        let house = log.open().await;
        let first = house.log_verifier().expect("key");
        for leaves in [300, 310] {
            grow(&house, leaves).await;
            house.publish_once().await.expect("published");
            house.rotate_log_key(Cause::Planned, std::time::Duration::from_secs(5)).await.expect("rotated");
        }
        grow(&house, 10).await;
        house.publish_once().await.expect("published");
        house.close();
        let trust = log.folder.path().join("trust");
        std::fs::write(&trust, format!("log {first}\nquorum none\n")).expect("trust");
        let trusting = ["--trust", trust.to_str().expect("path")];
        assert!(log.judged(&trusting).is_plain() && log.judged(&[]).is_plain());
        // The handover is taken away: nobody who knows the first key believes what came behind it.
        log.tamper("DELETE FROM audit_checkpoint WHERE size IN (SELECT seq + 1 FROM audit_leaf WHERE event = 104)");
        let said = log.judged(&trusting);
        assert!(said.exit == 40 && said.has("checkpoint_signature"), "{said:?}");
    }

    // 6, 30: a log that an authority dated.
    async fn a_dated_log_is_held_against_its_time_stamps(log: TestLog) {
        let (log, _authority, _served) = with_authority(log, USUAL).await;
        let house = log.open().await;
        grow(&house, 600).await;
        let size = house.publish_once().await.expect("published").expect("a checkpoint").size;
        house.anchor_once().await.expect("asked");
        house.publish_once().await.expect("published");
        house.close();
        let pending = vec![("anchor_pending", Some(size), None)];
        let said = log.judged(&[]);
        assert_eq!((said.exit, found(&said)), (10, pending.clone()), "nobody vouches for the authority here");
        log.tamper("UPDATE audit_anchor SET reply = NULL");
        assert_eq!(found(&log.judged(&[])), pending, "no reply yet");
        let none = if log.settings.database.is_sqlite() { "x'30'" } else { "'\\x30'::bytea" };
        log.tamper(&format!("UPDATE audit_anchor SET reply = {none}"));
        let said = log.judged(&[]);
        assert_eq!((said.exit, found(&said)), (40, vec![("anchor_invalid", Some(size), None)]));
    }
}
