//! The one table of metrics, and the recorder that keeps to it.
//!
//! A label that the table does not name is dropped, and so is one whose value looks like a person
//! or a secret: no metric names anybody (`cryptography.md` §13).

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::Error;
use super::redaction::redact;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Many values, in ranges.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, `amanat_…`.
    pub name: &'static str,
    /// What is counted.
    pub kind: Kind,
    /// The labels it may carry.
    pub labels: &'static [&'static str],
    /// What it says.
    pub text: &'static str,
}

macro_rules! table {
    ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $text:literal;)*) => {
        /// Every metric of the gateway.
        pub const TABLE: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            text: $text,
        }),*];

        $(
            #[doc = $text]
            pub const $constant: &str = $name;
        )*
    };
}

table! {
    HTTP_REQUESTS Counter "amanat_http_requests_total" ["route", "method", "status"] "Answers given, by the route's template.";
    HTTP_SECONDS Histogram "amanat_http_request_seconds" ["route", "method"] "Time from the head of a request to the end of its answer.";
    HTTP_RETRIED Counter "amanat_http_retried_requests_total" ["collector"] "Requests that say they were sent before (X-Retry-Count).";

    COLLECT_EVENTS Counter "amanat_collect_events_total" ["collector", "verdict"] "Events by verdict.";
    COLLECT_REJECTED Counter "amanat_collect_rejected_total" ["collector", "code"] "Events rejected, by code.";
    COLLECT_UNDECLARED Counter "amanat_collect_undeclared_fields_total" ["collector"] "Fields dropped because the policy does not declare them.";
    COLLECT_SIGNALS Counter "amanat_collect_unknown_signals_total" ["collector"] "Consent ids on the wire that no map names.";
    COLLECT_REUSED Counter "amanat_collect_message_ids_reused_total" ["collector"] "Message ids that came again with other content.";

    DECISIONS Counter "amanat_decisions_total" ["purpose", "recipient", "reason"] "Decisions; reason is the strongest, or `allowed`.";
    UNRECORDED_DENIALS Counter "amanat_unrecorded_denials_total" ["reason"] "Denials that could leave no leaf because the store was away.";
    CONSENT_EVENTS Counter "amanat_consent_events_total" ["purpose", "action"] "Choices recorded.";
    DISCLOSURES Counter "amanat_disclosures_total" ["purpose", "recipient", "outcome"] "Disclosures asked for.";

    DELIVERIES Counter "amanat_deliveries_total" ["recipient", "outcome"] "Tries, by what became of them.";
    DELIVERY_SECONDS Histogram "amanat_delivery_seconds" ["recipient"] "Length of a try.";
    DELIVERY_PROMISES Gauge "amanat_delivery_promises" ["recipient", "state"] "Promises not settled, and dead letters.";
    DELIVERY_BREAKER Gauge "amanat_delivery_breaker_open" ["recipient"] "1 while the recipient's breaker is open.";
    DELIVERY_UNADDRESSED Gauge "amanat_delivery_recipients_without_address" [] "Recipients of the policy that have no address; what they are promised stays due.";
    BARRIER_SECONDS Histogram "amanat_delivery_barrier_seconds" [] "How long stops waited for parcels on the wire.";

    STORE_QUEUE Gauge "amanat_store_queue_units" [] "Units of work that wait for the writer.";
    STORE_BATCH Histogram "amanat_store_batch_units" [] "Units of work in one commit.";
    STORE_FREE Gauge "amanat_store_free_bytes" [] "Free space where the store lies, free pages inside it included.";
    KEY_FAILURES Counter "amanat_key_failures_total" ["kind"] "Openings that failed: moved, altered or lost keys and ciphertexts.";
    KEY_EPOCH_OVERDUE Gauge "amanat_key_epoch_overdue_seconds" [] "How long the next epoch of the root key is overdue.";
    KEY_JOB_LEFT Gauge "amanat_key_job_rows_left" ["kind"] "Rows that a running key job has still to do.";

    AUDIT_SIZE Gauge "amanat_audit_size" [] "Leaves in the log.";
    AUDIT_COMMIT_SECONDS Histogram "amanat_audit_commit_seconds" [] "Time of a commit with its leaves.";
    AUDIT_BATCH_LEAVES Histogram "amanat_audit_batch_leaves" [] "Leaves in one commit.";
    AUDIT_CHECKPOINT_AGE Gauge "amanat_audit_checkpoint_age_seconds" [] "Age of the newest signed checkpoint.";
    AUDIT_MIRROR_BEHIND Gauge "amanat_audit_mirror_behind" [] "Published leaves that the mirror of the log lacks.";
    AUDIT_UNWITNESSED Gauge "amanat_audit_unwitnessed_seconds" [] "How long no quorum of witnesses has signed.";
    AUDIT_SCRUB_AGE Gauge "amanat_audit_scrub_age_seconds" [] "Age of the last complete re-reading of the log.";
    AUDIT_DAMAGED Gauge "amanat_audit_damaged" [] "Findings of the last re-reading.";
    AUDIT_CLOCK_SUSPENDED Gauge "amanat_audit_clock_suspended" [] "1 while the clock is not believed and writes are refused.";
    AUDIT_ANCHOR_AGE Gauge "amanat_audit_anchor_age_seconds" [] "Age of the newest complete anchor.";

    SUBJECT_REQUESTS Gauge "amanat_subject_requests" ["kind", "state", "band"] "Open subject requests.";
    SUBJECT_REQUEST_ANSWER Histogram "amanat_subject_requests_answer_seconds" ["kind"] "Time from the request to its answer.";
    SUBJECT_REQUEST_TASKS Gauge "amanat_subject_requests_tasks" ["recipient", "outcome"] "Tasks of recipients by outcome.";
}

