//! Token text, what is stored of it, and marks under the token secret (`cryptography.md` §12).

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Error;
use super::key::{KEY_LENGTH, Key, Secret};
use super::mac::{Context, RowId, derive, equal, mac};

/// Digits of 32 bytes in base 62.
const VALUE_DIGITS: usize = 43;
/// Digits of the CRC-32 in base 62.
const CHECK_DIGITS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a token text opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenKind {
    /// A write key of a server.
    WriteKey,
    /// A write key that stands in web pages or apps, public by nature.
    PublicKey,
    /// An API token.
    ApiToken,
    /// A root key.
    RootKey,
}

impl TokenKind {
    const ALL: [Self; 4] = [Self::WriteKey, Self::PublicKey, Self::ApiToken, Self::RootKey];

    /// The prefix of its texts.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::WriteKey => "amanat_wk_",
            Self::PublicKey => "amanat_pk_",
            Self::ApiToken => "amanat_at_",
            Self::RootKey => "amanat_rk_",
        }
    }
}

/// A token: kind and 32 random bytes. Its text is shown once.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TokenText {
    #[zeroize(skip)]
    kind: TokenKind,
    value: Key,
}

impl TokenText {
    /// A token with this value.
    #[must_use]
    pub fn new(kind: TokenKind, value: Key) -> Self {
        Self { kind, value }
    }

    /// Reads a token text: prefix, 43 digits, 6 check digits. No database is asked before this
    /// holds.
    ///
    /// # Errors
    /// [`Error::MalformedToken`], whatever is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let kind =
            TokenKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix())).ok_or(Error::MalformedToken)?;
        let digits = text.as_bytes().get(kind.prefix().len()..).ok_or(Error::MalformedToken)?;
        let (value, check) = digits.split_at_checked(VALUE_DIGITS).ok_or(Error::MalformedToken)?;
        if check.len() != CHECK_DIGITS {
            return Err(Error::MalformedToken);
        }
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        from_digits(value, bytes.as_mut_slice())?;
        let mut sum = [0; 4];
        from_digits(check, &mut sum)?;
        let checked = text.len() - CHECK_DIGITS;
        let covered = text.as_bytes().get(..checked).ok_or(Error::MalformedToken)?;
        if u32::from_be_bytes(sum) != crc32fast::hash(covered) {
            return Err(Error::MalformedToken);
        }
        Ok(Self { kind, value: Key::from_bytes(&mut bytes) })
    }

    /// What it opens.
    #[must_use]
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The text, 59 characters.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(59));
        text.push_str(self.kind.prefix());
        push_digits(&mut text, self.value.bytes(), VALUE_DIGITS);
        let sum = crc32fast::hash(text.as_bytes());
        push_digits(&mut text, &sum.to_be_bytes(), CHECK_DIGITS);
        text
    }

    /// The value as a key, which a root key is.
    pub(in crate::crypto) fn value(&self) -> &Key {
        &self.value
    }
}

/// What the token secret computes: stored hashes, row MACs, duplicate marks.
pub struct TokenMac {
    version: u32,
    token: Key,
    duplicate: Key,
}

impl TokenMac {
    /// The MACs under this version of the token secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self {
            version: secret.version(),
            token: derive(secret.key(), &Context::TokenKey),
            duplicate: derive(secret.key(), &Context::DuplicateKey),
        }
    }

    /// The version of the secret.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What is stored of a token, a session or a link: whoever writes the database cannot make one.
    #[must_use]
    pub fn hash(&self, text: &str) -> [u8; 32] {
        mac(&self.token, &Context::Token { text: text.as_bytes() })
    }

    /// The MAC of a token's row: id, hash, kind, scopes, collector or recipient, expiry.
    #[must_use]
    pub fn row_mac(&self, record: RowId, row: &[u8]) -> [u8; 32] {
        mac(&self.token, &Context::TokenRow { record, row })
    }

    /// Whether a token's row is ours. One that is not denies.
    #[must_use]
    pub fn row_verifies(&self, record: RowId, row: &[u8], found: &[u8]) -> bool {
        equal(&self.row_mac(record, row), found)
    }

    /// The mark of an event or body already seen: the hash of its content and its message id.
    #[must_use]
    pub fn duplicate(&self, collector: &str, caller: &str, message_id: &str, content_hash: &[u8; 32]) -> [u8; 32] {
        // The hash has a fixed length, so it can stand first and nothing else needs one.
        let mut value = Vec::with_capacity(32 + message_id.len());
        value.extend_from_slice(content_hash);
        value.extend_from_slice(message_id.as_bytes());
        let mark = mac(&self.duplicate, &Context::Duplicate { collector, caller, value: &value });
        value.zeroize();
        mark
    }
}

/// What the one-time-code secret computes.
pub struct OneTimeCodes<'a>(&'a Secret);

impl<'a> OneTimeCodes<'a> {
    /// The MACs under the one-time-code secret.
    #[must_use]
    pub fn new(secret: &'a Secret) -> Self {
        Self(secret)
    }

    /// What is stored of a sign-in code, bound to its challenge.
    #[must_use]
    pub fn code(&self, challenge: RowId, code: &str) -> [u8; 32] {
        mac(self.0.key(), &Context::OneTimeCode { challenge, code: code.as_bytes() })
    }

    /// What is stored of a recovery code, bound to its officer.
    #[must_use]
    pub fn recovery(&self, officer: RowId, code: &str) -> [u8; 32] {
        mac(self.0.key(), &Context::RecoveryCode { officer, code: code.as_bytes() })
    }
}

/// Appends a big-endian number as `count` digits of base 62, left-padded.
fn push_digits(text: &mut String, bytes: &[u8], count: usize) {
    let mut number = Zeroizing::new(bytes.to_vec());
    let mut digits = Zeroizing::new([b'0'; VALUE_DIGITS]);
    for digit in digits.iter_mut().take(count).rev() {
        // One step of the long division by 62; what is left over is the digit.
        let mut rest = 0_u16;
        for byte in number.iter_mut() {
            let [_, low] = {
                let dividend = rest * 256 + u16::from(*byte);
                rest = dividend % 62;
                (dividend / 62).to_be_bytes()
            };
            *byte = low;
        }
        *digit = DIGITS.get(usize::from(rest)).copied().unwrap_or(b'0');
    }
    for digit in digits.iter().take(count) {
        text.push(char::from(*digit));
    }
}

/// Reads digits of base 62 as a big-endian number that fits into `bytes`.
fn from_digits(digits: &[u8], bytes: &mut [u8]) -> Result<(), Error> {
    for digit in digits {
        let value = DIGITS.iter().position(|known| known == digit).ok_or(Error::MalformedToken)?;
        let mut carry = u16::try_from(value).map_err(|_| Error::MalformedToken)?;
        for byte in bytes.iter_mut().rev() {
            let [high, low] = (u16::from(*byte) * 62 + carry).to_be_bytes();
            carry = u16::from(high);
            *byte = low;
        }
        if carry != 0 {
            return Err(Error::MalformedToken);
        }
    }
    Ok(())
}
