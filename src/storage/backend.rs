//! What differs between SQLite and PostgreSQL: how a connection is opened and what it must promise.

use std::marker::PhantomData;
use std::time::Duration;

use diesel::Connection as _;
use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::r2d2::ManageConnection;
use diesel_migrations::MigrationHarness;

use super::{Error, Result};

/// A connection to one of the two back ends.
pub enum Connection {
    /// One file, one writer.
    Sqlite(SqliteConnection),
    /// A server, several instances.
    Postgres(PgConnection),
}

/// Runs one body against whichever back end the connection is; the compiler checks it for both.
macro_rules! on {
    ($connection:expr, $c:ident => $body:expr) => {
        match $connection {
            $crate::storage::backend::Connection::Sqlite($c) => $body,
            $crate::storage::backend::Connection::Postgres($c) => $body,
        }
    };
}
pub(crate) use on;

/// Where a store lies. The scheme of the URL decides the back end, never a trial.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// `sqlite:PATH`.
    Sqlite(std::path::PathBuf),
    /// `postgres://…`, with an optional `schema` of our own.
    Postgres {
        /// The URL, which may hold a password and is never printed.
        url: String,
        /// The schema that holds the tables.
        schema: Option<String>,
    },
}

impl Location {
    /// Reads `sqlite:PATH` or `postgres://…[?…&amanat_schema=NAME]`.
    ///
    /// # Errors
    /// [`Error::Location`] for any other scheme, an empty path, or a schema name that is not a plain
    /// lower-case word.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(Error::Location("sqlite: needs a path after the colon"));
            }
            return Ok(Self::Sqlite(path.into()));
        }
        if !(text.starts_with("postgres://") || text.starts_with("postgresql://")) {
            return Err(Error::Location("a database URL begins with sqlite: or postgres://"));
        }
        let mut url = url::Url::parse(text).map_err(|_| Error::Location("this is not a URL"))?;
        let schema = url.query_pairs().find(|(key, _)| key == "amanat_schema").map(|(_, value)| value.into_owned());
        if let Some(schema) = &schema {
            let plain = schema.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if schema.is_empty() || !plain {
                return Err(Error::Location("amanat_schema is a word of a-z, 0-9 and _"));
            }
            let rest: Vec<(String, String)> = url
                .query_pairs()
                .filter(|(key, _)| key != "amanat_schema")
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect();
            url.set_query(None);
            if !rest.is_empty() {
                url.query_pairs_mut().extend_pairs(rest);
            }
        }
        Ok(Self::Postgres { url: url.into(), schema })
    }

    /// Opens a connection and has it promise durability and order.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store cannot be reached, [`Error::NotDurable`] when it would
    /// answer a commit before it is on disk.
    pub fn connect(&self) -> Result<Connection> {
        match self {
            Self::Sqlite(path) => connect_sqlite(path),
            Self::Postgres { url, schema } => connect_postgres(url, schema.as_deref()),
        }
    }

    /// Opens a connection that cannot write, so that looking at a store never changes it. It promises
    /// nothing about durability and works on a standby too.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store does not exist or cannot be reached.
    pub fn connect_to_read(&self) -> Result<Connection> {
        match self {
            Self::Sqlite(path) => connect_sqlite_to_read(path),
            Self::Postgres { url, schema } => {
                let mut connection = PgConnection::establish(url).map_err(Error::Unavailable)?;
                connection.batch_execute("SET default_transaction_read_only = on; SET timezone = 'UTC';")?;
                if let Some(schema) = schema {
                    // The name was checked to be a plain word when the location was parsed.
                    connection.batch_execute(&format!("SET search_path TO {schema};"))?;
                }
                Ok(Connection::Postgres(connection))
            }
        }
    }

    /// Whether this is SQLite.
    #[must_use]
    pub const fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }
}

fn connect_sqlite(path: &std::path::Path) -> Result<Connection> {
    let text = path.to_str().ok_or(Error::Location("the database path is not UTF-8"))?;
    let mut connection = SqliteConnection::establish(text).map_err(Error::Unavailable)?;
    connection.batch_execute(
        "PRAGMA busy_timeout = 10000;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA secure_delete = ON;
         PRAGMA recursive_triggers = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -4096;
         PRAGMA wal_autocheckpoint = 0;",
    )?;
    let mode: String =
        diesel::select(diesel::dsl::sql::<diesel::sql_types::Text>("(SELECT journal_mode FROM pragma_journal_mode)"))
            .get_result(&mut connection)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Error::NotDurable("SQLite did not enter WAL mode; is the folder on a network file system?"));
    }
    Ok(Connection::Sqlite(connection))
}

