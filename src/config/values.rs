//! The values of a configuration that are more than a number or a path, each with its own parser.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use crate::filter::Filter;
use rustls::pki_types::{DnsName, ServerName};

/// How one of several servers is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The first that is up, in the order of the file.
    Priority,
    /// One after the other among those that are up.
    RoundRobin,
}

/// Where the node is, and what the hub is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkingMode {
    /// Far from its API servers: answers are kept for when they are out of reach.
    Edge,
    /// Beside them: filters, and nothing is kept.
    Cloud,
}

/// What becomes of connections from other machines to an address that is meant for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// They end before a word is said.
    Refuse,
    /// They are served: where containers have addresses of the LAN, they look like others' on it.
    Serve,
}

/// Where the hub's own pair comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFrom {
    /// From the files that are named, or there is none.
    Files,
    /// From the cluster, by `edge-hub join`: it lies in `state_dir`, and the hub renews it.
    Joined,
}

/// Who signs what the hub shows to its clients, where no files are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServingFrom {
    /// The hub's own CA.
    HubCa,
    /// The cluster. Until it has, the hub's own CA stands in.
    Csr,
}

/// Where answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// On flash: what was kept outlives a restart and a power cut.
    Ring,
    /// In memory: a restart forgets them.
    Ram,
}

/// A certificate and the key to it, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// PEM, the leaf first.
    pub cert: PathBuf,
    /// PEM. May be the same file: the kubelet writes both into one.
    pub key: PathBuf,
}

/// One holder of a client certificate, and the pair that the hub uses upstream for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The caller's common name.
    pub cn: String,
    /// An organisation that the caller's certificate must name, if given.
    pub o: Option<String>,
    /// What goes up.
    pub pair: PairFiles,
}

/// A server's host: a name to resolve, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A DNS name, lower case.
    Name(DnsName<'static>),
    /// An address, without brackets.
    Ip(IpAddr),
}

/// `https://host:port`, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// Whom to connect to, and whose name its certificate must bear.
    pub host: Host,
    /// Never 0.
    pub port: u16,
}

impl ServerUrl {
    /// Reads `https://host:port`; one `/` at the end is let pass. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<ServerUrl, &'static str> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {
                return Err("plain http would send tokens in the clear");
            }
            Some(_) => return Err("only https is spoken to an API server"),
            None => return Err("https:// is missing"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err("user and password have no place in it");
        }
        if rest.contains(['/', '?', '#']) {
            return Err("a path or query has no place in it");
        }
        let (host, port) = split_port(rest)?;
        Ok(ServerUrl {
            host: parse_host(host)?,
            port: parse_port(port)?,
        })
    }

    /// The name that the server's certificate must be good for.
    pub fn server_name(&self) -> ServerName<'static> {
        match &self.host {
            Host::Name(name) => ServerName::DnsName(name.clone()),
            Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
        }
    }

    /// `host:port` as a `Host` header or `:authority` has it, IPv6 in brackets.
    pub fn authority(&self) -> String {
        match &self.host {
            Host::Name(name) => format!("{}:{}", name.as_ref(), self.port),
            Host::Ip(IpAddr::V4(ip)) => format!("{ip}:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

fn split_port(text: &str) -> Result<(&str, &str), &'static str> {
    const MISSING: &str = "the port is missing (an API server is mostly at 6443 or 443)";
    match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest
                .split_once(']')
                .ok_or("the ] after the IPv6 address is missing")?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| "between [ and ] is no IPv6 address")?;
            Ok((host, rest.strip_prefix(':').ok_or(MISSING)?))
        }
        None if text.parse::<Ipv6Addr>().is_ok() => {
            Err("an IPv6 address stands in brackets: https://[fd00::1]:6443")
        }
        None => text.rsplit_once(':').ok_or(MISSING),
    }
}

fn parse_host(text: &str) -> Result<Host, &'static str> {
    if text.is_empty() {
        return Err("the host is missing");
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return if ip.is_unspecified() {
            Err("0.0.0.0 and :: are nobody's address")
        } else {
            Ok(Host::Ip(ip))
        };
    }
    // Digits and dots alone are an address with a mistake in it; no top-level domain is a number.
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err("this is neither an IPv4 address nor a name");
    }
    let name = DnsName::try_from(text.to_ascii_lowercase());
    name.map(Host::Name)
        .map_err(|_| "the host is neither a DNS name nor an address")
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    match text.parse::<u16>() {
        Ok(0) => Err("port 0 is nobody's port"),
        Ok(port) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err("the port is not a number from 1 to 65535"),
    }
}

