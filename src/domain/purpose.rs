//! What data is used for, and on which ground (GDPR Art. 5(1)(b), 6).

use std::collections::BTreeMap;

use jiff::Span;

use super::id::{Channel, NoticeId, PurposeId};
use super::legal_basis::LegalBasis;

/// Text per language (BCP 47 tag), as policy files give it.
pub type Translations = BTreeMap<String, String>;

/// A purpose of `purposes.toml`.
#[derive(Clone, Debug)]
pub struct Purpose {
    /// Its id.
    pub id: PurposeId,
    /// Title per language.
    pub title: Translations,
    /// Plain-language description per language.
    pub description: Translations,
    /// The legal basis.
    pub basis: LegalBasis,
    /// DPV term without prefix, `DirectMarketing`.
    pub term: String,
    /// Whether Art. 21(2)–(3) applies: an objection is absolute.
    pub direct_marketing: bool,
    /// Whether consent must be explicit (Art. 9(2)(a)).
    pub explicit: bool,
    /// How long a consent lasts from the day it was given; consent purposes only.
    pub validity: Option<Span>,
    /// How long nobody is asked again after a refusal.
    pub ask_again_after: Option<Span>,
    /// The notice that names this purpose.
    pub notice: Option<NoticeId>,
    /// Channels with a consent of their own; empty: one line without channel.
    pub channels: Vec<Channel>,
    /// The broader purpose: denials go down, grants do not.
    pub within: Option<PurposeId>,
    /// The least proof a consent needs.
    pub minimum_proof: MinimumProof,
    /// Whether a consent by e-mail must be confirmed by a link.
    pub double_opt_in: bool,
    /// Reference of the balancing test; without it a legitimate-interests purpose has no basis.
    pub lia: Option<String>,
    /// False until someone says so: an inactive purpose permits nothing.
    pub active: bool,
}

/// The least proof that a purpose accepts for a consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MinimumProof {
    /// A CMP's or SDK's word will do.
    Signal,
    /// Only a first-hand act with a notice token.
    Act,
}

impl MinimumProof {
    /// Every minimum, weakest first.
    pub const ALL: [Self; 2] = [Self::Signal, Self::Act];

    /// The spelling in policy files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Act => "act",
        }
    }
}
