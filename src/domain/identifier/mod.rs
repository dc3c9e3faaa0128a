//! What names a person: kinds, and the one place where identifiers are normalised.

mod email;
mod normalise;
mod phone;
mod social;

use std::borrow::Cow;

pub use normalise::{InvalidIdentifier, NORMALISER, NormaliseContext, Normalised, Subaddress, normalise};

/// The kind of an identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentifierKind {
    /// The controller's own user id.
    UserId,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// An id that an SDK made for a device or browser.
    AnonymousId,
    /// An advertising id of a device.
    AdvertisingId,
    /// A vendor id of a device.
    VendorId,
    /// A cookie.
    CookieId,
    /// A push token.
    PushToken,
    /// An account on a network; the namespace is the network.
    Social,
    /// A kind the policy names: `custom:<name>`.
    Custom(String),
}

/// What stands before the name of a kind that the policy names.
const CUSTOM: &str = "custom:";

impl IdentifierKind {
    /// The spelling in policies, rows and index keys.
    #[must_use]
    pub fn spelling(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::UserId => "user_id",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::AnonymousId => "anonymous_id",
            Self::AdvertisingId => "advertising_id",
            Self::VendorId => "vendor_id",
            Self::CookieId => "cookie_id",
            Self::PushToken => "push_token",
            Self::Social => "social",
            Self::Custom(name) => return Cow::Owned(format!("{CUSTOM}{name}")),
        })
    }

    /// The kind spelled so. A custom name has 1 to 64 lower-case letters, digits, `-` and `_`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "user_id" => Self::UserId,
            "email" => Self::Email,
            "phone" => Self::Phone,
            "anonymous_id" => Self::AnonymousId,
            "advertising_id" => Self::AdvertisingId,
            "vendor_id" => Self::VendorId,
            "cookie_id" => Self::CookieId,
            "push_token" => Self::PushToken,
            "social" => Self::Social,
            _ => {
                return text.strip_prefix(CUSTOM).filter(|name| is_custom_name(name)).map(Self::custom);
            }
        })
    }

    fn custom(name: &str) -> Self {
        Self::Custom(name.to_owned())
    }
}

fn is_custom_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests;
