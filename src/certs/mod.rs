//! Keys and certificates: loading, the hub's own CA, subjects.

use rustls::crypto::{CryptoProvider, ring};
use std::sync::{Arc, LazyLock};

pub mod bootstrap_token;
pub mod certificate;
pub mod client_config;
pub mod cluster_info;
pub mod csr;
mod der;
pub mod hub_ca;
pub mod issued;
pub mod load;
pub mod papers;
pub mod pem;
pub mod renewal;
pub mod sans;
pub mod seal_key;
pub mod server_config;
pub mod subject;

/// The one set of algorithms that the hub has, shared by all of its TLS configurations.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(ring::default_provider()));
    Arc::clone(&PROVIDER)
}
