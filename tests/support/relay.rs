//! The link between the hub and the API server, as a TCP relay that can be hurt in every way a link can.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::{free_port, runtime, until};

/// Bytes read at once.
const PIECE_BYTES: usize = 16 << 10;
/// Pieces on their way in one direction: more would hide from a sender that the receiver has stalled.
const PIECES_MAX: usize = 32;

/// What happens to connections and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They pass.
    Pass,
    /// Nobody listens, and what was open has been reset.
    Refuse,
    /// The kernel still takes connections and bytes, and nothing comes out on the other side.
    BlackHole,
    /// The relay is gone.
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    mode: Mode,
    /// Connections from an earlier epoch are reset.
    epoch: u64,
    delay: Duration,
    /// 0: as fast as it goes.
    bytes_per_second: u64,
}

/// What befalls the connection that carries the last of a number of bytes towards the client.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Reset,
    HalfClose,
}

#[derive(Default)]
struct Shared {
    /// Whether a listener is there.
    listening: AtomicU64,
    accepted: AtomicU64,
    open: AtomicU64,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    /// The armed fault and the bytes that still pass before it.
    fault: Mutex<Option<(Fault, usize)>>,
}

/// A relay to one target. All connections have ended when it is dropped.
pub struct Relay {
    address: SocketAddr,
    link: watch::Sender<Link>,
    shared: Arc<Shared>,
}

impl Relay {
    /// Starts to relay from a free port on loopback to `target`.
    pub fn new(target: SocketAddr) -> Relay {
        Relay::on(SocketAddr::from(([127, 0, 0, 1], free_port())), target)
    }

    /// Starts to relay from `address` to `target`.
    pub fn on(address: SocketAddr, target: SocketAddr) -> Relay {
        let first = Link {
            mode: Mode::Pass,
            epoch: 0,
            delay: Duration::ZERO,
            bytes_per_second: 0,
        };
        let (link, seen) = watch::channel(first);
        let shared = Arc::new(Shared::default());
        runtime().spawn(listen(address, target, seen, Arc::clone(&shared)));
        let relay = Relay {
            address,
            link,
            shared,
        };
        relay.wait_listening(1);
        relay
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a server's URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Bytes and connections pass again; what was frozen goes on where it was.
    pub fn pass(&self) {
        self.link.send_modify(|link| link.mode = Mode::Pass);
        self.wait_listening(1);
    }

    /// New connections are refused, open ones are reset.
    pub fn refuse(&self) {
        self.link.send_modify(|link| {
            link.mode = Mode::Refuse;
            link.epoch += 1;
        });
        self.wait_listening(0);
        self.wait_closed();
    }

    /// New connections are accepted and never answered, open ones freeze in both directions.
    pub fn black_hole(&self) {
        self.link.send_modify(|link| link.mode = Mode::BlackHole);
    }

    /// Resets what is open now; new connections go as before.
    pub fn cut(&self) {
        self.link.send_modify(|link| link.epoch += 1);
    }

    /// Lets `bytes` more through towards the client, then resets the connection that carried the last of them. Once.
    pub fn reset_after(&self, bytes: usize) {
        *self.shared.fault.lock().expect("nobody panics with it") = Some((Fault::Reset, bytes));
    }

    /// Lets `bytes` more through towards the client, then ends that direction of the connection, and only that. Once.
    pub fn half_close_after(&self, bytes: usize) {
        *self.shared.fault.lock().expect("nobody panics with it") = Some((Fault::HalfClose, bytes));
    }

    /// Whether the fault asked for has happened.
    pub fn fault_done(&self) -> bool {
        self.shared
            .fault
            .lock()
            .expect("nobody panics with it")
            .is_none()
    }

    /// Every byte takes this much longer, each way.
    pub fn delay(&self, delay: Duration) {
        self.link.send_modify(|link| link.delay = delay);
    }

    /// Each connection carries this many bytes a second each way; 0 is without a limit.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.link
            .send_modify(|link| link.bytes_per_second = bytes_per_second);
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Bytes carried so far to the target, and from it.
    pub fn carried(&self) -> (u64, u64) {
        (
            self.shared.up_bytes.load(Ordering::Relaxed),
            self.shared.down_bytes.load(Ordering::Relaxed),
        )
    }

    fn wait_listening(&self, want: u64) {
        until("the relay's listener", Duration::from_secs(10), || {
            (self.shared.listening.load(Ordering::Relaxed) == want).then_some(())
        });
    }

    fn wait_closed(&self) {
        until(
            "the relay's connections are reset",
            Duration::from_secs(10),
            || (self.open() == 0).then_some(()),
        );
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.link.send_modify(|link| link.mode = Mode::Gone);
    }
}

async fn listen(
    address: SocketAddr,
    target: SocketAddr,
    mut link: watch::Receiver<Link>,
    shared: Arc<Shared>,
) {
    loop {
        let mode = link.borrow_and_update().mode;
        match mode {
            Mode::Gone => return,
            Mode::Refuse => {
                if link.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Mode::Pass | Mode::BlackHole => {}
        }
        let Ok(listener) = TcpListener::bind(address).await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        shared.listening.store(1, Ordering::Relaxed);
        accept(&listener, target, &mut link, &shared).await;
        drop(listener);
        shared.listening.store(0, Ordering::Relaxed);
    }
}

/// Accepts until the link is refused or gone.
async fn accept(
    listener: &TcpListener,
    target: SocketAddr,
    link: &mut watch::Receiver<Link>,
    shared: &Arc<Shared>,
) {
    loop {
        // Of before it is accepted: what is reset while it is, is this one too.
        let (mode, epoch) = {
            let link = link.borrow();
            (link.mode, link.epoch)
        };
        if matches!(mode, Mode::Refuse | Mode::Gone) {
            return;
        }
        tokio::select! {
            biased;
            changed = link.changed() => if changed.is_err() { return },
            accepted = listener.accept(), if mode == Mode::Pass => {
                let Ok((client, _)) = accepted else { continue };
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                shared.open.fetch_add(1, Ordering::Relaxed);
                let (link, shared) = (link.clone(), Arc::clone(shared));
                tokio::spawn(async move {
                    connection(client, target, link, epoch, &shared).await;
                    shared.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        }
    }
}

/// A connection, or one direction of it, ended otherwise than it should.
struct Broken;

async fn connection(
    mut client: TcpStream,
    target: SocketAddr,
    link: watch::Receiver<Link>,
    epoch: u64,
    shared: &Shared,
) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        // As near to a refusal as there is once the connection has been accepted.
        reset(&client);
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let ended = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let both = async {
            tokio::try_join!(
                pump(
                    client_read,
                    server_write,
                    link.clone(),
                    None,
                    &shared.up_bytes
                ),
                pump(
                    server_read,
                    client_write,
                    link.clone(),
                    Some(&shared.fault),
                    &shared.down_bytes
                ),
            )
        };
        tokio::select! {
            biased;
            () = cut(link.clone(), epoch) => Err(Broken),
            ended = both => ended,
        }
    };
    if ended.is_err() {
        reset(&client);
        reset(&server);
    }
}

/// Ends when connections of `epoch` are to be reset.
async fn cut(mut link: watch::Receiver<Link>, epoch: u64) {
    let _ = link
        .wait_for(|link| link.epoch != epoch || link.mode == Mode::Gone)
        .await;
}

/// Makes the close that follows a reset.
fn reset(stream: &TcpStream) {
    let at_once = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let _ = nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &at_once);
}

/// Carries one direction to its end.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    link: watch::Receiver<Link>,
    fault: Option<&Mutex<Option<(Fault, usize)>>>,
    count: &AtomicU64,
) -> Result<(), Broken> {
    let (pieces, queue) = mpsc::channel(PIECES_MAX);
    tokio::select! {
        biased;
        ended = deliver(queue, &mut to, link.clone(), fault, count) => ended,
        broken = collect(&mut from, pieces, link) => Err(broken),
    }
}

/// Reads pieces until the end of the stream, and then leaves it to the other side to end.
async fn collect(
    from: &mut ReadHalf<'_>,
    pieces: mpsc::Sender<(Instant, Vec<u8>)>,
    mut link: watch::Receiver<Link>,
) -> Broken {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        passing(&mut link).await;
        let Ok(len) = from.read(&mut buffer).await else {
            return Broken;
        };
        if len == 0 {
            drop(pieces);
            return std::future::pending().await;
        }
        if pieces
            .send((Instant::now(), buffer[..len].to_vec()))
            .await
            .is_err()
        {
            return std::future::pending().await;
        }
    }
}

