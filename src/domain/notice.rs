//! The exact texts people are shown (GDPR Art. 12–14; `notices/`).

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::consent::NoticeShown;
use super::id::{Category, NoticeId, PurposeId, RecipientId};

/// Every published text, by (id, version, language).
pub type Notices = BTreeMap<(NoticeId, u32, String), Notice>;

/// Whether a consent given on the text in `shown` still serves `purpose`, and `recipient` if one is
/// in question, at `now`.
///
/// A consent binds the purposes and recipients its version named (EDPB Guidelines 05/2020): what a
/// later version adds was never consented to, so it fails alone and touches nobody else. A later
/// version stops the whole text only if it is material, and its grace is over.
#[must_use]
pub fn still_serves(
    notices: &Notices,
    shown: &NoticeShown,
    purpose: &PurposeId,
    recipient: Option<&RecipientId>,
    time_zone: &TimeZone,
    now: Timestamp,
) -> bool {
    let first = (shown.id.clone(), shown.version, String::new());
    let mut versions = notices.range(first..).map(|(_, notice)| notice).take_while(|notice| notice.id == shown.id);
    let Some(consented) = versions.next().filter(|notice| notice.version == shown.version) else {
        return false; // A text that is no longer known proves nothing.
    };
    if !consented.purposes.contains(purpose)
        || recipient.is_some_and(|recipient| !consented.recipients.contains(recipient))
    {
        return false;
    }
    let mut before = consented;
    let mut current = consented;
    for later in versions {
        if later.version > current.version {
            before = current;
            current = later;
        }
        if later.version > consented.version && later.asks_everybody_again(before) && later.has_replaced(time_zone, now)
        {
            return false;
        }
    }
    true
}

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
    /// The categories of data it discloses.
    pub categories: Vec<Category>,
    /// The countries outside the EEA that it discloses (ISO 3166-1 alpha-2).
    pub transfers: Vec<String>,
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

impl Notice {
    /// Whether this version asks everybody again who consented to the version `before` it.
    ///
    /// Material by computation: new data or a new country of transfer is, whatever the file claims.
    /// A version that only adds recipients or purposes asks for those alone.
    fn asks_everybody_again(&self, before: &Self) -> bool {
        if adds(&before.categories, &self.categories) || adds(&before.transfers, &self.transfers) {
            return true;
        }
        self.change == NoticeChange::Material
            && !adds(&before.recipients, &self.recipients)
            && !adds(&before.purposes, &self.purposes)
    }

    /// Whether this version is published and its grace for older consents is over.
    fn has_replaced(&self, time_zone: &TimeZone, now: Timestamp) -> bool {
        if now < self.published_at {
            return false;
        }
        let end = self.published_at.to_zoned(time_zone.clone()).checked_add(self.grace);
        // A grace beyond the calendar is a mistake, and a mistake gives nobody more time.
        end.map_or(true, |end| end.timestamp() <= now)
    }
}

fn adds<T: PartialEq>(before: &[T], after: &[T]) -> bool {
    after.iter().any(|item| !before.contains(item))
}

impl NoticeChange {
    /// Every kind of change.
    pub const ALL: [Self; 3] = [Self::Material, Self::Editorial, Self::Translation];

    /// The spelling in front matter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Material => "material",
            Self::Editorial => "editorial",
            Self::Translation => "translation",
        }
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == text)
    }
}
