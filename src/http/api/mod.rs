//! The gateway's own API, one file a resource.

pub mod document;
pub mod health;
