//! `amanat healthcheck`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{Context, Failure};

/// Asks the address, or the gateway of this configuration, and ends with 0 if it answers 200.
pub(super) async fn run(url: Option<String>, context: &Context) -> Result<u8, Failure> {
    let url = match url {
        Some(url) => url,
        None => format!("http://{}/healthz", reachable(context.load()?.config.server.listen)),
    };
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(3))
        .no_proxy()
        .tls_certs_only([])
        .build()
        .map_err(|error| Failure::new(format!("no request can be made: {error}")))?;
    let answer = client.get(&url).send().await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(0),
        Ok(answer) => Err(Failure::new(format!("the gateway answers {}", answer.status()))),
        Err(_) => Err(Failure::new(format!("nothing answers at {url}"))),
    }
}

/// Where a listener on this machine is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_the_loopback() {
        for (listen, asked) in
            [("0.0.0.0:8080", "127.0.0.1:8080"), ("[::]:80", "[::1]:80"), ("127.0.0.1:18080", "127.0.0.1:18080")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
