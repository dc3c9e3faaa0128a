//! The suite: behaviour through the public doors, the same on both back ends.

#![expect(unreachable_pub, reason = "the harness is open to every test")]

mod harness;

mod bad_input;
mod collecting;
mod consents;
mod delivering;
mod log;
mod subject_requests;
mod wire;
