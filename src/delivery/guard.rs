//! The guard on outgoing requests: a recipient's address must not lead into our own network
//! (`ecosystem.md` 2.3).
//!
//! A name is resolved, *every* address it has is checked, and the connection goes to a checked
//! address without a second look-up, so that a name cannot turn private between check and use.
//! Literal addresses never reach a resolver and are checked in the URL. The guard runs at every try,
//! not only when an address is saved.

use std::net::IpAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

pub use super::network::{Network, allowed};

/// What the operator's config opens.
#[derive(Clone, Debug, Default)]
pub struct GuardRules {
    /// Loopback may be reached, and by plain `http` too (`amanat demo`).
    pub allow_loopback: bool,
    /// Internal networks in which recipients stand.
    pub allow_networks: Vec<Network>,
    /// Ports besides 443.
    pub ports: Vec<u16>,
    /// Plain `http` may leave this machine: for what is public, and signed where it comes from.
    pub allow_plain: bool,
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// 0.0.0.0/8, `::`.
    #[error("it is the unspecified address")]
    Unspecified,
    /// 127.0.0.0/8, `::1`.
    #[error("it is a loopback address")]
    Loopback,
    /// 10/8, 172.16/12, 192.168/16, fc00::/7, and the ranges for local use beside them.
    #[error("it is a private address")]
    Private,
    /// 100.64.0.0/10 (RFC 6598).
    #[error("it is an address shared behind a carrier's NAT")]
    Shared,
    /// 169.254/16, fe80::/10.
    #[error("it is a link-local address")]
    LinkLocal,
    /// Assigned to protocols, tests, benchmarks or documentation; discarded, or reserved.
    #[error("it is an address without a host behind it")]
    Special,
    /// 224/4, ff00::/8.
    #[error("it is a multicast address")]
    Multicast,
    /// The scheme is neither `https` nor, towards loopback, `http`.
    #[error("only https is allowed; http only to loopback with allow_loopback")]
    Scheme,
    /// The port is not 443 and not listed.
    #[error("its port is neither 443 nor listed in the config")]
    Port,
    /// The URL has no host.
    #[error("it names no host")]
    Host,
    /// The URL carries a user name or a password.
    #[error("it carries credentials")]
    Credentials,
}

/// Checks everything about a URL that needs no resolver: scheme, port, and the host if it is a
/// literal address. The URL parser has already turned `2130706433` and `0x7f.1` into 127.0.0.1.
///
/// # Errors
///
/// The first reason to refuse it.
pub fn check_url(url: &Url, rules: &GuardRules) -> Result<(), Refused> {
    // Whether it may reach loopback only.
    let plain = match url.scheme() {
        "https" => false,
        "http" if rules.allow_plain => false,
        "http" if rules.allow_loopback => true,
        _ => return Err(Refused::Scheme),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::Credentials);
    }
    let port = url.port_or_known_default().ok_or(Refused::Port)?;
    if port != 443 && !rules.ports.contains(&port) {
        return Err(Refused::Port);
    }
    match url.host().ok_or(Refused::Host)? {
        Host::Domain(_) => Ok(()),
        Host::Ipv4(address) => check_address(IpAddr::V4(address), plain, rules),
        Host::Ipv6(address) => check_address(IpAddr::V6(address), plain, rules),
    }
}

/// What turns a name into addresses: the system, or a table in tests.
pub trait Lookup: Send + Sync + 'static {
    /// All addresses of the name.
    ///
    /// # Errors
    ///
    /// Whatever the look-up met; it counts as a name without an address.
    fn lookup(&self, name: String) -> Looking;
}

/// The work of a look-up.
pub type Looking = std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> Looking {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }
}

/// The resolver given to the HTTP client. The client connects to what it returns and to nothing
/// else.
pub(super) struct GuardedResolver {
    pub(super) rules: Arc<GuardRules>,
    pub(super) lookup: Arc<dyn Lookup>,
    /// Whether it may reach loopback only, because its scheme is `http`.
    pub(super) plain: bool,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, plain) = (Arc::clone(&self.rules), self.plain);
        let looking = self.lookup.lookup(name.as_str().to_owned());
        Box::pin(async move {
            let addresses = looking.await.map_err(|_| Unresolved)?;
            if addresses.is_empty() {
                return Err(Unresolved.into());
            }
            // One bad address refuses the name: an honest one has none, and which of several is
            // tried is not ours to say.
            for address in &addresses {
                check_address(*address, plain, &rules)?;
            }
            let checked: Addrs = Box::new(addresses.into_iter().map(|address| std::net::SocketAddr::new(address, 0)));
            Ok(checked)
        })
    }
}

