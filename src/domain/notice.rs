//! The exact texts people are shown (GDPR Art. 12–14; `notices/`).

use jiff::{Span, Timestamp};

use super::id::{NoticeId, PurposeId, RecipientId};

/// A published text: one id, one version, one language.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Which notice.
    pub id: NoticeId,
    /// Which version, from 1.
    pub version: u32,
    /// BCP 47 tag.
    pub language: String,
    /// When it was published.
    pub published_at: Timestamp,
    /// Whether people must be asked again.
    pub change: NoticeChange,
    /// The purposes it discloses.
    pub purposes: Vec<PurposeId>,
    /// The recipients it names; a consent binds these.
    pub recipients: Vec<RecipientId>,
    /// How long consents on the older version still serve.
    pub grace: Span,
    /// The text.
    pub text: String,
    /// SHA-256 of the bytes after the front matter.
    pub text_hash: [u8; 32],
}

/// How a version differs from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeChange {
    /// Something that people decided on changed.
    Material,
    /// Only the wording changed.
    Editorial,
    /// The same version in another language.
    Translation,
}
