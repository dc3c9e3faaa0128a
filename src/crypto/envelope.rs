//! Sealing and opening a record's personal fields under a person's key.

use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::Error;
use super::cipher::{Cipher, NONCE_LENGTH, TAG_LENGTH};
use super::commitment::row_mac;
use super::key::Key;
use super::mac::{Context, Owner, RecordKind, RowId, derive, equal, fingerprint, first_sixteen};
use super::padding;
use super::sealed::{Entry, FIELDS_LIMIT, Sealed, Writer};
use crate::domain::id::{InstallationId, RecipientId, SubjectId};
use crate::domain::personal::Personal;

/// The longest value, in bytes of JSON text.
pub const VALUE_LIMIT: usize = 256 * 1024;
/// The most bytes of JSON text in one record.
pub const RECORD_LIMIT: usize = 1024 * 1024;

/// The data key of one person, or the key of a case, task, package or document: 32 random bytes of
/// one version, never derived.
#[derive(ZeroizeOnDrop)]
pub struct Dek {
    #[zeroize(skip)]
    version: u32,
    key: Key,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// The installation.
    pub installation: InstallationId,
    /// Whose data it is.
    pub owner: Owner,
    /// Which kind of row.
    pub kind: RecordKind,
    /// Which row.
    pub record: RowId,
}

/// A row of the append-only table `term`: the number is stored, the text is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term<'a> {
    /// The number.
    pub number: u16,
    /// The text.
    pub text: &'a str,
}

/// One field to be sealed.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    /// Which field.
    pub field: Term<'a>,
    /// Its category at this moment.
    pub category: Term<'a>,
    /// The value's JSON text exactly as received.
    pub json: &'a str,
}

impl Dek {
    /// The key of this version, from 1.
    #[must_use]
    pub fn new(version: u32, key: Key) -> Self {
        Self { version, key }
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The key itself, to be wrapped.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The fingerprint in tombstones, leaves and receipts.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.key)
    }

    /// Seals all fields of one record, in any order. Randomness for the nonces is drawn in one
    /// block.
    ///
    /// # Errors
    /// [`Error::FieldCount`], [`Error::RepeatedField`], [`Error::TooLarge`], [`Error::NotJson`],
    /// or what `random` reports.
    pub fn seal(
        &self,
        place: &RecordPlace,
        fields: &[Field<'_>],
        random: &mut impl FnMut(&mut [u8]) -> Result<(), Error>,
    ) -> Result<Sealed, Error> {
        let mut ordered: Vec<&Field<'_>> = fields.iter().collect();
        ordered.sort_unstable_by_key(|field| field.field.number);
        check(&ordered)?;

        let record = RecordKeys::derive(self, place);
        let mut writer = Writer::new(self.version, &record.commitment, ordered.len())?;
        let mut nonces = vec![0; ordered.len() * NONCE_LENGTH];
        random(&mut nonces)?;
        let (nonces, _) = nonces.as_chunks::<NONCE_LENGTH>();
        for (field, nonce) in ordered.into_iter().zip(nonces) {
            let padded = padding::bucket(field.json.len() + 1);
            writer.entry(field.field.number, field.category.number, padded + TAG_LENGTH, nonce)?;
            let aad = record.aad(field.field.text, field.category.text);
            let start = writer.bytes.len();
            // Reserved before the value is written: a buffer that grows would leave a plain copy.
            padding::append(&mut writer.bytes, field.json.as_bytes());
            record.cipher.seal_from(&mut writer.bytes, start, nonce, &aad)?;
        }
        Sealed::parse(writer.bytes)
    }

    /// Prepares a record for opening: checks version and commitment before any decryption.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`] if the record is sealed under another version of the key,
    /// [`Error::CommitmentMismatch`] if under another key or for another record.
    pub fn open<'a>(&self, place: &RecordPlace, sealed: &'a Sealed) -> Result<Opener<'a>, Error> {
        if sealed.dek_version() != self.version {
            return Err(Error::UnknownVersion(sealed.dek_version()));
        }
        let record = RecordKeys::derive(self, place);
        if !equal(&record.commitment, sealed.commitment()) {
            return Err(Error::CommitmentMismatch);
        }
        Ok(Opener { record, sealed })
    }

    /// A person's name for one recipient: `sub_` and 26 characters of base32. Two recipients
    /// cannot join their lists.
    #[must_use]
    pub fn pseudonym(&self, subject: SubjectId, version: u32, recipient: &RecipientId) -> String {
        let context = Context::Pseudonym { subject, version, recipient: recipient.as_str() };
        let value = first_sixteen(derive(&self.key, &context).bytes());
        let mut text = data_encoding::BASE32_NOPAD.encode(&value);
        text.make_ascii_lowercase();
        text.insert_str(0, "sub_");
        text
    }

    /// The MAC of a state row that allows something, such as a consent line.
    #[must_use]
    pub fn row_mac(&self, kind: RecordKind, record: RowId, row: &[u8]) -> [u8; 32] {
        row_mac(&self.key, kind, record, row)
    }

    /// Whether a row's MAC is right. A row for which it is not counts as "no permission".
    #[must_use]
    pub fn row_verifies(&self, kind: RecordKind, record: RowId, row: &[u8], mac: &[u8]) -> bool {
        equal(&row_mac(&self.key, kind, record, row), mac)
    }
}

