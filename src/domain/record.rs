//! The stages of a record (see `gateway::collect`).