/// A name or an address for the serving certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    /// A DNS name, a leading `*.` allowed, lower case.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

impl San {
    /// Reads a name or an address; `None`: it is neither.
    pub fn parse(text: &str) -> Option<San> {
        if let Ok(ip) = text.parse() {
            return Some(San::Ip(ip));
        }
        let lower = text.to_ascii_lowercase();
        let tail = lower.strip_prefix("*.").unwrap_or(&lower);
        let looks_like_ip = tail.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        (!looks_like_ip && DnsName::try_from(tail).is_ok()).then_some(San::Name(lower))
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            San::Name(name) => f.write_str(name),
            San::Ip(ip) => ip.fmt(f),
        }
    }
}

/// One entry of `cache_agents`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentRule {
    /// `*`: everybody.
    All,
    /// `name`: who calls itself so, lower case.
    Keep(String),
    /// `-name`: not this one, whatever else says so, lower case.
    Not(String),
}

impl AgentRule {
    /// Reads one entry. A name is what stands in a User-Agent before the first `/`.
    pub fn parse(text: &str) -> Result<AgentRule, &'static str> {
        let (not, name) = match text.trim().strip_prefix('-') {
            Some(rest) => (true, rest.trim()),
            None => (false, text.trim()),
        };
        match name {
            "" => return Err("the name is missing"),
            "*" if not => {
                return Err("`-*` would keep nothing for anybody; leave the list empty instead");
            }
            "*" => return Ok(AgentRule::All),
            _ => {}
        }
        if name.contains(',') {
            return Err("one name in one entry: [\"a\", \"b\"], not [\"a,b\"]");
        }
        if name.contains('/') {
            return Err("only the name before the first / of the User-Agent, without the version");
        }
        if name.contains('*') {
            return Err("`*` stands alone and means everybody; it is no pattern");
        }
        if !name.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
            || name.len() > crate::limits::AGENT_NAME_BYTES_MAX
        {
            return Err("a name is printable ASCII of 128 bytes at most");
        }
        let name = name.to_ascii_lowercase();
        Ok(if not {
            AgentRule::Not(name)
        } else {
            AgentRule::Keep(name)
        })
    }
}

/// One entry of `filters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterRule {
    /// `-filter`: for nobody.
    Off(Filter),
    /// `filter=name`: also for who calls itself so, lower case.
    Add(Filter, String),
    /// `filter=-name`: not for this one, lower case.
    Not(Filter, String),
}

impl FilterRule {
    /// Reads one entry.
    pub fn parse(text: &str) -> Result<FilterRule, &'static str> {
        let known = |name: &str| {
            Filter::named(name.trim())
                .ok_or("there is no filter of this name; the README lists them")
        };
        let Some((filter, agent)) = text.split_once('=') else {
            return match text.trim().strip_prefix('-') {
                Some(filter) => Ok(FilterRule::Off(known(filter)?)),
                None => Err("for which program? as in \"filter=name\""),
            };
        };
        FilterRule::for_whom(known(filter)?, agent)
    }

    /// Reads what follows the name of a filter that has an entry of its own in a ConfigMap: `name`, `-name`, or `-*` for
    /// nobody.
    pub fn of(filter: Filter, agent: &str) -> Result<FilterRule, &'static str> {
        match agent {
            "-*" => Ok(FilterRule::Off(filter)),
            agent => FilterRule::for_whom(filter, agent),
        }
    }

    fn for_whom(filter: Filter, agent: &str) -> Result<FilterRule, &'static str> {
        Ok(match AgentRule::parse(agent)? {
            AgentRule::All => return Err("`*` has no place here: each program by its name"),
            AgentRule::Keep(name) => FilterRule::Add(filter, name),
            AgentRule::Not(name) => FilterRule::Not(filter, name),
        })
    }
}

/// Whether `text` is a log filter: levels, or `module=level`, with commas between. `RUST_LOG` takes the same.
pub fn log_filter(text: &str) -> bool {
    let level = |word: &str| word.parse::<log::LevelFilter>().is_ok();
    let part = |part: &str| match part.trim().split_once('=') {
        Some((module, word)) => {
            !module.is_empty() && !module.contains(char::is_whitespace) && level(word)
        }
        None => level(part.trim()),
    };
    text.split(',').all(part)
}

