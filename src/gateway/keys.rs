//! Keys are rotated and wrapped anew, online and resumable.
