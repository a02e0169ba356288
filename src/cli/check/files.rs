//! Certificates, keys and folders: there, private, in date, and belonging together.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Findings;
use crate::cli::utc;
use crate::config::{Config, Identity, PairFiles};
use crate::limits::{CERT_WARN_DAYS, CHECK_FILE_BYTES_MAX};

const DAY_SECS: i64 = 86_400;

pub(super) fn check(findings: &mut Findings, config: &Config, now_secs: i64) {
    authority(findings, "ca_file", &config.ca_file, now_secs);
    if let Some(path) = &config.client_ca_file {
        authority(findings, "client_ca_file", path, now_secs);
        if config.identities.is_empty() {
            findings.warn("client_ca_file: everybody with a client certificate gets 403, as `identities` is empty; list who may come");
        }
    }
    if let Some(files) = &config.client {
        pair(findings, ("client_cert", "client_key"), files, now_secs);
    }
    if let Some(files) = &config.serving {
        pair(findings, ("serving_cert", "serving_key"), files, now_secs);
    }
    for (i, identity) in config.identities.iter().enumerate() {
        let names = (
            format!("identities[{i}].cert"),
            format!("identities[{i}].key"),
        );
        if let Some(leaf) = pair(findings, (&names.0, &names.1), &identity.pair, now_secs) {
            subject(findings, &names.0, identity, &leaf);
        }
    }
    state_dir(findings, &config.state_dir);
}

/// What is of interest in a certificate.
pub(super) struct Facts {
    /// `O=..., CN=...`.
    pub(super) subject: String,
    pub(super) issuer: String,
    cn: Vec<String>,
    o: Vec<String>,
    pub(super) not_before_secs: i64,
    pub(super) not_after_secs: i64,
    is_ca: bool,
}

impl Facts {
    /// None: these bytes are no certificate.
    pub(super) fn of(der: &[u8]) -> Option<Facts> {
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        let words = |iter: Vec<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            iter.iter()
                .filter_map(|word| word.as_str().ok())
                .map(str::to_owned)
                .collect()
        };
        Some(Facts {
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            cn: words(cert.subject().iter_common_name().collect()),
            o: words(cert.subject().iter_organization().collect()),
            not_before_secs: cert.validity().not_before.timestamp(),
            not_after_secs: cert.validity().not_after.timestamp(),
            is_ca: cert.is_ca(),
        })
    }
}

/// The certificates in a file, or what is wrong with it.
pub(super) fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(key, path)?;
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certs {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        Ok(_) => Err(format!(
            "{key}: {} holds no certificate; it begins with -----BEGIN CERTIFICATE-----",
            path.display()
        )),
        Err(error) => Err(format!(
            "{key}: {} is not whole PEM ({error}); copy it again",
            path.display()
        )),
    }
}

fn authority(findings: &mut Findings, key: &str, path: &Path, now_secs: i64) {
    let certs = match certificates(key, path) {
        Ok(certs) => certs,
        Err(why) => return findings.fail(why),
    };
    for cert in &certs {
        match Facts::of(cert) {
            None => findings.fail(format!(
                "{key}: {} holds something that is no certificate; copy it again",
                path.display()
            )),
            Some(facts) if !facts.is_ca => findings.warn(format!(
                "{key}: {} in {} is not a CA, nothing signed by it will be believed; is it the right file?",
                facts.subject,
                path.display()
            )),
            Some(facts) => dates(findings, key, &facts, now_secs),
        }
    }
}

/// The leaf's facts, if there is one.
fn pair(
    findings: &mut Findings,
    names: (&str, &str),
    files: &PairFiles,
    now_secs: i64,
) -> Option<Facts> {
    private(findings, names.1, &files.key);
    let chain = certificates(names.0, &files.cert)
        .map_err(|why| findings.fail(why))
        .ok()?;
    let facts = chain.first().and_then(|leaf| Facts::of(leaf));
    match together(names, files, chain) {
        Ok(()) => findings.ok(format!("{} and {} belong together", names.0, names.1)),
        Err(why) => findings.fail(why),
    }
    match &facts {
        Some(facts) => dates(findings, names.0, facts, now_secs),
        None => findings.fail(format!(
            "{}: {} begins with something that is no certificate",
            names.0,
            files.cert.display()
        )),
    }
    facts
}

