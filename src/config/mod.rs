//! The configuration: one JSON file, read into plain values, checked once, and from then on a type that cannot be wrong.
//! It never opens a socket, and of the files that it names it only looks whether they are there.

mod build;
mod error;
mod file;
mod keys;
pub mod live;
mod places;
mod values;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{ConfigError, Problem};
pub use file::{File, FileIdentity};
pub use keys::{
    IDENTITY_KEYS, KEYS, Key, Kind, Reload, changed, keep_until_restart, known, nearest,
};
pub(crate) use values::is_node_name;
pub use values::{
    AgentRule, ClientFrom, FilterRule, Host, Identity, Mode, Neighbours, PairFiles, San, ServerUrl,
    ServingFrom, StoreKind, WorkingMode, log_filter,
};

use crate::limits::CONFIG_BYTES_MAX;
use crate::sys::file::{FileFault, read_bounded};

/// Where the file is, unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/edge-hub/config.json";

/// What the hub was told to do. Every value here has been checked; code further in does not check again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The API servers, at least one, none twice, in the order of the file.
    pub servers: Vec<ServerUrl>,
    /// How one of several servers is chosen.
    pub mode: Mode,
    /// What the hub is there for.
    pub working_mode: WorkingMode,
    /// The cluster's CA certificates, PEM.
    pub ca_file: PathBuf,
    /// The node's own certificate and key towards the servers.
    pub client: Option<PairFiles>,
    /// Invariant: where the node has joined, no files are named.
    pub client_from: ClientFrom,
    /// The CA whose client certificates are accepted at the door, PEM. Without it none is asked for.
    pub client_ca_file: Option<PathBuf>,
    /// Which certificate holder goes up with which pair. No subject stands here twice.
    pub identities: Vec<Identity>,
    /// The node's name as Kubernetes knows it: a lower-case DNS subdomain.
    pub node_name: String,
    /// Where the hub serves, at least one, none twice, no port 0.
    pub listen: Vec<SocketAddr>,
    /// The addresses that the hub itself puts on a device; empty: it leaves the network alone.
    pub own_addresses: Vec<IpAddr>,
    /// What becomes of connections from other machines to a loopback or link-local address.
    pub neighbours: Neighbours,
    /// Where the node's own programs are served, plain HTTP. Invariant: a loopback address.
    pub local_listen: Option<SocketAddr>,
    /// Whose programs these may be.
    pub local_uids: Vec<u32>,
    /// Where operators and Prometheus ask, plain HTTP.
    pub admin_listen: SocketAddr,
    /// The serving certificate and key; without them the hub's own CA issues one.
    pub serving: Option<PairFiles>,
    /// Invariant: where the cluster signs, no files are named, and there is a pair to ask with.
    pub serving_from: ServingFrom,
    /// Further names and addresses for the certificate that the hub's own CA or the cluster issues.
    pub extra_sans: Vec<San>,
    /// Where the hub keeps its CA, and the key to the cache unless `seal_key_file` is set.
    pub state_dir: PathBuf,
    /// Where answers are kept. Invariant: in memory where none are kept.
    pub store: StoreKind,
    /// The ring lies in `_internal/ring` below it, and a link for each agent. Invariant: neither lies within the other
    /// of this and `run_dir`.
    pub cache_dir: PathBuf,
    /// Bytes that all kept answers may take together; with the ring, of its files.
    pub cache_bytes_max: usize,
    /// How long a change may wait in RAM before it is written to flash; one of a status alone,
    /// [`crate::limits::STATUS_FLUSH_FACTOR`] times that.
    pub flush: Duration,
    /// Bytes that may be written to flash in a day.
    pub daily_write_bytes: u64,
    /// What the ring is sealed with; `None`: the hub's own key below `state_dir`. Whether it is there is looked at when
    /// it is needed: its partition may come up later, and the hub has to start without it.
    pub seal_key_file: Option<PathBuf>,
    /// On tmpfs: what is shown of the cache, and the control socket.
    pub run_dir: PathBuf,
    /// Whose answers are kept, beside the built-in list.
    pub cache_agents: Vec<AgentRule>,
    /// Whether the issuer's keys may be asked for with a caller's token.
    pub jwks_from_callers: bool,
    /// How long an answer to a review may be given again; zero: not at all.
    pub review_age_max: Duration,
    /// Which filters are for whom, beside the built-in list.
    pub filters: Vec<FilterRule>,
    /// How long open requests may go on after SIGTERM.
    pub drain: Duration,
    /// What is logged, in the form of `RUST_LOG`, which overrides it.
    pub log: String,
    /// A connection upstream this long without a byte is asked by PING whether it lives.
    pub ping_after: Duration,
    /// This long without an answer to the PING: the connection is dead.
    pub ping_wait: Duration,
    /// How long one address of a server may take to accept a connection.
    pub connect_timeout: Duration,
    /// The first wait between two probes of a server that is down.
    pub probe_min: Duration,
    /// The longest wait between two probes of a server that is down. Invariant: not below `probe_min`.
    pub probe_max: Duration,
    /// How long a client may take for its TLS handshake and for the head of a request.
    pub header_timeout: Duration,
    /// How long the client of a watch may take nothing, though there are events for it. A kubelet on a busy machine
    /// pauses for seconds.
    pub stalled_watch: Duration,
    /// Client connections open at once.
    pub connections_max: usize,
}

