//! The gateway's own API, one file a resource.

pub mod audit;
pub mod document;
pub mod health;
