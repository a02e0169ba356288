//! Starts every long task and knows everyone.

pub mod events;
pub mod facts;
pub mod filters;
mod identity;
mod issuer;
pub mod last_time;
pub mod live;
pub mod local;
pub mod own;
pub mod renewal;
pub mod store;

use crate::access::issuer::Issuer;
use crate::access::ledger::Ledger;
use crate::access::{Known, Rules, Subject, Who};
use crate::admin;
use crate::cache::{Cache, cluster_ip};
use crate::certs::csr::Signer;
use crate::certs::hub_ca::{self, HubCa};
use crate::certs::papers::Papers;
use crate::certs::renewal::left_to_end;
use crate::cli::logging;
use crate::config::live::Live;
use crate::config::{AgentRule, ClientFrom, Config, WorkingMode, keep_until_restart};
use crate::error::Failure;
use crate::health::LinkState;
use crate::limits;
use crate::local::grants::Grants;
use crate::local::lease::Lease;
use crate::local::reported::Reported;
use crate::local::reviews::Reviews;
use crate::request::agent::Agents;
use crate::server::accept::{self, Serve};
use crate::server::connection;
use crate::server::strangers::Strangers;
use crate::sys::address::AddressGuard;
use crate::sys::clock::{self, Clock, Sanity};
use crate::sys::file;
use crate::sys::near::Near;
use crate::sys::notify::{Phase, ServiceManager};
use crate::sys::rlimit;
use crate::sys::wire::Wire;
use crate::upstream::{Settings, Upstream};
use crate::watch::held::Held;
use crate::watch::turns::Turns;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// What every request may need.
pub struct Shared {
    pub upstream: Rc<Upstream>,
    pub cache: Rc<RefCell<Cache>>,
    known: RefCell<Known>,
    ledger: RefCell<Ledger>,
    issuer: RefCell<Issuer>,
    asker: issuer::Asker,
    doubts: identity::Doubts,
    grants: RefCell<Grants>,
    reviews: RefCell<Reviews>,
    /// Who this node's kubelet is.
    kubelet: Who,
    lease: RefCell<Option<Lease>>,
    reported: RefCell<Reported>,
    pub events: events::Events,
    pub filters: filters::Filters,
    pub config: RefCell<Config>,
    pub live: live::LiveConfig,
    pub papers: RefCell<Papers>,
    pub renewal: renewal::Renewal,
    pub started: Instant,
    pub connections: Arc<Semaphore>,
    troubles: RefCell<Troubles>,
    path: PathBuf,
    hub_ca: RefCell<HubCa>,
    cluster_ips: RefCell<Vec<IpAddr>>,
    /// Heard when the cache on flash is open, if it was not at the start.
    cache_opens: RefCell<Option<store::WhenOpened>>,
    clock: Arc<Clock>,
    last_time: last_time::LastTime,
    pub near: Near,
    pub strangers: Strangers,
    rules: RefCell<Rc<Rules>>,
    server_config: RefCell<Arc<ServerConfig>>,
    /// Told when certificates of clients are of other CAs from then on.
    client_authorities: watch::Sender<bool>,
    /// The watches without an API server.
    pub held: Rc<Held>,
    /// Whose turn it is to be taken up again.
    pub resumes: Rc<Turns>,
    /// Whose turn it is to find what its client holds.
    pub looks: Rc<Turns>,
    /// Whose turn it is to be told what the API server has forgotten: it takes memory.
    pub differences: Rc<Turns>,
    tunnels: Arc<Semaphore>,
    drain: watch::Sender<bool>,
    seed: Cell<u64>,
}

/// What `status` warns of, each until its cause is gone.
#[derive(Default)]
struct Troubles {
    /// Of the hub's own CA, which is opened once.
    hub_ca: Vec<String>,
    /// Of the place where answers are kept, which is opened once.
    cache: Vec<String>,
    /// The file that SIGHUP did not take: with it no hub starts.
    file: Vec<String>,
    /// What could not be loaded when it was last tried.
    not_loaded: Option<String>,
    /// Of what was loaded.
    papers: Vec<String>,
    /// Of showing what is kept.
    view: Vec<String>,
    /// Of the control socket.
    control: Option<String>,
}

