//! All certificates and keys that a configuration names, loaded and checked as one: taken over together, or not at all.

use super::client_config::client_config;
use super::csr::Signer;
use super::hub_ca::{HubCa, HubCaError};
use super::issued::Place;
use super::load::{Authorities, LoadError, Pair};
use super::sans::Sans;
use super::server_config::{ServerConfigError, ServingPair, server_config};
use super::subject::Subject;
use crate::access::Rules;
use crate::config::{ClientFrom, Config, Identity, San, ServingFrom, is_node_name};
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
    /// The usable entries of `identities`, each with what it is known by.
    identities: Vec<(Entry, Pair)>,
    serving: Pair,
    /// What the cluster has issued for the same, if it is asked to; in use while it is in date.
    signed: Option<Pair>,
    /// What a person should mend.
    pub warnings: Vec<String>,
}

/// An entry of `identities` without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    cn: String,
    o: Option<String>,
}

impl Entry {
    fn of(identity: &Identity) -> Entry {
        Entry {
            cn: identity.cn.clone(),
            o: identity.o.clone(),
        }
    }
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
    /// Loads everything. A pair for the way up that cannot be used is said, and stays as it was in `before`, or is left
    /// out, and so is a pair that the cluster has issued; anything else that is wrong fails the whole. `unkept` are issued
    /// pairs that could not be written.
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
            (ClientFrom::Files, Some(files)) => {
                let loaded = Pair::load(&files.cert, &files.key);
                loaded.map_or_else(
                    |why| {
                        let loaded = before.and_then(|before| before.node.clone());
                        warnings.push(match &loaded {
                            Some(_) => {
                                format!("client_cert: the pair loaded before stays in use: {why}")
                            }
                            None => format!("client_cert: refused: {why}"),
                        });
                        loaded
                    },
                    Some,
                )
            }
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
        let mut identities: Vec<(Entry, Pair)> = Vec::new();
        for identity in &config.identities {
            let entry = Entry::of(identity);
            let before = before.and_then(|before| before.identity(&entry));
            match (pair_of(identity), before) {
                (Ok(pair), _) => identities.push((entry, pair)),
                (Err(why), Some(loaded)) => {
                    warnings.push(format!(
                        "identities, cn={}: the pair loaded before stays in use: {why}",
                        identity.cn
                    ));
                    identities.push((entry, loaded));
                }
                (Err(why), None) => {
                    warnings.push(format!("identities, cn={}: refused: {why}", identity.cn))
                }
            }
        }
        // Who shows the node's own name is the node, and needs no entry.
        if let (ClientFrom::Joined, Some(_), Some(pair)) = (config.client_from, &clients, &node)
            && let Some(cn) = &pair.subject().common_name
        {
            let entry = Entry {
                cn: cn.clone(),
                o: None,
            };
            identities.push((entry, pair.clone()));
        }
        let keys = config.client.iter().chain(&config.serving);
        let keys = keys.chain(config.identities.iter().map(|identity| &identity.pair));
        for exposed in keys.filter_map(|files| private(&files.key).err()) {
            let told = exposed.to_string();
            // One file may be named for several.
            if !warnings.contains(&told) {
                warnings.push(told);
            }
        }
        let servers =
            Authorities::load(&config.ca_file).map_err(|e| PapersError::Load("ca_file", e))?;
        clock.raise_floor(servers.newest_not_before_unix_secs());
        for pair in node.iter().chain(identities.iter().map(|(_, p)| p)) {
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

    /// What was loaded for the same entry.
    fn identity(&self, entry: &Entry) -> Option<Pair> {
        let loaded = self.identities.iter().find(|(e, _)| e == entry);
        loaded.map(|(_, pair)| pair.clone())
    }

    /// For whom there is a pair.
    pub fn rules(&self) -> Rules {
        let fingerprint = |pair: &Pair| pair.subject().fingerprint();
        Rules {
            pairs: (self.identities.iter())
                .map(|(_, p)| fingerprint(p))
                .collect(),
            node: self.node.as_ref().map(fingerprint),
        }
    }

    /// The pair that goes up for each subject. Of several for one, as when the node's own is also the kubelet's, the one
    /// that lasts longest.
    fn ways_up(&self) -> Vec<([u8; 32], &Pair)> {
        let mut ways: Vec<([u8; 32], &Pair)> = Vec::new();
        let identities = self.identities.iter().map(|(_, pair)| pair);
        for pair in identities.chain(&self.node) {
            let subject = pair.subject().fingerprint();
            match ways.iter_mut().find(|(known, _)| *known == subject) {
                None => ways.push((subject, pair)),
                Some((_, best)) if best.not_after_unix_secs() < pair.not_after_unix_secs() => {
                    *best = pair;
                }
                Some(_) => {}
            }
        }
        ways
    }

    /// When the pair that goes up for this subject ends, in unix seconds. `None`: there is none.
    pub fn way_up_ends(&self, subject: &[u8; 32]) -> Option<u64> {
        let ways = self.ways_up();
        let found = ways.iter().find(|(known, _)| known == subject);
        found.map(|(_, pair)| pair.not_after_unix_secs())
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
        let pairs: Vec<([u8; 32], Arc<ClientConfig>)> = (self.ways_up().into_iter())
            .map(|(subject, pair)| Ok((subject, make(Some(pair))?)))
            .collect::<Result<_, _>>()?;
        Ok(Rc::new(move |way| match way {
            Way::Bearer => Some(Arc::clone(&bearer)),
            Way::Anonymous => Some(Arc::clone(&anonymous)),
            Way::Node => node.clone(),
            Way::Pair(subject) => {
                let found = pairs.iter().find(|(known, _)| known == subject);
                found.map(|(_, config)| Arc::clone(config))
            }
        }))
    }

    /// As whom the hub asks for itself: with the pair that is its own, or else with that of this node's kubelet.
    pub fn own(&self, node_name: &str) -> Option<(Way, &Subject)> {
        if let Some(pair) = &self.node {
            return Some((Way::Node, pair.subject()));
        }
        let user = format!("system:node:{node_name}");
        let is_it = |subject: &&Subject| subject.common_name.as_ref() == Some(&user);
        let mut subjects = self.identities.iter().map(|(_, pair)| pair.subject());
        let subject = subjects.find(is_it)?;
        Some((Way::Pair(subject.fingerprint()), subject))
    }

    /// Whether everything at the door is as it was: the serving pair, and whose certificates are accepted and for whom.
    pub fn same_door(&self, other: &Papers) -> bool {
        self.serving.fingerprint() == other.serving.fingerprint()
            && self.same_clients(other)
            && self.rules() == other.rules()
    }

    /// Whether certificates of clients are of the same CAs.
    pub fn same_clients(&self, other: &Papers) -> bool {
        same_roots(self.clients.as_ref(), other.clients.as_ref())
    }

    /// The ways whose connections are no longer what they should be: all of them if the CA of the servers has changed, else
    /// those of pairs that are others, or gone.
    pub fn changed_ways(&self, before: &Papers) -> ChangedWays {
        if !same_roots(Some(&self.servers), Some(&before.servers)) {
            return ChangedWays::All;
        }
        let of = |papers: &Papers| -> Vec<(Way, [u8; 32])> {
            let ways = papers.ways_up().into_iter();
            let pairs = ways.map(|(subject, pair)| (Way::Pair(subject), pair.fingerprint()));
            let node = papers
                .node
                .iter()
                .map(|pair| (Way::Node, pair.fingerprint()));
            pairs.chain(node).collect()
        };
        let (now, before) = (of(self), of(before));
        let gone = before.iter().filter(|way| !now.contains(way));
        let come = now.iter().filter(|way| !before.contains(way));
        ChangedWays::These(gone.chain(come).map(|(way, _)| *way).collect())
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
                .map(|(entry, pair)| (format!("identity {}", entry.cn), pair)),
        );
        all
    }
}

