//! The fields a record may have and what kind of data each is (`fields.toml`).

use super::id::{Category, FieldPath, PurposeId, RetentionClassId};
use super::identifier::IdentifierKind;
use super::purpose::Translations;

/// A field of `fields.toml`. What is not declared is not stored.
#[derive(Clone, Debug)]
pub struct Field {
    /// Path in the incoming record, `traits.email`.
    pub path: FieldPath,
    /// DPV-PD term, `EmailAddress`.
    pub category: Category,
    /// Whether its values are personal data; a field that is not is stored in the clear.
    pub personal: bool,
    /// Whether it is a special category (Art. 9) or criminal data (Art. 10).
    pub special: bool,
    /// What kind of identifier it holds, if it identifies.
    pub identifies: Option<Identifies>,
    /// The purposes it may serve.
    pub purposes: Vec<PurposeId>,
    /// How long it is kept.
    pub retention: RetentionClassId,
    /// What it is, in words, per language (mandatory: it stands in the access package).
    pub description: Translations,
    /// How the value came to be.
    pub origin: Origin,
    /// What coded values mean: code to text per language.
    pub code_meanings: Vec<(String, Translations)>,
}

/// That a field holds an identifier, and of which kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifies {
    /// The kind.
    pub kind: IdentifierKind,
    /// The namespace within the kind; empty where none is named.
    pub namespace: String,
}

/// How a value came to be; decides what portability covers (Art. 20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The person gave it.
    Provided,
    /// It was seen while the person used the service.
    Observed,
    /// It was derived.
    Inferred,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 3] = [Self::Provided, Self::Observed, Self::Inferred];

    /// The spelling in policy files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provided => "provided",
            Self::Observed => "observed",
            Self::Inferred => "inferred",
        }
    }
}
