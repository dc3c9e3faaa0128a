//! A copy of a store, taken while nobody uses it and put back later: what an operator's backup is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use amanat::storage::Location;

use super::store::Store;

/// What the copy is.
pub enum Snapshot {
    /// The files of SQLite; nothing where there was none.
    Files(Vec<(PathBuf, Option<Vec<u8>>)>),
    /// A schema of PostgreSQL beside the store's own.
    Schema { location: Location, kept: String, tables: Vec<String> },
}

impl Snapshot {
    pub fn of(location: &Location) -> Self {
        match location {
            Location::Sqlite(path) => {
                let paths = ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", path.display())));
                Self::Files(paths.into_iter().map(|path| (path.clone(), std::fs::read(path).ok())).collect())
            }
            Location::Postgres { schema, .. } => {
                static TAKEN: AtomicU32 = AtomicU32::new(0);
                let number = TAKEN.fetch_add(1, Ordering::Relaxed);
                let kept = format!("{}_kept{number}", schema.as_deref().expect("a schema"));
                let mut store = Store::open(location);
                let tables = store.tables();
                store.execute(&format!("DROP SCHEMA IF EXISTS {kept} CASCADE; CREATE SCHEMA {kept}")).expect("schema");
                for table in &tables {
                    store.execute(&format!("CREATE TABLE {kept}.{table} AS TABLE {table}")).expect("copy");
                }
                Self::Schema { location: location.clone(), kept, tables }
            }
        }
    }

    pub fn put_back(&self) {
        match self {
            Self::Files(files) => {
                for (path, bytes) in files {
                    match bytes {
                        Some(bytes) => std::fs::write(path, bytes).expect("put back"),
                        None => drop(std::fs::remove_file(path)),
                    }
                }
            }
            Self::Schema { location, kept, tables } => {
                let mut store = Store::open(location);
                for table in tables {
                    let statement = format!(
                        "ALTER TABLE {table} DISABLE TRIGGER ALL; DELETE FROM {table};
                         INSERT INTO {table} SELECT * FROM {kept}.{table}; ALTER TABLE {table} ENABLE TRIGGER ALL"
                    );
                    store.execute(&statement).expect("put back");
                }
            }
        }
    }
}