/// Runs the hub until it is told to end. `path` is where SIGHUP finds the configuration again.
pub fn run(path: PathBuf, config: Config) -> Result<(), Failure> {
    let descriptors = u32::try_from(config.connections_max).unwrap_or(u32::MAX / 4) * 2
        + limits::DESCRIPTORS_SPARE;
    match rlimit::raise_nofile(descriptors) {
        Ok(rlimit::Nofile::Enough { .. }) => {}
        Ok(rlimit::Nofile::Short { soft, wanted }) => {
            log::warn!(
                "open files: {soft} allowed, {wanted} wanted for connections_max; fewer clients can connect"
            );
        }
        Err(error) => log::warn!("{error}"),
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Name resolution runs there, and once in months a pair is written.
        .max_blocking_threads(limits::RESOLVER_THREADS)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    LocalSet::new().block_on(&runtime, serve(path, config))
}

async fn serve(path: PathBuf, config: Config) -> Result<(), Failure> {
    let mut addresses = own_addresses(&config)?;
    let shared = prepare(path, config).await?;
    shared.own();
    let mut signals = Signals::new()?;
    let mut tasks = JoinSet::new();
    open(&shared, &mut tasks)?;
    tasks.spawn_local(Rc::clone(&shared.upstream).run());
    tasks.spawn_local(Rc::clone(&shared).look_for_cluster_ips());
    tasks.spawn_local(Rc::clone(&shared).follow_papers());
    tasks.spawn_local(facts::gather(Rc::clone(&shared)));
    tasks.spawn_local(live::keep(Rc::clone(&shared)));
    for signer in [Signer::Client, Signer::Serving] {
        tasks.spawn_local(renewal::keep(Rc::clone(&shared), signer));
    }
    tasks.spawn_local(admin::view::keep(Rc::clone(&shared)));
    if cfg!(feature = "cache-cli") {
        tasks.spawn_local(admin::control::keep(Rc::clone(&shared)));
    }
    tasks.spawn_local(Rc::clone(&shared).keep_what_was_told());
    tasks.spawn_local(Rc::clone(&shared).keep_issuer());
    tasks.spawn_local(Rc::clone(&shared).settle_doubts());
    tasks.spawn_local(Rc::clone(&shared).follow_pods());
    tasks.spawn_local(Rc::clone(&shared).post_events());
    let config = shared.config.borrow().clone();
    log::info!(
        "edge-hub {} node={} servers={} store={}/{}B agents={:?}",
        env!("CARGO_PKG_VERSION"),
        config.node_name,
        config
            .servers
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
        shared.cache.borrow().kind(),
        config.cache_bytes_max,
        config.cache_agents
    );
    let mut minute = interval(Duration::from_secs(60));
    minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let manager = ServiceManager::from_env();
    let mut lives = interval(manager.lives_every());
    lives.set_missed_tick_behavior(MissedTickBehavior::Delay);
    manager.tell(Phase::Serves);
    loop {
        tokio::select! {
            biased;
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.reload.recv() => shared.reload(),
            _ = signals.look.recv() => shared.upstream.probe_now(),
            _ = lives.tick() => manager.tell(Phase::Lives),
            _ = minute.tick() => {
                addresses.check().iter().for_each(|change| log::info!("address: {change}"));
                shared.look_at_papers();
                shared.last_time.keep_now_and_then();
            }
        }
    }
    let within = shared.config.borrow().drain + limits::FLUSH_WAIT + Duration::from_secs(5);
    manager.tell(Phase::Ends { within });
    shared.last_time.keep_before_the_worst();
    drain(&shared, &mut tasks).await;
    let flushed = shared.cache.borrow_mut().flush();
    if timeout(limits::FLUSH_WAIT, flushed).await.is_err() {
        log::warn!("cache: the flash takes too long: what changed last is not kept");
    }
    addresses
        .release()
        .iter()
        .for_each(|error| log::warn!("address: {error}"));
    Ok(())
}

/// No new connections; open requests get their time, watches end cleanly.
async fn drain(shared: &Shared, tasks: &mut JoinSet<()>) {
    let allowed = shared.config.borrow().drain;
    log::info!("told to end: draining for up to {} s", allowed.as_secs());
    tasks.abort_all();
    shared.drain.send_replace(true);
    let connections = shared.config.borrow().connections_max as u32;
    let all = async {
        let _ = shared.connections.acquire_many(connections).await;
        let _ = shared
            .tunnels
            .acquire_many(limits::UPGRADES_MAX as u32)
            .await;
    };
    if timeout(allowed, all).await.is_err() {
        log::warn!("drain_secs are over: open requests are cut off");
    }
}

fn own_addresses(config: &Config) -> Result<AddressGuard, Failure> {
    let mut guard = AddressGuard::new(&config.own_addresses)
        .map_err(|error| Failure::failed(error.to_string()))?;
    for change in guard.check() {
        match change {
            crate::sys::address::AddressChange::Failed(error) => log::warn!("address: {error}"),
            change => log::info!("address: {change}"),
        }
    }
    Ok(guard)
}

async fn prepare(path: PathBuf, config: Config) -> Result<Rc<Shared>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(error.to_string());
    let clock = Clock::new();
    file::remove_leftovers_of_the_dead(&config.state_dir);
    // Whoever may put files there could be the hub's own CA for all pods.
    let exposed = file::private_directory(&config.state_dir, 0o022).err();
    let last_time = last_time::open(&config.state_dir, &clock);
    let (mut hub_ca, told) =
        hub_ca::open(&config.state_dir, &config.node_name).map_err(|e| failed(&e))?;
    let papers =
        Papers::load(&config, &mut hub_ca, &[], &clock, None, &[]).map_err(|e| failed(&e))?;
    let mut troubles = Troubles {
        hub_ca: (told.iter().map(ToString::to_string))
            .chain(exposed.map(|error| format!("state_dir: {error}")))
            .collect(),
        papers: papers.warnings.clone(),
        ..Troubles::default()
    };
    let at_start = troubles.hub_ca.iter().chain(&troubles.papers);
    at_start.for_each(|trouble| log::warn!("{trouble}"));
    let server_config = papers.server_config(&clock).map_err(|e| failed(&e))?;
    let tls = papers.upstream_tls(&clock).map_err(|e| failed(&e))?;
    let begun = store::begin(&config, &clock).await;
    let mut cache = Cache::new(
        begun.store,
        agents(&config, &Live::default()),
        &random_bytes()?,
    );
    begun.troubles.iter().for_each(|t| log::warn!("{t}"));
    troubles.cache = begun.troubles;
    if let Some(opened) = &begun.opened {
        troubles.cache.extend(store::tell(&config, opened));
        cache.take_over(opened, clock.now());
    }
    let mut known = Known::default();
    (cache.subjects().into_iter()).for_each(|who| known.accept(who));
    let shared = Rc::new(Shared {
        upstream: Upstream::new(settings(&config, tls)),
        cache: Rc::new(RefCell::new(cache)),
        known: RefCell::new(known),
        ledger: RefCell::new(Ledger::new(&config.node_name)),
        issuer: RefCell::default(),
        asker: issuer::Asker::default(),
        doubts: identity::Doubts::default(),
        grants: RefCell::default(),
        reviews: RefCell::default(),
        kubelet: Who::of(&Subject::kubelet(&config.node_name)),
        lease: RefCell::default(),
        reported: RefCell::default(),
        events: events::Events::default(),
        filters: filters::Filters::new(&config, &hub_ca.ca_pem()),
        live: live::LiveConfig::default(),
        cache_opens: RefCell::new(begun.later),
        started: Instant::now(),
        connections: Arc::new(Semaphore::new(config.connections_max)),
        troubles: RefCell::new(troubles),
        path,
        hub_ca: RefCell::new(hub_ca),
        cluster_ips: RefCell::default(),
        clock,
        last_time,
        near: Near::default(),
        strangers: Strangers::default(),
        rules: RefCell::new(Rc::new(papers.rules())),
        server_config: RefCell::new(server_config),
        client_authorities: watch::Sender::new(false),
        papers: RefCell::new(papers),
        held: Rc::default(),
        resumes: Turns::new(limits::RESUMES_MAX),
        looks: Turns::new(limits::LOOKS_MAX),
        differences: Turns::new(1),
        renewal: renewal::Renewal::default(),
        tunnels: Arc::new(Semaphore::new(limits::UPGRADES_MAX)),
        drain: watch::Sender::new(false),
        seed: Cell::new(u64::from_le_bytes(random_bytes()?) | 1),
        config: RefCell::new(config),
    });
    shared.read_own().await;
    Ok(shared)
}

