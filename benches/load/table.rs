//! What is printed: a line a cell while it runs, and the README's tables at the end.

use std::time::Duration;

use super::Spread;
use super::client::Shape;
use super::server::{Backend, Mode};

/// One measured combination.
pub struct Cell {
    pub backend: Backend,
    pub people: u64,
    pub mode: Mode,
    pub spread: Spread,
    pub shape: Shape,
    pub connections: usize,
    /// Requests a second.
    pub requests: f64,
    /// Events a second.
    pub events: f64,
    /// Milliseconds.
    pub p50: f64,
    /// Milliseconds.
    pub p99: f64,
    /// Processor time of the gateway, in microseconds an event.
    pub server_micros: f64,
    /// Of the database server.
    pub database_micros: f64,
    /// Of the client.
    pub client_micros: f64,
    /// Megabytes resident.
    pub resident: u64,
    /// Requests a second of the bare handler.
    pub bare: f64,
    /// From the start of the process to the first answer.
    pub start: Duration,
    /// Requests not taken.
    pub refused: u64,
}

impl Cell {
    pub fn line(&self) -> String {
        format!(
            "{:<26}{:>4} conns{} {:>7.0} req/s {:>7.0} ev/s  p50 {:>6.1}  p99 {:>6.1} ms  cpu {:>5.1} + db {:>5.1} + client {:>4.1} µs/ev  {:>3} MB  {:>5.1} % of bare ({:.0}){}",
            self.shape.title(),
            self.connections,
            if self.spread == Spread::Uniform { " uniform" } else { "" },
            self.requests,
            self.events,
            self.p50,
            self.p99,
            self.server_micros,
            self.database_micros,
            self.client_micros,
            self.resident,
            100.0 * self.requests / self.bare,
            self.bare,
            if self.refused > 0 { format!("  {} REFUSED", self.refused) } else { String::new() },
        )
    }

    fn row(&self) -> String {
        let note = match (self.mode, self.spread) {
            (Mode::Naive, _) => "one commit a request",
            (Mode::Dispatching, _) => "dispatch running",
            (Mode::Paused, Spread::Uniform) => "anybody sends",
            (Mode::Paused, Spread::Active) => "",
        };
        let cpu = if self.backend == Backend::Postgres {
            format!("{:.0} + {:.0}", self.server_micros, self.database_micros)
        } else {
            format!("{:.0}", self.server_micros)
        };
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {:.1} | {:.1} | {} | {} | {:.0} % |",
            self.backend.title(),
            thousands(self.people as f64),
            self.shape.title(),
            self.connections,
            note,
            thousands(self.requests),
            thousands(self.events),
            self.p50,
            self.p99,
            cpu,
            self.resident,
            100.0 * self.requests / self.bare
        )
    }
}

/// The tables for the README.
pub fn print(cells: &[Cell], readme: bool) {
    if !readme {
        return;
    }
    println!("\n{}\n", machine());
    println!(
        "| store | people | requests | connections | | requests/s | events/s | p50 ms | p99 ms | CPU µs an event | MB | of bare |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for cell in cells {
        println!("{}", cell.row());
    }
    println!("\nThe bare handler, requests/s (single at 128 connections): {}", thousands(bare(cells)));
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let mut starts: Vec<(u64, Duration)> =
            cells.iter().filter(|cell| cell.backend == backend).map(|cell| (cell.people, cell.start)).collect();
        starts.dedup();
        for (people, start) in starts {
            println!(
                "Start, {}, {} people: {:.0} ms",
                backend.title(),
                thousands(people as f64),
                start.as_secs_f64() * 1000.0
            );
        }
        for shape in Shape::ALL {
            if let (Some(few), Some(many)) = (cost(cells, backend, shape, false), cost(cells, backend, shape, true)) {
                println!(
                    "Cost with a million people, {}, {}: {:.2} times that with 10,000",
                    backend.title(),
                    shape.title(),
                    many / few
                );
            }
        }
    }
}

fn bare(cells: &[Cell]) -> f64 {
    let rates: Vec<f64> = cells
        .iter()
        .filter(|cell| cell.shape == Shape::Single && cell.connections == 128)
        .map(|cell| cell.bare)
        .collect();
    rates.iter().sum::<f64>() / rates.len().max(1) as f64
}

/// Processor time an event at 128 connections, gateway and database together.
fn cost(cells: &[Cell], backend: Backend, shape: Shape, million: bool) -> Option<f64> {
    cells
        .iter()
        .find(|cell| {
            cell.backend == backend
                && cell.shape == shape
                && cell.connections == 128
                && cell.mode == Mode::Paused
                && cell.spread == Spread::Active
                && (cell.people > 10_000) == million
        })
        .map(|cell| cell.server_micros + cell.database_micros)
}

fn machine() -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|line| line.split(':').nth(1))
        .unwrap_or("unknown")
        .trim()
        .to_owned();
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{count} processors ({model}), {} GB of memory, Linux {}", kilobytes >> 20, kernel.trim())
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