fn together(
    names: (&str, &str),
    files: &PairFiles,
    chain: Vec<CertificateDer<'static>>,
) -> Result<(), String> {
    let bytes = read(names.1, &files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        format!(
            "{}: {} holds no key ({error}); copy it again",
            names.1,
            files.key.display()
        )
    })?;
    let tried = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider());
    tried.map(drop).map_err(|error| {
        format!(
            "{}: {} and {} cannot be used together ({error}); take both from the same issue",
            names.1,
            files.cert.display(),
            files.key.display()
        )
    })
}

fn dates(findings: &mut Findings, key: &str, facts: &Facts, now_secs: i64) {
    let subject = &facts.subject;
    let (from, until) = (
        utc::day_and_time(facts.not_before_secs),
        utc::day_and_time(facts.not_after_secs),
    );
    let days = (facts.not_after_secs - now_secs).div_euclid(DAY_SECS);
    if now_secs < facts.not_before_secs {
        findings.fail(format!(
            "{key}: {subject} is valid only from {from}, so nobody accepts it now; is the clock right?"
        ));
    } else if now_secs > facts.not_after_secs {
        findings.fail(format!(
            "{key}: {subject} expired at {until}, nobody accepts it any more; renew it"
        ));
    } else if days < CERT_WARN_DAYS {
        findings.warn(format!(
            "{key}: {subject} expires at {until}, in {days} days; renew it"
        ));
    } else {
        findings.ok(format!("{key}: {subject} is valid until {until}"));
    }
}

/// Going up with a pair of another name would be borrowing an identity.
fn subject(findings: &mut Findings, key: &str, identity: &Identity, leaf: &Facts) {
    let cn = leaf.cn.contains(&identity.cn);
    let o = identity.o.as_ref().is_none_or(|o| leaf.o.contains(o));
    if cn && o {
        findings.ok(format!("{key}: the subject is the one in the entry"));
    } else {
        let wanted = identity
            .o
            .as_ref()
            .map(|o| format!("O={o}, "))
            .unwrap_or_default();
        findings.fail(format!(
            "{key}: the subject is {}, and the entry says {wanted}CN={}: the caller would act as somebody else; put its own pair there",
            leaf.subject, identity.cn
        ));
    }
}

fn private(findings: &mut Findings, key: &str, path: &Path) {
    let Ok(meta) = fs::metadata(path) else { return };
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        findings.warn(format!(
            "{key}: others may read {} (mode {mode:04o}), and be this node with it; chmod 600 {}",
            path.display(),
            path.display()
        ));
    }
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(CHECK_FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > CHECK_FILE_BYTES_MAX => Err(format!(
            "{key}: {} is longer than {CHECK_FILE_BYTES_MAX} bytes; is it the right file?",
            path.display()
        )),
        Ok(_) => Ok(bytes),
        Err(error) => Err(format!(
            "{key}: {} cannot be read ({error})",
            path.display()
        )),
    }
}

/// Not a failure: without it the hub's CA lives in memory, and pods have to be told anew after a restart.
fn state_dir(findings: &mut Findings, dir: &Path) {
    let there = nearest_folder(dir);
    let probe = there.join(format!(".edge-hub-check-{}", std::process::id()));
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&probe);
    match made.and_then(|_| fs::remove_file(&probe)) {
        Ok(()) if there == dir => findings.ok(format!("state_dir: {} can be written", dir.display())),
        Ok(()) => findings.ok(format!("state_dir: {} can be made", dir.display())),
        Err(error) => findings.warn(format!(
            "state_dir: nothing can be written in {} ({error}), so the hub's CA would be a new one at each start; mount it writable or name another",
            there.display()
        )),
    }
}

fn nearest_folder(dir: &Path) -> PathBuf {
    let found = dir.ancestors().find(|dir| dir.exists());
    found.unwrap_or(Path::new("/")).to_owned()
}
