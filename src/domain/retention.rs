//! How long data is kept, from when, and what happens then (`retention.toml`; GDPR Art. 5(1)(e)).

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::id::RetentionClassId;

/// A class of `retention.toml`.
#[derive(Clone, Debug)]
pub struct RetentionClass {
    /// Its id.
    pub id: RetentionClassId,
    /// The period.
    pub period: Span,
    /// From when the period runs.
    pub starts: RetentionStart,
    /// The law that asks for it, if one does.
    pub legal_source: Option<String>,
    /// What happens at an erasure.
    pub on_erasure: OnErasure,
}

/// From when a retention period runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionStart {
    /// When the record was collected.
    Collected,
    /// The person's last contact.
    LastContact,
    /// The end of the contract.
    ContractEnd,
}

/// What an erasure does with data of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnErasure {
    /// It goes.
    Erase,
    /// It stays for one purpose only (Art. 17(3)).
    Keep {
        /// The ground, `17(3)(b)`.
        ground: String,
        /// The law behind it.
        law: String,
    },
}

impl RetentionClass {
    /// When data collected at this instant is over: calendar addition in the controller's zone.
    /// `None` where the period does not start with the collection, or outlasts the calendar.
    #[must_use]
    pub fn ends_at(&self, collected_at: Timestamp, time_zone: &TimeZone) -> Option<Timestamp> {
        match self.starts {
            RetentionStart::Collected => {
                collected_at.to_zoned(time_zone.clone()).checked_add(self.period).ok().map(|end| end.timestamp())
            }
            RetentionStart::LastContact | RetentionStart::ContractEnd => None,
        }
    }
}

impl RetentionClass {
    /// Whether data collected at this instant is over now.
    #[must_use]
    pub fn is_over(&self, collected_at: Timestamp, now: Timestamp, time_zone: &TimeZone) -> bool {
        self.ends_at(collected_at, time_zone).is_some_and(|end| end <= now)
    }

    /// An instant such that whatever was collected before it is over now, to the day. Calendar
    /// subtraction is no inverse of addition where months differ in length, so it is tried.
    #[must_use]
    pub fn over_before(&self, now: Timestamp, time_zone: &TimeZone) -> Option<Timestamp> {
        let guess = now.to_zoned(time_zone.clone()).checked_sub(self.period).ok()?;
        (0..4)
            .filter_map(|days| guess.checked_sub(Span::new().days(days)).ok())
            .map(|guess| guess.timestamp())
            .find(|guess| self.is_over(*guess, now, time_zone))
    }
}

impl RetentionStart {
    /// Every start.
    pub const ALL: [Self; 3] = [Self::Collected, Self::LastContact, Self::ContractEnd];

    /// The spelling in policy files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::LastContact => "last_contact",
            Self::ContractEnd => "contract_end",
        }
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|start| start.as_str() == text)
    }
}
