//! From the file's plain values to a [`Config`]: what each value means, and whether they agree with each other.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Problems, quoted};
use super::values::{Host, is_node_name};
use super::{
    AgentRule, ClientFrom, Config, File, FileIdentity, FilterRule, Identity, Mode, Neighbours,
    PairFiles, Rim, San, ServerUrl, ServingFrom, StoreKind, WorkingMode, log_filter,
};

/// The one pattern of names that an entry of `identities` may have.
const ANY_NODE: &str = "system:node:*";

/// Builds the configuration, and notes all that is wrong. `None` only if something was noted.
pub(super) fn build(file: File, rim: &Rim<'_>, problems: &mut Problems) -> Option<Config> {
    let mut look = Look { rim, problems };
    let servers = look.servers(&file.servers);
    let ca_file = look.file("ca_file", &file.ca_file);
    let client = look.pair(
        ("client_cert", &file.client_cert),
        ("client_key", &file.client_key),
    );
    let serving = look.pair(
        ("serving_cert", &file.serving_cert),
        ("serving_key", &file.serving_key),
    );
    let client_from = look.client_from(&file);
    let serving_from = look.serving_from(&file);
    let client_ca_file = file
        .client_ca_file
        .as_deref()
        .and_then(|path| look.file("client_ca_file", path));
    let identities = look.identities(&file);
    let node_name = look.node_name(file.node_name.clone());
    let listen = look.each(
        "listen",
        &file.listen,
        "\"address:port\" with a port from 1 to 65535",
        address,
    );
    let own_addresses = look.own_addresses(file.own_addresses.as_deref().unwrap_or_default());
    let admin_listen = look.one("admin_listen", &file.admin_listen);
    let local_listen = look.local_listen(file.local_listen.as_deref());
    let extra_sans = look.each(
        "extra_sans",
        &file.extra_sans,
        "a DNS name or an address",
        |text| San::parse(text).ok_or("this is neither a DNS name nor an address"),
    );
    let cache_agents = look.each(
        "cache_agents",
        &file.cache_agents,
        "\"name\", \"*\" or \"-name\"",
        AgentRule::parse,
    );
    let filters = look.each(
        "filters",
        &file.filters,
        "\"filter=name\", \"filter=-name\" or \"-filter\"",
        FilterRule::parse,
    );
    look.listeners(&listen, admin_listen, local_listen);
    look.no_circle(&servers, &listen, &own_addresses);
    look.log(&file.log);
    look.probes(&file);
    let state_dir = look.path("state_dir", &file.state_dir);
    let cache_dir = look.path("cache_dir", &file.cache_dir);
    let run_dir = look.path("run_dir", &file.run_dir);
    let seal_key_file = file
        .seal_key_file
        .as_deref()
        .and_then(|path| look.path("seal_key_file", path));
    look.apart(cache_dir.as_deref(), run_dir.as_deref());
    let working_mode = match file.working_mode.as_str() {
        "cloud" => WorkingMode::Cloud,
        _ => WorkingMode::Edge,
    };
    Some(Config {
        servers,
        mode: if file.mode == "round-robin" {
            Mode::RoundRobin
        } else {
            Mode::Priority
        },
        working_mode,
        ca_file: ca_file?,
        client,
        client_from,
        client_ca_file,
        identities,
        node_name: node_name?,
        listen,
        own_addresses,
        neighbours: match file.neighbours.as_str() {
            "serve" => Neighbours::Serve,
            _ => Neighbours::Refuse,
        },
        local_listen,
        local_uids: file.local_uids,
        admin_listen: admin_listen?,
        serving,
        serving_from,
        extra_sans,
        state_dir: state_dir?,
        store: match (file.store.as_str(), working_mode) {
            ("ram", _) | (_, WorkingMode::Cloud) => StoreKind::Ram,
            _ => StoreKind::Ring,
        },
        cache_dir: cache_dir?,
        cache_bytes_max: usize::try_from(file.cache_max_bytes).ok()?,
        flush: Duration::from_secs(file.flush_secs),
        daily_write_bytes: file.daily_write_bytes,
        seal_key_file,
        run_dir: run_dir?,
        cache_agents,
        jwks_from_callers: file.jwks_from_callers,
        review_age_max: Duration::from_secs(file.review_secs),
        filters,
        drain: Duration::from_secs(file.drain_secs),
        log: file.log,
        ping_after: Duration::from_millis(file.ping_after_ms),
        ping_wait: Duration::from_millis(file.ping_wait_ms),
        connect_timeout: Duration::from_millis(file.connect_timeout_ms),
        probe_min: Duration::from_millis(file.probe_min_ms),
        probe_max: Duration::from_millis(file.probe_max_ms),
        header_timeout: Duration::from_millis(file.header_timeout_ms),
        stalled_watch: Duration::from_secs(file.stalled_watch_secs),
        connections_max: usize::try_from(file.connections_max).ok()?,
    })
}

