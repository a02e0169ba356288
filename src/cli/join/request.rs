//! The node's certificate: asks for it with the token, waits until it is there, keeps it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{failed, told};
use crate::certs::bootstrap_token::BootstrapToken;
use crate::certs::csr::{self, Answer, Ask, Denial, Verdict, Wanted, judge};
use crate::certs::issued::{Pending, Place};
use crate::certs::load::{Authorities, Pair};
use crate::cli::dial::{self, Trust};
use crate::cli::http;
use crate::config::ServerUrl;
use crate::error::{Exit, Failure};
use crate::limits::{CSR_LOOK_MIN, CSR_TELL_AFTER, JOIN_LOOK_MAX};

/// Who asks whom, for what.
pub(super) struct Terms<'a> {
    pub(super) server: &'a ServerUrl,
    pub(super) authorities: &'a Authorities,
    pub(super) token: &'a BootstrapToken,
    pub(super) place: &'a Place,
    pub(super) wanted: &'a Wanted<'a>,
    pub(super) wait_secs: u64,
}

/// Gets the certificate, and keeps it with its key. A request that an earlier run has made is gone on with.
pub(super) fn fetch(terms: &Terms<'_>) -> Result<Pair, Failure> {
    let made =
        |error: rcgen::Error| failed(Exit::Failed, format!("no request can be made: {error}"));
    let in_use = terms.place.load().ok().flatten();
    let pending = terms.place.begin(terms.wanted, in_use.as_ref());
    let pending = pending.map_err(made)?;
    // First the key, then the request: a request whose key is lost is of no use to anybody.
    terms
        .place
        .keep_pending(&pending.text())
        .map_err(|error| failed(Exit::Failed, error.to_string()))?;
    let request = pending.request(terms.wanted).map_err(made)?;
    told(format!("asked    for a certificate, as {}", pending.name()));
    let chain = wait_for(terms, &pending, &request)?;
    let pair = terms
        .place
        .accept(&chain, &pending, terms.wanted)
        .map_err(|error| {
            terms.place.forget_pending();
            failed(Exit::Refused, format!("{}: {error}", pending.name()))
        })?;
    terms
        .place
        .keep(&pending.text_of_pair(&pair))
        .map_err(|error| failed(Exit::Failed, error.to_string()))?;
    terms.place.forget_pending();
    Ok(pair)
}

/// Asks until there is an answer for good, or the time is over.
fn wait_for(terms: &Terms<'_>, pending: &Pending, request: &[u8]) -> Result<Vec<u8>, Failure> {
    let began = Instant::now();
    let until = began + Duration::from_secs(terms.wait_secs);
    let mut ask = Ask::Make;
    let (mut is_made, mut is_told) = (false, false);
    let mut pause = CSR_LOOK_MIN;
    loop {
        let (last, again) = match exchange(terms, pending, request, ask) {
            Err(trouble) => (failed(Exit::Failed, trouble), true),
            Ok(Verdict::Exists) if !is_made => {
                (ask, is_made) = (Ask::Look, true);
                continue;
            }
            Ok(Verdict::Exists | Verdict::Gone) => {
                ask = if ask == Ask::Look {
                    Ask::Make
                } else {
                    Ask::Look
                };
                let text = format!("{} comes and goes at the server", pending.name());
                (failed(Exit::Failed, text), true)
            }
            Ok(Verdict::Failed(denial, why)) => denied(terms, denial, &why),
            Ok(Verdict::Answer(Answer::Issued(chain))) => return Ok(chain),
            Ok(Verdict::Answer(Answer::Refused(why))) => {
                terms.place.forget_pending();
                let text = format!("{} was refused: {why}", pending.name());
                return Err(failed(Exit::Refused, text));
            }
            Ok(Verdict::Answer(answer)) => {
                (ask, is_made) = (Ask::Look, true);
                let text = waits(pending, &answer);
                if !is_told && began.elapsed() > CSR_TELL_AFTER.min(JOIN_LOOK_MAX) {
                    told(format!("waiting  {text}"));
                    is_told = true;
                }
                let text = format!("{text}; the same command goes on");
                (failed(Exit::NotApproved, text), true)
            }
        };
        // What has not begun fails at once; what waits may miss an answer or two.
        let left = until.saturating_duration_since(Instant::now());
        if !again || !is_made || left.is_zero() {
            return Err(last);
        }
        sleep(pause.min(left));
        pause = (pause * 2).min(JOIN_LOOK_MAX);
    }
}

fn waits(pending: &Pending, answer: &Answer) -> String {
    let name = pending.name();
    match answer {
        Answer::Approved => format!(
            "{name} is approved, and the cluster's signer (kube-controller-manager) has not signed it yet"
        ),
        _ => format!("nobody has approved {name} yet: kubectl certificate approve {name}"),
    }
}

/// What the failure is, and whether it may pass.
fn denied(terms: &Terms<'_>, denial: Denial, why: &str) -> (Failure, bool) {
    let server = terms.server;
    match denial {
        Denial::Unknown => (
            failed(
                Exit::Refused,
                format!(
                    "{server}: {why}: the token is wrong or has expired, or is not for authentication; make a new one \
                     (kubeadm token create)"
                ),
            ),
            false,
        ),
        Denial::Forbidden => (
            failed(
                Exit::Refused,
                format!(
                    "{server}: {why}: the token's groups may not ask for certificates; bind the ClusterRole \
                     system:node-bootstrapper to them"
                ),
            ),
            false,
        ),
        Denial::Other => (failed(Exit::Failed, format!("{server}: {why}")), true),
    }
}

fn exchange(
    terms: &Terms<'_>,
    pending: &Pending,
    request: &[u8],
    ask: Ask,
) -> Result<Verdict, String> {
    let (path, token) = (pending.path(), terms.token.bearer());
    let asked = http::Ask {
        token: Some(&token),
        ..match ask {
            Ask::Look => http::Ask::get(&path),
            Ask::Make => http::Ask {
                body: Some(request),
                ..http::Ask::get(csr::PATH)
            },
        }
    };
    let trust = Trust::Signed(terms.authorities, "cluster-info");
    dial::ask(terms.server, &trust, None, &asked)
        .map(|reply| judge(ask, reply.status, &reply.body))
        .map_err(|trouble| format!("{}: {trouble}", terms.server))
}
