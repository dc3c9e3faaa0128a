//! What may and must stand in the leaves of an event, read from the columns of the list at compile
//! time.

use super::{Class, Outcome, Role};

/// Whether this version of the gateway appends an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is appended, and a test says so.
    Raised,
    /// The number is taken; nothing appends it yet.
    Reserved,
}

/// What may and must stand in a leaf of one event. Sets are bit masks: bit n is role, outcome or
/// fact n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRule {
    /// The class of its leaves.
    pub class: Class,
    /// Parts that must be there.
    pub parts_required: u8,
    /// Parts that may be there; holds the required ones.
    pub parts_allowed: u8,
    /// Outcomes it may have.
    pub outcomes: u8,
    /// Facts that must be there.
    pub facts_required: u32,
    /// Facts that may be there; holds the required ones.
    pub facts_allowed: u32,
    /// OCSF 1.3 class, 3004 or 6003.
    pub ocsf_class: u16,
    /// OCSF 1.3 activity within the class.
    pub ocsf_activity: u8,
    /// Whether this version appends it.
    pub standing: Standing,
}

impl EventRule {
    /// Whether exactly these parts may stand together (bit n: role n).
    #[must_use]
    pub const fn admits_parts(&self, parts: u8) -> bool {
        parts & self.parts_required == self.parts_required && parts & !self.parts_allowed == 0
    }

    /// Whether exactly these facts may stand together (bit n: fact n).
    #[must_use]
    pub const fn admits_facts(&self, facts: u32) -> bool {
        facts & self.facts_required == self.facts_required && facts & !self.facts_allowed == 0
    }

    /// Whether a leaf may end so.
    #[must_use]
    pub const fn admits_outcome(&self, outcome: Outcome) -> bool {
        self.outcomes & (1 << outcome.number()) != 0
    }
}

pub(super) const fn required_parts(letters: &str) -> u8 {
    parts(letters).0
}

pub(super) const fn allowed_parts(letters: &str) -> u8 {
    parts(letters).1
}

/// Required and allowed roles of a column `parts`.
const fn parts(letters: &str) -> (u8, u8) {
    let mut required = 0;
    let mut allowed = 0;
    let mut rest = letters.as_bytes();
    while let Some((letter, after)) = rest.split_first() {
        let bit = match letter.to_ascii_uppercase() {
            b'S' => 1 << Role::Subject.number(),
            b'A' => 1 << Role::Officer.number(),
            b'I' => 1 << Role::Installation.number(),
            _ => 1 << Role::Receipt.number(),
        };
        if letter.is_ascii_uppercase() {
            required |= bit;
        }
        allowed |= bit;
        rest = after;
    }
    (required, allowed)
}

/// The outcomes of a column `outcomes`.
pub(super) const fn outcomes(letters: &str) -> u8 {
    let mut set = 0;
    let mut rest = letters.as_bytes();
    while let Some((letter, after)) = rest.split_first() {
        set |= match letter {
            b'd' => 1 << Outcome::Done.number(),
            b'r' => 1 << Outcome::Refused.number(),
            b'f' => 1 << Outcome::Failed.number(),
            _ => 1 << Outcome::Unknown.number(),
        };
        rest = after;
    }
    set
}

/// Required and allowed facts of a column `facts`, `4,7(2)`.
pub(super) const fn facts(column: &str) -> (u32, u32) {
    let mut required = 0;
    let mut allowed = 0;
    let mut optional = false;
    let mut fact = 0_u8;
    let mut rest = column.as_bytes();
    loop {
        let (byte, after) = match rest.split_first() {
            Some((byte, after)) => (*byte, after),
            None => (b',', rest),
        };
        if byte.is_ascii_digit() {
            fact = fact * 10 + (byte - b'0');
        } else {
            if fact > 0 {
                let bit = 1_u32 << fact;
                allowed |= bit;
                if !optional {
                    required |= bit;
                }
                fact = 0;
            }
            optional |= byte == b'(';
        }
        if rest.is_empty() {
            return (required, allowed);
        }
        rest = after;
    }
}
