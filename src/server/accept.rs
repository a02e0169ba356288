//! Takes connections in, no more than may be open at one time.

use crate::admin::metrics;
use crate::limits;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Takes over one connection, which has a place as long as it holds the permit.
pub type Serve = Rc<dyn Fn(TcpStream, SocketAddr, OwnedSemaphorePermit)>;

/// Opens a listener.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restarted hub must not wait for the connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::LISTEN_BACKLOG)
}

/// Accepts for ever. What comes while all permits are out waits for [`limits::CONNECTION_WAIT`], with one connection
/// taken in and the others in the kernel's queue; then it is refused, and so is what follows until one is given back.
///
/// An error is one of: the client left (go on), we are out of something (wait), the listener is broken (open it anew).
pub async fn accept(
    address: SocketAddr,
    mut listener: TcpListener,
    permits: Arc<Semaphore>,
    serve: Serve,
) {
    let mut refusing = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match permit(&permits, &mut refusing).await {
                Some(permit) => {
                    let _ = stream.set_nodelay(true);
                    serve(stream, peer, permit);
                }
                None => metrics::refused(),
            },
            Err(error) if client_left(&error) => {}
            Err(error) if out_of_something(&error) => {
                log::warn!("listen={address} accept failed, waiting a second: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => {
                log::warn!("listen={address} the listener broke, opening it anew: {error}");
                listener = reopen(address).await;
            }
        }
    }
}

/// A place for one connection; `None`: it is refused. `refusing` is whether the one before was.
async fn permit(permits: &Arc<Semaphore>, refusing: &mut bool) -> Option<OwnedSemaphorePermit> {
    let wait = match refusing {
        true => Duration::ZERO,
        false => limits::CONNECTION_WAIT,
    };
    let acquired = timeout(wait, Arc::clone(permits).acquire_owned()).await;
    let permit = acquired.ok().and_then(Result::ok);
    if permit.is_none() && !*refusing {
        log::warn!("all connections_max are open: new ones are refused");
    }
    *refusing = permit.is_none();
    permit
}

/// Opens a listener that could not be opened, or broke: for ever, once a second.
pub async fn reopen(address: SocketAddr) -> TcpListener {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match listen(address) {
            Ok(listener) => return listener,
            Err(error) => log::debug!("listen={address} still cannot be opened: {error}"),
        }
    }
}

fn client_left(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn out_of_something(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let ours = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| ours.contains(&Errno::from_raw(code)))
}
