//! The suite: behaviour through the public doors, the same on both back ends.

#![expect(unreachable_pub, reason = "the harness is open to every test")]

mod harness;

mod bad_input;
mod clients;
mod collecting;
mod consents;
mod crash;
mod delivering;
mod log;
mod permissions;
mod schema;
mod subject_requests;
mod tidy;
mod wire;
