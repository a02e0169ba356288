//! The link between the hub and the API server: a relay that can refuse, or swallow everything.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edge_hub::config::ServerUrl;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls;

/// Bytes carried at once.
const PIECE_BYTES: usize = 16 << 10;
/// How long the relay may take to open or close its port.
const SWITCH: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Nobody listens, and what was open is closed.
    Refuse,
    /// What is sent is taken, and nothing ever comes out on the other side.
    BlackHole,
}

/// What stands at the far end.
pub enum Far {
    /// A server whose certificate is good for 127.0.0.1: the relay carries the bytes.
    Near(SocketAddr),
    /// Somebody's own server, whose certificate has another name: TLS towards the hub ends in the relay.
    Own {
        server: ServerUrl,
        ca: PathBuf,
        serving: Arc<ServerConfig>,
    },
}

/// The relay. Everything of it ends when it is dropped.
pub struct Link {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    listening: watch::Receiver<bool>,
    _task: JoinSet<()>,
}

impl Link {
    /// Starts to relay to `far`.
    pub async fn open(far: Far) -> Result<Link, String> {
        let address = free_address()?;
        let (mode, seen) = watch::channel(Mode::Pass);
        let (tell, listening) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn_local(run(address, Arc::new(far), seen, tell));
        let link = Link {
            address,
            mode,
            listening,
            _task: task,
        };
        link.switch(Mode::Pass).await?;
        Ok(link)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn pass(&self) -> Result<(), String> {
        self.switch(Mode::Pass).await
    }

    pub async fn refuse(&self) -> Result<(), String> {
        self.switch(Mode::Refuse).await
    }

    pub async fn black_hole(&self) -> Result<(), String> {
        self.switch(Mode::BlackHole).await
    }

    async fn switch(&self, mode: Mode) -> Result<(), String> {
        self.mode.send_replace(mode);
        let mut listening = self.listening.clone();
        let done = listening.wait_for(|listening| *listening == (mode != Mode::Refuse));
        match tokio::time::timeout(SWITCH, done).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(format!("the relay at {} cannot be switched", self.address)),
        }
    }
}

/// An address that nobody listens on, below the range from which the kernel takes ports for outgoing connections, so
/// that it can be closed and opened again.
pub fn free_address() -> Result<SocketAddr, String> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 11_000;
    const APART: u32 = 37;
    // Demos that run at the same time look in different places.
    let start = (std::process::id().wrapping_mul(APART) % u32::from(COUNT)) as u16;
    (0..COUNT)
        .map(|n| SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + (start + n) % COUNT)))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .ok_or_else(|| "no free port on 127.0.0.1".to_string())
}

async fn run(
    address: SocketAddr,
    far: Arc<Far>,
    mut mode: watch::Receiver<Mode>,
    listening: watch::Sender<bool>,
) {
    loop {
        if mode.wait_for(|mode| *mode != Mode::Refuse).await.is_err() {
            return;
        }
        let Ok(listener) = TcpListener::bind(address).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        listening.send_replace(true);
        accept(listener, &far, &mut mode).await;
        listening.send_replace(false);
    }
}

/// Accepts until the link is refused; then the listener and all connections are gone.
async fn accept(listener: TcpListener, far: &Arc<Far>, mode: &mut watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Refuse {
            return;
        }
        // All arms are cancel-safe.
        tokio::select! {
            biased;
            changed = mode.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if now == Mode::Pass => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn_local(connection(stream, Arc::clone(far), mode.clone()));
                }
            }
        }
    }
}

/// One connection, to whatever end: an error on one side is an end on the other.
async fn connection(near: TcpStream, far: Arc<Far>, mode: watch::Receiver<Mode>) {
    let _ = near.set_nodelay(true);
    match &*far {
        Far::Near(address) => {
            if let Ok(far) = TcpStream::connect(address).await {
                let _ = far.set_nodelay(true);
                both(near, far, mode).await;
            }
        }
        Far::Own {
            server,
            ca,
            serving,
        } => {
            let Ok(near) = TlsAcceptor::from(Arc::clone(serving)).accept(near).await else {
                return;
            };
            let protocol = near.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            if let Ok(far) = connect(server, ca, protocol.as_deref()).await {
                both(near, far, mode).await;
            }
        }
    }
}

/// A TLS connection to a server.
pub fn connect(
    server: &ServerUrl,
    ca: &std::path::Path,
    protocol: Option<&[u8]>,
) -> impl Future<Output = Result<tokio_rustls::client::TlsStream<TcpStream>, String>> {
    let name = server.server_name();
    let config = tls::client(ca, protocol);
    let target = server.authority();
    async move {
        let tcp = TcpStream::connect(target)
            .await
            .map_err(|error| format!("connect: {error}"))?;
        let _ = tcp.set_nodelay(true);
        TlsConnector::from(config?)
            .connect(name, tcp)
            .await
            .map_err(|error| format!("TLS: {error}"))
    }
}

async fn both(
    near: impl AsyncRead + AsyncWrite,
    far: impl AsyncRead + AsyncWrite,
    mode: watch::Receiver<Mode>,
) {
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let _ = tokio::try_join!(
        pump(near_read, far_write, mode.clone()),
        pump(far_read, near_write, mode),
    );
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        passing(&mut mode).await;
        let len = from.read(&mut buffer).await?;
        passing(&mut mode).await;
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..len]).await?;
        to.flush().await?;
    }
}

async fn passing(mode: &mut watch::Receiver<Mode>) {
    let _ = mode.wait_for(|mode| *mode != Mode::BlackHole).await;
}
