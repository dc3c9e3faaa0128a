//! Who may receive which fields for which purpose (`recipients.toml`; GDPR Art. 4(9), 13(1)(e), 44).

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::id::{FieldPath, PurposeId, RecipientId};

/// A recipient of `recipients.toml`.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Its id.
    pub id: RecipientId,
    /// Legal name, as people are told.
    pub name: String,
    /// ISO 3166-1 alpha-2 country of establishment.
    pub country: String,
    /// Countries from which staff may look at the data besides.
    pub access_countries: Vec<String>,
    /// Its role (Art. 4(7)–(8), 26).
    pub role: RecipientRole,
    /// Reference of the contract (Art. 28(3), 26).
    pub contract: Option<String>,
    /// Last day of the contract.
    pub contract_until: Option<Date>,
    /// The transfer safeguard (Chapter V), if one is named.
    pub safeguard: Option<Safeguard>,
    /// Last day on which a listing (for example under a framework) holds.
    pub listed_until: Option<Date>,
    /// The fields it may have, per purpose.
    pub purposes: BTreeMap<PurposeId, Vec<FieldPath>>,
    /// Rights messages it understands (`suppress`, `erase`, `verify_erased`, `access`).
    pub verbs: Vec<String>,
    /// Raised after a breach at the recipient: it then gets new pseudonyms.
    pub pseudonym_version: u32,
    /// Whether deliveries name the person only and the recipient pulls the fields.
    pub thin: bool,
}

/// The role of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientRole {
    /// Art. 4(8).
    Processor,
    /// A controller of its own.
    Controller,
    /// Art. 26.
    Joint,
}

/// A ground for a transfer outside the EEA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Safeguard {
    /// Art. 45: the country stands in the adequacy table on the day.
    Adequacy,
    /// Art. 46(2)(c): standard contractual clauses, module 1–4.
    StandardClauses {
        /// The module.
        module: u8,
    },
    /// Art. 47.
    BindingCorporateRules,
    /// Art. 46(2)(e).
    CodeOfConduct,
}

impl RecipientRole {
    /// The spelling in policy files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Controller => "controller",
            Self::Joint => "joint",
        }
    }
}

impl Safeguard {
    /// The spelling in policy files and answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Adequacy => "adequacy",
            Self::StandardClauses { module: 1 } => "scc_m1",
            Self::StandardClauses { module: 2 } => "scc_m2",
            Self::StandardClauses { module: 3 } => "scc_m3",
            Self::StandardClauses { .. } => "scc_m4",
            Self::BindingCorporateRules => "bcr",
            Self::CodeOfConduct => "code",
        }
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "adequacy" => Self::Adequacy,
            "scc_m1" => Self::StandardClauses { module: 1 },
            "scc_m2" => Self::StandardClauses { module: 2 },
            "scc_m3" => Self::StandardClauses { module: 3 },
            "scc_m4" => Self::StandardClauses { module: 4 },
            "bcr" => Self::BindingCorporateRules,
            "code" => Self::CodeOfConduct,
            _ => return None,
        })
    }
}

impl RecipientRole {
    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Processor, Self::Controller, Self::Joint].into_iter().find(|role| role.as_str() == text)
    }
}

impl Recipient {
    /// Where the data goes: the country of establishment and those with remote access, for access
    /// from a country is a transfer to it.
    pub fn countries(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.country.as_str()).chain(self.access_countries.iter().map(String::as_str))
    }
}
