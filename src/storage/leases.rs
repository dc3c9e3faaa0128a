//! Leases: which instance does what, fenced by an epoch.
