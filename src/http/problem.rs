//! The only table of public error codes, and the RFC 9457 answers made from it.
//!
//! There is one code where a client would act differently, and no more. `detail` holds text that
//! we wrote, never a cause and never input. A decision that denies, a refusal by policy at a
//! collector and a verdict on one event of a batch are answers, not problems (`gdpr.md` 1.3).

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

/// Something that went wrong with a request, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Option<Cow<'static, str>>,
    violations: Vec<Violation>,
    retry_after: Option<u64>,
    allow: Option<&'static str>,
}

/// One of several things wrong with a body (`consent.md` 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The code of this one.
    pub code: &'static str,
    /// Where in the body: a JSON pointer (RFC 6901) of names and numbers that we know.
    pub pointer: String,
    /// What is wrong, in our words; empty to say no more than the code.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub detail: Cow<'static, str>,
}

/// Whose door the problem is answered at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The gateway's own API.
    Api,
    /// A collector protocol. SDKs give up sooner on 503 than on 429, and some take a final refusal
    /// for a network fault unless the body has `message` (`ecosystem.md` 1.3).
    Collector,
}

/// A problem ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body, `application/problem+json`.
    pub body: Vec<u8>,
}

impl Problem {
    /// The problem with this code and nothing to add.
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self { code, detail: None, violations: Vec::new(), retry_after: None, allow: None }
    }

    /// Adds what happened here and what to do, in our words.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds everything that is wrong with the body.
    #[must_use]
    pub fn violations(mut self, violations: Vec<Violation>) -> Self {
        self.violations = violations;
        self
    }

    /// Says when to come again: whole seconds, 1 to 300, for clients cut what is longer. The caller
    /// spreads the time by chance, so that not all come at once.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        self.retry_after = Some(seconds.clamp(1, LONGEST_WAIT));
        self
    }

    /// Names the methods that are allowed (RFC 9110 §15.5.6).
    #[must_use]
    pub const fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Everything that is wrong with the body.
    #[must_use]
    pub fn listed(&self) -> &[Violation] {
        &self.violations
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What is sent at this door.
    #[must_use]
    pub fn answer(&self, door: Door) -> Answer {
        let status = self.code.status_at(door);
        let body = Body {
            kind: format!("urn:amanat:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status,
            detail: self.detail.as_deref(),
            code: self.code.as_str(),
            message: (door == Door::Collector).then(|| self.code.title()),
            retry_after: self.wait(),
            violations: &self.violations,
        };
        Answer {
            status,
            headers: self.headers(),
            // A body of texts and numbers always has a JSON form; an empty one would still be true.
            body: serde_json::to_vec(&body).unwrap_or_default(),
        }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers =
            vec![("content-type", "application/problem+json".to_owned()), ("cache-control", "no-store".to_owned())];
        if let Some(seconds) = self.wait() {
            headers.push(("retry-after", seconds.to_string()));
        }
        if let Some(methods) = self.allow {
            headers.push(("allow", methods.to_owned()));
        }
        // RFC 9110 §15.5.2. Never `Basic`: a browser would ask the visitor for a password.
        if self.code == Code::Unauthenticated {
            headers.push(("www-authenticate", "Bearer realm=\"amanat\"".to_owned()));
        }
        headers
    }

    /// The time to wait: what the caller said, and for a passing trouble never nothing.
    fn wait(&self) -> Option<u64> {
        let passing = matches!(self.code.status(), 429 | 503);
        self.retry_after.or_else(|| passing.then_some(USUAL_WAIT))
    }
}

/// The longest `Retry-After` in seconds.
const LONGEST_WAIT: u64 = 300;
/// `Retry-After` in seconds where the caller knows nothing better.
const USUAL_WAIT: u64 = 5;

/// The members of RFC 9457 §3.1, and ours.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "<[Violation]>::is_empty")]
    violations: &'a [Violation],
}

impl Code {
    /// The status at this door.
    #[must_use]
    pub const fn status_at(self, door: Door) -> u16 {
        match (door, self) {
            (Door::Collector, Self::StoreUnavailable | Self::KeysUnavailable | Self::ClockSuspended) => 429,
            _ => self.status(),
        }
    }
}

/// The table as a page of documentation (Markdown), by status.
#[must_use]
pub fn documentation() -> String {
    let mut page = String::from(
        "# Problems\n\nEvery error is answered as `application/problem+json` (RFC 9457) with a stable `code`.\n\
         On collector paths 503 for a store, key store or clock that is away becomes 429, and the body also has `message`.\n\n\
         | status | code | title | meaning |\n|---|---|---|---|\n",
    );
    let mut codes = Code::ALL.to_vec();
    codes.sort_by_key(|code| (code.status(), code.as_str()));
    for code in codes {
        let reserved = if code.is_reserved() { " Reserved: nothing answers it yet." } else { "" };
        let (status, name, title, text) = (code.status(), code.as_str(), code.title(), code.text());
        // Writing to a `String` cannot fail.
        if writeln!(page, "| {status} | `{name}` | {title} |{text}{reserved} |").is_err() {
            page.push('\n');
        }
    }
    page
}