impl Config {
    /// Reads and checks the file. Says everything that is wrong, not only the first thing.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let bytes = read(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        Config::from_bytes(
            &bytes,
            path,
            &Rim {
                base,
                host_name: host_name(),
                look: &look,
            },
        )
    }

    /// Every file of certificates or keys that it names.
    pub fn paper_files(&self) -> impl Iterator<Item = &Path> {
        let identities = self.identities.iter().map(|identity| &identity.pair);
        let pairs = self.client.iter().chain(&self.serving).chain(identities);
        let files = pairs.flat_map(|pair| [&pair.cert, &pair.key]);
        let authorities = std::iter::once(&self.ca_file).chain(&self.client_ca_file);
        authorities.chain(files).map(PathBuf::as_path)
    }

    /// The pure part of [`Config::load`]. `path` is only for messages.
    pub fn from_bytes(bytes: &[u8], path: &Path, rim: &Rim<'_>) -> Result<Config, ConfigError> {
        let text = error::text_of(bytes, path)?;
        let (file, mut problems) = file::parse(text, path)?;
        let config = build::build(file, rim, &mut problems);
        problems.finish(text, path, config)
    }
}

/// What the checks need to know from outside the file.
pub struct Rim<'a> {
    /// Relative paths in the file start here: the folder of the file itself.
    pub base: &'a Path,
    /// The machine's name, if it has one.
    pub host_name: Option<String>,
    /// Whether a file can be read; if not, why not, in words.
    pub look: &'a dyn Fn(&Path) -> Result<(), String>,
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    read_bounded(path, CONFIG_BYTES_MAX).map_err(|error| match error.fault {
        FileFault::TooLarge { max_bytes } => ConfigError::TooLarge {
            path: error.path,
            bytes_max: max_bytes,
        },
        FileFault::Read(cause) => ConfigError::Read {
            path: error.path,
            cause,
        },
        _ => ConfigError::Read {
            path: error.path,
            cause: std::io::Error::other("it is not a file"),
        },
    })
}

/// Whether `path` is a regular file that this process may read.
fn look(path: &Path) -> Result<(), String> {
    // The kind first: opening a pipe would wait for its writer.
    let meta = fs::metadata(path).map_err(|e| in_words(&e))?;
    if !meta.is_file() {
        return Err("it is not a file".to_owned());
    }
    fs::File::open(path).map(drop).map_err(|e| in_words(&e))
}

fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => {
            "it may not be read by the user that runs edge-hub".to_owned()
        }
        _ => format!("it cannot be read ({error})"),
    }
}

/// The machine's name as the kubelet would take it: trimmed, lower case.
pub(crate) fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()?
        .trim()
        .to_ascii_lowercase();
    // The kernel says "(none)" before anybody has named the machine.
    (!name.is_empty() && name != "(none)").then_some(name)
}

/// Where the admin listener of the file is, whatever else is wrong with the file or the machine; else where it is by
/// default. For those who only want to ask a hub that runs.
pub fn admin_listen(path: &Path) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 10267));
    let named = || {
        let bytes = read(path).ok()?;
        let value: serde_json::Value =
            serde_json::from_str(error::text_of(&bytes, path).ok()?).ok()?;
        value.get("admin_listen")?.as_str()?.parse().ok()
    };
    named().unwrap_or(default)
}
