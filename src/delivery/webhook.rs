//! Standard Webhooks 1.0.0: a signed POST, and what its answer means (`ecosystem.md` 2.2–2.4).
//!
//! One [`Webhook`] serves one recipient and has a client of its own: its connections, its guard and
//! its failures are shared with nobody. Redirects, proxies, cookies, compression and repeated sending
//! inside the client are all off, so that one try is one request to one checked address.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response};
use url::Url;

use super::boot_clock::Deadline;
use super::client::{cause_of, client};
use super::guard::{GuardRules, Lookup, SystemLookup, check_url};
use super::message::MessageFormat;
use super::reply::{DELIVERY_BODY, RIGHTS_BODY, discard, head_fits, outcome_of_status, read, retry_after};
use super::rights::{RightsCall, outcome_of_reply};
use super::signing::{SigningSecret, signature_header};
use super::{Cause, Error, Outcome, Parcel, ParcelKind};

/// The limit of a whole try, unless the config says otherwise (`delivery.time_limit`).
pub const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The limit of a whole try of a rights message, whose recipient may have to work for its answer.
pub const RIGHTS_TIME_LIMIT: Duration = Duration::from_secs(30);

const MOST_HEADERS: usize = 100;

/// What the config says about one webhook.
pub struct WebhookSettings {
    /// Where to.
    pub url: String,
    /// In which form.
    pub format: MessageFormat,
    /// The signing secrets that are valid now, newest first.
    pub secrets: Vec<SigningSecret>,
    /// What the guard lets through.
    pub guard: GuardRules,
}

/// The way to one recipient over HTTPS. It has no `Debug`: it holds secrets, and the address may be
/// one.
pub struct Webhook {
    client: Client,
    url: Url,
    format: MessageFormat,
    secrets: Vec<SigningSecret>,
    guard: Arc<GuardRules>,
}

impl Webhook {
    /// Sets the way up. Nothing is resolved or connected yet.
    ///
    /// # Errors
    ///
    /// The address is no URL or refused by the guard, there is no secret, or the TLS library could
    /// not be set up.
    pub fn new(settings: WebhookSettings) -> Result<Self, Error> {
        Self::with_lookup(settings, Arc::new(SystemLookup))
    }

    /// The same with another resolver.
    ///
    /// # Errors
    ///
    /// As [`Webhook::new`].
    pub fn with_lookup(settings: WebhookSettings, lookup: Arc<dyn Lookup>) -> Result<Self, Error> {
        let url = Url::parse(&settings.url).map_err(Error::AddressUnreadable)?;
        check_url(&url, &settings.guard).map_err(Error::AddressRefused)?;
        if settings.secrets.is_empty() {
            return Err(Error::SecretMissing);
        }
        let guard = Arc::new(settings.guard);
        let client = client(&url, Arc::clone(&guard), lookup).http1_max_headers(MOST_HEADERS);
        let client = client.build().map_err(Error::Client)?;
        Ok(Self { client, url, format: settings.format, secrets: settings.secrets, guard })
    }

    /// The form of its messages.
    #[must_use]
    pub const fn format(&self) -> MessageFormat {
        self.format
    }

    /// Makes one try. `now` is the wall clock of this try: it is signed, and receivers accept five
    /// minutes around it.
    pub async fn hand_over(&self, parcel: &Parcel, now: Timestamp, deadline: Deadline) -> Outcome {
        if let Err(refused) = check_url(&self.url, &self.guard) {
            return retry(Cause::Address(refused));
        }
        match deadline.bound(self.post(parcel, now)).await {
            Ok(Ok(response)) => self.judge(parcel, response, now, deadline).await,
            Ok(Err(error)) => retry(cause_of(&error)),
            Err(_) => retry(Cause::TimeLimit),
        }
    }

    async fn post(&self, parcel: &Parcel, now: Timestamp) -> reqwest::Result<Response> {
        let signature = signature_header(&self.secrets, &parcel.message_id, now, &parcel.body);
        self.client
            .post(self.url.clone())
            .header(CONTENT_TYPE, self.format.content_type())
            .header("webhook-id", &parcel.message_id)
            .header("webhook-timestamp", now.as_second().to_string())
            .header("webhook-signature", signature)
            // The client owns what it sends; this copy is freed by it and cannot be wiped here.
            .body(parcel.body.to_vec())
            .send()
            .await
    }

    async fn judge(&self, parcel: &Parcel, response: Response, now: Timestamp, deadline: Deadline) -> Outcome {
        if !head_fits(response.headers()) {
            return retry(Cause::HeadTooLarge);
        }
        let asked = retry_after(response.headers(), now);
        let status = response.status().as_u16();
        match &parcel.kind {
            ParcelKind::Record => {
                // The status is the whole answer. The body is drained so that the connection can be
                // used again, and how that ends changes nothing.
                discard(response, DELIVERY_BODY, deadline).await;
                outcome_of_status(status, asked)
            }
            ParcelKind::Rights(call) => judge_rights(call, status, asked, response, deadline).await,
        }
    }
}

async fn judge_rights(
    call: &RightsCall,
    status: u16,
    asked: Option<Duration>,
    response: Response,
    deadline: Deadline,
) -> Outcome {
    if !response.status().is_success() {
        discard(response, DELIVERY_BODY, deadline).await;
        return outcome_of_reply(call, status, asked, None);
    }
    match deadline.bound(read(response, RIGHTS_BODY)).await {
        Ok(Ok(body)) => outcome_of_reply(call, status, asked, body.as_ref().map(|b| b.as_slice())),
        Ok(Err(error)) => retry(cause_of(&error)),
        Err(_) => retry(Cause::TimeLimit),
    }
}

const fn retry(cause: Cause) -> Outcome {
    Outcome::Retry { after: None, cause }
}
