//! All certificates and keys that a configuration names, loaded and checked as one: taken over together, or not at all.

use super::client_config::client_config;
use super::csr::{self, Signer};
use super::hub_ca::{HubCa, HubCaError};
use super::issued::Place;
use super::load::{Authorities, LoadError, Pair};
use super::sans::Sans;
use super::server_config::{ServerConfigError, ServingPair, server_config};
use super::subject::Subject;
use crate::access::Rule;
use crate::config::{ClientFrom, Config, San, ServingFrom};
use crate::sys::clock::Clock;
use crate::sys::file::private;
use crate::upstream::{TlsFor, Way};
use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// What was loaded.
pub struct Papers {
    servers: Authorities,
    node: Option<Pair>,
    clients: Option<Authorities>,
    /// The usable entries of `identities`.
    identities: Vec<(Rule, Pair)>,
    serving: Pair,
    /// What the cluster has issued for the same, if it is asked to; in use while it is in date.
    signed: Option<Pair>,
    /// What a person should mend.
    pub warnings: Vec<String>,
}

/// Why nothing was loaded.
#[derive(Debug)]
pub enum PapersError {
    Load(&'static str, LoadError),
    HubCa(HubCaError),
    Server(ServerConfigError),
    Client(rustls::Error),
}

impl fmt::Display for PapersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PapersError::Load(key, error) => write!(f, "{key}: {error}"),
            PapersError::HubCa(error) => write!(f, "the hub's own CA: {error}"),
            PapersError::Server(error) => error.fmt(f),
            PapersError::Client(error) => {
                write!(f, "cannot set up TLS towards the servers: {error}")
            }
        }
    }
}

impl std::error::Error for PapersError {}

impl Papers {
    /// Loads everything. An entry of `identities` that cannot be used is said, and stays as it was in `before`, or is
    /// left out, and so is a pair that the cluster has issued; anything else that is wrong fails the whole. `unkept` are
    /// issued pairs that could not be written.
    pub fn load(
        config: &Config,
        hub_ca: &mut HubCa,
        cluster_ips: &[IpAddr],
        clock: &Clock,
        before: Option<&Papers>,
        unkept: &[(Signer, Pair)],
    ) -> Result<Papers, PapersError> {
        let mut warnings = Vec::new();
        let mut issued = |signer| {
            let before = before.and_then(|before| before.issued(signer));
            let unkept = unkept.iter().find(|(of, _)| *of == signer);
            let place = Place::new(&config.state_dir, signer);
            issued(&place, before, unkept.map(|(_, pair)| pair), &mut warnings)
        };
        let signed = match config.serving_from {
            ServingFrom::Csr => issued(Signer::Serving),
            ServingFrom::HubCa => None,
        };
        let node = match (config.client_from, &config.client) {
            (ClientFrom::Joined, _) => {
                let pair = issued(Signer::Client);
                if pair.is_none() {
                    warnings.push(format!(
                        "client: this node has not joined, or its pair is gone from {}; `edge-hub join` gets one",
                        config.state_dir.display()
                    ));
                }
                pair
            }
            (ClientFrom::Files, Some(files)) => Some(
                Pair::load(&files.cert, &files.key)
                    .map_err(|e| PapersError::Load("client_cert", e))?,
            ),
            (ClientFrom::Files, None) => None,
        };
        let in_date = |pair: &&Pair| clock.now() <= pair.not_after_unix_secs();
        let serving = match (&config.serving, signed.as_ref().filter(in_date)) {
            (Some(files), _) => Pair::load(&files.cert, &files.key)
                .map_err(|e| PapersError::Load("serving_cert", e))?,
            (None, Some(signed)) => signed.clone(),
            (None, None) => {
                let (pair, told) = hub_ca
                    .serving(&sans(config, cluster_ips))
                    .map_err(PapersError::HubCa)?;
                warnings.extend(told.iter().map(ToString::to_string));
                pair
            }
        };
        let clients = match &config.client_ca_file {
            Some(path) => {
                Some(Authorities::load(path).map_err(|e| PapersError::Load("client_ca_file", e))?)
            }
            None => None,
        };
        let mut identities = Vec::new();
        for identity in &config.identities {
            match identity_of(identity) {
                Ok(usable) => identities.push(usable),
                Err(why) => match before.and_then(|before| before.identity(identity)) {
                    Some(loaded) => {
                        warnings.push(format!(
                            "identities, cn={}: the pair loaded before stays in use: {why}",
                            identity.cn
                        ));
                        identities.push(loaded);
                    }
                    None => {
                        warnings.push(format!("identities, cn={}: refused: {why}", identity.cn))
                    }
                },
            }
        }
        // Who shows the node's own name is the node, and needs no entry.
        if let (ClientFrom::Joined, Some(_), Some(pair)) = (config.client_from, &clients, &node)
            && let Some(common_name) = &pair.subject().common_name
            && !identities
                .iter()
                .any(|(rule, _)| rule.common_name == *common_name)
        {
            let rule = Rule {
                common_name: common_name.clone(),
                organization: Some(csr::GROUP.to_owned()),
            };
            identities.push((rule, pair.clone()));
        }
        let servers =
            Authorities::load(&config.ca_file).map_err(|e| PapersError::Load("ca_file", e))?;
        clock.raise_floor(servers.newest_not_before_unix_secs());
        for pair in node.iter().chain(identities.iter().map(|(_, pair)| pair)) {
            clock.raise_floor(pair.not_before_unix_secs());
        }
        Ok(Papers {
            servers,
            node,
            clients,
            identities,
            serving,
            signed,
            warnings,
        })
    }

