//! How to reach a witness: one request, one bounded answer, whatever it means.
//!
//! The addresses stand in the operator's own trust policy, and a witness often stands in an internal
//! network (a works council's), so the guard on recipients' addresses does not apply. What is sent is
//! public, and what comes back counts only where a known key signed it.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use url::Url;

use super::{Error, client, reply};

/// Length of a whole try.
pub const TIME_LIMIT: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const MOST: usize = 64 * 1_024;

/// A client for witnesses.
#[derive(Clone, Debug)]
pub struct WitnessClient(Client);

/// What a witness answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The media type, without parameters.
    pub media_type: String,
    /// The body; empty if it was longer than 64 KiB.
    pub body: Vec<u8>,
}

impl WitnessClient {
    /// A client for witnesses at these addresses.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn new(addresses: &[Url]) -> Result<Self, Error> {
        let plain = addresses.iter().all(|address| address.scheme() == "http");
        let client = client::builder(plain).timeout(TIME_LIMIT);
        Ok(Self(client.build().map_err(Error::Client)?))
    }

    /// Posts a body.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn post(&self, address: Url, body: String) -> Result<Reply, Unanswered> {
        answered(self.0.post(address).header(CONTENT_TYPE, "text/plain; charset=utf-8").body(body)).await
    }

    /// Gets what stands at an address.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn get(&self, address: Url) -> Result<Reply, Unanswered> {
        answered(self.0.get(address)).await
    }
}

/// There was no answer. The address is left out: the name of the witness says enough.
#[derive(Debug, thiserror::Error)]
#[error("the witness did not answer")]
pub struct Unanswered(#[source] reqwest::Error);

async fn answered(request: RequestBuilder) -> Result<Reply, Unanswered> {
    let unanswered = |error: reqwest::Error| Unanswered(error.without_url());
    let response = request.send().await.map_err(unanswered)?;
    let status = response.status().as_u16();
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let body = reply::read(response, MOST).await.map_err(unanswered)?;
    Ok(Reply { status, media_type, body: body.map_or_else(Vec::new, |body| body.to_vec()) })
}