struct Look<'a> {
    rim: &'a Rim<'a>,
    problems: &'a mut Problems,
}

impl Look<'_> {
    fn servers(&mut self, list: &[String]) -> Vec<ServerUrl> {
        if list.is_empty() && !self.problems.mention("servers") {
            self.problems.add(
                "servers",
                "no API server is named",
                "\"servers\": [\"https://host:6443\"]",
            );
        }
        self.each("servers", list, "\"https://host:port\"", ServerUrl::parse)
    }

    /// Every entry through `parse`; none may be there twice.
    fn each<T: PartialEq>(
        &mut self,
        key: &str,
        list: &[String],
        allowed: &str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Vec<T> {
        let mut out = Vec::new();
        for (i, text) in list.iter().enumerate() {
            let at = format!("{key}[{i}]");
            match parse(text) {
                Ok(value) if out.contains(&value) => {
                    self.problems.add(
                        &at,
                        format!("{} is there for the second time", quoted(text)),
                        "each once",
                    );
                }
                Ok(value) => out.push(value),
                Err(why) => self.problems.add(
                    &at,
                    format!("{}: {why}", quoted(text)),
                    &format!("allowed: {allowed}"),
                ),
            }
        }
        out
    }

    fn one(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let allowed = "allowed: \"address:port\" with a port from 1 to 65535";
        address(text)
            .map_err(|why| {
                self.problems
                    .add(key, format!("{}: {why}", quoted(text)), allowed)
            })
            .ok()
    }

    fn path(&mut self, key: &str, text: &str) -> Option<PathBuf> {
        if text.is_empty() || text.contains('\0') {
            self.problems
                .add(key, "this is no path", "allowed: a path, best from /");
            return None;
        }
        Some(self.rim.base.join(text))
    }

    /// The links in the one lead into the other: were they the same, a link would lead to itself, and were the one in
    /// the other, flash would be written for what belongs into memory, or the cache would be gone with it.
    fn apart(&mut self, cache: Option<&Path>, run: Option<&Path>) {
        let (Some(cache), Some(run)) = (cache, run) else {
            return;
        };
        if cache.starts_with(run) || run.starts_with(cache) {
            // The place shown is that of the key which somebody wrote.
            let by_default = run == Path::new(&File::default().run_dir);
            let key = if by_default { "cache_dir" } else { "run_dir" };
            let what = format!(
                "cache_dir is {} and run_dir is {}: one lies within the other",
                cache.display(),
                run.display()
            );
            self.problems.add(
                key,
                what,
                "two folders beside each other: cache_dir on flash, run_dir in memory",
            );
        }
    }

    /// A file that must be there.
    fn file(&mut self, key: &str, text: &str) -> Option<PathBuf> {
        // The default stands in for a value that is wrong; looking for it would only confuse.
        if self.problems.mention(key) {
            return None;
        }
        let path = self.path(key, text)?;
        if let Err(why) = (self.rim.look)(&path) {
            let way_out = format!("put a readable one there, or set `{key}` to where it is");
            self.problems
                .add(key, format!("{}: {why}", path.display()), &way_out);
        }
        Some(path)
    }

    /// Both or none.
    fn pair(
        &mut self,
        cert: (&str, &Option<String>),
        key: (&str, &Option<String>),
    ) -> Option<PairFiles> {
        match (cert.1, key.1) {
            (None, None) => None,
            (Some(c), Some(k)) => {
                let (cert, key) = (self.file(cert.0, c), self.file(key.0, k));
                Some(PairFiles {
                    cert: cert?,
                    key: key?,
                })
            }
            (Some(_), None) => self.half(cert.0, key.0),
            (None, Some(_)) => self.half(key.0, cert.0),
        }
    }

    fn half(&mut self, there: &str, missing: &str) -> Option<PairFiles> {
        if !self.problems.mention(missing) {
            let way_out = format!(
                "set `{missing}` too (a file that holds both may be named twice), or neither"
            );
            self.problems
                .add(there, format!("it is set and `{missing}` is not"), &way_out);
        }
        None
    }

    fn client_from(&mut self, file: &File) -> ClientFrom {
        if file.client != "joined" {
            return ClientFrom::Files;
        }
        if file.client_cert.is_some() && !self.problems.mention("client") {
            let way_out = "take out `client_cert` and `client_key`, or `client`";
            self.problems
                .add("client", "`client_cert` names another pair", way_out);
        }
        ClientFrom::Joined
    }

    fn serving_from(&mut self, file: &File) -> ServingFrom {
        if file.serving != "csr" {
            return ServingFrom::HubCa;
        }
        if file.serving_cert.is_some() && !self.problems.mention("serving") {
            let way_out = "take out `serving_cert` and `serving_key`, or `serving`";
            self.problems
                .add("serving", "`serving_cert` names another pair", way_out);
        }
        let has_pair = file.client == "joined" || file.client_cert.is_some();
        if !has_pair && !self.problems.mention("serving") {
            let way_out = "\"client\": \"joined\" after `edge-hub join`, or set `client_cert` to the node's pair";
            self.problems.add(
                "serving",
                "the hub has no pair of its own to ask the cluster with",
                way_out,
            );
        }
        ServingFrom::Csr
    }

    fn identities(&mut self, file: &File) -> Vec<Identity> {
        if !file.identities.is_empty()
            && file.client_ca_file.is_none()
            && !self.problems.mention("client_ca_file")
        {
            let what = "nobody can be recognised without `client_ca_file`";
            self.problems.add(
                "identities",
                what,
                "set `client_ca_file` to the CA that signed the callers' certificates",
            );
        }
        let mut out: Vec<Identity> = Vec::new();
        for (i, entry) in file.identities.iter().enumerate() {
            if let Some(identity) = self.identity(&format!("identities[{i}]"), entry) {
                if out
                    .iter()
                    .any(|other| other.cn == identity.cn && other.o == identity.o)
                {
                    let what = format!("{} is there for the second time", quoted(&identity.cn));
                    self.problems
                        .add(&format!("identities[{i}].cn"), what, "each caller once");
                }
                out.push(identity);
            }
        }
        out
    }

    fn identity(&mut self, at: &str, entry: &FileIdentity) -> Option<Identity> {
        for (name, value) in [("cn", Some(&entry.cn)), ("o", entry.o.as_ref())] {
            if value
                .is_some_and(|value| value.trim().is_empty() || value.contains(char::is_control))
            {
                let way_out =
                    "allowed: what stands in the certificate's subject, such as system:node:NAME";
                self.problems
                    .add(&format!("{at}.{name}"), "this is no name", way_out);
            }
        }
        // Any wider pattern would take in who is not a node, and the pair is one node's own.
        if entry.cn.contains('*') && entry.cn != ANY_NODE {
            let way_out =
                "allowed: the whole name, or \"system:node:*\" for the node whose pair it is";
            let what = format!("{} is a pattern", quoted(&entry.cn));
            self.problems.add(&format!("{at}.cn"), what, way_out);
        }
        let cert = self.file(&format!("{at}.cert"), &entry.cert);
        let key = self.file(&format!("{at}.key"), &entry.key);
        Some(Identity {
            cn: entry.cn.clone(),
            o: entry.o.clone(),
            pair: PairFiles {
                cert: cert?,
                key: key?,
            },
        })
    }

    fn node_name(&mut self, given: Option<String>) -> Option<String> {
        if self.problems.mention("node_name") {
            return None;
        }
        let from_host = given.is_none();
        let name = given.or_else(|| self.rim.host_name.clone());
        match name {
            Some(name) if is_node_name(&name) => return Some(name),
            Some(name) if from_host => {
                let what = format!("the host name {} cannot be a node's name", quoted(&name));
                self.problems.add(
                    "node_name",
                    what,
                    "set `node_name` to the name under `kubectl get nodes`",
                );
            }
            Some(name) => {
                let way_out =
                    "allowed: lower-case letters, digits, - and . as under `kubectl get nodes`";
                self.problems.add(
                    "node_name",
                    format!("{} cannot be a node's name", quoted(&name)),
                    way_out,
                );
            }
            None => {
                let way_out = "set `node_name` to the name under `kubectl get nodes`";
                self.problems.add(
                    "node_name",
                    "it is not set, and the machine has no host name",
                    way_out,
                );
            }
        }
        None
    }

    fn own_addresses(&mut self, list: &[String]) -> Vec<IpAddr> {
        self.each(
            "own_addresses",
            list,
            "an address such as \"169.254.2.1\" or \"fd00::2:1\"",
            |text| match text.parse::<IpAddr>() {
                Ok(ip) if ip.is_unspecified() || ip.is_multicast() => Err("no device can have it"),
                Ok(ip) if ip.is_loopback() => Err("every machine has it already"),
                Ok(ip) => Ok(ip),
                Err(_) if text.contains('/') => {
                    Err("without the prefix length; the hub takes /32 and /128")
                }
                Err(_) => Err("this is no address"),
            },
        )
    }

    /// What is said there is said in the clear and under the node's name, so nobody from elsewhere can reach it.
    fn local_listen(&mut self, given: Option<&str>) -> Option<SocketAddr> {
        let at = self.one("local_listen", given?)?;
        if !at.ip().is_loopback() {
            let what = format!("{at} can be reached from elsewhere, and there is no TLS there");
            let way_out = "allowed: a loopback address, such as \"127.0.0.1:10261\"";
            self.problems.add("local_listen", what, way_out);
        }
        Some(at)
    }

    /// Two listeners must not want the same port of the same address.
    fn listeners(
        &mut self,
        listen: &[SocketAddr],
        admin: Option<SocketAddr>,
        local: Option<SocketAddr>,
    ) {
        if listen.is_empty() && !self.problems.mention("listen") {
            self.problems.add(
                "listen",
                "the hub would serve nobody",
                "\"listen\": [\"127.0.0.1:10268\"]",
            );
        }
        for (i, a) in listen.iter().enumerate() {
            if let Some(b) = listen.iter().take(i).find(|b| collide(a, b)) {
                let what = format!("{a} and {b} overlap");
                self.problems.add(
                    &format!("listen[{i}]"),
                    what,
                    "take out one of the two, or give it another port",
                );
            }
        }
        for (key, at) in [("admin_listen", admin), ("local_listen", local)] {
            let Some(a) = at else { continue };
            if let Some(b) = listen.iter().find(|b| collide(&a, b)) {
                let what = format!("{a} is also in `listen` ({b})");
                self.problems.add(key, what, "give it another port");
            }
        }
        if let (Some(a), Some(b)) = (local, admin)
            && collide(&a, &b)
        {
            let what = format!("{a} is also `admin_listen` ({b})");
            self.problems
                .add("local_listen", what, "give it another port");
        }
    }

    /// A hub that is its own server would ask itself for ever.
    fn no_circle(&mut self, servers: &[ServerUrl], listen: &[SocketAddr], own: &[IpAddr]) {
        for (i, server) in servers.iter().enumerate() {
            let Host::Ip(ip) = server.host else { continue };
            let port = listen
                .iter()
                .any(|at| at.port() == server.port && (at.ip() == ip || at.ip().is_unspecified()));
            if port
                && (ip.is_loopback() || own.contains(&ip) || listen.iter().any(|at| at.ip() == ip))
            {
                let what = format!("{server} is the hub itself");
                self.problems.add(
                    &format!("servers[{i}]"),
                    what,
                    "name the API server of the cluster",
                );
            }
        }
    }

    fn probes(&mut self, file: &File) {
        let (min, max) = (file.probe_min_ms, file.probe_max_ms);
        if min > max {
            // The place shown is that of the key which somebody wrote.
            let by_default = min == File::default().probe_min_ms;
            let key = if by_default {
                "probe_max_ms"
            } else {
                "probe_min_ms"
            };
            let what = format!("probe_min_ms is {min} and probe_max_ms is {max}");
            self.problems
                .add(key, what, "the least wait is not above the longest");
        }
    }

    fn log(&mut self, text: &str) {
        if !log_filter(text) {
            let way_out = "allowed: off, error, warn, info, debug or trace, or module=level, with commas between";
            self.problems
                .add("log", format!("{} is no log filter", quoted(text)), way_out);
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    match text.parse::<SocketAddr>() {
        Ok(at) if at.port() == 0 => Err("port 0 would be another one at each start"),
        Ok(at) if at.ip().is_multicast() => Err("nobody can listen there"),
        Ok(at) => Ok(at),
        Err(_) if text.parse::<IpAddr>().is_ok() => {
            Err("the port is missing (an IPv6 address stands in brackets)")
        }
        Err(_) if text.contains("://") => Err("without https://"),
        Err(_) if text.starts_with(':') => {
            Err("the address is missing; 0.0.0.0 and [::] are all of them")
        }
        Err(_) => Err("this is no address with a port; names are not looked up here"),
    }
}

fn collide(a: &SocketAddr, b: &SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (a.ip() == b.ip() || (any && a.is_ipv4() == b.is_ipv4()))
}
