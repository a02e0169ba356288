//! The names and addresses that a serving certificate is valid for. Pure.

use crate::limits::SANS_MAX;
use rustls::pki_types::ServerName;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// A set of DNS names (lower case) and IP addresses; the order in which they came does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sans {
    dns: BTreeSet<String>,
    ips: BTreeSet<IpAddr>,
}

/// Why a name is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SanError {
    /// It is neither an IP address nor a DNS name.
    NotAName {
        /// What it is.
        name: String,
    },
    /// There are `SANS_MAX` already.
    TooMany,
}

impl fmt::Display for SanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAName { name } => {
                write!(
                    f,
                    "{name:?} is neither an IP address nor a DNS name, and cannot be in a certificate"
                )
            }
            Self::TooMany => write!(f, "a certificate of the hub has at most {SANS_MAX} names"),
        }
    }
}

impl std::error::Error for SanError {}

impl Sans {
    /// Adds an IP address or a DNS name (`*.` may stand before it); an equal one changes nothing.
    pub fn add(&mut self, name: &str) -> Result<(), SanError> {
        if let Ok(addr) = name.parse() {
            return self.add_ip(addr);
        }
        let name = name.to_ascii_lowercase();
        let plain = name.strip_prefix("*.").unwrap_or(&name);
        match ServerName::try_from(plain) {
            Ok(ServerName::DnsName(_)) if !plain.ends_with('.') => {
                self.room(self.dns.contains(&name)).map(|()| {
                    self.dns.insert(name);
                })
            }
            _ => Err(SanError::NotAName { name }),
        }
    }

    /// Adds an IP address; an equal one changes nothing.
    pub fn add_ip(&mut self, addr: IpAddr) -> Result<(), SanError> {
        self.room(self.ips.contains(&addr))?;
        self.ips.insert(addr);
        Ok(())
    }

    /// The DNS names, in order.
    pub fn dns(&self) -> impl Iterator<Item = &str> {
        self.dns.iter().map(String::as_str)
    }

    /// The addresses, in order.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.ips.iter().copied()
    }

    /// Whether all of the others are among these.
    pub fn contains(&self, others: &Sans) -> bool {
        others.dns.is_subset(&self.dns) && others.ips.is_subset(&self.ips)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.dns.len() + self.ips.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn room(&self, is_known: bool) -> Result<(), SanError> {
        match is_known || self.len() < SANS_MAX {
            true => Ok(()),
            false => Err(SanError::TooMany),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses() {
        let mut sans = Sans::default();
        for name in [
            "Kubernetes.Default",
            "kubernetes.default",
            "169.254.2.1",
            "fd00::2:1",
            "FD00::2:1",
            "*.Edge.example",
        ] {
            sans.add(name).unwrap();
        }
        assert_eq!(
            sans.dns().collect::<Vec<_>>(),
            ["*.edge.example", "kubernetes.default"]
        );
        assert_eq!((sans.ips().count(), sans.len()), (2, 4));
        for bad in [
            "",
            "a b",
            "a..b",
            "höst",
            "*",
            "*.*.x",
            "a*",
            "x.",
            "https://a",
            "a:1",
            "1.2.3.4/32",
            "a\0b",
        ] {
            assert!(
                matches!(sans.add(bad), Err(SanError::NotAName { .. })),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn their_number_has_a_bound() {
        let mut sans = Sans::default();
        for number in 0..SANS_MAX {
            sans.add(&format!("n{number}")).unwrap();
        }
        assert_eq!(sans.add("n0"), Ok(()));
        assert_eq!(sans.add("one-more"), Err(SanError::TooMany));
        assert_eq!(sans.add("10.0.0.1"), Err(SanError::TooMany));
    }
}
