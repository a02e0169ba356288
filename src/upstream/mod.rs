//! Connections to the API server: pools, order of servers, headers, retries, probes. Knows nothing of the cache.

mod backoff;
pub mod body;
mod connect;
pub mod error;
pub mod headers;
mod http1;
mod http2;
mod io;
mod pool;
mod probe;
mod send;
#[cfg(test)]
mod tests;

pub use body::{BodyError, RequestBody, ResponseBody};
pub use error::{SendError, Whose};

use crate::config::{Mode, ServerUrl};
use crate::health::{Link, ServerState};
use crate::limits::UPGRADES_MAX;
use body::ReplayBytes;
use pool::{Means, Patience, Server, Tasks};
use rustls::ClientConfig;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// As whom a request goes up. Each way has its own connections: a certificate would beat a token at the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// No client certificate; the request carries a token.
    Bearer,
    /// No client certificate, and no token that an API server is known to accept. Over HTTP/1.1, because an API server
    /// ends an HTTP/2 connection after each request that it does not recognise, and with it all others on it.
    Anonymous,
    /// The key pair for the subject with this fingerprint.
    Pair([u8; 32]),
    /// The hub's own key pair.
    Node,
}

impl Way {
    fn has_certificate(self) -> bool {
        matches!(self, Way::Pair(_) | Way::Node)
    }
}

/// Gives the TLS configuration of a way; `None` if there is no key pair for it. ALPN is set by the upstream.
/// Give configurations a small resumption store (`Resumption::in_memory_sessions(4)`): rustls' own is for 256 servers.
pub type TlsFor = Rc<dyn Fn(&Way) -> Option<Arc<ClientConfig>>>;

/// What an upstream is made of.
#[derive(Clone)]
pub struct Settings {
    /// The API servers; in order of priority.
    pub servers: Vec<ServerUrl>,
    /// Which of them is tried first.
    pub mode: Mode,
    pub tls: TlsFor,
    /// Silence on a connection before it is asked for a sign of life.
    pub ping_after: Duration,
    /// Silence after that before it is dead.
    pub ping_wait: Duration,
    /// For name, TCP, TLS and the first words of HTTP/2 together.
    pub connect_timeout: Duration,
    /// Between probes of a server that is down: at first.
    pub probe_min: Duration,
    /// The same, at most.
    pub probe_max: Duration,
    /// Idle connections beyond the last one are closed after this.
    pub idle_close: Duration,
}

impl Settings {
    /// These servers, with the deadlines that suit a node: a black hole is known within 4.5 s.
    pub fn new(servers: Vec<ServerUrl>, mode: Mode, tls: TlsFor) -> Settings {
        Settings {
            servers,
            mode,
            tls,
            ping_after: Duration::from_secs(2),
            ping_wait: Duration::from_millis(2_500),
            connect_timeout: Duration::from_secs(3),
            probe_min: Duration::from_secs(1),
            probe_max: Duration::from_secs(30),
            idle_close: Duration::from_secs(60),
        }
    }
}

/// One server, for `/status`.
#[derive(Debug, Clone)]
pub struct ServerStatus {
    pub url: String,
    pub state: ServerState,
    /// The last thing that went wrong with it, also when it is up again.
    pub last_error: Option<String>,
    /// Open connections.
    pub connections: usize,
    /// Requests under way on them.
    pub streams: usize,
}

/// The way up. Everything that it started ends when it is dropped.
pub struct Upstream {
    settings: Settings,
    link: Rc<Link>,
    servers: Vec<Rc<Server>>,
    means: Means,
    replay: ReplayBytes,
    upgrades: Arc<Semaphore>,
    turn: Cell<usize>,
}

impl Upstream {
    /// Connects to nothing yet.
    pub fn new(settings: Settings) -> Rc<Upstream> {
        let link = Rc::new(Link::new(settings.servers.iter().map(ServerUrl::to_string)));
        let servers = settings.servers.iter().cloned().enumerate();
        let server = |(index, url)| Rc::new(Server::new(index, url, link.clone()));
        let pulse = http2::Pulse {
            after: settings.ping_after,
            wait: settings.ping_wait,
        };
        Rc::new(Upstream {
            servers: servers.map(server).collect(),
            means: Means {
                tls: Tls(RefCell::new(settings.tls.clone())),
                patience: Patience {
                    connect: settings.connect_timeout,
                    pulse,
                },
                tasks: Tasks::default(),
            },
            replay: ReplayBytes::default(),
            upgrades: Arc::new(Semaphore::new(UPGRADES_MAX)),
            turn: Cell::new(0),
            settings,
            link,
        })
    }

    /// Probes servers that are down and closes idle connections, until dropped. Must run inside a `LocalSet`, as must
    /// all of this.
    pub async fn run(self: Rc<Self>) {
        let mut probers = JoinSet::new();
        for server in &self.servers {
            probers.spawn_local(probe::run(self.clone(), server.clone()));
        }
        loop {
            sleep(self.settings.idle_close / 4).await;
            self.servers
                .iter()
                .for_each(|server| server.close_idle(self.settings.idle_close));
        }
    }

    /// The state of the link, to ask and to wait for.
    pub fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// Has every server probed now, as when a network came up.
    pub fn probe_now(&self) {
        self.link.prod();
    }

    /// Certificates or the CA have changed, and with them these ways: what is under way goes on to its end, everything
    /// else uses the new ones. Other ways keep their connections.
    pub fn reload(&self, tls: TlsFor, changed: &dyn Fn(Way) -> bool) {
        *self.means.tls.0.borrow_mut() = tls;
        self.servers.iter().for_each(|server| server.renew(changed));
        self.link.prod();
    }

    /// Every server as it is now, in the order of the settings.
    pub fn status(&self) -> Vec<ServerStatus> {
        let one = |server: &Rc<Server>| {
            let (connections, streams) = server.load();
            ServerStatus {
                url: server.url.to_string(),
                state: self.link.server(server.index),
                last_error: server.last_error.borrow().clone(),
                connections,
                streams,
            }
        };
        self.servers.iter().map(one).collect()
    }
}

/// The TLS configurations in force.
pub(crate) struct Tls(RefCell<TlsFor>);

impl Tls {
    fn config(&self, way: Way) -> Option<Arc<ClientConfig>> {
        let tls = self.0.borrow().clone();
        tls(&way)
    }
}
