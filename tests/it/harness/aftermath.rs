//! What every test must leave behind: a log that verifies, an outbox that is empty or was declared,
//! and no canary in the clear: not in a file, a row, a line of diagnostics or a figure.

use std::collections::BTreeMap;

use amanat::audit::finding::Report;
use amanat::gateway::verify::{PartOpener, Verification, verify};
use amanat::storage::Location;

use super::store::Store;
use super::{TestGateway, contains, diagnostics, files_below, forms};

impl TestGateway {
    /// Closes the gateway and looks at what it leaves.
    pub async fn finish(self) {
        self.server.stop(true).await;
        self.house.note_stop().await.expect("stop is noted");
        self.house.publish_once().await.expect("the log is published");
        self.log_verifies();
        self.outbox_is_as_declared();
        for canary in self.canaries.lock().expect("canaries").iter() {
            self.is_nowhere(canary);
        }
    }

    /// Closes the gateway of a test that leaves something forged in its log, which stays there for ever.
    pub async fn leave_forged(self) {
        self.server.stop(true).await;
    }

    fn log_verifies(&self) {
        let report = self.verified();
        assert!(matches!(report.exit, 0 | 10), "the log of this test does not verify: {report:#?}");
    }

    /// Everything that the verifier can check with all keys.
    pub fn verified(&self) -> Report {
        let verification = Verification {
            database: self.house.settings.database.clone(),
            keys: Some(self.house.settings.keys.clone()),
            memory: Some(self.house.settings.memory.clone()),
            checkpoints: Vec::new(),
            trust: None,
            anchor_roots: Default::default(),
            maximum_age: None,
            now: self.source.now(),
            business: true,
            destroyed_keys: true,
            opener: Some(PartOpener::new(self.house.keyholder.installation, self.house.keyholder.keyring())),
        };
        verify(&verification, |_, _| {}).expect("the log can be read")
    }

    fn outbox_is_as_declared(&self) {
        let Some(declared) = self.outbox.lock().expect("outbox").take() else { return };
        let open: BTreeMap<String, i64> = Store::open(&self.house.settings.database)
            .column(
                "SELECT recipient || ' ' || count(*) AS value FROM delivery WHERE state IN (0, 1) GROUP BY recipient",
            )
            .iter()
            .map(|line| {
                let (recipient, count) = line.split_once(' ').expect("recipient and count");
                (recipient.to_owned(), count.parse().expect("a number"))
            })
            .collect();
        assert_eq!(open, declared, "promises that were neither kept nor declared");
    }

    fn is_nowhere(&self, canary: &str) {
        let forms = forms(canary);
        let is_in = |bytes: &[u8]| forms.iter().any(|form| contains(bytes, form));
        for path in files_below(self.folder()) {
            assert!(!is_in(&std::fs::read(&path).expect("file")), "{} holds a canary in the clear", path.display());
        }
        for location in [&self.house.settings.database, &self.house.settings.keys] {
            // The files of SQLite lie in the folder; a server's hold the rows of other tests too.
            if matches!(location, Location::Postgres { .. }) {
                assert_no_row_holds(location, &forms);
            }
        }
        let (lines, figures) = diagnostics::said_since(self.said_from);
        assert!(!is_in(&lines), "a line of diagnostics holds a canary");
        assert!(!is_in(figures.as_bytes()), "a figure holds a canary");
    }
}

/// Looks through every row as text, in which a column of bytes stands in hexadecimal digits.
fn assert_no_row_holds(location: &Location, forms: &[Vec<u8>]) {
    let mut store = Store::open(location);
    for table in store.tables() {
        for row in store.column(&format!("SELECT row_text::text AS value FROM {table} AS row_text")) {
            for form in forms {
                let is_there = contains(row.as_bytes(), form)
                    || contains(row.as_bytes(), data_encoding::HEXLOWER.encode(form).as_bytes());
                assert!(!is_there, "a row of {table} holds a canary in the clear");
            }
        }
    }
}

/// The checks find what they are there for.
mod found {
    use serde_json::json;

    use super::Store;
    use crate::harness::{Backend, Wish, run};

    #[test]
    #[should_panic(expected = "neither kept nor declared")]
    fn a_promise_that_nobody_declared() {
        run(Backend::Sqlite, Wish::default(), |gateway| async move {
            let key = gateway.key("shop-server").await;
            let event = json!({"type": "track", "event": "Order Completed", "userId": "u-1", "messageId": "m-1"});
            assert_eq!(gateway.post(&key, "/v1/track", &event).await.0, 200);
            gateway.finish().await;
        });
    }

    #[test]
    #[should_panic(expected = "holds a canary in the clear")]
    fn a_canary_in_a_file() {
        a_canary_in_the_store(Backend::Sqlite);
    }

    #[test]
    #[should_panic(expected = "a row of lease holds a canary in the clear")]
    fn a_canary_in_a_row() {
        a_canary_in_the_store(Backend::Postgres);
    }

    fn a_canary_in_the_store(backend: Backend) {
        run(backend, Wish::default(), |gateway| async move {
            let canary = gateway.canary("anna");
            let holder = if backend == Backend::Sqlite { "x'00'" } else { "gen_random_uuid()" };
            let until = if backend == Backend::Sqlite { "0" } else { "now()" };
            Store::open(&gateway.house.settings.database)
                .execute(&format!(
                    "INSERT INTO lease (name, holder, epoch, until) VALUES ('{canary}', {holder}, 0, {until})"
                ))
                .expect("row");
            gateway.finish().await;
        });
    }

    #[test]
    #[should_panic(expected = "a line of diagnostics holds a canary")]
    fn a_canary_in_a_line() {
        run(Backend::Sqlite, Wish::default(), |gateway| async move {
            tracing::warn!(address = gateway.canary("anna"), "said by a careless hand");
            gateway.finish().await;
        });
    }

    #[test]
    #[should_panic(expected = "a figure holds a canary")]
    fn a_canary_in_a_figure() {
        run(Backend::Sqlite, Wish::default(), |gateway| async move {
            let canary = gateway.canary("anna");
            metrics::counter!(amanat::telemetry::metrics::COLLECT_EVENTS, "collector" => canary, "verdict" => "accepted")
                .increment(1);
            gateway.finish().await;
        });
    }
}
