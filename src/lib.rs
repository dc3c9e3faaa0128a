#![doc = include_str!("docs/architecture.md")]

pub mod domain;

pub mod audit;
pub mod crypto;
pub mod delivery;
pub mod policy;
pub mod signal;
pub mod storage;

pub mod config;
pub mod telemetry;

pub mod gateway;
pub mod witness;

pub mod http;

pub mod cli;

pub mod docs;
