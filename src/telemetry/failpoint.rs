//! Places at which a crash test ends the process, as a power cut would. A release build has none.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static ARMED: OnceLock<Armed> = OnceLock::new();

struct Armed {
    place: String,
    /// Visits until the end.
    left: AtomicU32,
}

/// Arms one place: `append.committed`, or `append.committed:3` for the third time it is reached.
/// Only the first call counts.
pub fn arm(text: &str) {
    if cfg!(debug_assertions) {
        let (place, visits) = text.split_once(':').unwrap_or((text, "1"));
        let left = AtomicU32::new(visits.parse().unwrap_or(1));
        ARMED.get_or_init(|| Armed { place: place.to_owned(), left });
    }
}

/// Ends the process here, without any last words, if this is the place and the time.
pub fn reached(place: &str) {
    if cfg!(debug_assertions)
        && let Some(armed) = ARMED.get()
        && armed.place == place
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
