//! 29: each way round the triggers of the log's tables. Either it is refused, or it is done and then found.

use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, SqliteConnection};

use amanat::storage::Location;
use data_encoding::HEXLOWER;

use crate::harness::Backend;
use crate::log::{TestLog, leaf, run};

use super::judges::{Said, of_store};

const SIZE: usize = 620;

/// A log, and the checkpoint that somebody saved of it.
struct Kept {
    log: TestLog,
    note: std::path::PathBuf,
    size: u64,
}

impl Kept {
    async fn new(log: TestLog) -> Self {
        let size = log.lived(SIZE).await;
        let note = log.folder.path().join("saved-note");
        std::fs::write(&note, &log.saved()[0].1).expect("note");
        Self { log, note, size }
    }

    fn judged(&self) -> Said {
        of_store(&self.log.settings.database, &["--checkpoint".into(), self.note.clone().into()])
    }

    /// A statement that changes one byte of a leaf.
    fn alteration(&self, seq: u64) -> String {
        let mut bytes = leaf(&self.log, seq);
        bytes[45] ^= 1;
        let hex = HEXLOWER.encode(&bytes);
        let value = match &self.log.settings.database {
            Location::Sqlite(_) => format!("x'{hex}'"),
            Location::Postgres { .. } => format!("'\\x{hex}'::bytea"),
        };
        format!("UPDATE audit_leaf SET leaf = {value} WHERE seq = {seq}")
    }

    /// It was done, and both verifiers name the leaf.
    fn is_found_at(&self, seq: u64, way: &str) {
        let said = self.judged();
        let is_named = said.findings.contains(&("leaf_altered".to_owned(), Some(seq), None));
        assert!(said.exit == 40 && is_named, "{way}: {said:?}");
    }
}

#[test]
fn every_way_round_on_sqlite() {
    run(Backend::Sqlite, async |log| {
        let kept = Kept::new(log).await;
        let Location::Sqlite(path) = kept.log.settings.database.clone() else { panic!("a file") };
        // A connection of anybody's, without what ours ask for.
        let open = |path: &Path| SqliteConnection::establish(path.to_str().expect("path")).expect("connection");
        let mut connection = open(&path);
        connection.batch_execute("PRAGMA busy_timeout = 5000").expect("patience");
        let one = "SELECT log, seq, entry, time + 1, event, leaf, hash FROM audit_leaf WHERE seq = 5";
        let upsert = "INSERT INTO audit_leaf SELECT * FROM audit_leaf WHERE seq = 5";
        for refused in [
            kept.alteration(5),
            "DELETE FROM audit_leaf WHERE seq = 5".to_owned(),
            format!("INSERT OR REPLACE INTO audit_leaf {one}"),
            // Through the other key: a new position, the same entry.
            format!(
                "INSERT OR REPLACE INTO audit_leaf {}",
                one.replace("log, seq,", "log, (SELECT max(seq) + 1 FROM audit_leaf),")
            ),
            format!("INSERT OR IGNORE INTO audit_leaf {}", one.replace("entry, time", "randomblob(16), time")),
            format!("{upsert} ON CONFLICT (log, seq) DO UPDATE SET time = 0"),
            format!("{upsert} ON CONFLICT (entry) DO UPDATE SET time = 0"),
            "UPDATE audit_log SET size = size - 1".to_owned(),
            "UPDATE audit_log SET minimum_index = size + 1".to_owned(),
            "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log".to_owned(),
            "DELETE FROM audit_log".to_owned(),
        ] {
            assert!(connection.batch_execute(&refused).is_err(), "`{refused}` was let through");
        }
        // From another database the triggers are the same.
        let mut other = open(&kept.log.folder.path().join("other.db"));
        other.batch_execute(&format!("ATTACH '{}' AS log", path.display())).expect("attached");
        let attached = kept.alteration(5).replace("UPDATE audit_leaf", "UPDATE log.audit_leaf");
        assert!(other.batch_execute(&attached).is_err(), "an attached database");
        drop(other);
        assert!(kept.judged().is_plain(), "nothing was done");

        connection.batch_execute("DROP TRIGGER audit_leaf_no_update").expect("dropped");
        connection.batch_execute(&kept.alteration(100)).expect("done");
        kept.is_found_at(100, "a trigger was dropped");
        connection
            .batch_execute(
                "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE type = 'trigger'; PRAGMA writable_schema = OFF;",
            )
            .expect("the schema is written");
        drop(connection);
        let mut connection = open(&path);
        connection.batch_execute("DELETE FROM audit_leaf WHERE seq = 300").expect("no trigger is left");
        let said = kept.judged();
        assert!(said.exit == 40 && said.findings.contains(&("leaf_missing".to_owned(), Some(300), None)), "{said:?}");
        // REPLACE, once the trigger that stopped it is gone.
        connection
            .batch_execute("INSERT OR REPLACE INTO audit_leaf SELECT log, seq, entry, time + 1, event, leaf, hash FROM audit_leaf WHERE seq = 400")
            .expect("done");
        kept.is_found_at(400, "a row was replaced");
    });
}

