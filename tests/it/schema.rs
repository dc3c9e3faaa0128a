//! Both catalogues against the schema in the code, the tables that only grow, and the register of
//! what an erasure must empty.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use amanat::storage::erasures::ERASABLE;
use serde_json::json;

use crate::both;
use crate::harness::store::Store;

/// Tables with a column of a person that an erasure leaves alone, and why.
const EXEMPT: &[(&str, &str)] = &[];

both! {
    async fn the_catalogues_are_those_of_the_code(gateway: TestGateway) {
        for (schema, location) in [
            ("src/storage/schema", gateway.house.database.location()),
            ("src/storage/keys/schema", &gateway.house.settings.keys),
        ] {
            let mut store = Store::open(location);
            let declared = declared(schema, store.is_sqlite());
            let found = catalogue(&mut store);
            let names = |tables: &Tables| tables.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(names(&found), names(&declared), "{schema}: the tables differ");
            for (table, columns) in &declared {
                assert_eq!(&found[table], columns, "{schema}: {table} differs");
            }
        }
    }

    async fn what_only_grows_cannot_be_changed(gateway: TestGateway) {
        gateway.leaves_open(&[("analytics-eu", 1), ("helpdesk-us", 1), ("letterbox", 1), ("warehouse", 1)]);
        let key = gateway.key("shop-server").await;
        let denied = json!({"consent": {"categoryPreferences": {"Advertising": false, "Analytics": true}}});
        let event = json!({"type":"track","event":"E","userId":gateway.canary("user"),"anonymousId":gateway.canary("device"),"context":denied,"properties":{"order_id":"1"}});
        assert_eq!(gateway.post(&key, "/v1/track", &event).await.0, 200);
        let mut store = Store::open(gateway.house.database.location());
        for table in ["audit_leaf", "audit_log", "term", "consent_event", "identity_edge"] {
            assert!(store.count(table) > 0, "{table} has rows to lose");
        }
        let leaf = store.count("audit_leaf");
        let mut attempts = vec![
            "UPDATE audit_leaf SET seq = seq",
            "DELETE FROM audit_leaf",
            "DELETE FROM audit_leaf WHERE seq = 0",
            "UPDATE audit_log SET size = size - 1",
            "UPDATE audit_log SET epoch = epoch - 1",
            "UPDATE audit_log SET origin = 'another.example/log'",
            "DELETE FROM audit_log",
            "UPDATE term SET text = 'x'",
            "DELETE FROM term",
            "UPDATE consent_event SET kind = kind",
            "UPDATE identity_edge SET proof = proof",
        ];
        if store.is_sqlite() {
            attempts.extend([
                "INSERT OR REPLACE INTO audit_leaf SELECT * FROM audit_leaf WHERE seq = 0",
                "REPLACE INTO audit_log SELECT * FROM audit_log",
                "REPLACE INTO term SELECT * FROM term",
                "REPLACE INTO consent_event SELECT * FROM consent_event",
                "INSERT INTO audit_leaf SELECT * FROM audit_leaf WHERE seq = 0 ON CONFLICT DO UPDATE SET seq = 7",
            ]);
        } else {
            attempts.extend([
                "TRUNCATE audit_leaf",
                "TRUNCATE audit_log",
                "SET session_replication_role = replica; UPDATE audit_leaf SET seq = seq",
                "SET session_replication_role = replica; DELETE FROM audit_leaf",
            ]);
        }
        for attempt in attempts {
            let refused = store.execute(attempt);
            assert!(refused.is_err(), "`{attempt}` was let through");
            if !store.is_sqlite() {
                store.execute("SET session_replication_role = origin").expect("back");
            }
        }
        assert_eq!(store.count("audit_leaf"), leaf);
    }

    async fn whatever_belongs_to_a_person_is_in_the_register(gateway: TestGateway) {
        let mut store = Store::open(gateway.house.database.location());
        let found = catalogue(&mut store);
        let personal: BTreeSet<&str> = found
            .iter()
            .filter(|(_, columns)| columns.keys().any(|column| column.starts_with("subject") || column.starts_with("sealed")))
            .map(|(table, _)| table.as_str())
            .collect();
        for table in &personal {
            let exempt = EXEMPT.iter().find(|(name, _)| name == table);
            assert!(exempt.is_none_or(|(_, why)| !why.is_empty()), "{table} is exempt without a reason");
            assert!(exempt.is_some() || ERASABLE.contains(table), "{table} belongs to people, and no erasure knows it");
        }
        for table in ERASABLE {
            assert!(found.contains_key(*table), "the register names {table}, which does not exist");
        }
    }
}

/// Table → column → (type, may be null).
type Tables = BTreeMap<String, BTreeMap<String, (String, bool)>>;

/// What `diesel::table!` declares, in the types of a back end.
fn declared(schema: &str, sqlite: bool) -> Tables {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(schema);
    let mut text = std::fs::read_to_string(place.with_extension("rs")).expect("schema");
    for part in place.is_dir().then(|| std::fs::read_dir(&place).expect("parts")).into_iter().flatten() {
        text.push_str(&std::fs::read_to_string(part.expect("part").path()).expect("part"));
    }
    let mut tables = Tables::new();
    let mut table = None;
    for line in text.lines().map(str::trim) {
        if let Some((column, of)) = line.split_once(" -> ") {
            let of = of.trim_end_matches(',');
            let (of, null) = match of.strip_prefix("Nullable<") {
                Some(inner) => (inner.trim_end_matches('>'), true),
                None => (of, false),
            };
            let known: &String = table.as_ref().expect("a column stands in a table");
            tables.get_mut(known).expect("table").insert(column.to_owned(), (native(of, sqlite).to_owned(), null));
        } else if let Some((name, _)) = line.split_once(" (").filter(|(_, rest)| rest.ends_with(") {")) {
            table = Some(name.to_owned());
            tables.insert(name.to_owned(), BTreeMap::new());
        }
    }
    assert!(!tables.is_empty(), "{schema} declares tables");
    tables
}

fn native(of: &str, sqlite: bool) -> &'static str {
    match (of, sqlite) {
        ("Uuid16" | "Binary", true) => "BLOB",
        ("Text", true) => "TEXT",
        ("Instant" | "SmallInt" | "Integer" | "BigInt", true) => "INTEGER",
        ("Uuid16", false) => "uuid",
        ("Binary", false) => "bytea",
        ("Text", false) => "text",
        ("Instant", false) => "timestamp with time zone",
        ("SmallInt", false) => "smallint",
        ("Integer", false) => "integer",
        ("BigInt", false) => "bigint",
        (other, _) => panic!("{other} has no native type in this test"),
    }
}

/// What a store says of itself.
fn catalogue(store: &mut Store) -> Tables {
    let mut tables = Tables::new();
    for table in store.tables() {
        let query = if store.is_sqlite() {
            // A column of a primary key is never null in a STRICT table WITHOUT ROWID or with NOT NULL.
            format!(
                "SELECT name || '|' || type || '|' || (CASE WHEN \"notnull\" = 1 OR pk > 0 THEN 0 ELSE 1 END) AS value FROM pragma_table_info('{table}')"
            )
        } else {
            format!(
                "SELECT column_name || '|' || data_type || '|' || (CASE is_nullable WHEN 'NO' THEN 0 ELSE 1 END) AS value \
                 FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = '{table}'"
            )
        };
        let columns = store
            .column(&query)
            .iter()
            .map(|line| {
                let mut parts = line.split('|');
                let mut next = || parts.next().expect("part").to_owned();
                (next(), (next(), next() == "1"))
            })
            .collect();
        tables.insert(table, columns);
    }
    tables
}
