//! A consent is given, refused or withdrawn.
