//! What the hub's TLS listeners need of rustls.

use super::load::{Authorities, Pair};
use super::provider;
use crate::sys::clock::Clock;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, ServerConfig};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// The pair that the hub shows its clients. It can be exchanged while connections are open; new ones get the new one.
pub struct ServingPair {
    current: RwLock<Arc<CertifiedKey>>,
}

/// The key is not shown.
impl fmt::Debug for ServingPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingPair").finish_non_exhaustive()
    }
}

impl ServingPair {
    /// Shows `pair`.
    pub fn new(pair: &Pair) -> Arc<ServingPair> {
        Arc::new(ServingPair {
            current: RwLock::new(pair.certified_key()),
        })
    }

    /// Shows `pair` from now on.
    pub fn exchange(&self, pair: &Pair) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = pair.certified_key();
    }
}

impl ResolvesServerCert for ServingPair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ServerConfigError {
    /// rustls does not take its settings.
    Tls(TlsError),
    /// The client CAs cannot be used.
    ClientAuthorities(VerifierBuilderError),
}

impl fmt::Display for ServerConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => write!(f, "cannot set up TLS: {error}"),
            Self::ClientAuthorities(error) => {
                write!(
                    f,
                    "cannot verify client certificates with client_ca_file: {error}"
                )
            }
        }
    }
}

