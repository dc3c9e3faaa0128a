//! The log's rows as an attacker rewrites them: past the triggers, with the hashes made good again.

use std::collections::BTreeSet;
use std::path::Path;

use amanat::audit::leaf::{Leaf, leaf_hash};
use amanat::audit::tile::full_tile_root;
use amanat::audit::tree::Frontier;
use amanat::domain::id::EntryId;
use data_encoding::{HEXLOWER, HEXUPPER};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;

#[derive(QueryableByName)]
struct Cell {
    #[diesel(sql_type = Text)]
    value: String,
}

/// Runs statements on a copy of the data file whose triggers are gone: whoever owns the file can drop
/// them.
pub fn execute(database: &Path, statements: &str) {
    let mut connection = connect(database);
    connection.batch_execute(statements).unwrap_or_else(|error| panic!("{error}: {statements}"));
}

/// The values of a query with one column of text named `value`.
pub fn column(database: &Path, query: &str) -> Vec<String> {
    let cells: Vec<Cell> = diesel::sql_query(query).load(&mut connect(database)).expect("query");
    cells.into_iter().map(|cell| cell.value).collect()
}

fn connect(database: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(database.to_str().expect("path")).expect("connection");
    let triggers = "SELECT name AS value FROM sqlite_schema WHERE type = 'trigger'";
    let triggers: Vec<Cell> = diesel::sql_query(triggers).load(&mut connection).expect("triggers");
    for trigger in triggers {
        connection.batch_execute(&format!("DROP TRIGGER {}", trigger.value)).expect("dropped");
    }
    // One file, so that a copy of it is all of it.
    connection.batch_execute("PRAGMA journal_mode = DELETE;").expect("one file");
    connection
}

/// The leaves of a log in memory, to be changed and put back.
pub struct Rows {
    /// The leaves, by position.
    pub leaves: Vec<Vec<u8>>,
    sealed: BTreeSet<(String, String)>,
}

impl Rows {
    pub fn of(database: &Path) -> Self {
        let bytes = |hex: String| HEXUPPER.decode(hex.as_bytes()).expect("hex");
        let leaves = column(database, "SELECT hex(leaf) AS value FROM audit_leaf ORDER BY seq");
        let sealed = column(database, "SELECT hex(entry) || ' ' || role AS value FROM audit_sealed");
        let pair = |text: String| text.split_once(' ').map(|(entry, role)| (entry.to_owned(), role.to_owned()));
        Self { leaves: leaves.into_iter().map(bytes).collect(), sealed: sealed.into_iter().filter_map(pair).collect() }
    }

    /// Whether this part lies there.
    pub fn has_sealed(&self, entry: EntryId, role: u8) -> bool {
        self.sealed.contains(&(HEXUPPER.encode(entry.as_bytes()), role.to_string()))
    }

    /// Makes every `prev` behind a changed leaf good again.
    pub fn relink(&mut self, from: usize) {
        for position in from.max(1)..self.leaves.len() {
            let before = leaf_hash(&self.leaves[position - 1]);
            let start = previous_in(&self.leaves[position]);
            self.leaves[position][start..start + 32].copy_from_slice(&before);
        }
    }

    /// Writes everything back from a position on, with hashes, tiles and head to match; only the signed
    /// checkpoints cannot be made good without the key, so they go.
    pub fn write(&self, database: &Path, from: usize) {
        let mut statements = String::from("BEGIN; DELETE FROM audit_checkpoint;");
        let mut frontier = Frontier::new();
        let mut tile = Vec::new();
        for (position, leaf) in self.leaves.iter().enumerate() {
            let hash = leaf_hash(leaf);
            frontier.append(&hash);
            tile.push(hash);
            if position >= from {
                let said = Leaf::decode(leaf).expect("a leaf that keeps the rules");
                let [leaf, hash, entry] = [leaf, hash.as_slice(), said.entry.as_bytes()].map(|b| HEXLOWER.encode(b));
                statements += &format!(
                    "UPDATE audit_leaf SET leaf = x'{leaf}', hash = x'{hash}', entry = x'{entry}', time = {}
                     WHERE seq = {position};",
                    said.time
                );
            }
            if let Some(root) = full_tile_root(&tile) {
                let (hashes, root) = (HEXLOWER.encode(&tile.concat()), HEXLOWER.encode(&root));
                let index = position / 256;
                statements += &format!(
                    "UPDATE audit_tile SET hashes = x'{hashes}', root = x'{root}' WHERE level = 0 AND idx = {index};"
                );
                tile.clear();
            }
        }
        let last = leaf_hash(self.leaves.last().expect("a leaf"));
        statements += &format!(
            "UPDATE audit_log SET root = x'{}', last_hash = x'{}'; COMMIT;",
            HEXLOWER.encode(&frontier.root()),
            HEXLOWER.encode(&last)
        );
        execute(database, &statements);
    }
}

/// Where the 32 bytes of `prev` begin: behind key 2 and the head of a string of 32.
fn previous_in(leaf: &[u8]) -> usize {
    leaf.windows(3).position(|window| window == [0x02, 0x58, 0x20]).expect("prev") + 3
}

/// Where the 16 bytes of `entry` begin: behind key 3.
pub fn entry_in(leaf: &[u8]) -> usize {
    previous_in(leaf) + 32 + 2
}

/// Where the 8 bytes of `time` begin: behind key 4.
pub fn time_in(leaf: &[u8]) -> usize {
    entry_in(leaf) + 16 + 2
}
