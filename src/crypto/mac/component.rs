//! The typed components of contexts: whose, which row, of which kind, for what.

use crate::domain::id::{
    CaseId, ConsentEventId, ConsentId, DeliveryId, DisclosureId, EntryId, FileId, IdentifierId, ImportId,
    InstallationId, InteractionId, KeyJobId, RecordId, SubjectId, SubjectRequestId, TaskId, TokenId,
};

/// What a wrapped key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPurpose {
    /// The data key of one person.
    Dek,
    /// An audit key; its version is its class.
    Audit,
    /// The key of one case.
    Case,
    /// The key of one access package.
    RequestPackage,
    /// The key of one document.
    Document,
    /// The key of one task.
    Task,
    /// The blind-index secret.
    BlindIndex,
    /// The suppression secret.
    Suppression,
    /// The token secret.
    Token,
    /// The one-time-code secret.
    OneTimeCode,
    /// The secret of the journal of stops.
    Journal,
    /// The Ed25519 seed that signs access tokens.
    Jwt,
    /// The Ed25519 seed that signs receipts.
    Receipt,
    /// The Ed25519 seed of the log.
    Log,
    /// The key of one backup of the data.
    BackupData,
    /// The key of one backup of the keys.
    BackupKeys,
}

impl KeyPurpose {
    /// Every purpose.
    pub const ALL: [Self; 16] = [
        Self::Dek,
        Self::Audit,
        Self::Case,
        Self::RequestPackage,
        Self::Document,
        Self::Task,
        Self::BlindIndex,
        Self::Suppression,
        Self::Token,
        Self::OneTimeCode,
        Self::Journal,
        Self::Jwt,
        Self::Receipt,
        Self::Log,
        Self::BackupData,
        Self::BackupKeys,
    ];

    /// The spelling, part of the AAD and of the key store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dek => "dek",
            Self::Audit => "audit",
            Self::Case => "case",
            Self::RequestPackage => "request-package",
            Self::Document => "document",
            Self::Task => "task",
            Self::BlindIndex => "blind-index",
            Self::Suppression => "suppression",
            Self::Token => "token",
            Self::OneTimeCode => "one-time-code",
            Self::Journal => "journal",
            Self::Jwt => "jwt",
            Self::Receipt => "receipt",
            Self::Log => "log",
            Self::BackupData => "backup-data",
            Self::BackupKeys => "backup-keys",
        }
    }

    /// The purpose spelled so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text)
    }
}

/// The kind of a sealed row or file, `record`, `identifier`, `access-package`: the name of the
/// aggregate it belongs to, part of keys and AADs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordKind(&'static str);

impl RecordKind {
    /// A kind spelled so. The spelling is a contract: another one opens nothing.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self(text)
    }

    /// The spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

macro_rules! sixteen_bytes {
    ($(#[$doc:meta])* $name:ident from $($id:ident),*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The raw bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        $(impl From<$id> for $name {
            fn from(id: $id) -> Self {
                Self(*id.as_bytes())
            }
        })*
    };
}

sixteen_bytes! {
    /// Whose key it is: a subject or officer, or what has a key of its own.
    Owner from SubjectId, InstallationId, CaseId, TaskId, FileId, SubjectRequestId
}

sixteen_bytes! {
    /// The row a ciphertext or MAC belongs to.
    RowId from RecordId, IdentifierId, SubjectId, ConsentId, ConsentEventId, InteractionId,
        DeliveryId, DisclosureId, SubjectRequestId, CaseId, TaskId, TokenId, FileId, EntryId,
        KeyJobId, ImportId
}
