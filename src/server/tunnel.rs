//! After an upgrade: bytes both ways, until both sides have ended or the link is down.

use crate::limits;
use crate::sys::tokio_io::TokioIo;
use hyper::upgrade::OnUpgrade;
use tokio::io::copy_bidirectional_with_sizes;

/// Copies until the end. Half-closed sides stay half open: `kubectl cp` needs it. Never outlives the link: nobody should
/// type into a shell that is no longer there.
pub async fn run(client: OnUpgrade, server: OnUpgrade, link_down: impl Future<Output = ()>) {
    let (client, server) = match tokio::try_join!(client, server) {
        Ok(both) => both,
        Err(error) => return log::debug!("upgrade: {error}"),
    };
    let (mut client, mut server) = (TokioIo(client), TokioIo(server));
    let copy = copy_bidirectional_with_sizes(
        &mut client,
        &mut server,
        limits::TUNNEL_BYTES,
        limits::TUNNEL_BYTES,
    );
    tokio::select! {
        copied = copy => {
            if let Err(error) = copied {
                log::debug!("upgraded connection broke: {error}");
            }
        }
        () = link_down => {}
    }
}