async fn deliver(
    mut queue: mpsc::Receiver<(Instant, Vec<u8>)>,
    to: &mut WriteHalf<'_>,
    mut link: watch::Receiver<Link>,
    fault: Option<&Mutex<Option<(Fault, usize)>>>,
    count: &AtomicU64,
) -> Result<(), Broken> {
    while let Some((at, piece)) = queue.recv().await {
        let delay = link.borrow().delay;
        sleep_until(at + delay).await;
        let (len, verdict) = judge(fault, piece.len());
        let mut rest = &piece[..len];
        while !rest.is_empty() {
            passing(&mut link).await;
            let rate = link.borrow().bytes_per_second;
            let now = if rate == 0 {
                rest.len()
            } else {
                rest.len().min((rate as usize / 50).max(1))
            };
            if to.write_all(&rest[..now]).await.is_err() {
                return Err(Broken);
            }
            count.fetch_add(now as u64, Ordering::Relaxed);
            rest = &rest[now..];
            if rate != 0 {
                sleep(Duration::from_millis(20)).await;
            }
        }
        match verdict {
            None => {}
            Some(Fault::Reset) => return Err(Broken),
            Some(Fault::HalfClose) => {
                let _ = to.shutdown().await;
                // What still comes is taken and lost, so that the sender is not stalled.
                while queue.recv().await.is_some() {}
                return Ok(());
            }
        }
    }
    passing(&mut link).await;
    let _ = to.shutdown().await;
    Ok(())
}

/// How many of the next `len` bytes still pass, and what happens after them.
fn judge(fault: Option<&Mutex<Option<(Fault, usize)>>>, len: usize) -> (usize, Option<Fault>) {
    let Some(fault) = fault else {
        return (len, None);
    };
    let mut fault = fault.lock().expect("nobody panics with it");
    match *fault {
        None => (len, None),
        Some((kind, left)) if left > len => {
            *fault = Some((kind, left - len));
            (len, None)
        }
        Some((kind, left)) => {
            *fault = None;
            (left, Some(kind))
        }
    }
}

async fn passing(link: &mut watch::Receiver<Link>) {
    let _ = link.wait_for(|link| link.mode != Mode::BlackHole).await;
}
