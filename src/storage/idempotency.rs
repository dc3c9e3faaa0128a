//! Answers kept so that a repeated call gets the same one.
