//! The suite: behaviour through the public doors, the same on both back ends.

#![expect(
    unreachable_pub,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by panicking, reads the clock, and makes ids of its own"
)]

mod harness;

mod bad_input;
mod clients;
mod collecting;
mod consents;
mod crash;
mod delivering;
mod log;
mod payloads;
mod permissions;
mod schema;
mod subject_requests;
mod tamper;
mod tidy;
mod verify_page;
mod wire;
mod witness;
