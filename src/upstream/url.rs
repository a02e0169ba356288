//! The address of an API server as a user writes it.

use crate::limits::SERVER_URL_BYTES_MAX;
use std::fmt;
use std::net::Ipv6Addr;

/// `https://host:port`. Nothing but https is possible: tokens travel there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
}

impl ServerUrl {
    /// Reads `https://host`, `https://host:port` or `https://[v6]:port`; a missing port is 443.
    ///
    /// # Errors
    /// What is wrong with the text, for the person who wrote it.
    pub fn parse(text: &str) -> Result<ServerUrl, String> {
        if text.len() > SERVER_URL_BYTES_MAX {
            return Err(format!("longer than {SERVER_URL_BYTES_MAX} bytes"));
        }
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
            Some((scheme, _)) => {
                return Err(format!("scheme \"{scheme}\" is not possible, only https"));
            }
            None => return Err("must begin with https://".into()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err("must end after the port: no path, query or fragment".into());
        }
        if rest.contains('@') {
            return Err("must not hold a user or password".into());
        }
        let (host, port) = split_port(rest)?;
        Ok(ServerUrl {
            host: checked_host(host)?,
            port: port.map_or(Ok(443), parse_port)?,
        })
    }

    /// `host:port` as a Host header has it: IPv6 in brackets, and the port always.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

fn split_port(rest: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(inner) = rest.strip_prefix('[') {
        let (host, after) = inner.split_once(']').ok_or("a [ without its ]")?;
        host.parse::<Ipv6Addr>()
            .map_err(|_| format!("\"{host}\" is not an IPv6 address"))?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(format!("\"{after}\" after the ]")),
        };
    }
    match rest.split_once(':') {
        Some((_, port)) if port.contains(':') => Err("an IPv6 address must stand in [ ]".into()),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((rest, None)),
    }
}

fn checked_host(host: &str) -> Result<String, String> {
    if host.is_empty() {
        return Err("has no host".into());
    }
    if let Some(bad) = host
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':')))
    {
        return Err(format!("{bad:?} is not possible in a host name"));
    }
    Ok(host.to_ascii_lowercase())
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(format!("\"{text}\" is not a port from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good() {
        for (text, host, port, shown) in [
            (
                "https://api.example:6443",
                "api.example",
                6443,
                "https://api.example:6443",
            ),
            (
                "https://API.example",
                "api.example",
                443,
                "https://api.example:443",
            ),
            ("HTTPS://10.0.0.1:1/", "10.0.0.1", 1, "https://10.0.0.1:1"),
            (
                "https://[fd00::1]:6443",
                "fd00::1",
                6443,
                "https://[fd00::1]:6443",
            ),
            ("https://[::1]", "::1", 443, "https://[::1]:443"),
        ] {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port), (host, port), "{text}");
            assert_eq!(url.to_string(), shown);
        }
    }

    #[test]
    fn bad() {
        for text in [
            "",
            "api",
            "http://a:1",
            "https://",
            "https://:1",
            "https://a:0",
            "https://a:65536",
            "https://a:+1",
            "https://a:",
            "https://a/b",
            "https://a?b",
            "https://u:p@a:1",
            "https://fd00::1:6443",
            "https://[fd00::1",
            "https://[x]:1",
            "https://[::1]x",
            "https://a b",
        ] {
            assert!(ServerUrl::parse(text).is_err(), "{text}");
        }
        assert!(ServerUrl::parse(&format!("https://{}", "a".repeat(400))).is_err());
    }
}
