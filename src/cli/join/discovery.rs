//! The cluster's CA, found as kubeadm does: `cluster-info` comes over a connection that nobody vouches for, counts because
//! the token has signed it, and is asked for once more over a connection that its CA vouches for.

use rustls::pki_types::CertificateDer;

use super::{failed, told};
use crate::certs::bootstrap_token::BootstrapToken;
use crate::certs::certificate::CertificateFields;
use crate::certs::cluster_info::{self, Pin};
use crate::certs::load::Authorities;
use crate::cli::dial::{self, Trust, subject_of};
use crate::cli::http::{Ask, Reply};
use crate::config::ServerUrl;
use crate::error::{Exit, Failure};

/// What the server shows as CAs, signed by the token.
pub(super) fn discover(
    server: &ServerUrl,
    token: &BootstrapToken,
) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let kubeconfig = fetch(server, token, &Trust::Anybody)?;
    let refused =
        |error: cluster_info::ClusterInfoError| failed(Exit::Refused, format!("{server}: {error}"));
    cluster_info::authorities(&kubeconfig).map_err(refused)
}

/// Of these the ones that are pinned; without a pin all of them.
pub(super) fn pinned(
    found: Vec<CertificateDer<'static>>,
    pins: &[Pin],
) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let mut trusted = Vec::new();
    let mut shown = Vec::new();
    for certificate in found {
        let fields = CertificateFields::read(&certificate);
        let about = fields.map_or_else(
            |error| error.to_string(),
            |fields| format!("{}, {}", subject_of(&fields), Pin::of(&fields)),
        );
        match pins.is_empty() || pins.iter().any(|pin| pin.fits(&certificate)) {
            true => {
                told(format!("trusted  {about}"));
                trusted.push(certificate);
            }
            false => {
                told(format!("left out {about}: no --ca-hash names it"));
                shown.push(about);
            }
        }
    }
    match trusted.is_empty() {
        false => Ok(trusted),
        true => Err(failed(
            Exit::Refused,
            format!(
                "the cluster's CA is none that --ca-hash names, but {}: is it the right server, is the hash that of its CA?",
                shown.join("; ")
            ),
        )),
    }
}

/// The same answer comes from a server whose certificate these have signed.
pub(super) fn confirm(
    server: &ServerUrl,
    token: &BootstrapToken,
    authorities: &Authorities,
) -> Result<(), Failure> {
    let source = "cluster-info; is it the right server?";
    fetch(server, token, &Trust::Signed(authorities, source)).map(drop)
}

fn fetch(server: &ServerUrl, token: &BootstrapToken, trust: &Trust<'_>) -> Result<String, Failure> {
    let reply = dial::ask(server, trust, None, &Ask::get(cluster_info::PATH))
        .map_err(|trouble| failed(Exit::Failed, format!("{server}: {trouble}")))?;
    match reply {
        Reply {
            status: 200, body, ..
        } => cluster_info::signed_kubeconfig(&body, token)
            .map_err(|error| failed(Exit::Refused, format!("{server}: {error}"))),
        Reply { status, .. } => Err(failed(
            match status {
                401 | 403 | 404 => Exit::Refused,
                _ => Exit::Failed,
            },
            format!(
                "{server}: answers {status} where a cluster made by kubeadm shows cluster-info to everybody; \
                 if this cluster does not, give its CA with --ca-file"
            ),
        )),
    }
}
