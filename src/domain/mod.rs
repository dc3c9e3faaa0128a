//! The law of the house: pure values and pure functions.
//!
//! Nothing here reads a clock, draws randomness, does I/O, awaits or knows a serialisation. What a
//! rule needs to know is an argument; what it finds is a value.

pub mod category;
pub mod clock;
pub mod collected;
pub mod consent;
pub mod decision;
pub mod event;
pub mod id;
pub mod identifier;
pub mod legal_basis;
pub mod notice;
pub mod personal;
pub mod policy;
pub mod purpose;
pub mod reason;
pub mod recipient;
pub mod record;
pub mod retention;
pub mod signal;
pub mod subject;
pub mod subject_request;