/// See [`Papers::changed_ways`].
#[derive(Debug, PartialEq, Eq)]
pub enum ChangedWays {
    All,
    These(Vec<Way>),
}

impl ChangedWays {
    pub fn is_empty(&self) -> bool {
        *self == ChangedWays::These(Vec::new())
    }

    pub fn contains(&self, way: Way) -> bool {
        match self {
            ChangedWays::All => true,
            ChangedWays::These(ways) => ways.contains(&way),
        }
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
fn pair_of(identity: &Identity) -> Result<Pair, String> {
    let pair = Pair::load(&identity.pair.cert, &identity.pair.key).map_err(|e| e.to_string())?;
    match is_of(identity, pair.subject()) {
        true => Ok(pair),
        false => Err(format!(
            "{} is for another subject; the pair must be the caller's own",
            identity.pair.cert.display()
        )),
    }
}

/// Whether the subject is the one that the entry names.
pub fn is_of(identity: &Identity, subject: &Subject) -> bool {
    let name = subject.common_name.as_deref().unwrap_or_default();
    let same_name = match identity.cn.strip_suffix('*') {
        // Whichever node this is: who comes must still be the pair's own subject, and so this very node.
        Some(prefix) => {
            name.strip_prefix(prefix).is_some_and(is_node_name)
                && (subject.organizations.iter()).any(|o| o == NODES)
        }
        None => name == identity.cn,
    };
    let has = |o: &String| subject.organizations.contains(o);
    same_name && identity.o.as_ref().is_none_or(has)
}

/// The group of all nodes.
const NODES: &str = "system:nodes";

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::pem;
    use crate::sys::file::TestDirectory;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A pair that begins in this year, as text.
    fn made(year: i32) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        pem::encode("CERTIFICATE", certificate.der())
            + &pem::encode("PRIVATE KEY", key.serialized_der())
    }

