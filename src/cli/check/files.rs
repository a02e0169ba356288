//! Certificates, keys and folders: there, private, in date, and belonging together. They are read by what `run` reads
//! them with, so the two never differ in what they accept.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Findings;
use crate::certs::certificate::CertificateFields;
use crate::certs::csr::Signer;
use crate::certs::hub_ca;
use crate::certs::issued::Place;
use crate::certs::load::{Authorities, Pair, in_date};
use crate::certs::papers::is_of;
use crate::certs::renewal::renew_at;
use crate::cli::dial::subject_of;
use crate::config::{ClientFrom, Config, Identity, PairFiles, ServingFrom};
use crate::limits::{CERT_RENEWAL_WARN_DAYS, CERT_WARN_DAYS, STATE_DIR_FREE_BYTES_MIN};
use crate::sys::clock::rfc3339;
use crate::sys::file;

const DAY_SECS: u64 = 86_400;

/// What could be loaded, for trying the servers with it.
pub(super) struct Loaded {
    pub(super) servers: Option<Authorities>,
    /// The node's own pair.
    pub(super) own: Option<Pair>,
}

pub(super) fn check(findings: &mut Findings, config: &Config, now_secs: u64) -> Loaded {
    let servers = authority(findings, "ca_file", &config.ca_file, now_secs);
    if let Some(path) = &config.client_ca_file {
        authority(findings, "client_ca_file", path, now_secs);
        if config.identities.is_empty() && config.client_from == ClientFrom::Files {
            findings.warn("client_ca_file: everybody with a client certificate gets 403, as `identities` is empty; list who may come");
        }
    }
    let own = match (config.client_from, &config.client) {
        (ClientFrom::Joined, _) => issued(findings, config, Signer::Client, now_secs),
        (ClientFrom::Files, Some(files)) => {
            pair(findings, ("client_cert", "client_key"), files, now_secs)
        }
        (ClientFrom::Files, None) => None,
    };
    if config.serving_from == ServingFrom::Csr {
        issued(findings, config, Signer::Serving, now_secs);
    }
    if let Some(files) = &config.serving {
        pair(findings, ("serving_cert", "serving_key"), files, now_secs);
    }
    for (i, identity) in config.identities.iter().enumerate() {
        let names = (
            format!("identities[{i}].cert"),
            format!("identities[{i}].key"),
        );
        if let Some(pair) = pair(findings, (&names.0, &names.1), &identity.pair, now_secs) {
            subject(findings, &names.0, identity, &pair);
        }
    }
    state_dir(findings, &config.state_dir);
    Loaded { servers, own }
}

fn authority(
    findings: &mut Findings,
    key: &str,
    path: &Path,
    now_secs: u64,
) -> Option<Authorities> {
    let read = Authorities::read(path);
    let loaded = read.and_then(|certs| Ok((Authorities::new(certs.clone(), path)?, certs)));
    let (authorities, certs) = loaded
        .map_err(|error| findings.fail(format!("{key}: {error}")))
        .ok()?;
    // During a change of the CA the old one stays in the file for a while, and ends there.
    let another_is_in_date = authorities.in_date(now_secs).is_ok();
    for cert in &certs {
        let Ok(fields) = CertificateFields::read(cert) else {
            continue;
        };
        let subject = subject_of(&fields);
        let (from, until) = (fields.not_before_unix_secs, fields.not_after_unix_secs);
        if !fields.is_ca() {
            findings.warn(format!(
                "{key}: {subject} in {} is not a CA, nothing signed by it will be believed; is it the right file?",
                path.display()
            ));
        } else if another_is_in_date && now_secs > until {
            findings.warn(format!(
                "{key}: {subject} expired at {}; another in the file is in date; take this one out",
                rfc3339(until)
            ));
        } else {
            dates(findings, key, &subject, (from, until), now_secs);
        }
    }
    Some(authorities)
}

fn pair(
    findings: &mut Findings,
    names: (&str, &str),
    files: &PairFiles,
    now_secs: u64,
) -> Option<Pair> {
    if let Err(error) = file::private(&files.key) {
        findings.warn(format!("{}: {error}", names.1));
    }
    let pair = Pair::load(&files.cert, &files.key)
        .map_err(|error| findings.fail(format!("{}: {error}", names.0)))
        .ok()?;
    findings.ok(format!("{} and {} belong together", names.0, names.1));
    let range = (pair.not_before_unix_secs(), pair.not_after_unix_secs());
    let subject = pair.subject().to_string();
    dates(findings, names.0, &subject, range, now_secs);
    Some(pair)
}