fn settings(config: &Config, tls: crate::upstream::TlsFor) -> Settings {
    Settings {
        ping_after: config.ping_after,
        ping_wait: config.ping_wait,
        connect_timeout: config.connect_timeout,
        probe_min: config.probe_min,
        probe_max: config.probe_max,
        ..Settings::new(config.servers.clone(), config.mode, tls)
    }
}

fn agents(config: &Config, live: &Live) -> Agents {
    if config.working_mode == WorkingMode::Cloud {
        return Agents::nobody();
    }
    let entries: Vec<String> = (config.cache_agents.iter())
        .chain(live.agents())
        .map(|rule| match rule {
            AgentRule::All => "*".to_owned(),
            AgentRule::Keep(name) => name.clone(),
            AgentRule::Not(name) => format!("-{name}"),
        })
        .collect();
    Agents::new(entries.iter().map(String::as_str))
}

fn random_bytes<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::failed("the kernel gives no random numbers"))?;
    Ok(bytes)
}

/// Opens every listener. An address that is taken is somebody's mistake and ends the start; one that the node does not
/// have yet is waited for.
fn open(shared: &Rc<Shared>, tasks: &mut JoinSet<()>) -> Result<(), Failure> {
    let config = shared.config.borrow();
    for address in &config.listen {
        let for_each = Rc::clone(shared);
        let serve: Serve = Rc::new(move |stream, from, permit| {
            let shared = Rc::clone(&for_each);
            tokio::task::spawn_local(async move {
                connection::serve(shared, stream, from).await;
                drop(permit);
            });
        });
        open_one(tasks, *address, Arc::clone(&shared.connections), serve)?;
    }
    if let Some(address) = config.local_listen {
        let for_each = Rc::clone(shared);
        let serve: Serve = Rc::new(move |stream, from, permit| {
            let shared = Rc::clone(&for_each);
            tokio::task::spawn_local(async move {
                connection::serve_local(shared, stream, from).await;
                drop(permit);
            });
        });
        open_one(tasks, address, Arc::clone(&shared.connections), serve)?;
    }
    let for_each = Rc::clone(shared);
    let serve: Serve = Rc::new(move |stream, _, permit| {
        let shared = Rc::clone(&for_each);
        tokio::task::spawn_local(async move {
            admin::serve::serve(shared, Wire::Tcp(stream), admin::serve::Door::Admin).await;
            drop(permit);
        });
    });
    let permits = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS_MAX));
    open_one(tasks, config.admin_listen, permits, serve)
}

