//! Sealing, opening and comparing identifiers.

use crate::crypto::envelope::{Field, RecordPlace, Term};
use crate::crypto::mac::{Owner, RowId, equal};
use crate::crypto::sealed::Sealed;
use crate::domain::id::IdentifierId;
use crate::domain::personal::{Access, Personal};
use crate::storage::identities::StoredIdentifier;
use crate::storage::{Connection, subjects};

use super::keyholder::PersonKeys;
use super::policy::{IDENTIFIER_FIELDS, OWN_CATEGORY, Terms};
use super::{Error, Gateway, Result, rows};

const TO_COMPARE: Access = Access::because("a stored identifier is compared with the one looked up");
const TO_SEAL: Access = Access::because("an identifier is sealed");

impl Gateway {
    /// Seals an identifier in both spellings under its person's key.
    ///
    /// # Errors
    /// [`Error::Protection`].
    pub fn seal_identifier(
        &self,
        terms: &Terms,
        keys: &PersonKeys,
        id: IdentifierId,
        canonical: &Personal<String>,
        original: &Personal<String>,
    ) -> Result<Sealed> {
        let canonical = zeroize::Zeroizing::new(json_text(canonical.reveal(&TO_SEAL)));
        let original = zeroize::Zeroizing::new(json_text(original.reveal(&TO_SEAL)));
        let category = own_category(terms)?;
        let [canonical_field, original_field] = identifier_terms(terms)?;
        let fields = [
            Field { field: canonical_field, category, json: &canonical },
            Field { field: original_field, category, json: &original },
        ];
        keys.dek
            .seal(&self.identifier_place(keys, id), &fields, &mut |bytes| self.source.fill(bytes))
            .map_err(Error::Protection)
    }

    /// Opens an identifier: canonical and original spelling.
    ///
    /// # Errors
    /// [`Error::DataUnreadable`].
    pub fn open_identifier(
        &self,
        terms: &Terms,
        keys: &PersonKeys,
        stored: &StoredIdentifier,
    ) -> Result<(Personal<String>, Personal<String>)> {
        let sealed = Sealed::parse(stored.sealed.clone()).map_err(Error::DataUnreadable)?;
        let place = self.identifier_place(keys, stored.id);
        let opener = keys.dek.open(&place, &sealed).map_err(Error::DataUnreadable)?;
        let [canonical, original] = identifier_terms(terms)?;
        let text = |term: Term<'_>| -> Result<Personal<String>> {
            let json = opener.field(term, OWN_CATEGORY).map_err(Error::DataUnreadable)?;
            let text: String = serde_json::from_str(json.reveal(&TO_COMPARE))
                .map_err(|_| Error::DataUnreadable(crate::crypto::Error::NotJson))?;
            Ok(Personal::new(text))
        };
        Ok((text(canonical)?, text(original)?))
    }

    /// Makes sure that a stored identifier is the one that was looked up.
    ///
    /// # Errors
    /// [`Error::DataUnreadable`] if it is another one or cannot be opened.
    pub(super) fn same_identifier(
        &self,
        data: &mut Connection,
        keys: &mut Connection,
        stored: &StoredIdentifier,
        canonical: &str,
    ) -> Result<()> {
        let Some(state) = subjects::find(data, stored.subject).map_err(Error::store)? else { return Ok(()) };
        let keys = match self.keyholder.person_blocking(keys, stored.subject, state.key_version) {
            Ok(keys) => keys,
            // An erasure is on its way: its rows go, its decisions deny.
            Err(Error::NotFound) => return Ok(()),
            Err(other) => return Err(other),
        };
        let (found, _) = self.open_identifier(&self.policy().terms, &keys, stored)?;
        if equal(found.reveal(&TO_COMPARE).as_bytes(), canonical.as_bytes()) {
            return Ok(());
        }
        tracing::error!(identifier = %stored.id, "an index row points to another identifier than its own; somebody wrote to the database");
        Err(Error::DataUnreadable(crate::crypto::Error::Rejected))
    }

    fn identifier_place(&self, keys: &PersonKeys, id: IdentifierId) -> RecordPlace {
        RecordPlace {
            installation: self.keyholder.installation,
            owner: Owner::from(keys.subject),
            kind: rows::IDENTIFIER,
            record: RowId::from(id),
        }
    }
}

/// The term of the house's own category.
pub(super) fn own_category(terms: &Terms) -> Result<Term<'static>> {
    let number = terms.category(OWN_CATEGORY).ok_or(Error::WrongState("the terms of the house are not stored yet"))?;
    Ok(Term { number, text: OWN_CATEGORY })
}

fn identifier_terms(terms: &Terms) -> Result<[Term<'static>; 2]> {
    let [canonical, original] = IDENTIFIER_FIELDS;
    Ok([own_term(terms, canonical)?, own_term(terms, original)?])
}

/// The term of one of the house's own fields.
pub(super) fn own_term(terms: &Terms, text: &'static str) -> Result<Term<'static>> {
    let number = terms.field(text).ok_or(Error::WrongState("the terms of the house are not stored yet"))?;
    Ok(Term { number, text })
}

/// A text as JSON.
pub(super) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