macro_rules! codes {
    ($($(#[doc = $text:literal])+ $name:ident = $code:literal, $status:literal, $title:literal $(, $reserved:ident)?;)*) => {
        /// A public error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $text])+ $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The spelling on the wire; it never changes.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The status at the gateway's own API.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The title, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means and what to do.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => concat!($($text),+),)* }
            }

            /// Whether nothing answers it yet.
            #[must_use]
            pub const fn is_reserved(self) -> bool {
                match self { $(Self::$name => codes!(@reserved $($reserved)?),)* }
            }
        }
    };
    (@reserved reserved) => { true };
    (@reserved) => { false };
}

codes! {
    // What cannot be read.
    /// The body is not what this path takes: not JSON, truncated, or the wrong shape. Nothing was stored.
    MalformedBody = "malformed_body", 400, "The body cannot be read";
    /// The path, the query or a header has a value that cannot be read.
    MalformedRequest = "malformed_request", 400, "The request cannot be read";
    /// The batch holds more events than `limits.batch_events`. Send it in parts.
    BatchTooLong = "batch_too_long", 400, "The batch holds too many events";
    /// The event lacks what its type needs, or a member has the wrong type.
    EventMalformed = "event_malformed", 400, "The event cannot be read";
    /// A JSON object names a key twice; two readers could see two different consents.
    DuplicateJsonKey = "duplicate_json_key", 400, "A JSON key stands twice";
    /// The event names no person: its identifiers are missing or cannot be identifiers.
    IdentifierInvalid = "identifier_invalid", 400, "No usable identifier";
    /// The identifier is a placeholder that many people share, `null` or `anonymous`.
    IdentifierBlocked = "identifier_blocked", 400, "The identifier is a placeholder";
    /// The event is larger, deeper or has more keys than `[limits]` allows.
    EventTooLarge = "event_too_large", 400, "The event is too large";
    /// A public key stands in a web page; this act needs a server key.
    NeedsServerKey = "needs_server_key", 400, "A server key is needed";
    /// A CloudEvents header value is not percent-encoded UTF-8. Use structured mode, which has no such trap.
    CloudeventsAttributeEncoding = "cloudevents_attribute_encoding", 400, "A CloudEvents attribute is wrongly encoded";

    // Who asks.
    /// No key or token, or one that is unknown, disabled, of the wrong kind, or contradicted by another in the same request.
    Unauthenticated = "unauthenticated", 401, "Missing or wrong credentials";
    /// The token lacks the scope, or nobody in this role may ever do this.
    ForbiddenScope = "forbidden_scope", 403, "Not permitted";
    /// The collector does not list the page's origin.
    OriginNotAllowed = "origin_not_allowed", 403, "The origin is not allowed";
    /// There is no such thing here, or the caller may not know that there is.
    NotFound = "not_found", 404, "Not found";
    /// The path exists, but not with this method.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed";

    // How much, in what form, how often.
    /// The body is larger than `limits.body_received`, or `limits.body_decoded` once decoded.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The media type or the content coding is none that this path takes.
    UnsupportedMediaType = "unsupported_media_type", 415, "The media type or coding is not supported";
    /// The headers are larger than `limits.header_block`.
    HeadersTooLarge = "headers_too_large", 431, "The headers are too large", reserved;
    /// This key or token asks too often. Come again after `Retry-After`.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// More waits than the gateway can store soon. Nothing was stored; come again after `Retry-After`.
    Overloaded = "overloaded", 429, "The gateway is overloaded";

    // The gateway's own state.
    /// The gateway has just started and may not answer yet.
    Starting = "starting", 503, "The gateway is starting";
    /// The gateway is about to stop and takes no new work.
    Stopping = "stopping", 503, "The gateway is stopping";
    /// The database cannot be read or written, or its disk is nearly full. Nothing was changed.
    StoreUnavailable = "store_unavailable", 503, "The store is not available";
    /// The key store or the key service cannot be reached. Nothing was changed, nothing released.
    KeysUnavailable = "keys_unavailable", 503, "The keys are not available";
    /// The clock went back by more than five minutes, or leapt ahead by more than a day; nothing is written until it is believed again.
    ClockSuspended = "clock_suspended", 503, "The clock is not believed";
    /// Stored data cannot be opened: altered, moved, or its key is lost. Nothing of it is given out; the operator has been alarmed.
    DataUnreadable = "data_unreadable", 500, "Stored data cannot be read";
    /// Something failed that is our fault. The operator finds it by the request's id.
    Internal = "internal", 500, "Internal error";

    // Repetition and state.
    /// The `Idempotency-Key` was used with another body. Use a new key for a new request.
    IdempotencyMismatch = "idempotency_mismatch", 422, "The idempotency key was used for another request";
    /// The first request with this `Idempotency-Key` has not been answered yet. Come again.
    IdempotencyRunning = "idempotency_running", 409, "The first request with this key is still running", reserved;
    /// What the request builds on has changed since it was read. Read it again.
    PreconditionFailed = "precondition_failed", 412, "The state has changed", reserved;
    /// No checkpoint covers the entry yet; one does within `audit.checkpoint_every`.
    ProofPending = "proof_pending", 409, "No checkpoint covers the entry yet";
    /// The entry was pruned, which the log declares and proves.
    EntryPruned = "entry_pruned", 410, "The entry was pruned";
    /// This part of the entry was erased with its person.
    PartErased = "part_erased", 410, "This part was erased", reserved;

    // Content.
    /// The body is well formed, but a value in it cannot be; `violations` says which.
    InvalidContent = "invalid_content", 422, "The content is not acceptable";

    // Consent (`consent.md` 2). The first that fits is the code, `violations` lists all.
    /// `method` is missing or is no act of the person: scrolling, silence, continued use, log-in, a default (GDPR Art. 4(11)).
    NotUnambiguous = "not_unambiguous", 422, "The consent is not an unambiguous act";
    /// The control was set before the person touched it (C-673/17). Only `unset` passes.
    Preselected = "preselected", 422, "The choice was preselected";
    /// Bundled with terms or another matter, or not said not to be (GDPR Art. 7(2)).
    NotDistinguishable = "not_distinguishable", 422, "The consent was bundled";
    /// For all purposes at once, or for one that the shown notice does not name.
    NotGranular = "not_granular", 422, "The consent is not for one purpose";
    /// The person was not offered to refuse, or it is not said that they were.
    RefusalNotOffered = "refusal_not_offered", 422, "Refusing was not offered";
    /// Special categories need an explicit act: typed, signed, spoken or in two steps (GDPR Art. 9(2)(a)).
    Art9NotExplicit = "art9_not_explicit", 422, "The consent is not explicit";
    /// The purpose does not rest on consent, so none can be given. Withdrawing and objecting are never refused on that ground.
    WrongBasis = "wrong_basis", 422, "The purpose does not rest on consent";
    /// The purpose has no such channel.
    ChannelUnknown = "channel_unknown", 422, "The channel is not known";
    /// The policy has no such purpose.
    PurposeUnknown = "purpose_unknown", 422, "The purpose is not known";
    /// The notice, its version or its language is unknown or not yet published.
    NoticeUnknown = "notice_unknown", 422, "The notice is not known";
    /// Signature, hash, purposes or recipients of the notice token do not fit.
    NoticeMismatch = "notice_mismatch", 422, "The notice does not fit";
    /// The token expired, or a material version superseded the notice. Show the current text and ask again.
    NoticeStale = "notice_stale", 422, "The notice is out of date";
    /// The person is below the age of consent and no guardian agreed (GDPR Art. 8). The answer names age and country.
    ParentalConsentRequired = "parental_consent_required", 422, "A guardian's consent is needed";
    /// The child and a guardian must both agree.
    JointConsentRequired = "joint_consent_required", 422, "Child and guardian must both consent", reserved;
    /// A guardian or agent acts without method and evidence.
    ActorNotProven = "actor_not_proven", 422, "The actor is not proven";
    /// The double opt-in link was used up, replaced or is too old.
    ConfirmationGone = "confirmation_gone", 410, "The confirmation link is over", reserved;

    // Subject requests (`subject-requests.md` 2).
    /// There is no such request, or it is somebody else's.
    RequestNotFound = "request_not_found", 404, "The request is not known";
    /// The request is not in a state that allows this; nothing was changed.
    WrongState = "wrong_state", 409, "Not in this state";
    /// The moment for this has passed.
    TooLate = "too_late", 409, "Too late", reserved;
    /// A case is extended once (GDPR Art. 12(3)).
    AlreadyExtended = "already_extended", 409, "Already extended", reserved;
    /// A second officer must approve; no switch turns this off.
    SecondPersonRequired = "second_person_required", 409, "A second person must approve", reserved;
    /// The person must be told before a restriction is lifted (GDPR Art. 18(3)).
    LiftWithoutNotice = "lift_without_notice", 409, "The person was not told before", reserved;
    /// Tasks of recipients are still open.
    TasksOpen = "tasks_open", 409, "Tasks are still open", reserved;
    /// A refusal needs its reasons (GDPR Art. 12(4)).
    ReasonsMissing = "reasons_missing", 422, "Reasons are missing", reserved;
    /// The act needs evidence; a count of requests alone is none.
    EvidenceMissing = "evidence_missing", 422, "Evidence is missing", reserved;
    /// More is asked of the person than the risk justifies.
    Disproportionate = "disproportionate", 422, "Disproportionate", reserved;
    /// No fee for a first copy (GDPR Art. 12(5), 15(3)).
    FeeNotAllowed = "fee_not_allowed", 422, "A fee is not allowed", reserved;
    /// The person's identity is not assured enough for this.
    AssuranceTooLow = "assurance_too_low", 403, "The identity is not assured enough", reserved;
    /// The code or link is wrong, expired, used or unknown; the answer does not say which.
    ConfirmationInvalid = "confirmation_invalid", 403, "The confirmation is not valid";
    /// The package is no longer kept. Ask again.
    PackageExpired = "package_expired", 410, "The package has expired";
}
