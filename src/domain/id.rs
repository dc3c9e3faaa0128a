//! The one list of typed ids.
//!
//! Ids of rows that are inserted in order are UUIDv7; a consent id, which a person may show to
//! others, is random (UUIDv4). This module only names ids: they are made in `gateway`, which owns
//! the clock and the generator.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

macro_rules! row_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with these 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The id with this UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id as a UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The raw 16 bytes, the form every byte format uses.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Reads the hyphenated or plain hexadecimal form; `None` for anything else.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Uuid::try_parse(text).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    )*};
}

row_ids! {
    /// The installation: made at the first migration, the same in both stores, part of every AAD.
    InstallationId;
    /// A person the gateway knows, without saying who. Never leaves the house.
    SubjectId;
    /// One stored record (an event, a profile update).
    RecordId;
    /// One identifier of one person.
    IdentifierId;
    /// A consent line: (subject, purpose, channel, scope). Random, for people show it around.
    ConsentId;
    /// One event on a consent line.
    ConsentEventId;
    /// All the choices made in one act.
    InteractionId;
    /// One promised delivery.
    DeliveryId;
    /// One disclosure in the ledger.
    DisclosureId;
    /// One right of one person, asked for once.
    SubjectRequestId;
    /// Everything one message of a person asks.
    CaseId;
    /// One promise to one target within a subject request.
    TaskId;
    /// An API token or a write key.
    TokenId;
    /// A sealed file, a package.
    FileId;
    /// A leaf of the audit log, before and after it has a position: 16 random bytes.
    EntryId;
    /// A job on keys that can be resumed.
    KeyJobId;
    /// A bulk import.
    ImportId;
    /// One running process.
    InstanceId;
}

macro_rules! name_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id spelled so. Whether it is declared anywhere is the policy's business.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(Arc::from(text))
            }

            /// The spelling.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

name_ids! {
    /// A purpose of `purposes.toml`.
    PurposeId;
    /// A recipient of `recipients.toml`.
    RecipientId;
    /// A collector of `collectors.toml`.
    CollectorId;
    /// A field of `fields.toml`: the path of a value in the incoming record, `traits.email`.
    FieldPath;
    /// A notice of `notices/`.
    NoticeId;
    /// A retention class of `retention.toml`.
    RetentionClassId;
    /// A DPV-PD term that says what kind of data a field is, `EmailAddress`.
    Category;
    /// A channel of a purpose, `email`.
    Channel;
}
