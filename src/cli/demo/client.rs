//! The tour's own HTTP client: requests to the gateway as anybody would make them.

use reqwest::Method;
use serde_json::Value;

use crate::cli::Failure;

/// How a request proves who makes it.
pub(super) enum Credential<'a> {
    /// A write key, as SDKs send it.
    WriteKey(&'a str),
    /// An API token.
    Token(&'a str),
    /// Nothing.
    None,
}

/// Calls one gateway.
pub(super) struct Client {
    client: reqwest::Client,
    url: String,
}

impl Client {
    /// A client for the gateway at this address.
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        let client = reqwest::Client::builder()
            .timeout(std::time::Duration::from_secs(30))
            .no_proxy()
            .tls_certs_only([])
            .build()
            .map_err(|error| Failure::new(format!("no request can be made: {error}")))?;
        Ok(Self { client, url: url.to_owned() })
    }

    /// Posts JSON.
    pub(super) async fn post(
        &self,
        credential: Credential<'_>,
        path: &str,
        body: &Value,
    ) -> Result<(u16, Value), Failure> {
        self.call(Method::POST, credential, path, Some(body)).await
    }

    /// Gets JSON.
    pub(super) async fn get(&self, credential: Credential<'_>, path: &str) -> Result<(u16, Value), Failure> {
        self.call(Method::GET, credential, path, None).await
    }

    async fn call(
        &self,
        method: Method,
        credential: Credential<'_>,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failure> {
        let failed = |error: reqwest::Error| Failure::new(format!("{path}: {error}"));
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        request = match credential {
            Credential::WriteKey(key) => request.basic_auth(key, Some("")),
            Credential::Token(token) => request.bearer_auth(token),
            Credential::None => request,
        };
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(failed)?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }
}