#[test]
fn every_way_round_on_postgres() {
    run(Backend::Postgres, async |log| {
        let kept = Kept::new(log).await;
        let Location::Postgres { url, schema } = kept.log.settings.database.clone() else { panic!("a server") };
        let mut connection = PgConnection::establish(&url).expect("connection");
        connection.batch_execute(&format!("SET search_path TO {}", schema.expect("schema"))).expect("schema");
        let one = "SELECT log, seq, entry, time, event, leaf, hash FROM audit_leaf WHERE seq = 5";
        let replica = |statement: &str| format!("SET LOCAL session_replication_role = replica; {statement}");
        for refused in [
            kept.alteration(5),
            "DELETE FROM audit_leaf WHERE seq = 5".to_owned(),
            "TRUNCATE audit_leaf".to_owned(),
            "TRUNCATE audit_log CASCADE".to_owned(),
            format!("INSERT INTO audit_leaf {one} ON CONFLICT (log, seq) DO UPDATE SET time = now()"),
            format!("INSERT INTO audit_leaf {one} ON CONFLICT (entry) DO UPDATE SET time = now()"),
            // Dense: only behind the last leaf.
            format!("INSERT INTO audit_leaf {}", one.replace("seq, entry", "seq + 100000, gen_random_uuid()")),
            "MERGE INTO audit_leaf AS leaf USING (SELECT 5 AS seq) AS other ON leaf.seq = other.seq WHEN MATCHED THEN DELETE".to_owned(),
            "ALTER TABLE audit_leaf DETACH PARTITION audit_log".to_owned(),
            "UPDATE audit_log SET size = size - 1".to_owned(),
            "UPDATE audit_log SET minimum_index = size + 1".to_owned(),
            "DELETE FROM audit_log".to_owned(),
            replica(&kept.alteration(5)),
            replica("DELETE FROM audit_leaf WHERE seq = 5"),
            replica("TRUNCATE audit_leaf"),
            replica("UPDATE audit_log SET epoch = epoch - 1"),
        ] {
            let refusal = connection.batch_execute(&format!("BEGIN; {refused}; COMMIT"));
            assert!(refusal.is_err(), "`{refused}` was let through");
            connection.batch_execute("ROLLBACK").expect("back");
        }
        assert!(kept.judged().is_plain(), "nothing was done");

        // The owner of the tables can do more than anybody who serves.
        let between = |before: &str, deed: &str, after: &str| format!("BEGIN; {before}; {deed}; {after}; COMMIT");
        let disabled = between(
            "ALTER TABLE audit_leaf DISABLE TRIGGER ALL",
            &kept.alteration(100),
            "ALTER TABLE audit_leaf ENABLE TRIGGER ALL",
        );
        connection.batch_execute(&disabled).expect("done");
        kept.is_found_at(100, "triggers were disabled");
        let body = "CREATE OR REPLACE FUNCTION amanat_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$";
        connection.batch_execute(&between(body, &kept.alteration(200), "SELECT 1")).expect("done");
        kept.is_found_at(200, "a function was replaced");
        connection
            .batch_execute("CREATE TABLE kept AS SELECT * FROM audit_leaf WHERE seq < 500; DROP TABLE audit_leaf; ALTER TABLE kept RENAME TO audit_leaf")
            .expect("done");
        let said = kept.judged();
        let gone = ("rollback".to_owned(), Some(500), Some(kept.size - 1));
        assert!(said.exit == 30 && said.findings.contains(&gone), "a table was put in the place of another: {said:?}");
    });
}
