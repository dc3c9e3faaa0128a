//! Which addresses are somebody's on the public internet. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Error;
use super::guard::{GuardRules, Refused};

/// Whether a connection to this address is allowed. An IPv6 address that carries an IPv4 address is
/// judged by the one inside as well, because a gateway on the way will unpack it.
///
/// # Errors
///
/// The reason to refuse it.
pub fn allowed(address: IpAddr, rules: &GuardRules) -> Result<(), Refused> {
    match address {
        IpAddr::V4(v4) => judge(address, kind_of_v4(v4), rules),
        IpAddr::V6(v6) => {
            let carried = carried(v6);
            if carried.is_empty() {
                return judge(address, kind_of_v6(v6), rules);
            }
            carried.into_iter().try_for_each(|v4| judge(IpAddr::V4(v4), kind_of_v4(v4), rules))
        }
    }
}

/// A range of addresses, `10.1.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `address/prefix`; an address alone is a network of one.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkUnreadable`] if either part is not one or the prefix is too long.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| Error::NetworkUnreadable)?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| Error::NetworkUnreadable)?,
            None => longest,
        };
        if prefix > longest {
            return Err(Error::NetworkUnreadable);
        }
        Ok(Self { base, prefix })
    }

    /// Whether the address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                same_prefix(base.to_bits().into(), address.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => same_prefix(base.to_bits(), address.to_bits(), 128, self.prefix),
            _ => false,
        }
    }
}

fn same_prefix(left: u128, right: u128, width: u8, prefix: u8) -> bool {
    (left ^ right).checked_shr(u32::from(width.saturating_sub(prefix))).unwrap_or(0) == 0
}

fn judge(address: IpAddr, kind: Result<(), Refused>, rules: &GuardRules) -> Result<(), Refused> {
    let Err(refused) = kind else {
        return Ok(());
    };
    let opened = match refused {
        Refused::Loopback if rules.allow_loopback => true,
        // No listing makes a host of these.
        Refused::Unspecified | Refused::Multicast => false,
        _ => rules.allow_networks.iter().any(|network| network.contains(address)),
    };
    if opened { Ok(()) } else { Err(refused) }
}

/// RFC 6890 and the registry that grew out of it.
fn kind_of_v4(address: Ipv4Addr) -> Result<(), Refused> {
    match address.octets() {
        [0, ..] => Err(Refused::Unspecified),
        [127, ..] => Err(Refused::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Err(Refused::Private),
        [100, 64..=127, ..] => Err(Refused::Shared),
        [169, 254, ..] => Err(Refused::LinkLocal),
        [192, 0, 0, _]
        | [198, 18 | 19, ..]
        | [192, 0, 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [240..=255, ..] => Err(Refused::Special),
        [224..=239, ..] => Err(Refused::Multicast),
        _ => Ok(()),
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Result<(), Refused> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Err(Refused::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Err(Refused::Loopback),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Err(Refused::Private),
        [0xfe80..=0xfebf, ..] => Err(Refused::LinkLocal),
        [0xff00..=0xffff, ..] => Err(Refused::Multicast),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] | [0x100, 0, 0, 0, ..] => Err(Refused::Special),
        _ => Ok(()),
    }
}

/// The IPv4 addresses inside: mapped and compatible (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056),
/// and both of Teredo, the client's written inverted (RFC 4380).
fn carried(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Vec::new(),
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            vec![v4(high, low)]
        }
        [0x2002, high, low, ..] => vec![v4(high, low)],
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            vec![v4(server_high, server_low), v4(!high, !low)]
        }
        _ => Vec::new(),
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(address: &str) -> Option<Refused> {
        allowed(address.parse().unwrap(), &GuardRules::default()).err()
    }

    #[test]
    fn every_range_of_the_list_is_refused_at_both_ends() {
        for address in [
            "0.0.0.0",
            "0.255.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "192.0.0.0",
            "192.0.0.255",
            "198.18.0.0",
            "198.19.255.255",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "100::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:a00:1::1",
            "2002:7f00:1::",
            "2001:0:a00:1::",
            "2001:0:808:808:0:0:f5ff:fffe",
        ] {
            assert!(refused(address).is_some(), "{address}");
        }
    }

    #[test]
    fn the_neighbours_of_those_ranges_are_allowed() {
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:0:808:808::f7f7:f7f7",
        ] {
            assert_eq!(refused(address), None, "{address}");
        }
    }

    #[test]
    fn a_listed_network_opens_itself_and_what_carries_it() {
        let rules = GuardRules {
            allow_plain: false,
            allow_networks: vec![Network::parse("10.1.0.0/16").unwrap(), Network::parse("fd00:1::/32").unwrap()],
            ..GuardRules::default()
        };
        for address in ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd00:1::9"] {
            assert_eq!(allowed(address.parse().unwrap(), &rules), Ok(()), "{address}");
        }
        for address in ["10.2.0.0", "10.0.255.255", "fd00:2::9", "127.0.0.1"] {
            assert!(allowed(address.parse().unwrap(), &rules).is_err(), "{address}");
        }
    }

    #[test]
    fn a_network_that_is_none_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0/8", "example.com/8", "10.0.0.0/"] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
        let everything = Network::parse("0.0.0.0/0").unwrap();
        assert!(everything.contains("203.0.113.9".parse().unwrap()));
        let one = Network::parse("::1").unwrap();
        assert!(one.contains("::1".parse().unwrap()) && !one.contains("::2".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn wrapping_an_address_never_opens_it(bits: u32) {
            let inner = Ipv4Addr::from_bits(bits);
            if allowed(IpAddr::V4(inner), &GuardRules::default()).is_err() {
                let [a, b, c, d] = inner.octets().map(u128::from);
                let low = (a << 24) | (b << 16) | (c << 8) | d;
                for wrapped in [
                    (0xffff << 32) | low,
                    (0x0064_ff9b_u128 << 96) | low,
                    (0x2002_u128 << 112) | (low << 80),
                    (0x2001_u128 << 112) | (low << 64),
                    (0x2001_u128 << 112) | (0x0808_0808_u128 << 64) | (low ^ 0xffff_ffff),
                ] {
                    let wrapped = IpAddr::V6(Ipv6Addr::from_bits(wrapped));
                    prop_assert!(allowed(wrapped, &GuardRules::default()).is_err(), "{wrapped}");
                }
            }
        }
    }
}