/// Whether `text` can be a node's name: a DNS subdomain as RFC 1123 has it, lower case.
pub(crate) fn is_node_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        matches!((bytes.first(), bytes.last()), (Some(&a), Some(&z)) if inner(a) && inner(z))
            && bytes.iter().all(|&b| inner(b) || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Reads `8388608`, `512KiB`, `8MiB`, `1GiB` or `1TiB`.
pub(super) fn byte_count(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" | "Ki" => 1 << 10,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        "TiB" | "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls() {
        for (text, shown) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://API.example:443/", "https://api.example:443"),
            ("HTTPS://[fd00::1]:6443", "https://[fd00::1]:6443"),
            ("https://kubernetes:65535", "https://kubernetes:65535"),
        ] {
            assert_eq!(
                ServerUrl::parse(text).map(|u| u.to_string()).as_deref(),
                Ok(shown),
                "{text}"
            );
        }
        for (text, part) in [
            ("10.0.0.1:6443", "https://"),
            ("http://10.0.0.1:6443", "in the clear"),
            ("ftp://a:1", "only https"),
            ("https://a", "port is missing"),
            ("https://[fd00::1]", "port is missing"),
            ("https://fd00::1", "brackets"),
            ("https://[fd00::1:6443", "]"),
            ("https://[a]:1", "no IPv6"),
            ("https://a:0", "port 0"),
            ("https://a:65536", "1 to 65535"),
            ("https://a:+1", "1 to 65535"),
            ("https://:6443", "host is missing"),
            ("https://10.0.0.256:6443", "neither an IPv4"),
            ("https://a b:6443", "neither a DNS name"),
            ("https://0.0.0.0:6443", "nobody"),
            ("https://u:p@a:6443", "password"),
            ("https://a:6443/x", "path"),
            ("", "https://"),
        ] {
            let error = ServerUrl::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn byte_counts() {
        for (text, want) in [
            ("8388608", Some(8 << 20)),
            ("8MiB", Some(8 << 20)),
            ("8 Mi", Some(8 << 20)),
            ("1GiB", Some(1 << 30)),
            ("1TiB", Some(1 << 40)),
            ("4KiB", Some(4096)),
            ("7B", Some(7)),
            ("8MB", None),
            ("MiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("18446744073709551615GiB", None),
            ("", None),
        ] {
            assert_eq!(byte_count(text), want, "{text}");
        }
    }

    #[test]
    fn agent_rules() {
        for (text, want) in [
            ("*", Ok(AgentRule::All)),
            (" Edge-App ", Ok(AgentRule::Keep("edge-app".into()))),
            ("-kubelet", Ok(AgentRule::Not("kubelet".into()))),
            ("my app", Ok(AgentRule::Keep("my app".into()))),
        ] {
            assert_eq!(AgentRule::parse(text), want, "{text}");
        }
        for text in ["", "-", "-*", "a,b", "kubelet/v1", "edge*", "é", "a\nb"] {
            assert!(AgentRule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn filter_rules() {
        for (text, want) in [
            ("-hubca", Ok(FilterRule::Off(Filter::HubCa))),
            (
                "servicetopology=My-Ingress",
                Ok(FilterRule::Add(
                    Filter::ServiceTopology,
                    "my-ingress".into(),
                )),
            ),
            (
                " servicetopology = -coredns ",
                Ok(FilterRule::Not(Filter::ServiceTopology, "coredns".into())),
            ),
        ] {
            assert_eq!(FilterRule::parse(text), want, "{text}");
        }
        for text in [
            "",
            "hubca",
            "-x",
            "x=a",
            "hubca=",
            "hubca=*",
            "hubca=a,b",
            "=a",
        ] {
            assert!(FilterRule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_sans_and_filters() {
        let long = "a".repeat(254);
        for (text, want) in [
            ("gw-1.site", true),
            ("GW", false),
            ("-a", false),
            ("a-", false),
            ("a..b", false),
            ("", false),
            (&long, false),
        ] {
            assert_eq!(is_node_name(text), want, "{text}");
        }
        for (text, want) in [
            ("hub.lan", true),
            ("*.lan", true),
            ("fd00::1", true),
            ("10.0.0.1", true),
            ("10.0.0", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(San::parse(text).is_some(), want, "{text}");
        }
        for (text, want) in [
            ("info", true),
            ("WARN", true),
            ("info,edge_hub=debug", true),
            ("off", true),
            ("loud", false),
            ("=info", false),
            ("", false),
            ("info,", false),
        ] {
            assert_eq!(log_filter(text), want, "{text}");
        }
    }
}
