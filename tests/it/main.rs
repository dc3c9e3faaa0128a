//! The suite: behaviour through the public doors, the same on both back ends.

#![expect(unreachable_pub, reason = "the harness is open to every test")]

mod harness;

mod collecting;
mod delivering;
mod consents;
mod log;
mod wire;
mod subject_requests;