    /// The pair that this signer has issued to the hub, if it was asked to.
    pub fn issued(&self, signer: Signer) -> Option<&Pair> {
        match signer {
            Signer::Client => self.node.as_ref(),
            Signer::Serving => self.signed.as_ref(),
        }
    }

    /// What was loaded for the same caller.
    fn identity(&self, identity: &crate::config::Identity) -> Option<(Rule, Pair)> {
        let same = |rule: &Rule| rule.common_name == identity.cn && rule.organization == identity.o;
        self.identities.iter().find(|(rule, _)| same(rule)).cloned()
    }

    /// Who may come with a certificate, in the order of [`Way::Pair`].
    pub fn rules(&self) -> Rc<[Rule]> {
        self.identities
            .iter()
            .map(|(rule, _)| rule.clone())
            .collect()
    }

    /// TLS at the door.
    pub fn server_config(&self, clock: &Arc<Clock>) -> Result<Arc<ServerConfig>, PapersError> {
        let serving = ServingPair::new(&self.serving);
        server_config(serving, self.clients.as_ref(), Arc::clone(clock))
            .map_err(PapersError::Server)
    }

    /// TLS towards the servers, one configuration for each identity: sessions carry it.
    pub fn upstream_tls(&self, clock: &Arc<Clock>) -> Result<TlsFor, PapersError> {
        let make = |own: Option<&Pair>| {
            client_config(
                self.servers.roots(),
                own,
                &[b"h2", b"http/1.1"],
                Arc::clone(clock),
            )
            .map_err(PapersError::Client)
        };
        let bearer = make(None)?;
        let anonymous = make(None)?;
        let node = self
            .node
            .as_ref()
            .map(|pair| make(Some(pair)))
            .transpose()?;
        let pairs: Vec<Arc<ClientConfig>> = self
            .identities
            .iter()
            .map(|(_, pair)| make(Some(pair)))
            .collect::<Result<_, _>>()?;
        Ok(Rc::new(move |way| match way {
            Way::Bearer => Some(Arc::clone(&bearer)),
            Way::Anonymous => Some(Arc::clone(&anonymous)),
            Way::Node => node.clone(),
            Way::Pair(at) => pairs.get(usize::from(*at)).cloned(),
        }))
    }

    /// Whether anything at the door has changed: the serving pair, or whose certificates are accepted and for whom.
    pub fn same_door(&self, other: &Papers) -> bool {
        self.serving.fingerprint() == other.serving.fingerprint()
            && same_roots(self.clients.as_ref(), other.clients.as_ref())
            && self.rules() == other.rules()
    }

