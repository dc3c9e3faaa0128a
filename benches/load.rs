//! The load bench: the real server, and beside it a bare handler that parses the same JSON and
//! answers, under the same client in the same run.
//!
//! The workload: track events of 500 bytes from a server key, four personal fields, two purposes, one
//! delivery promised an event, the person known before, 10,000 active people (further ones stored
//! but silent). Every answer waits for the commit. Client, server and database share the machine.
//!
//! ```text
//! cargo bench --bench load -- --quick      a minute: SQLite, 10,000 people
//! cargo bench --bench load -- --readme     the tables of the README
//! cargo bench --bench load -- --backend postgres --people 1000000 --shape one-person --connections 128 --seconds 10
//! ```

#![expect(
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench stops at the first surprise and prints what it measured"
)]

#[path = "load/bare.rs"]
mod bare;
#[path = "load/client.rs"]
mod client;
#[path = "load/people.rs"]
mod people;
#[expect(dead_code, reason = "shared with the tests, which also crash the server")]
#[path = "../tests/it/harness/postgres.rs"]
mod postgres;
#[path = "load/server.rs"]
mod server;
#[path = "load/table.rs"]
mod table;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use client::{Choice, Outcome, Run, Shape};
use server::{Backend, House, Mode, Serving};
use table::Cell;

/// People who send.
const ACTIVE: u64 = 10_000;
const MILLION: u64 = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, port] = arguments.as_slice()
        && flag == "--serve-bare"
    {
        bare::serve(port.parse().expect("port"));
        return;
    }
    let plan = Plan::read(&arguments);
    let began = Instant::now();
    let bare = Serving::bare();
    let mut cells = Vec::new();
    for group in &plan.groups {
        cells.extend(run_group(group, &bare, &plan));
    }
    table::print(&cells, plan.readme);
    println!("\nmeasured in {:.0} s", began.elapsed().as_secs_f64());
}

/// What is to be measured.
struct Plan {
    groups: Vec<Group>,
    /// Length of one cell.
    time: Duration,
    readme: bool,
}

/// Cells that share one gateway.
#[derive(Clone)]
struct Group {
    backend: Backend,
    people: u64,
    mode: Mode,
    cells: Vec<(Shape, usize, Spread)>,
}

/// Who of the stored people sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Ten thousand.
    Active,
    /// Anybody.
    Uniform,
}

impl Plan {
    fn read(arguments: &[String]) -> Self {
        let value = |name: &str| {
            arguments
                .iter()
                .position(|argument| argument == name)
                .and_then(|at| arguments.get(at + 1))
                .map(String::as_str)
        };
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let backends = match value("--backend") {
            Some("sqlite") => vec![Backend::Sqlite],
            Some("postgres") => vec![Backend::Postgres],
            Some(other) => panic!("--backend {other}: sqlite or postgres"),
            None if has("--quick") => vec![Backend::Sqlite],
            None => vec![Backend::Sqlite, Backend::Postgres],
        };
        let seconds =
            value("--seconds").map_or(if has("--readme") { 4 } else { 3 }, |text| text.parse().expect("--seconds"));
        let time = Duration::from_secs(seconds);
        if has("--readme") {
            return Self { groups: backends.into_iter().flat_map(readme_groups).collect(), time, readme: true };
        }
        let people = value("--people").map_or(ACTIVE, |text| text.parse().expect("--people"));
        let connections: Vec<usize> = value("--connections")
            .map_or(vec![128], |text| text.split(',').map(|number| number.parse().expect("--connections")).collect());
        let shapes: Vec<Shape> = match value("--shape") {
            Some("single") => vec![Shape::Single],
            Some("one-person") => vec![Shape::OnePerson],
            Some("mixed") => vec![Shape::Mixed],
            Some(other) => panic!("--shape {other}: single, one-person or mixed"),
            None => Shape::ALL.to_vec(),
        };
        let mode = match value("--mode") {
            Some("dispatching") => Mode::Dispatching,
            Some("naive") => Mode::Naive,
            _ => Mode::Paused,
        };
        let spread = if has("--uniform") { Spread::Uniform } else { Spread::Active };
        let mut cells = Vec::new();
        for connections in connections {
            cells.extend(shapes.iter().map(|shape| (*shape, connections, spread)));
        }
        let groups =
            backends.into_iter().map(|backend| Group { backend, people, mode, cells: cells.clone() }).collect();
        Self { groups, time, readme: false }
    }
}