/// A pair that the cluster has issued, and whether the hub waits for a new one.
fn issued(findings: &mut Findings, config: &Config, signer: Signer, now_secs: u64) -> Option<Pair> {
    let (key, place) = (signer.word(), Place::new(&config.state_dir, signer));
    if let Some(pending) = place.pending() {
        findings.warn(format!(
            "{key}: {} waits for the cluster; if nobody approves by rule: kubectl certificate approve {}",
            pending.name(),
            pending.name()
        ));
    }
    let pair = match place.load() {
        Ok(Some(pair)) => pair,
        Ok(None) => {
            match signer {
                Signer::Client => findings.fail(format!(
                    "{key}: this node has not joined, there is no {}; see `edge-hub join`",
                    place.pair().display()
                )),
                Signer::Serving => findings.warn(format!(
                    "{key}: the cluster has not signed yet; until it has, the certificate is one from the hub's own CA"
                )),
            }
            return None;
        }
        Err(error) => {
            findings.fail(format!("{key}: {error}"));
            return None;
        }
    };
    if let Err(error) = file::private(&place.pair()) {
        findings.warn(format!("{key}: {error}"));
    }
    let subject = pair.subject();
    let until = rfc3339(pair.not_after_unix_secs());
    let from = rfc3339(renew_at(&pair));
    let days = pair.not_after_unix_secs().saturating_sub(now_secs) / DAY_SECS;
    match pair.in_date(now_secs) {
        Err(error) => findings.fail(format!("{key}: {subject}: {error}")),
        Ok(()) if days < CERT_RENEWAL_WARN_DAYS && now_secs >= renew_at(&pair) => {
            findings.warn(format!(
                "{key}: {subject} is valid until {until}, and was to be renewed from {from} on; `edge-hub status` says why it was not"
            ));
        }
        Ok(()) => findings.ok(format!(
            "{key}: {subject} is valid until {until}, and the hub renews it from {from} on"
        )),
    }
    Some(pair)
}

fn dates(findings: &mut Findings, key: &str, subject: &str, range: (u64, u64), now_secs: u64) {
    let (from, until) = range;
    if let Err(error) = in_date(from, until, now_secs) {
        return findings.fail(format!(
            "{key}: {subject}: {error}; nobody accepts it as it is"
        ));
    }
    let days = (until - now_secs) / DAY_SECS;
    if days < CERT_WARN_DAYS {
        findings.warn(format!(
            "{key}: {subject} expires at {}, in {days} days; renew it",
            rfc3339(until)
        ));
    } else {
        findings.ok(format!(
            "{key}: {subject} is valid until {}",
            rfc3339(until)
        ));
    }
}

/// Going up with a pair of another name would be borrowing an identity.
fn subject(findings: &mut Findings, key: &str, identity: &Identity, pair: &Pair) {
    if is_of(identity, pair.subject()) {
        return findings.ok(format!("{key}: the subject is the one in the entry"));
    }
    let wanted = identity
        .o
        .as_ref()
        .map(|o| format!(",O={o}"))
        .unwrap_or_default();
    findings.fail(format!(
        "{key}: the subject is {}, and the entry says CN={}{wanted}: the caller would act as somebody else, so the hub refuses it; put its own pair there",
        pair.subject(),
        identity.cn
    ));
}

/// Not a failure: without it the hub's CA lives in memory, and pods have to be told anew after a restart.
fn state_dir(findings: &mut Findings, dir: &Path) {
    if let Err(error) = file::private_directory(dir, 0o022) {
        findings.warn(format!("state_dir: {error}"));
    }
    for key in hub_ca::key_files(dir).iter().filter(|key| key.exists()) {
        if let Err(error) = file::private(key) {
            findings.warn(format!("state_dir: {error}"));
        }
    }
    let there = nearest_folder(dir);
    match probe(&there) {
        // A name takes no room, so that one can be made says nothing of what would be in it.
        Ok(()) if file::space(&there).is_ok_and(|free| free < STATE_DIR_FREE_BYTES_MIN) => {
            findings.warn(format!(
                "state_dir: there is no room in {}; what the hub cannot keep there it has in memory, until it ends; make room",
                there.display()
            ));
        }
        Ok(()) if there == dir => findings.ok(format!("state_dir: {} can be written", dir.display())),
        Ok(()) => findings.ok(format!("state_dir: {} can be made", dir.display())),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => findings.warn(format!(
            "state_dir: this user may not write in {}; if the hub runs as this user, its CA is a new one at each start; \
             run check as the user that runs the hub",
            there.display()
        )),
        Err(error) => findings.warn(format!(
            "state_dir: nothing can be written in {} ({error}), so the hub's CA would be a new one at each start; mount it writable or name another",
            there.display()
        )),
    }
}

/// Whether a file can be made in the folder. It is gone again.
pub(super) fn probe(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".edge-hub-check-{}", std::process::id()));
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&probe)?;
    fs::remove_file(&probe)
}

/// The path itself, or what of it is there. Not always a folder.
pub(super) fn nearest_folder(dir: &Path) -> PathBuf {
    let found = dir.ancestors().find(|dir| dir.exists());
    found.unwrap_or(Path::new("/")).to_owned()
}