/// A record whose key is set up; each field opens alone.
pub struct Opener<'a> {
    record: RecordKeys,
    sealed: &'a Sealed,
}

impl Opener<'_> {
    /// Opens one field in its place. The texts are those of the record's numbers in `term`.
    ///
    /// # Errors
    /// [`Error::MissingField`], [`Error::Rejected`], [`Error::Corrupted`], [`Error::NotJson`].
    pub fn field(&self, field: Term<'_>, category: &str) -> Result<Personal<String>, Error> {
        let entry = self.sealed.entry(field.number).ok_or(Error::MissingField(field.number))?;
        self.entry(&entry, field.text, category)
    }

    fn entry(&self, entry: &Entry<'_>, field: &str, category: &str) -> Result<Personal<String>, Error> {
        let mut opened = Zeroizing::new(entry.ciphertext.to_vec());
        self.record.cipher.open(&mut opened, entry.nonce, &self.record.aad(field, category))?;
        let length = padding::value_length(&opened)?;
        opened.truncate(length);
        // Checked while the buffer is still one that wipes itself.
        is_json(std::str::from_utf8(&opened).map_err(|_| Error::NotJson)?)?;
        String::from_utf8(std::mem::take(&mut *opened)).map(Personal::new).map_err(|_| Error::NotJson)
    }
}

/// Key and commitment of one record; used for that record only, so nonces cannot collide.
struct RecordKeys {
    place: RecordPlace,
    version: u32,
    commitment: [u8; 32],
    cipher: Cipher,
}

impl RecordKeys {
    fn derive(dek: &Dek, place: &RecordPlace) -> Self {
        let RecordPlace { kind, record, .. } = *place;
        let commitment = derive(&dek.key, &Context::RecordCommitment { kind, record });
        let key = derive(&dek.key, &Context::RecordKey { kind, record });
        Self { place: *place, version: dek.version, commitment: *commitment.bytes(), cipher: Cipher::new(&key) }
    }

    fn aad(&self, field: &str, category: &str) -> Vec<u8> {
        Context::Field {
            installation: self.place.installation,
            owner: self.place.owner,
            kind: self.place.kind,
            record: self.place.record,
            field,
            category,
            version: self.version,
            commitment: &self.commitment,
        }
        .to_bytes()
    }
}

fn check(ordered: &[&Field<'_>]) -> Result<(), Error> {
    if ordered.is_empty() || ordered.len() > FIELDS_LIMIT {
        return Err(Error::FieldCount);
    }
    let mut total = 0;
    let mut before = None;
    for field in ordered {
        let number = field.field.number;
        if before == Some(number) {
            return Err(Error::RepeatedField(number));
        }
        before = Some(number);
        total += field.json.len();
        if field.json.len() > VALUE_LIMIT || total > RECORD_LIMIT {
            return Err(Error::TooLarge);
        }
        // What is no JSON could be sealed and never opened again.
        is_json(field.json)?;
    }
    Ok(())
}

fn is_json(text: &str) -> Result<(), Error> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|_| Error::NotJson)?;
    Ok(())
}