/// Ranges of the histograms that count seconds.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Ranges of the time to answer a person: from a minute to ninety days.
const ANSWER_SECONDS: &[f64] = &[60.0, 3_600.0, 86_400.0, 259_200.0, 604_800.0, 1_209_600.0, 2_592_000.0, 7_776_000.0];
/// Ranges of the histograms that count things.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

/// The figures so far.
#[derive(Clone)]
pub struct Figures(PrometheusHandle);

impl Figures {
    /// The answer of `/metrics`, in Prometheus' text form.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what came in into the histograms. To be called every few seconds, or their memory
    /// grows until the next look.
    pub fn fold(&self) {
        self.0.run_upkeep();
    }
}

/// Starts counting in this process.
///
/// # Errors
/// A second start.
pub fn install() -> Result<Figures, Error> {
    let recorder = keeping_to_the_table()?;
    let figures = Figures(recorder.inner.handle());
    ::metrics::set_global_recorder(recorder).map_err(|_| Error::AlreadyStarted)?;
    describe_all();
    Ok(figures)
}

fn keeping_to_the_table() -> Result<Fenced, Error> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let answers = Matcher::Full(SUBJECT_REQUEST_ANSWER.to_owned());
    let inner = PrometheusBuilder::new()
        .set_buckets(COUNTS)
        .and_then(|builder| builder.set_buckets_for_metric(seconds, SECONDS))
        .and_then(|builder| builder.set_buckets_for_metric(answers, ANSWER_SECONDS))
        .map_err(Error::Metrics)?
        .build_recorder();
    Ok(Fenced { inner })
}

fn describe_all() {
    for metric in TABLE {
        match metric.kind {
            Kind::Counter => ::metrics::describe_counter!(metric.name, metric.text),
            Kind::Gauge => ::metrics::describe_gauge!(metric.name, metric.text),
            Kind::Histogram => ::metrics::describe_histogram!(metric.name, metric.text),
        }
    }
}

/// The recorder behind the fence.
struct Fenced {
    inner: PrometheusRecorder,
}

impl Recorder for Fenced {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.inner.describe_counter(name, unit, text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.inner.describe_gauge(name, unit, text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.inner.describe_histogram(name, unit, text);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        match permitted(key) {
            Some(key) => self.inner.register_counter(&key, metadata),
            None => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        match permitted(key) {
            Some(key) => self.inner.register_gauge(&key, metadata),
            None => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        match permitted(key) {
            Some(key) => self.inner.register_histogram(&key, metadata),
            None => Histogram::noop(),
        }
    }
}

/// The key with the labels that the table names; `None` for a metric that is not in it.
fn permitted(key: &Key) -> Option<Key> {
    let metric = TABLE.iter().find(|metric| metric.name == key.name())?;
    let labels: Vec<Label> = key
        .labels()
        .filter(|label| metric.labels.contains(&label.key()))
        .map(|label| Label::new(label.key().to_owned(), redact(label.value()).into_owned()))
        .collect();
    Some(Key::from_parts(metric.name, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_ours_and_stands_once() {
        let mut names: Vec<&str> = TABLE.iter().map(|metric| metric.name).collect();
        assert!(names.iter().all(|name| name.starts_with("amanat_")));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
        for metric in TABLE {
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        }
    }

    #[test]
    fn a_label_that_could_name_a_person_is_dropped() {
        let recorder = keeping_to_the_table().unwrap();
        let handle = recorder.inner.handle();
        ::metrics::with_local_recorder(&recorder, || {
            describe_all();
            ::metrics::counter!(COLLECT_EVENTS, "collector" => "shop", "verdict" => "accepted", "email" => "anna@example.org").increment(2);
            ::metrics::counter!(HTTP_REQUESTS, "route" => "/v1/track?e=anna@example.org").increment(1);
            ::metrics::histogram!(HTTP_SECONDS, "route" => "/v1/track").record(0.002);
            ::metrics::counter!("somebody_elses", "user" => "anna").increment(1);
        });
        let page = handle.render();
        assert!(page.contains("amanat_collect_events_total{collector=\"shop\",verdict=\"accepted\"} 2"), "{page}");
        assert!(page.contains("amanat_http_request_seconds_bucket{route=\"/v1/track\",le=\"0.0025\"} 1"), "{page}");
        assert!(page.contains("# HELP amanat_collect_events_total"));
        assert!(!page.contains("anna") && !page.contains("somebody"), "{page}");
    }
}