    #[test]
    fn of_what_was_issued_the_later_one_is_used_and_nothing_is_lost_that_was_loaded() {
        let directory = TestDirectory::new();
        let place = Place::new(directory.path(), Signer::Client);
        let pair = |year| Pair::read_pem(made(year).as_bytes(), &place.pair()).unwrap();
        let (older, newer) = (pair(2020), pair(2022));
        let put = |text: &str, mode| {
            fs::write(place.pair(), text).unwrap();
            fs::set_permissions(place.pair(), fs::Permissions::from_mode(mode)).unwrap();
        };
        let look = |before: Option<&Pair>, unkept: Option<&Pair>| {
            let mut warnings = Vec::new();
            let found = issued(&place, before, unkept, &mut warnings);
            (found, warnings.concat())
        };
        assert_eq!(look(None, None), (None, String::new()));
        assert_eq!(
            look(None, Some(&older)),
            (Some(older.clone()), String::new())
        );
        let (found, warning) = look(Some(&older), None);
        assert_eq!(found.as_ref(), Some(&older));
        assert!(
            warning.contains("stays in use until the hub ends"),
            "{warning}"
        );

        let text = made(2021);
        put(&text, 0o600);
        let kept = Pair::read_pem(text.as_bytes(), &place.pair()).unwrap();
        assert_eq!(
            look(Some(&newer), None),
            (Some(kept.clone()), String::new())
        );
        assert_eq!(look(None, Some(&older)).0, Some(kept));
        assert_eq!(look(None, Some(&newer)).0, Some(newer.clone()));
        put(&text, 0o640);
        assert!(look(None, None).1.contains("chmod 0600"));

        // A torn file, which only somebody else can have made.
        put(&text[..text.len() / 2], 0o600);
        let (found, warning) = look(Some(&newer), None);
        assert_eq!(found, Some(newer));
        assert!(
            warning.contains("PEM") && warning.contains("stays in use"),
            "{warning}"
        );
        assert_eq!(look(None, None).0, None);
    }
}
