//! What is held about a person, handed over (GDPR Art. 15).

use super::{Gateway, Result};
use crate::storage::subject_requests::StoredRequest;

impl Gateway {
    pub(super) async fn answer_access(&self, _request: &StoredRequest) -> Result<()> {
        Ok(())
    }
}
