//! The gateway's own API, one file a resource.

pub mod audit;
pub mod consents;
pub mod decisions;
pub mod disclosures;
pub mod document;
pub mod health;
pub mod policy;
pub mod said;
pub mod subject_requests;
pub mod tokens;
