//! Pages that people open in a browser, embedded in the program: no build step, no other host.

pub mod verify;
