//! Why a purpose may be pursued at all (GDPR Art. 6(1); ePrivacy Directive Art. 13(2)).

/// The legal basis of a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LegalBasis {
    /// Art. 6(1)(a).
    Consent,
    /// Art. 6(1)(b).
    Contract,
    /// Art. 6(1)(c).
    LegalObligation,
    /// Art. 6(1)(d).
    VitalInterests,
    /// Art. 6(1)(e).
    PublicTask,
    /// Art. 6(1)(f): allowed while the balancing test stands and nobody objected.
    LegitimateInterests,
    /// ePrivacy Directive Art. 13(2): mail about similar products to one's own customers. Neither
    /// consent nor legitimate interests.
    SoftOptIn,
}

impl LegalBasis {
    /// Every basis, in the order of Art. 6(1).
    pub const ALL: [Self; 7] = [
        Self::Consent,
        Self::Contract,
        Self::LegalObligation,
        Self::VitalInterests,
        Self::PublicTask,
        Self::LegitimateInterests,
        Self::SoftOptIn,
    ];

    /// The spelling in policy files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Contract => "contract",
            Self::LegalObligation => "legal_obligation",
            Self::VitalInterests => "vital_interests",
            Self::PublicTask => "public_task",
            Self::LegitimateInterests => "legitimate_interests",
            Self::SoftOptIn => "soft_opt_in",
        }
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|basis| basis.as_str() == text)
    }
}
