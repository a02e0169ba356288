//! Certificates of one run, made with `openssl`, and what TLS needs of them.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Makes `ca.crt`, and `server.crt`, `server.key` and both in `server.pem`, for everyone who serves here.
pub fn make_papers(dir: &Path) {
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30";
    openssl(
        dir,
        &format!("req -x509 {ec} -subj /CN=bench-ca -keyout ca.key -out ca.crt"),
    );
    openssl(
        dir,
        &format!(
            "req -x509 {ec} -subj /CN=bench -CA ca.crt -CAkey ca.key -addext basicConstraints=CA:FALSE \
             -addext subjectAltName=IP:127.0.0.1,DNS:bench -keyout server.key -out server.crt"
        ),
    );
    let read = |name| std::fs::read_to_string(dir.join(name)).expect("a file");
    std::fs::write(
        dir.join("server.pem"),
        read("server.crt") + &read("server.key"),
    )
    .expect("a file");
}

fn openssl(dir: &Path, words: &str) {
    let status = Command::new("openssl")
        .args(words.split_whitespace())
        .current_dir(dir)
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "openssl {words}");
}

pub fn server(dir: &Path) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_file(dir.join("server.crt")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).expect("a key");
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Trusts these CAs, those that are there.
pub fn client(authorities: &[&Path], h2: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for file in authorities {
        if let Ok(authority) = CertificateDer::from_pem_file(file) {
            roots.add(authority).expect("a CA");
        }
    }
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![if h2 {
        b"h2".to_vec()
    } else {
        b"http/1.1".to_vec()
    }];
    Arc::new(config)
}
