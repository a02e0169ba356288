//! What the hub's connections to API servers need of rustls.

use super::load::Pair;
use super::provider;
use crate::limits::TLS_CLIENT_SESSIONS_MAX;
use crate::sys::clock::Clock;
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, Error as TlsError, RootCertStore};
use std::sync::Arc;

/// TLS 1.2 and 1.3 to servers of `servers`, showing `own` if it is asked for, offering `protocols` (ALPN, most wanted
/// first: `b"h2"`, `b"http/1.1"`).
///
/// Sessions are remembered in here, and carry the identity: one configuration for each identity, and a new one when
/// its certificate is renewed.
pub fn client_config(
    servers: Arc<RootCertStore>,
    own: Option<&Pair>,
    protocols: &[&[u8]],
    clock: Arc<Clock>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_details(provider(), clock)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(servers);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified_key())))
        }
    };
    config.alpn_protocols = protocols.iter().map(|&name| name.to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(TLS_CLIENT_SESSIONS_MAX);
    Ok(Arc::new(config))
}
