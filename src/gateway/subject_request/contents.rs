//! What a case holds, sealed: the identifiers and words of the person who asked.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::crypto::envelope::{Dek, Field, RecordPlace};
use crate::crypto::mac::{KeyPurpose, Owner, RowId};
use crate::crypto::sealed::Sealed;
use crate::domain::id::SubjectId;
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::{Access, Personal};
use crate::gateway::identifiers::{own_category, own_term};
use crate::gateway::policy::OWN_CATEGORY;
use crate::gateway::{Error, Gateway, Result, rows};

use super::StoredCase;

const TO_ACT: Access = Access::because("a request is carried out for the identifiers it names");

/// The field that holds what the house seals of its own.
pub(in crate::gateway) const OWN_TEXT: &str = "own.text";

/// The identifiers and words of a case, opened.
#[derive(Serialize, Deserialize, Zeroize, zeroize::ZeroizeOnDrop)]
pub(in crate::gateway) struct Contents {
    pub(in crate::gateway) identifiers: Vec<NamedIdentifier>,
    pub(in crate::gateway) message: Option<String>,
}

/// An identifier of a case: as typed, and as it is looked up.
#[derive(Serialize, Deserialize, Zeroize, zeroize::ZeroizeOnDrop)]
pub(in crate::gateway) struct NamedIdentifier {
    pub(in crate::gateway) kind: String,
    pub(in crate::gateway) namespace: String,
    pub(in crate::gateway) value: String,
    pub(in crate::gateway) canonical: String,
}

impl Gateway {
    /// Opens what a case holds.
    pub(in crate::gateway) async fn contents(&self, case: &StoredCase) -> Result<Contents> {
        let owner = Owner::from(case.id);
        let key = self.keyholder.owned(case.key, KeyPurpose::Case, owner).await?;
        let text = self.open_own(&key, owner, rows::CASE, RowId::from(case.id), case.sealed.clone())?;
        serde_json::from_str(text.reveal(&TO_ACT)).map_err(|_| Error::DataUnreadable(crate::crypto::Error::NotJson))
    }

    /// The subjects that the identifiers of a case name, each once.
    pub(in crate::gateway) async fn subjects_named(&self, contents: &Contents) -> Result<Vec<SubjectId>> {
        let mut found = Vec::new();
        for identifier in &contents.identifiers {
            let Some(kind) = IdentifierKind::parse(&identifier.kind) else { continue };
            if let Some(subject) = self.find_subject(&kind, &identifier.namespace, &identifier.canonical).await?
                && !found.contains(&subject)
            {
                found.push(subject);
            }
        }
        Ok(found)
    }

    async fn find_subject(&self, kind: &IdentifierKind, namespace: &str, canonical: &str) -> Result<Option<SubjectId>> {
        let value = self.keyholder.secrets().index.value(kind, namespace, canonical);
        let canonical = Zeroizing::new(canonical.to_owned());
        self.find_identifier(kind.spelling().into_owned(), namespace.to_owned(), value, move || canonical.to_string())
            .await
    }

    /// Seals a text of the house's own under a case, package, document or task key.
    pub(in crate::gateway) fn seal_own(
        &self,
        key: &Dek,
        owner: Owner,
        kind: crate::crypto::mac::RecordKind,
        record: RowId,
        json: &str,
    ) -> Result<Sealed> {
        let policy = self.policy();
        let field = own_term(&policy.terms, OWN_TEXT)?;
        let category = own_category(&policy.terms)?;
        let place = RecordPlace { installation: self.keyholder.installation, owner, kind, record };
        key.seal(&place, &[Field { field, category, json }], &mut |bytes| self.source.fill(bytes))
            .map_err(Error::Protection)
    }

    /// Opens what [`Gateway::seal_own`] sealed.
    pub(in crate::gateway) fn open_own(
        &self,
        key: &Dek,
        owner: Owner,
        kind: crate::crypto::mac::RecordKind,
        record: RowId,
        sealed: Vec<u8>,
    ) -> Result<Personal<String>> {
        let policy = self.policy();
        let place = RecordPlace { installation: self.keyholder.installation, owner, kind, record };
        let sealed = Sealed::parse(sealed).map_err(Error::DataUnreadable)?;
        let opener = key.open(&place, &sealed).map_err(Error::DataUnreadable)?;
        opener.field(own_term(&policy.terms, OWN_TEXT)?, OWN_CATEGORY).map_err(Error::DataUnreadable)
    }
}
