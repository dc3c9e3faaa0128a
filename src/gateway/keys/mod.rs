//! The life of the root keys: where they lie, which versions there are, rotation, wrapping again,
//! and the sweep of keys that never got a person (`cryptography.md` §2, §9, §14).
//!
//! Everything here is online and can be resumed: a kill at any instant loses at most one batch of a
//! job, never a key. Deliberately absent: the destruction of a version. It waits for the epochs.

mod log_key;
pub(super) mod root_file;
mod rotate;
mod status;
mod sweep;
pub(super) mod versions;

#[cfg(test)]
pub(super) mod tests;

pub use log_key::{LogKeyRotated, NextLogKey};
pub use root_file::RootSource;
pub use rotate::{Progress, Rotated, Rotation};
pub use status::{Epochs, JobStatus, KeyStatus, VersionStatus};
