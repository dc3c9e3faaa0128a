//! `amanat healthcheck`.

use std::time::Duration;

use super::Failure;

/// Asks the address and ends with 0 if it answers 200.
pub(super) async fn run(url: &str) -> Result<u8, Failure> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(3))
        .no_proxy()
        .tls_certs_only([])
        .build()
        .map_err(|error| Failure::new(format!("no request can be made: {error}")))?;
    let answer = client.get(url).send().await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(0),
        Ok(answer) => Err(Failure::new(format!("the gateway answers {}", answer.status()))),
        Err(_) => Err(Failure::new(format!("nothing answers at {url}"))),
    }
}
