//! Checkpoints: signing the log, publishing it, and refusing to go on behind it.

use super::{Gateway, Result};

impl Gateway {
    /// Holds the stored log against what this installation signed and remembers.
    ///
    /// # Errors
    /// When the log is behind, apart or damaged.
    pub(super) async fn check_log(&self) -> Result<()> {
        Ok(())
    }
}