    /// Whether everything that goes up is as it was: the CA of the servers, and all pairs in their order.
    pub fn same_way_up(&self, other: &Papers) -> bool {
        let pairs = |papers: &Papers| -> Vec<[u8; 32]> {
            let identities = papers.identities.iter().map(|(_, pair)| pair);
            identities.map(Pair::fingerprint).collect()
        };
        same_roots(Some(&self.servers), Some(&other.servers))
            && self.node.as_ref().map(Pair::fingerprint)
                == other.node.as_ref().map(Pair::fingerprint)
            && pairs(self) == pairs(other)
            && self.rules() == other.rules()
    }

    /// Each certificate that the hub uses: what for, and which.
    pub fn pairs(&self) -> Vec<(String, &Pair)> {
        let mut all = vec![("serving".to_owned(), &self.serving)];
        all.extend(self.node.iter().map(|pair| ("client".to_owned(), pair)));
        let of_node = |pair: &Pair| self.node.as_ref() == Some(pair);
        all.extend(
            self.identities
                .iter()
                .filter(|(_, pair)| !of_node(pair))
                .map(|(rule, pair)| (format!("identity {}", rule.common_name), pair)),
        );
        all
    }
}

fn same_roots(a: Option<&Authorities>, b: Option<&Authorities>) -> bool {
    let keys = |authorities: Option<&Authorities>| {
        authorities.map(|authorities| {
            let roots = authorities.roots();
            let keys = roots
                .roots
                .iter()
                .map(|r| r.subject_public_key_info.to_vec());
            keys.collect::<Vec<_>>()
        })
    };
    keys(a) == keys(b)
}

/// A pair goes up for its own subject alone: anything else would lend an identity.
fn identity_of(identity: &crate::config::Identity) -> Result<(Rule, Pair), String> {
    let pair = Pair::load(&identity.pair.cert, &identity.pair.key).map_err(|e| e.to_string())?;
    if !is_of(identity, pair.subject()) {
        return Err(format!(
            "{} is for another subject; the pair must be the caller's own",
            identity.pair.cert.display()
        ));
    }
    let rule = Rule {
        common_name: identity.cn.clone(),
        organization: identity.o.clone(),
    };
    Ok((rule, pair))
}

/// Whether the subject is the one that the entry names.
pub fn is_of(identity: &crate::config::Identity, subject: &Subject) -> bool {
    let same_name = subject.common_name.as_ref() == Some(&identity.cn);
    let same_organization = identity
        .o
        .as_ref()
        .is_none_or(|o| subject.organizations.contains(o));
    same_name && same_organization
}

/// What the cluster has issued: of what is kept and what could not be written, the later one. Where a file is broken or
/// gone, what was loaded before stays in use.
fn issued(
    place: &Place,
    before: Option<&Pair>,
    unkept: Option<&Pair>,
    warnings: &mut Vec<String>,
) -> Option<Pair> {
    let path = place.pair();
    let kept = match place.load() {
        Ok(Some(kept)) => {
            warnings.extend(private(&path).err().map(|error| error.to_string()));
            Some(kept)
        }
        Ok(None) => None,
        Err(error) => {
            warnings.push(error.to_string());
            None
        }
    };
    if let (None, None, Some(before)) = (&kept, unkept, before) {
        warnings.push(format!(
            "{} cannot be read, and the pair loaded before stays in use until the hub ends",
            path.display()
        ));
        return Some(before.clone());
    }
    let begins = |pair: &Pair| pair.not_before_unix_secs();
    kept.into_iter().chain(unkept.cloned()).max_by_key(begins)
}

/// The names that the hub is called by.
pub fn sans(config: &Config, cluster_ips: &[IpAddr]) -> Sans {
    let mut sans = Sans::default();
    let listening = config
        .listen
        .iter()
        .map(|a| a.ip())
        .filter(|ip| !ip.is_unspecified());
    for ip in listening
        .chain(config.own_addresses.iter().copied())
        .chain(cluster_ips.iter().copied())
    {
        let _ = sans.add_ip(ip);
    }
    let fixed = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    // Names were checked with the configuration; what is over the certificate's bound is left out.
    for name in fixed.into_iter().chain([config.node_name.as_str()]) {
        let _ = sans.add(name);
    }
    for extra in &config.extra_sans {
        let _ = match extra {
            San::Name(name) => sans.add(name),
            San::Ip(ip) => sans.add_ip(*ip),
        };
    }
    sans
}
