//! What the gateways of this process say for monitoring: their lines, taken before the fence that
//! redacts them, so that the first fence is tested by itself, and their figures.

use std::io;
use std::sync::{Mutex, OnceLock};

use amanat::telemetry::metrics::{self, Figures};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static FIGURES: OnceLock<Figures> = OnceLock::new();

/// Listens from now on, and says where what comes now begins. With `AMANAT_TEST_LOG=warn` the lines
/// stand beside a test's output too.
pub fn listen() -> usize {
    FIGURES.get_or_init(|| {
        let shown = std::env::var("AMANAT_TEST_LOG")
            .ok()
            .map(|level| fmt::layer().with_writer(io::stderr).with_filter(EnvFilter::new(format!("amanat={level}"))));
        let kept = fmt::layer().with_ansi(false).with_writer(|| Kept).with_filter(EnvFilter::new("warn,amanat=trace"));
        tracing_subscriber::registry().with(kept).with(shown).init();
        metrics::install().expect("figures")
    });
    LINES.lock().expect("lines").len()
}

/// The lines since a place that [`listen`] gave, and all figures.
pub fn said_since(from: usize) -> (Vec<u8>, String) {
    let lines = LINES.lock().expect("lines")[from..].to_vec();
    (lines, FIGURES.get().map(Figures::render).unwrap_or_default())
}

struct Kept;

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().expect("lines").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