impl std::error::Error for ServerConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tls(error) => Some(error),
            Self::ClientAuthorities(error) => Some(error),
        }
    }
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// A client may show a certificate of `clients`; one of another CA ends the handshake. Without `clients` none is asked
/// for. Sessions are not resumed: clients in a cluster hold their connections for hours, client-go never resumes, and
/// a cache or tickets would cost memory for each of the others.
pub fn server_config(
    serving: Arc<ServingPair>,
    clients: Option<&Authorities>,
    clock: Arc<Clock>,
) -> Result<Arc<ServerConfig>, ServerConfigError> {
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(clients) => WebPkiClientVerifier::builder_with_provider(clients.roots(), provider())
            .allow_unauthenticated()
            .build()
            .map_err(ServerConfigError::ClientAuthorities)?,
    };
    let mut config = ServerConfig::builder_with_details(provider(), clock)
        .with_safe_default_protocol_versions()
        .map_err(ServerConfigError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::client_config::client_config;
    use crate::certs::hub_ca;
    use crate::certs::load::tests::openssl;
    use crate::certs::sans::Sans;
    use crate::limits::CLOCK_FLOOR_UNIX_SECS_MAX;
    use crate::sys::file::TestDirectory;
    use rustls::pki_types::ServerName;
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, ServerConnection,
    };
    use std::path::Path;

    /// Both ends of a handshake that went through, in memory, with what came behind it.
    fn handshake(
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
        name: &'static str,
    ) -> Result<(ClientConnection, ServerConnection), TlsError> {
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name)?;
        let mut server = ServerConnection::new(Arc::clone(server))?;
        for _ in 0..10 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok((client, server))
    }

    struct Hub {
        directory: TestDirectory,
        authorities: Authorities,
        serving: Arc<ServingPair>,
        other_pair: Pair,
    }

    fn hub() -> Hub {
        let directory = TestDirectory::new();
        let (mut ca, _) = hub_ca::open(directory.path(), "edge-1").unwrap();
        let mut sans = Sans::default();
        sans.add("169.254.2.1").unwrap();
        let (pair, _) = ca.serving(&sans).unwrap();
        sans.add("10.96.0.1").unwrap();
        let (other_pair, _) = ca.serving(&sans).unwrap();
        Hub {
            authorities: Authorities::load(&directory.path().join("hub-ca.crt")).unwrap(),
            serving: ServingPair::new(&pair),
            directory,
            other_pair,
        }
    }

    const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

    fn client(hub: &Hub, own: Option<&Pair>) -> Arc<ClientConfig> {
        client_config(hub.authorities.roots(), own, PROTOCOLS, Clock::new()).unwrap()
    }

    fn server(hub: &Hub, clients: Option<&Authorities>) -> Arc<ServerConfig> {
        server_config(Arc::clone(&hub.serving), clients, Clock::new()).unwrap()
    }

    fn make_user(directory: &Path, ca: &str) -> (Authorities, Pair) {
        let ec = "ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(
            directory,
            &format!("req -x509 -newkey {ec} -subj /CN={ca} -keyout {ca}.key -out {ca}.crt"),
        );
        openssl(
            directory,
            &format!(
                "req -x509 -newkey {ec} -subj /O=system:nodes/CN=system:node:edge-1 -CA {ca}.crt -CAkey {ca}.key \
                 -addext basicConstraints=CA:FALSE -addext extendedKeyUsage=clientAuth -keyout {ca}-user.key -out {ca}-user.crt"
            ),
        );
        let at = |name: &str| directory.join(format!("{ca}{name}"));
        (
            Authorities::load(&at(".crt")).unwrap(),
            Pair::load(&at("-user.crt"), &at("-user.key")).unwrap(),
        )
    }

    #[test]
    fn a_pod_that_trusts_the_hub_gets_through() {
        let hub = hub();
        let (client, server) = (client(&hub, None), server(&hub, None));
        let (one, other) = handshake(&client, &server, "169.254.2.1").unwrap();
        assert_eq!(one.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(other.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(one.tls13_tickets_received(), 0);
        assert!(
            handshake(&client, &server, "169.254.2.2").is_err(),
            "another name"
        );
        let (again, _) = handshake(&client, &server, "169.254.2.1").unwrap();
        assert_eq!(again.handshake_kind(), Some(HandshakeKind::Full));
    }

    #[cfg(feature = "tls12")]
    #[test]
    fn tls_1_2_is_spoken() {
        let hub = hub();
        let client = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12]);
        let client = client
            .with_root_certificates(hub.authorities.roots())
            .with_no_client_auth();
        let (one, other) =
            handshake(&Arc::new(client), &server(&hub, None), "169.254.2.1").unwrap();
        assert_eq!(one.protocol_version(), Some(ProtocolVersion::TLSv1_2));
        assert_eq!(other.alpn_protocol(), None);
    }

    #[test]
    fn a_client_certificate_is_possible_and_must_be_good() {
        let hub = hub();
        let (authorities, user) = make_user(hub.directory.path(), "cluster");
        let (_, stranger) = make_user(hub.directory.path(), "stranger");
        let server = server(&hub, Some(&authorities));
        let (_, shown) = handshake(&client(&hub, Some(&user)), &server, "169.254.2.1").unwrap();
        assert_eq!(shown.peer_certificates(), Some(user.chain()));
        let (_, shown) = handshake(&client(&hub, None), &server, "169.254.2.1").unwrap();
        assert_eq!(shown.peer_certificates(), None);
        let error = handshake(&client(&hub, Some(&stranger)), &server, "169.254.2.1").unwrap_err();
        assert!(matches!(error, TlsError::InvalidCertificate(_)), "{error}");
    }

    #[test]
    fn the_pair_can_be_exchanged() {
        let hub = hub();
        let (client, server) = (client(&hub, None), server(&hub, None));
        assert!(handshake(&client, &server, "10.96.0.1").is_err());
        hub.serving.exchange(&hub.other_pair);
        handshake(&client, &server, "10.96.0.1").unwrap();
        assert!(!format!("{:?}", hub.serving).contains("key"));
    }

    /// The hub's own are valid whatever the clock says; those of others are judged by the hub's clock, not the system's.
    #[test]
    fn the_clock_decides() {
        let hub = hub();
        let (authorities, user) = make_user(hub.directory.path(), "cluster");
        let late = Clock::new();
        late.raise_floor(CLOCK_FLOOR_UNIX_SECS_MAX);
        let client = client_config(
            hub.authorities.roots(),
            Some(&user),
            PROTOCOLS,
            Arc::clone(&late),
        )
        .unwrap();
        handshake(&client, &server(&hub, None), "169.254.2.1").unwrap();
        let server = server_config(Arc::clone(&hub.serving), Some(&authorities), late).unwrap();
        let error = handshake(&client, &server, "169.254.2.1").unwrap_err();
        assert!(error.to_string().contains("expired"), "{error}");
    }
}
