//! Takes connections in, no more than may be open at one time.

use crate::limits;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// Accepts for ever: a permit first, then a connection, so that what is over the bound waits in the kernel's queue and
/// is refused when that is full. An error is one of: the client left (go on), we are out of something (wait), the
/// listener is broken (open it anew).
pub async fn accept(
    address: SocketAddr,
    mut listener: TcpListener,
    permits: std::sync::Arc<Semaphore>,
    serve: Rc<dyn Fn(TcpStream, SocketAddr, OwnedSemaphorePermit)>,
) {
    loop {
        let Ok(permit) = std::sync::Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                serve(stream, peer, permit);
            }
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