/// The name has no address, or none could be found out. The system's own text may name the host.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the name has no address")]
pub(super) struct Unresolved;

fn check_address(address: IpAddr, plain: bool, rules: &GuardRules) -> Result<(), Refused> {
    allowed(address, rules)?;
    if plain && !address.to_canonical().is_loopback() {
        return Err(Refused::Scheme);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, rules: &GuardRules) -> Result<(), Refused> {
        check_url(&Url::parse(url).unwrap(), rules)
    }

    #[test]
    fn literal_addresses_in_disguise_are_refused() {
        let rules = GuardRules::default();
        for (url, refused) in [
            ("https://2130706433/", Refused::Loopback),
            ("https://0x7f000001/", Refused::Loopback),
            ("https://0177.1/", Refused::Loopback),
            ("https://127.1/", Refused::Loopback),
            ("https://0/", Refused::Unspecified),
            ("https://[::ffff:10.0.0.1]/", Refused::Private),
            ("https://[::ffff:a9fe:a9fe]/", Refused::LinkLocal),
            ("https://[::1]/", Refused::Loopback),
            ("https://169.254.169.254/latest/meta-data/", Refused::LinkLocal),
            ("http://2130706433/", Refused::Scheme),
            ("http://example.com/", Refused::Scheme),
            ("ftp://example.com/", Refused::Scheme),
            ("https://example.com:22/", Refused::Port),
            ("https://user@example.com/", Refused::Credentials),
        ] {
            assert_eq!(check(url, &rules), Err(refused), "{url}");
        }
        assert_eq!(check("https://example.com/hook", &rules), Ok(()));
        assert_eq!(check("https://93.184.215.14/", &rules), Ok(()));
    }

    #[test]
    fn the_demo_may_reach_loopback_in_plain_text_and_nothing_else() {
        let rules = GuardRules { allow_loopback: true, ports: vec![8080], ..GuardRules::default() };
        assert_eq!(check("http://127.0.0.1:8080/", &rules), Ok(()));
        assert_eq!(check("http://[::1]:8080/", &rules), Ok(()));
        assert_eq!(check("http://2130706433:8080/", &rules), Ok(()));
        assert_eq!(check("http://93.184.215.14:8080/", &rules), Err(Refused::Scheme));
        assert_eq!(check("http://10.0.0.1:8080/", &rules), Err(Refused::Private));
        assert_eq!(check("http://127.0.0.1:9090/", &rules), Err(Refused::Port));
    }

    struct Table(Vec<IpAddr>);

    impl Lookup for Table {
        fn lookup(&self, _: String) -> Looking {
            let addresses = self.0.clone();
            Box::pin(async move { Ok(addresses) })
        }
    }

    async fn resolve(addresses: &[&str], plain: bool, rules: GuardRules) -> Result<usize, String> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let resolver = GuardedResolver { rules: Arc::new(rules), lookup: Arc::new(Table(addresses)), plain };
        let resolved = resolver.resolve("recipient.example".parse().unwrap()).await;
        resolved.map(Iterator::count).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn one_private_address_among_public_ones_refuses_the_name() {
        let public = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"];
        assert_eq!(resolve(&public, false, GuardRules::default()).await, Ok(2));
        for private in ["10.0.0.1", "127.0.0.1", "::1", "fd00::1", "64:ff9b::a00:1", "2002:0a00:0001::"] {
            let mixed = [public[0], private];
            assert!(resolve(&mixed, false, GuardRules::default()).await.is_err(), "{private}");
        }
        assert!(resolve(&[], false, GuardRules::default()).await.is_err());
    }

    #[tokio::test]
    async fn a_plain_name_must_be_loopback_whatever_it_resolves_to() {
        let rules = GuardRules { allow_loopback: true, ..GuardRules::default() };
        assert_eq!(resolve(&["127.0.0.1"], true, rules.clone()).await, Ok(1));
        assert!(resolve(&["93.184.215.14"], true, rules).await.is_err());
    }
}
