//! Certificates of the demo's own servers, and what its clients trust.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_hub::certs::hub_ca;
use edge_hub::certs::load::Authorities;
use edge_hub::certs::sans::Sans;
use rustls::crypto::ring::default_provider;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};

pub const H2: &[u8] = b"h2";
pub const HTTP1: &[u8] = b"http/1.1";

/// A server at 127.0.0.1: how it serves, and the file of the CA that signed its certificate.
pub struct Serving {
    pub config: Arc<ServerConfig>,
    pub ca: PathBuf,
}

/// Makes a CA in `dir`, and a certificate signed by it.
pub fn serving(dir: &Path) -> Result<Serving, String> {
    let (mut ca, _) = hub_ca::open(dir, "demo").map_err(|error| error.to_string())?;
    let mut sans = Sans::default();
    sans.add_ip(IpAddr::from(Ipv4Addr::LOCALHOST))
        .map_err(|error| error.to_string())?;
    let (pair, _) = ca.serving(&sans).map_err(|error| error.to_string())?;
    let file = dir.join("ca.crt");
    std::fs::write(&file, ca.ca_pem()).map_err(|error| error.to_string())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified_key())));
    config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    Ok(Serving {
        config: Arc::new(config),
        ca: file,
    })
}

/// A client without a certificate that trusts the CA in `ca` and offers this protocol, or none.
pub fn client(ca: &Path, protocol: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let authorities = Authorities::load(ca).map_err(|error| error.to_string())?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(authorities.roots())
        .with_no_client_auth();
    config.alpn_protocols = protocol.map(<[u8]>::to_vec).into_iter().collect();
    Ok(Arc::new(config))
}