fn connect_sqlite_to_read(path: &std::path::Path) -> Result<Connection> {
    let text = path.to_str().ok_or(Error::Location("the database path is not UTF-8"))?;
    let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let open = |mode: &str| -> Result<SqliteConnection> {
        let mut connection =
            SqliteConnection::establish(&format!("file:{escaped}?{mode}")).map_err(Error::Unavailable)?;
        connection.batch_execute(
            "PRAGMA busy_timeout = 10000;
             PRAGMA query_only = ON;
             PRAGMA trusted_schema = OFF;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -16384;
             SELECT count(*) FROM sqlite_schema;",
        )?;
        Ok(connection)
    };
    // A copy on a medium that cannot be written has no place for the shared memory of a write-ahead
    // log. If it has no such log either, nothing can change under the reader.
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let opened = open("mode=ro");
    if opened.is_err() && path.exists() && !std::path::Path::new(&wal).exists() {
        return open("mode=ro&immutable=1").map(Connection::Sqlite);
    }
    opened.map(Connection::Sqlite)
}

/// A process that leaves a transaction alone for so long is frozen; the server undoes it, and the
/// process runs it again should it come back.
const FROZEN: std::time::Duration = std::time::Duration::from_secs(30);

fn connect_postgres(url: &str, schema: Option<&str>) -> Result<Connection> {
    let mut connection = PgConnection::establish(url).map_err(Error::Unavailable)?;
    connection
        .batch_execute("SET synchronous_commit = on; SET timezone = 'UTC'; SET client_min_messages = warning;")?;
    // Whoever is frozen with the head of the log in its hands must not hold up the other instances.
    connection.batch_execute(&format!("SET idle_in_transaction_session_timeout = {};", FROZEN.as_millis()))?;
    if let Some(schema) = schema {
        // The name was checked to be a plain word when the location was parsed.
        connection.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path TO {schema};"))?;
    }
    let setting = |name: &str, connection: &mut PgConnection| -> Result<String> {
        Ok(diesel::select(diesel::dsl::sql::<diesel::sql_types::Text>(&format!("current_setting('{name}')")))
            .get_result(connection)?)
    };
    if setting("fsync", &mut connection)? != "on" {
        return Err(Error::NotDurable("PostgreSQL runs with fsync = off"));
    }
    if setting("full_page_writes", &mut connection)? != "on" {
        return Err(Error::NotDurable("PostgreSQL runs with full_page_writes = off"));
    }
    if setting("transaction_read_only", &mut connection)? != "off" {
        return Err(Error::NotDurable("this PostgreSQL server is read-only, perhaps a standby"));
    }
    Ok(Connection::Postgres(connection))
}

impl Connection {
    /// Runs a script of statements.
    pub(crate) fn execute_script(&mut self, script: &str) -> Result<()> {
        Ok(on!(self, c => c.batch_execute(script))?)
    }

    /// Reads everything from here to [`Connection::end_snapshot`] as it stands now.
    pub(crate) fn begin_snapshot(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(_) => self.execute_script("BEGIN; SELECT count(*) FROM sqlite_schema;"),
            Self::Postgres(_) => self.execute_script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        }
    }

    /// Ends a snapshot.
    pub(crate) fn end_snapshot(&mut self) -> Result<()> {
        self.execute_script("COMMIT")
    }

    /// Runs the migrations that this store lacks and gives their number.
    pub(crate) fn migrate(&mut self, migrations: Migrations) -> Result<usize> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Migration(error.to_string());
        match self {
            Self::Sqlite(c) => Ok(c.run_pending_migrations(migrations.sqlite).map_err(failed)?.len()),
            Self::Postgres(c) => {
                // One instance migrates; the others wait here and find nothing left to do.
                c.batch_execute("SELECT pg_advisory_lock(710022)")?;
                let ran = c.run_pending_migrations(migrations.postgres).map_err(failed).map(|ran| ran.len());
                c.batch_execute("SELECT pg_advisory_unlock(710022)")?;
                ran
            }
        }
    }
}

