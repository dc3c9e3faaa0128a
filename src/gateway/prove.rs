//! Proofs out of the log: inclusion, consistency, receipts.