fn open_one(
    tasks: &mut JoinSet<()>,
    address: SocketAddr,
    permits: Arc<Semaphore>,
    serve: Serve,
) -> Result<(), Failure> {
    let listener = listen(address)?;
    tasks.spawn_local(async move {
        let listener = match listener {
            Some(listener) => listener,
            None => {
                let listener = accept::reopen(address).await;
                log::info!("listen={address} now open");
                listener
            }
        };
        accept::accept(address, listener, permits, serve).await;
    });
    Ok(())
}

fn listen(address: SocketAddr) -> Result<Option<tokio::net::TcpListener>, Failure> {
    match accept::listen(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
            log::warn!("listen={address} this node does not have the address yet; waiting for it");
            Ok(None)
        }
        Err(error) => Err(Failure::failed(format!(
            "listen={address} cannot be opened: {error}; `edge-hub check` says who holds a port"
        ))),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    /// The network has changed: a server that is down may be up.
    look: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let one = |kind| {
            signal(kind).map_err(|e| Failure::failed(format!("cannot wait for signals: {e}")))
        };
        Ok(Signals {
            terminate: one(SignalKind::terminate())?,
            interrupt: one(SignalKind::interrupt())?,
            reload: one(SignalKind::hangup())?,
            look: one(SignalKind::user_defined1())?,
        })
    }
}

