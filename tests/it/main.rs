//! The suite: behaviour through the public doors, the same on both back ends.

#![expect(missing_docs, reason = "tests state behaviour by their names")]

mod harness;

mod collecting;
mod log;
mod wire;