/// Everything that the README shows about one back end.
fn readme_groups(backend: Backend) -> Vec<Group> {
    let all: Vec<_> = [128, 32]
        .into_iter()
        .flat_map(|connections| Shape::ALL.map(|shape| (shape, connections, Spread::Active)))
        .collect();
    let loud: Vec<_> = Shape::ALL.map(|shape| (shape, 128, Spread::Active)).to_vec();
    let naive = vec![(Shape::Single, 128, Spread::Active), (Shape::OnePerson, 128, Spread::Active)];
    let uniform = Shape::ALL.map(|shape| (shape, 128, Spread::Uniform));
    let million = all.iter().copied().chain(uniform).collect();
    vec![
        Group { backend, people: ACTIVE, mode: Mode::Paused, cells: all },
        Group { backend, people: ACTIVE, mode: Mode::Dispatching, cells: loud },
        Group { backend, people: ACTIVE, mode: Mode::Naive, cells: naive },
        Group { backend, people: MILLION, mode: Mode::Paused, cells: million },
    ]
}

fn run_group(group: &Group, bare: &Serving, plan: &Plan) -> Vec<Cell> {
    let house = House::new(group.backend, group.people);
    println!(
        "{}, {} people (stored in {:.1} s, {} MB), {:?}",
        group.backend.title(),
        group.people,
        house.seeding.as_secs_f64(),
        house.bytes() >> 20,
        group.mode
    );
    let serving = house.serve(group.mode);
    println!("  start {:.0} ms, process {}", serving.start.as_secs_f64() * 1000.0, serving.process());
    let run =
        |serving: &Serving, (shape, connections, spread): (Shape, usize, Spread), time: Duration, once_each: bool| {
            let active = if spread == Spread::Uniform { group.people } else { ACTIVE.min(group.people) };
            client::run(&Run {
                address: serving.address,
                key: house.key.clone(),
                shape,
                choice: Choice { stored: group.people, active },
                connections,
                time,
                once_each,
            })
        };
    // Everybody active is known before the first measurement.
    let mut acknowledged = run(&serving, (Shape::Mixed, 32, Spread::Active), Duration::from_secs(30), true).events;
    let mut refused = 0;
    let mut bare_rates: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    let mut cells = Vec::new();
    for (shape, connections, spread) in &group.cells {
        let what = (*shape, *connections, *spread);
        let bare_rate = *bare_rates
            .entry((shape.events(), *connections))
            .or_insert_with(|| rate(&run(bare, what, plan.time / 2, false)));
        let before = serving.usage();
        let outcome = run(&serving, what, plan.time, false);
        let after = serving.usage();
        acknowledged += outcome.events;
        refused += outcome.refused;
        let cell = Cell {
            backend: group.backend,
            people: group.people,
            mode: group.mode,
            spread: *spread,
            shape: *shape,
            connections: *connections,
            requests: rate(&outcome),
            events: outcome.events as f64 / outcome.seconds,
            p50: outcome.percentile(0.5),
            p99: outcome.percentile(0.99),
            server_micros: per_event(after.server - before.server, &outcome),
            database_micros: per_event(after.database - before.database, &outcome),
            client_micros: per_event(after.client - before.client, &outcome),
            resident: serving.resident().0,
            bare: bare_rate,
            start: serving.start,
            refused: outcome.refused,
        };
        println!("  {}", cell.line());
        cells.push(cell);
    }
    serving.stop();
    let stored = house.records();
    // What was answered with success is there; a run for which that does not hold does not count.
    assert!(
        u64::try_from(stored).expect("count") >= acknowledged && (refused > 0 || stored as u64 == acknowledged),
        "{acknowledged} events were acknowledged and {stored} are stored"
    );
    println!("  {acknowledged} events acknowledged, {stored} stored; {} MB", house.bytes() >> 20);
    cells
}

fn rate(outcome: &Outcome) -> f64 {
    outcome.requests as f64 / outcome.seconds
}

fn per_event(seconds: f64, outcome: &Outcome) -> f64 {
    seconds * 1e6 / (outcome.events.max(1)) as f64
}
