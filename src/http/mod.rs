//! The doors: requests in, answers out, and the one table of what is where and for whom.
//!
//! Deliberately absent: SQL, keys, and any decision. A handler reads what was sent, calls one
//! use-case and renders what it found; who may call is said in [`routes`] and checked in one place.

pub mod api;
pub mod app;
pub mod call;
pub mod collect;
pub mod collect_door;
pub mod openapi;
pub mod pages;
pub mod problem;
pub mod refusal;
pub mod routes;
pub mod server;
pub mod witness;

mod unread;