impl Shared {
    /// As whom the hub asks for itself, if it can.
    pub fn own(&self) -> Option<own::Own> {
        let papers = self.papers.borrow();
        let own = papers.own(&self.config.borrow().node_name);
        let own = own.map(|(way, subject)| own::Own {
            way,
            who: Who::of(subject),
        });
        self.filters.asks(own.is_some());
        own
    }

    pub fn rules(&self) -> Rc<Rules> {
        Rc::clone(&self.rules.borrow())
    }

    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_config.borrow())
    }

    /// How long a client may take for its handshake, and for a head.
    pub fn head_timeout(&self) -> Duration {
        self.config.borrow().header_timeout
    }

    /// Sees when certificates of clients are of other CAs.
    pub fn client_authorities(&self) -> watch::Receiver<bool> {
        self.client_authorities.subscribe()
    }

    /// Resolves when the hub is told to end.
    pub fn draining(&self) -> impl Future<Output = ()> + 'static + use<> {
        let mut told = self.drain.subscribe();
        async move {
            let _ = told.wait_for(|told| *told).await;
        }
    }

    /// Runs an upgraded connection. There are never more than the upstream lets be opened.
    pub fn spawn(&self, tunnel: impl Future<Output = ()> + 'static) {
        let permit = Arc::clone(&self.tunnels).try_acquire_owned();
        tokio::task::spawn_local(async move {
            tunnel.await;
            drop(permit);
        });
    }

    /// A number for jitter; no secret depends on it.
    pub fn random(&self) -> u64 {
        let mut x = self.seed.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.seed.set(x);
        x
    }

    /// ` (offline since 2026-11-21T03:00:00Z, for 75 s)`, or nothing.
    pub fn offline_since(&self) -> String {
        match self.upstream.link().state() {
            LinkState::Down { since, .. } => {
                let secs = since.elapsed().as_secs();
                let at = clock::rfc3339(self.clock.now().saturating_sub(secs));
                format!(" (offline since {at}, for {secs} s)")
            }
            _ => String::new(),
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// SIGHUP: the configuration and all certificates, or none of them.
    fn reload(&self) {
        let mut config = match Config::load(&self.path) {
            Ok(config) => config,
            Err(error) => {
                let lines = error.lines();
                lines.iter().for_each(|line| log::error!("reload: {line}"));
                log::error!("reload: the old configuration stays in force");
                // Such a file lets no hub start.
                self.troubles.borrow_mut().file = lines;
                return;
            }
        };
        let kept = keep_until_restart(&self.config.borrow(), &mut config);
        if let Err(error) = self.take_papers(&config) {
            log::error!("reload: {error}; the old configuration and certificates stay in force");
            self.troubles.borrow_mut().file = vec![error];
            return;
        }
        self.troubles.borrow_mut().file.clear();
        for key in kept {
            log::warn!("reload: `{key}` has changed, and takes effect with the next start");
        }
        logging::set(&config.log);
        *self.config.borrow_mut() = config;
        self.live_in_force();
        self.asker.ask_again();
        self.renewal.changed();
        log::info!("reload: the new configuration and certificates are in force");
    }

    /// What a power cut must not take: written when the link goes, for that is when it is needed (flash.md 3.6).
    async fn keep_what_was_told(self: Rc<Self>) {
        let opening = async {
            let Some(when_opened) = self.cache_opens.borrow_mut().take() else {
                return;
            };
            let config = self.config.borrow().clone();
            match when_opened.await {
                Ok(Ok(opened)) => {
                    let told = store::tell(&config, &opened);
                    self.troubles.borrow_mut().cache.extend(told);
                    let now = self.clock.now();
                    self.cache.borrow_mut().take_over(&opened, now);
                    let subjects = self.cache.borrow().subjects();
                    (subjects.into_iter()).for_each(|who| self.known.borrow_mut().accept(who));
                    self.read_own().await;
                }
                Ok(Err(error)) => {
                    let trouble = store::not_opened(&config, &error);
                    log::warn!("{trouble}");
                    self.troubles.borrow_mut().cache.push(trouble);
                    self.cache
                        .borrow_mut()
                        .keep_in_memory(config.cache_bytes_max);
                }
                Err(_) => {}
            }
        };
        let flushing = async {
            loop {
                self.upstream.link().became_down().await;
                self.last_time.keep_before_the_worst();
                let flushed = self.cache.borrow_mut().flush();
                flushed.await;
                self.upstream.link().became_up().await;
            }
        };
        tokio::join!(opening, flushing);
    }

    /// Loads files of certificates and keys when they are others than before. By looking, and not by inotify: a look goes
    /// through links whose targets change, mounts and folders that are put in place anew, which all would have to be
    /// watched apart, and a few `stat` a second cost nothing that could be measured.
    async fn follow_papers(self: Rc<Self>) {
        let stamps = || -> Vec<_> {
            let config = self.config.borrow();
            config.paper_files().map(file::stamp).collect()
        };
        let mut before = stamps();
        let mut often = interval(limits::PAPERS_LOOK_EVERY);
        often.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            often.tick().await;
            // Before they are read: what is written meanwhile is seen at the next look.
            let now = stamps();
            if now != before {
                before = now;
                self.look_at_papers();
            }
        }
    }

    /// Files that were renewed without a word, as the kubelet does.
    fn look_at_papers(&self) {
        let config = self.config.borrow().clone();
        let error = self.take_papers(&config).err();
        let before = std::mem::replace(&mut self.troubles.borrow_mut().not_loaded, error.clone());
        if let Some(error) = error.filter(|error| before.as_ref() != Some(error)) {
            log::warn!("certificates: {error}; the ones loaded before stay in use");
        }
    }

    /// What somebody should do something about, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let troubles = self.troubles.borrow();
        let file = troubles.file.iter().map(|line| {
            format!("the new configuration was not taken, and the next start fails on it: {line}")
        });
        let not_loaded = troubles.not_loaded.iter();
        let not_loaded =
            not_loaded.map(|line| format!("the certificates loaded before stay in use: {line}"));
        let others = troubles.hub_ca.iter().chain(&troubles.papers);
        let others = others.chain(&troubles.cache).chain(&troubles.view);
        let others = others.chain(&troubles.control).cloned();
        let others = others.chain(self.renewal.warnings(self));
        let others = others.chain(self.left_to_end());
        let behind = match self.clock.sanity() {
            Sanity::Plausible => None,
            Sanity::Behind { secs } if secs < limits::CLOCK_BEHIND_SECS => None,
            _ => Some(format!(
                "the clock of this machine says {}, and it is {} at least; set it (ntpd, chronyd, date -s)",
                clock::rfc3339(clock::system_unix_secs()),
                clock::rfc3339(self.clock.floor())
            )),
        };
        let off = self.cache.borrow().flash().and_then(|flash| flash.off);
        let off = off.map(|why| {
            format!(
                "cache_dir: nothing is kept any more until the next start, what was kept is still told: {why}; \
                 see to the partition of {}, then restart the hub",
                store::ring_dir(&self.config.borrow().cache_dir).display()
            )
        });
        let filters = self.filters.warnings();
        file.chain(not_loaded)
            .chain(behind)
            .chain(off)
            .chain(self.live.warnings())
            .chain(filters)
            .chain(others)
            .collect()
    }

    /// Pairs for the way up that the hub does not renew itself, and nobody else has.
    fn left_to_end(&self) -> Vec<String> {
        let papers = self.papers.borrow();
        let own = match self.config.borrow().client_from {
            ClientFrom::Joined => papers.issued(Signer::Client),
            ClientFrom::Files => None,
        };
        let now = self.clock.now();
        let pairs = papers.pairs().into_iter();
        let others = pairs.filter(|(what, pair)| what != "serving" && own != Some(*pair));
        others
            .filter_map(|(what, pair)| left_to_end(&what, pair, now))
            .collect()
    }

    /// What is wrong with showing what is kept; told once in the log, and in `status` until it is over.
    pub fn tell_of_view(&self, told: Vec<String>) {
        let before = std::mem::take(&mut self.troubles.borrow_mut().view);
        let new = told.iter().filter(|line| !before.contains(line));
        new.for_each(|line| log::warn!("{line}"));
        self.troubles.borrow_mut().view = told;
    }

    /// What is wrong with the control socket, if something is; told like [`Shared::tell_of_view`].
    pub fn tell_of_control(&self, told: Option<String>) {
        let mut troubles = self.troubles.borrow_mut();
        if let Some(line) = told.as_ref().filter(|_| troubles.control != told) {
            log::warn!("{line}");
        }
        troubles.control = told;
    }

    fn take_papers(&self, config: &Config) -> Result<(), String> {
        let cluster_ips = self.cluster_ips.borrow().clone();
        let mut hub_ca = self.hub_ca.borrow_mut();
        let before = self.papers.borrow();
        let papers = Papers::load(
            config,
            &mut hub_ca,
            &cluster_ips,
            &self.clock,
            Some(&before),
            &self.renewal.unkept.borrow(),
        )
        .map_err(|e| e.to_string())?;
        let (same_door, changed) = (papers.same_door(&before), papers.changed_ways(&before));
        let same_clients = papers.same_clients(&before);
        drop(before);
        self.troubles
            .borrow_mut()
            .papers
            .clone_from(&papers.warnings);
        if same_door && changed.is_empty() {
            return Ok(());
        }
        let server_config = papers
            .server_config(&self.clock)
            .map_err(|e| e.to_string())?;
        let tls = papers
            .upstream_tls(&self.clock)
            .map_err(|e| e.to_string())?;
        papers.warnings.iter().for_each(|w| log::warn!("{w}"));
        *self.server_config.borrow_mut() = server_config;
        *self.rules.borrow_mut() = Rc::new(papers.rules());
        if !same_clients {
            self.client_authorities.send_replace(true);
        }
        // Connections to the servers need not end because the door has a new certificate, or somebody else has.
        if !changed.is_empty() {
            self.upstream.reload(tls, &|way| changed.contains(way));
        }
        *self.papers.borrow_mut() = papers;
        self.own();
        self.renewal.changed();
        log::info!(
            "certificates: renewed ones are in use; what is under way ends with the old ones"
        );
        Ok(())
    }

    /// The cluster IP of `default/kubernetes` belongs into the serving certificate, once somebody has been told it.
    async fn look_for_cluster_ips(self: Rc<Self>) {
        let mut often = interval(limits::LOOK_EVERY);
        often.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            often.tick().await;
            let own = self.filters.hub_ips();
            let ips = cluster_ip::look(&self.cache, &own).await;
            let ips = ips.unwrap_or_default();
            self.take_cluster_ips(ips);
        }
    }

    fn take_cluster_ips(&self, ips: Vec<IpAddr>) {
        if ips.is_empty() || *self.cluster_ips.borrow() == ips {
            return;
        }
        log::info!("certificates: the cluster IP of default/kubernetes is {ips:?}");
        *self.cluster_ips.borrow_mut() = ips;
        self.look_at_papers();
        self.renewal.changed();
    }
}
