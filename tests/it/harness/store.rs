//! A look into the stores, past the gateway: what stands there, in SQL.

use amanat::storage::{Connection, Location};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

#[derive(QueryableByName)]
struct Cell {
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

/// A connection of a test's own.
pub struct Store(Connection);

impl Store {
    pub fn open(location: &Location) -> Self {
        Self(location.connect().expect("the store answers"))
    }

    /// The values of a query with one column of text named `value`.
    pub fn column(&mut self, query: &str) -> Vec<String> {
        let query = diesel::sql_query(query.to_owned());
        let cells: Vec<Cell> = match &mut self.0 {
            Connection::Sqlite(connection) => query.load(connection),
            Connection::Postgres(connection) => query.load(connection),
        }
        .expect("query");
        cells.into_iter().filter_map(|cell| cell.value).collect()
    }

    pub fn number(&mut self, query: &str) -> i64 {
        self.column(&format!("SELECT CAST(({query}) AS text) AS value"))[0].parse().expect("a number")
    }

    pub fn count(&mut self, table: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {table}"))
    }

    /// Runs a statement; the text of what the store says against it.
    pub fn execute(&mut self, statement: &str) -> Result<(), String> {
        match &mut self.0 {
            Connection::Sqlite(connection) => connection.batch_execute(statement),
            Connection::Postgres(connection) => connection.batch_execute(statement),
        }
        .map_err(|error| error.to_string())
    }

    pub const fn is_sqlite(&self) -> bool {
        matches!(self.0, Connection::Sqlite(_))
    }

    /// The tables that hold our rows.
    pub fn tables(&mut self) -> Vec<String> {
        let query = if self.is_sqlite() {
            "SELECT name AS value FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_\\_%' ESCAPE '\\' ORDER BY 1"
        } else {
            "SELECT table_name::text AS value FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name NOT LIKE '\\_\\_%' ORDER BY 1"
        };
        self.column(query)
    }

    /// How many rows each table holds.
    pub fn counts(&mut self) -> std::collections::BTreeMap<String, i64> {
        self.tables().into_iter().map(|table| (table.clone(), self.count(&table))).collect()
    }
}
