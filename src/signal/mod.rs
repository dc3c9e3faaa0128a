//! What a browser, a consent banner or an SDK said, decoded.
//!
//! Pure: facts in, [`crate::domain::signal::Signal`] out. Whether a signal may ever allow is not
//! decided here but by the collector's `grants`, and absence never allows.

pub mod categories;
pub mod gpc;
