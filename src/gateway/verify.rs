//! The stored log is verified by the pure verifier.
