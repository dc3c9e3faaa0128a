//! How to reach a time-stamping authority: one request, one bounded answer, whatever it means.
//!
//! Most authorities answer over plain `http` only, on ports of their own. What is sent is the digest of
//! a public text, and what comes back counts only if the authority signed it for this request, so
//! both are let through; the guard on addresses is not.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use url::Url;

use super::boot_clock::{BootInstant, Deadline};
use super::client::{cause_of, client};
use super::guard::{GuardRules, SystemLookup, check_url};
use super::reply::{head_fits, read};
use super::{Cause, Error};

/// Length of a whole try.
pub const TIME_LIMIT: Duration = Duration::from_secs(15);

/// The way to one authority.
pub struct Authority {
    client: Client,
    url: Url,
    guard: GuardRules,
}

impl Authority {
    /// Sets the way up. Nothing is resolved or connected yet.
    ///
    /// # Errors
    /// The guard refuses the address, or the client cannot be set up.
    pub fn new(url: Url, guard: &GuardRules) -> Result<Self, Error> {
        let ports = url.port_or_known_default().into_iter().collect();
        let guard = GuardRules { allow_plain: true, ports, ..guard.clone() };
        check_url(&url, &guard).map_err(Error::AddressRefused)?;
        let client = client(&url, Arc::new(guard.clone()), Arc::new(SystemLookup));
        Ok(Self { client: client.build().map_err(Error::Client)?, url, guard })
    }

    /// Posts a request of this media type and gives the answer, at most `most` bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask(&self, media_type: &str, body: Vec<u8>, most: usize) -> Result<Vec<u8>, Cause> {
        check_url(&self.url, &self.guard).map_err(Cause::Address)?;
        let deadline = Deadline::of_claim(BootInstant::now(), TIME_LIMIT);
        match deadline.bound(self.post(media_type, body, most)).await {
            Ok(answer) => answer,
            Err(_) => Err(Cause::TimeLimit),
        }
    }

    async fn post(&self, media_type: &str, body: Vec<u8>, most: usize) -> Result<Vec<u8>, Cause> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, media_type).body(body);
        let response = request.send().await.map_err(|error| cause_of(&error))?;
        if !head_fits(response.headers()) {
            return Err(Cause::HeadTooLarge);
        }
        match response.status().as_u16() {
            200 => {}
            300..=399 => return Err(Cause::Redirected),
            status => return Err(Cause::Status(status)),
        }
        let body = read(response, most).await.map_err(|error| cause_of(&error))?;
        Ok(body.ok_or(Cause::BodyTooLarge)?.to_vec())
    }
}
