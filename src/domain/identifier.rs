//! What names a person: kinds, and the one place where identifiers are normalised.

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
