//! Long documents, compiled in so that a dead link fails.

#[doc = include_str!("decisions.md")]
pub mod decisions {}

#[doc = include_str!("threat_model.md")]
pub mod threat_model {}

#[doc = include_str!("data_flow.md")]
pub mod data_flow {}

#[doc = include_str!("wire_format.md")]
pub mod wire_format {}

#[doc = include_str!("operations.md")]
pub mod operations {}
