//! The rows of a store copied from one kind of database to the other, column by column, by the databases
//! themselves: what a verifier finds in the copy it finds in the original.

use std::fmt::Write as _;
use std::path::Path;

use amanat::storage::Location;

use super::postgres::Server;
use super::store::Store;

/// A column, and its type on PostgreSQL.
type Column = (String, String);

/// Writes every row of a schema of PostgreSQL to a SQLite file that does not exist yet.
pub fn to_sqlite(from: &Location, to: &Path) {
    let mut server = Store::open(from);
    let mut script = String::from("PRAGMA synchronous = OFF; BEGIN;");
    for table in server.tables() {
        let columns = columns(&mut server, &table);
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        write!(script, "CREATE TABLE {table} ({});", names.join(", ")).expect("text");
        let values: Vec<String> = columns.iter().map(in_sqlite).collect();
        for row in server.column(&format!("SELECT {} AS value FROM {table}", values.join(" || ',' || "))) {
            write!(script, "INSERT INTO {table} VALUES ({row});").expect("text");
        }
    }
    script += "COMMIT;";
    Store::open(&Location::Sqlite(to.to_path_buf())).execute(&script).expect("copied");
}

/// Writes the rows of a SQLite file to a schema of PostgreSQL that does not exist yet: the tables of `like`
/// without their triggers and keys, as whoever owns the database can have them.
pub fn to_postgres(from: &Path, server: &Server, like: &str, to: &str) -> Location {
    let location = Location::parse(&server.url(to)).expect("URL");
    let mut target = Store::open(&location);
    let mut source = Store::open(&Location::Sqlite(from.to_path_buf()));
    let there = source.tables();
    let mut script = format!("BEGIN; CREATE SCHEMA IF NOT EXISTS {to};");
    let mut model = Store::open(&Location::parse(&server.url(like)).expect("URL"));
    for table in model.tables() {
        write!(script, "CREATE TABLE {to}.{table} (LIKE {like}.{table});").expect("text");
        if !there.contains(&table) {
            continue;
        }
        let columns = columns(&mut model, &table);
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let values: Vec<String> = columns.iter().map(in_postgres).collect();
        let rows = source.column(&format!("SELECT '(' || {} || ')' AS value FROM {table}", values.join(" || ',' || ")));
        for rows in rows.chunks(500) {
            write!(script, "INSERT INTO {to}.{table} ({}) VALUES {};", names.join(", "), rows.join(",")).expect("text");
        }
    }
    script += "COMMIT;";
    target.execute(&script).expect("copied");
    location
}

/// Takes a schema away again.
pub fn drop_schema(location: &Location, schema: &str) {
    Store::open(location).execute(&format!("DROP SCHEMA {schema} CASCADE")).expect("dropped");
}

fn columns(server: &mut Store, table: &str) -> Vec<Column> {
    let query = format!(
        "SELECT column_name || '|' || data_type AS value FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = '{table}' ORDER BY ordinal_position"
    );
    let split = |line: &String| line.split_once('|').map(|(name, of)| (name.to_owned(), of.to_owned()));
    server.column(&query).iter().filter_map(split).collect()
}

/// An expression of PostgreSQL that writes a column as SQLite reads it.
fn in_sqlite((name, of): &Column) -> String {
    let value = match of.as_str() {
        "uuid" => format!("'x''' || replace({name}::text, '-', '') || ''''"),
        "bytea" => format!("'x''' || encode({name}, 'hex') || ''''"),
        "text" => format!("'''' || replace({name}, '''', '''''') || ''''"),
        "timestamp with time zone" => format!("trunc(extract(epoch from {name}) * 1000000)::bigint::text"),
        _ => format!("{name}::text"),
    };
    format!("coalesce({value}, 'NULL')")
}

/// An expression of SQLite that writes a column as PostgreSQL reads it.
fn in_postgres((name, of): &Column) -> String {
    let value = match of.as_str() {
        "uuid" => format!("'''' || hex({name}) || '''::uuid'"),
        "bytea" => format!("'''\\x' || hex({name}) || '''::bytea'"),
        "text" => format!("'''' || replace({name}, '''', '''''') || ''''"),
        // In two steps, so that nothing is rounded.
        "timestamp with time zone" => format!(
            "'timestamptz ''epoch'' + ' || ({name} / 1000000) || ' * interval ''1 second'' + ' || ({name} % 1000000) || ' * interval ''1 microsecond'''"
        ),
        _ => format!("CAST({name} AS text)"),
    };
    format!("CASE WHEN {name} IS NULL THEN 'NULL' ELSE {value} END")
}