impl Connection {
    /// The names of the migrations that this store has, in order.
    pub(crate) fn migrations(&mut self) -> Result<Vec<String>> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Migration(error.to_string());
        let applied = on!(self, c => c.applied_migrations().map_err(failed)?);
        let mut names: Vec<String> = applied.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// A statement whose text never changes, with the values that go into it: each connection prepares
/// it once. diesel never caches a `sql_query` and walks a typed insert before each run to see
/// whether its text changed.
///
/// `Id` makes the type of one statement unlike that of any other, because the type is what the
/// prepared statement is found by; `Row` is the SQL type of what comes back.
pub(crate) struct Statement<Id, Binds, Row = ()> {
    begin: &'static str,
    binds: Binds,
    end: &'static str,
    only: PhantomData<(Id, Row)>,
}

impl<Id, Binds, Row> Statement<Id, Binds, Row> {
    /// The text before and after the values, which are separated by commas.
    pub(crate) const fn new(begin: &'static str, binds: Binds, end: &'static str) -> Self {
        Self { begin, binds, end, only: PhantomData }
    }
}

impl<DB: Backend, Id, Binds: QueryFragment<DB>, Row> QueryFragment<DB> for Statement<Id, Binds, Row> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(self.begin);
        self.binds.walk_ast(out.reborrow())?;
        out.push_sql(self.end);
        Ok(())
    }
}

impl<Id: 'static, Binds: QueryId, Row: 'static> QueryId for Statement<Id, Binds, Row> {
    type QueryId = Statement<Id, Binds::QueryId, Row>;

    const HAS_STATIC_QUERY_ID: bool = Binds::HAS_STATIC_QUERY_ID;
}

impl<Id, Binds, Row> Query for Statement<Id, Binds, Row> {
    type SqlType = Row;
}

impl<Id, Binds, Row, C> RunQueryDsl<C> for Statement<Id, Binds, Row> {}

/// Writes a function that inserts many rows: a prepared one-row statement in a loop on SQLite, where
/// that is as fast as a batch, and one statement over arrays on PostgreSQL, whose plan does not
/// depend on their length.
macro_rules! bulk_insert {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($row:ident: $type:ty) into $table:ident { $($column:ident: $sql:ty = $value:expr,)+ }) => {
        $(#[$doc])*
        $vis fn $name(connection: &mut $crate::storage::backend::Connection, rows: &[&$type]) -> $crate::storage::Result<()> {
            use diesel::prelude::*;
            use $crate::storage::backend::{Connection, Statement};
            if rows.is_empty() {
                return Ok(());
            }
            match connection {
                Connection::Sqlite(c) => {
                    const BEGIN: &str = concat!("INSERT INTO ", stringify!($table), " (", stringify!($($column),+), ") VALUES (");
                    for $row in rows {
                        let values = ($(IntoSql::into_sql::<$sql>($value),)+);
                        Statement::<$table::table, _>::new(BEGIN, values, ")").execute(c)?;
                    }
                }
                Connection::Postgres(c) => {
                    const BEGIN: &str =
                        concat!("INSERT INTO ", stringify!($table), " (", stringify!($($column),+), ") SELECT * FROM unnest(");
                    let columns = ($(
                        IntoSql::into_sql::<diesel::sql_types::Array<$sql>>(rows.iter().map(|$row| $value).collect::<Vec<_>>()),
                    )+);
                    Statement::<$table::table, _>::new(BEGIN, columns, ")").execute(c)?;
                }
            }
            Ok(())
        }
    };
}
pub(crate) use bulk_insert;

/// A value that is the same in every row.
pub(crate) const fn same<R, T: Copy>(_row: &R, value: T) -> T {
    value
}

/// The migrations of one store, for both back ends.
pub(crate) struct Migrations {
    pub(crate) sqlite: diesel_migrations::EmbeddedMigrations,
    pub(crate) postgres: diesel_migrations::EmbeddedMigrations,
}

/// Opens connections for a pool.
pub struct Manager(pub(super) Location);

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    fn connect(&self) -> Result<Connection> {
        self.0.connect()
    }

    fn is_valid(&self, connection: &mut Connection) -> Result<()> {
        connection.execute_script("SELECT 1")
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        match connection {
            Connection::Sqlite(_) => std::thread::panicking(),
            Connection::Postgres(c) => {
                use diesel::connection::TransactionManager;
                std::thread::panicking()
                    || <PgConnection as diesel::Connection>::TransactionManager::is_broken_transaction_manager(c)
            }
        }
    }
}

/// How long a reader waits for a connection of the pool.
pub(crate) const POOL_WAIT: Duration = Duration::from_secs(5);
