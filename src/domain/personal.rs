//! A value about a person, wrapped on arrival.

use zeroize::Zeroizing;

/// A value that identifies or describes a person.
///
/// It has no `Debug`, `Display`, `Deref` or serialisation: the only way to the value is
/// [`Personal::reveal`], which asks for the reason. The bytes are wiped when it is dropped.
pub struct Personal<T: zeroize::Zeroize>(Zeroizing<T>);

impl<T: zeroize::Zeroize> Personal<T> {
    /// Wraps a value as soon as it is known to be personal.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Opens the value for the reason given by `access`.
    pub fn reveal(&self, _access: &Access) -> &T {
        &self.0
    }
}

/// Why a personal value is read in the clear. Made only in `gateway`, at the place that has the
/// reason; the tidy test refuses `Access::because` anywhere else.
#[derive(Clone, Copy)]
pub struct Access(());

impl Access {
    /// Grants access for a reason written in the code. The reason is for the reader; it is not
    /// kept at run time.
    #[must_use]
    pub const fn because(_reason: &'static str) -> Self {
        Self(())
    }
}
