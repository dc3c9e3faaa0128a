//! Bulk imports and how far they came.
