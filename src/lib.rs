//! Amanat: a consent and privacy gateway.

pub mod audit;
pub mod crypto;
pub mod domain;
pub mod storage;
