//! One line an event: time, level, where, what, and the fields of the event and its spans.
//!
//! A layer of our own, so that no value reaches a line by a way that does not pass `redaction`.

use std::fmt;
use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::redaction::{self, WITHHELD};

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people: `2026-11-22T10:34:01Z  INFO amanat::http: listening address=127.0.0.1:8080`.
    Text,
    /// One JSON object with `time`, `level`, `target`, `message` and the fields.
    Json,
}

/// Writes each event as one line.
#[derive(Clone, Copy, Debug)]
pub struct Lines<W> {
    form: Form,
    clock: fn() -> Timestamp,
    writer: W,
}

impl<W> Lines<W> {
    /// Lines of this form, dated by this clock, to this writer.
    pub const fn new(form: Form, clock: fn() -> Timestamp, writer: W) -> Self {
        Self { form, clock, writer }
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(of_span) = span.extensions().get::<Fields>() {
                    fields.0.extend(of_span.0.clone());
                }
            }
        }
        event.record(&mut fields);
        let time = (self.clock)();
        let metadata = event.metadata();
        let line = match self.form {
            Form::Text => text_line(time, *metadata.level(), metadata.target(), fields),
            Form::Json => json_line(time, *metadata.level(), metadata.target(), fields),
        };
        // Nobody is left to tell when diagnostics themselves cannot be written.
        drop(self.writer.make_writer_for(metadata).write_all(line.as_bytes()));
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }
}

/// The fields of one event or span, already fit to be written.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&mut self, field: &Field, text: &str) {
        self.value(field, Value::String(redaction::redact(text).into_owned()));
    }

    fn value(&mut self, field: &Field, value: Value) {
        let name = field.name();
        // What the bridge from `log` adds about itself is no field of ours.
        if name.starts_with("log.") {
            return;
        }
        let value = if redaction::is_permitted(name) { value } else { Value::String(WITHHELD.to_owned()) };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.text(field, &text);
    }
}

fn text_line(time: Timestamp, level: Level, target: &str, mut fields: Fields) -> String {
    let message = fields.0.remove("message");
    let message = message.as_ref().and_then(Value::as_str).unwrap_or_default();
    // A line stays a line: what somebody else wrote cannot begin a new one.
    let mut line = format!("{time:.3} {level:>5} {target}: {}", message.escape_debug());
    for (name, value) in &fields.0 {
        line.push_str(&format!(" {name}={value}"));
    }
    line.push('\n');
    line
}

fn json_line(time: Timestamp, level: Level, target: &str, mut fields: Fields) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), Value::String(format!("{time:.6}")));
    object.insert("level".to_owned(), Value::String(level.to_string()));
    object.insert("target".to_owned(), Value::String(target.to_owned()));
    object.append(&mut fields.0);
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(form: Form, write: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let lines = Lines::new(form, || Timestamp::UNIX_EPOCH, move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), write);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_holds_permitted_fields_of_event_and_span_and_nothing_else() {
        let write = || {
            let span = tracing::info_span!("request", route = "/v1/track", email = "anna@example.org");
            let _inside = span.enter();
            tracing::info!(
                status = 200,
                path = "/x?anna",
                reason = "anna@example.org",
                "answered anna@example.org\nforged"
            );
        };
        let line = written(Form::Json, write);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["route"], "/v1/track");
        assert_eq!(value["status"], 200);
        assert_eq!(value["path"], WITHHELD);
        assert_eq!(value["email"], WITHHELD);
        assert_eq!(value["reason"], "(e-mail)");
        assert!(!line.contains("anna"), "{line}");

        let line = written(Form::Text, write);
        assert_eq!(line.lines().count(), 1);
        assert!(line.starts_with("1970-01-01T00:00:00.000Z  INFO "), "{line}");
        assert!(!line.contains("anna"), "{line}");
    }
}
