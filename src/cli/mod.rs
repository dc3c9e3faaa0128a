//! The command line: one file a command, the only composition root, the only room that prints.
//!
//! Exit codes: 0 done; 1 could not be done; 2 wrong usage; 3 the configuration or the policy has
//! mistakes; 4 `policy diff --exit-code` found differences. The verifier has codes of its own (0, 10, 20, 30, 40, 50), and `serve` ends with 30 or
//! 40 where the log refuses to go on.

#![expect(clippy::print_stderr, reason = "this is the room that prints")]

mod audit;
mod collector;
mod config;
mod context;
mod delivery;
mod demo;
mod healthcheck;
mod import;
mod in_force;
mod keys;
mod migrate;
mod output;
mod policy;
mod receipt;
mod recipients;
mod request;
mod restore;
mod serve;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use context::{Context, Failure};

/// A consent and privacy gateway.
#[derive(Parser)]
#[command(name = "amanat", version, about, propagate_version = true)]
struct Arguments {
    /// The configuration file; `amanat.toml` if it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets an option of the configuration, `server.listen=0.0.0.0:8080`.
    #[arg(long = "set", global = true, value_name = "OPTION=VALUE")]
    set: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// From nothing to a running gateway, and a tour of what it does.
    Demo(demo::Arguments),
    /// Runs the gateway.
    Serve,
    /// Verifies the audit log and proves what stands in it.
    Audit {
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    Policy(policy::PolicyArguments),
    Collector(collector::CollectorArguments),
    Token(token::TokenArguments),
    Keys(keys::KeysArguments),
    Delivery(delivery::DeliveryArguments),
    /// Prints the document of the API (OpenAPI 3.1).
    Openapi,
    Import(import::ImportArguments),
    Request(request::RequestArguments),
    Receipt(receipt::ReceiptArguments),
    Config(config::ConfigArguments),
    Migrate(migrate::MigrateArguments),
    Restore(restore::RestoreArguments),
    /// Asks a running gateway whether it lives; for health checks of containers.
    #[command(hide = true)]
    Healthcheck {
        /// The address to ask; `/healthz` of the configured gateway if absent.
        url: Option<String>,
    },
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            if error.print().is_err() {
                return ExitCode::from(1);
            }
            return ExitCode::from(code);
        }
    };
    // Everything this process writes is for its owner alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads can be started: {error}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit())
        }
    }
}

async fn run(arguments: Arguments) -> Result<u8, Failure> {
    arm_failpoint();
    let context = Context::new(arguments.config, arguments.set);
    match arguments.command {
        Command::Demo(arguments) => demo::run(&context, &arguments).await,
        Command::Serve => serve::run(&context).await,
        Command::Audit { command } => audit::run(command, &context).await,
        Command::Policy(arguments) => policy::run(arguments, &context).await,
        Command::Collector(arguments) => collector::run(arguments, &context).await,
        Command::Token(arguments) => token::run(arguments, &context).await,
        Command::Delivery(arguments) => delivery::run(arguments, &context).await,
        Command::Openapi => {
            let document = crate::http::openapi::json().map_err(|error| Failure::new(error.to_string()))?;
            output::print(&document).map(|()| 0)
        }
        Command::Keys(arguments) => keys::run(arguments, &context).await,
        Command::Import(arguments) => import::run(arguments, &context).await,
        Command::Request(arguments) => request::run(arguments, &context).await,
        Command::Receipt(arguments) => receipt::run(&arguments),
        Command::Config(arguments) => config::run(&arguments, &context),
        Command::Migrate(arguments) => migrate::run(&arguments, &context),
        Command::Restore(arguments) => restore::run(arguments, &context).await,
        Command::Healthcheck { url } => healthcheck::run(url, &context).await,
    }
}

/// For crash tests; a release build has no failpoints.
#[expect(clippy::disallowed_methods, reason = "not an option of the operator's")]
fn arm_failpoint() {
    if let Ok(place) = std::env::var("AMANAT_FAILPOINT") {
        crate::telemetry::failpoint::arm(&place);
    }
}
