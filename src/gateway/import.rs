//! Bulk load through the same way as live traffic, resumable.
