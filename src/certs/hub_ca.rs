//! The hub's own CA, and the serving certificate that it issues.
//!
//! Made at first start and kept in four files under `state_dir`: `hub-ca.key`, `hub-ca.crt`, `hub-serving.key`,
//! `hub-serving.crt`. A key is always written before its certificate. So a power cut leaves at worst a key without its
//! certificate, or with that of the key before, and a certificate that does not fit the key is made anew for the key.
//! What cannot be read, or was not made by the hub, is not touched: the hub then has a CA in RAM, and says so.
//!
//! Certificates are valid from 1970 to 9999: a box whose clock is years wrong when they are made, or used, must not
//! have ones that are invalid when the clock is right.

use super::certificate::CertificateFields;
use super::load::{self, LoadError, Pair};
use super::pem;
use super::provider;
use super::sans::Sans;
use crate::limits::{
    CHAIN_CERTIFICATES_MAX, CLOCK_UNSET_UNIX_SECS, COMMON_NAME_CHARS_MAX, PAIR_FILE_BYTES_MAX,
};
use crate::sys::file::{FileError, make_private_directory, private, write_whole};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber, date_time_ymd,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The hub's CA.
pub struct HubCa {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    common_name: String,
    serving_name: String,
    home: Home,
}

/// The key is not shown.
impl fmt::Debug for HubCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubCa")
            .field("common_name", &self.common_name)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

/// Where keys and certificates are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Home {
    Directory(PathBuf),
    /// Only in this process: the next start makes others.
    Ram,
}

/// What the operator should know, though the hub can go on.
#[derive(Debug)]
pub enum Warning {
    /// It could not be written, and lasts until the hub ends. Pods that trust the CA will not trust the next one.
    NotKept(FileError),
    /// It could not be used as it was, and was made anew.
    Remade {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Unusable,
    },
    /// It cannot be used, and is left alone; what the hub uses instead lasts until it ends.
    LeftAlone {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Unusable,
    },
    /// Others than the hub may read a key.
    NotPrivate(FileError),
}

/// Why a file of the hub's own cannot be used.
#[derive(Debug)]
pub enum Unusable {
    /// It cannot be loaded.
    Load(LoadError),
    /// The certificate is not that of the key beside it.
    OtherKey,
    /// The certificate was not issued by the CA beside it.
    OtherIssuer,
    /// The CA certificate is not one that the hub makes.
    NotOurs,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => write!(f, "{error}"),
            Self::OtherKey => write!(f, "it does not belong to the key beside it"),
            Self::OtherIssuer => write!(f, "the CA beside it has not issued it"),
            Self::NotOurs => write!(f, "the hub has not made it"),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotKept(error) => write!(
                f,
                "{error}; the hub's CA or certificate is kept in RAM, and clients will have to trust another after a restart"
            ),
            Self::Remade { path, cause } => write!(f, "{} was made anew: {cause}", path.display()),
            Self::LeftAlone { path, cause } => write!(
                f,
                "{} cannot be used: {cause}; until it can, or is removed, the hub has a CA in RAM, which changes with \
                 every start",
                path.display()
            ),
            Self::NotPrivate(error) => write!(f, "{error}"),
        }
    }
}

/// No key or certificate can be made: the system has no random numbers, or a name cannot be in a certificate.
#[derive(Debug)]
pub enum HubCaError {
    /// No random numbers.
    Random,
    /// The certificate cannot be put together.
    Issue(rcgen::Error),
    /// It was put together, and cannot be used.
    Load(LoadError),
}

impl fmt::Display for HubCaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => write!(f, "the system has no random numbers to make a key from"),
            Self::Issue(error) => write!(f, "cannot issue a certificate: {error}"),
            Self::Load(error) => write!(f, "cannot use the certificate that was issued: {error}"),
        }
    }
}

impl std::error::Error for HubCaError {}

impl From<rcgen::Error> for HubCaError {
    fn from(error: rcgen::Error) -> HubCaError {
        HubCaError::Issue(error)
    }
}

const CA_KEY: &str = "hub-ca.key";
/// The file of its certificate, below `state_dir`.
pub const CA_CERTIFICATE: &str = "hub-ca.crt";
const SERVING_KEY: &str = "hub-serving.key";
const SERVING_CERTIFICATE: &str = "hub-serving.crt";
/// The files of this `state_dir` that hold keys.
pub fn key_files(directory: &Path) -> [PathBuf; 2] {
    [CA_KEY, SERVING_KEY].map(|name| directory.join(name))
}

const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

/// Opens the CA under `state_dir`, or makes it there; in RAM if that cannot be.
pub fn open(state_dir: &Path, node_name: &str) -> Result<(HubCa, Vec<Warning>), HubCaError> {
    let mut warnings = Vec::new();
    let mut home = Home::Directory(state_dir.to_owned());
    if let Err(error) = make_private_directory(state_dir) {
        warnings.push(Warning::NotKept(error));
        home = Home::Ram;
    }
    let mut ca = HubCa {
        key: new_key()?,
        certificate: CertificateDer::from(Vec::new()),
        common_name: common_name("edge-hub CA", node_name),
        serving_name: common_name("edge-hub", node_name),
        home,
    };
    match ca.kept_key(CA_KEY, &mut warnings) {
        Kept::Usable(key) => {
            ca.key = key;
            match ca.kept_ca_certificate() {
                Kept::Usable((certificate, common_name)) => {
                    ca.certificate = certificate;
                    ca.common_name = common_name;
                    return Ok((ca, warnings));
                }
                Kept::Missing => {}
                Kept::Replaceable(path, cause) => warnings.push(Warning::Remade { path, cause }),
                Kept::LeaveAlone(path, cause) => {
                    warnings.push(Warning::LeftAlone { path, cause });
                    ca.home = Home::Ram;
                    ca.key = new_key()?;
                }
            }
        }
        Kept::Missing => ca.keep_key(CA_KEY, &mut warnings),
        Kept::Replaceable(path, cause) => {
            warnings.push(Warning::Remade { path, cause });
            ca.keep_key(CA_KEY, &mut warnings);
        }
        Kept::LeaveAlone(path, cause) => {
            warnings.push(Warning::LeftAlone { path, cause });
            ca.home = Home::Ram;
        }
    }
    ca.certificate = ca_params(&ca.common_name)?
        .self_signed(&ca.key)?
        .der()
        .clone();
    ca.keep(
        CA_CERTIFICATE,
        ca.ca_pem().as_bytes(),
        CERTIFICATE_MODE,
        &mut warnings,
    );
    Ok((ca, warnings))
}

/// What is under a name in the hub's directory.
enum Kept<T> {
    Usable(T),
    Missing,
    /// The hub's own, broken: it may be made anew.
    Replaceable(PathBuf, Unusable),
    /// Nobody knows: it stays.
    LeaveAlone(PathBuf, Unusable),
}

impl HubCa {
    /// The CA's certificate in PEM, for clients to trust.
    pub fn ca_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.certificate)
    }

    /// The CA's certificate in DER.
    pub fn ca_certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A serving pair for exactly these names: the one that is kept if it has them, else a new one, which is then kept.
    /// The key stays the same, so that one write exchanges the certificate.
    pub fn serving(&mut self, sans: &Sans) -> Result<(Pair, Vec<Warning>), HubCaError> {
        let mut warnings = Vec::new();
        let key = match self.kept_key(SERVING_KEY, &mut warnings) {
            Kept::Usable(key) => {
                match self.kept_serving_certificate(&key, sans) {
                    Kept::Usable(certificate) => {
                        return Ok((self.pair(certificate, &key)?, warnings));
                    }
                    Kept::Missing => {}
                    Kept::Replaceable(path, cause) => {
                        warnings.push(Warning::Remade { path, cause })
                    }
                    Kept::LeaveAlone(path, cause) => {
                        warnings.push(Warning::LeftAlone { path, cause });
                        self.home = Home::Ram;
                    }
                }
                key
            }
            Kept::Missing => self.new_serving_key(&mut warnings)?,
            Kept::Replaceable(path, cause) => {
                warnings.push(Warning::Remade { path, cause });
                self.new_serving_key(&mut warnings)?
            }
            Kept::LeaveAlone(path, cause) => {
                warnings.push(Warning::LeftAlone { path, cause });
                self.home = Home::Ram;
                new_key()?
            }
        };
        let certificate = self.issue(&key, sans)?;
        self.keep(
            SERVING_CERTIFICATE,
            pem::encode("CERTIFICATE", &certificate).as_bytes(),
            CERTIFICATE_MODE,
            &mut warnings,
        );
        Ok((self.pair(certificate, &key)?, warnings))
    }

    fn new_serving_key(&mut self, warnings: &mut Vec<Warning>) -> Result<KeyPair, HubCaError> {
        let key = new_key()?;
        let text = pem::encode("PRIVATE KEY", key.serialized_der());
        self.keep(SERVING_KEY, text.as_bytes(), KEY_MODE, warnings);
        Ok(key)
    }

    fn issue(&self, key: &KeyPair, sans: &Sans) -> Result<CertificateDer<'static>, HubCaError> {
        let mut params = params(&self.serving_name)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        for name in sans.dns() {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.try_into()?));
        }
        params
            .subject_alt_names
            .extend(sans.ips().map(SanType::IpAddress));
        let ca_params = ca_params(&self.common_name)?;
        let issuer = Issuer::from_params(&ca_params, &self.key);
        Ok(params.signed_by(key, &issuer)?.der().clone())
    }

    fn pair(
        &self,
        certificate: CertificateDer<'static>,
        key: &KeyPair,
    ) -> Result<Pair, HubCaError> {
        let directory = match &self.home {
            Home::Directory(directory) => directory.as_path(),
            Home::Ram => Path::new("RAM"),
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let (certificate_path, key_path) = (
            directory.join(SERVING_CERTIFICATE),
            directory.join(SERVING_KEY),
        );
        Pair::new(vec![certificate], key, &certificate_path, &key_path).map_err(HubCaError::Load)
    }

    fn kept_key(&self, name: &str, warnings: &mut Vec<Warning>) -> Kept<KeyPair> {
        let Home::Directory(directory) = &self.home else {
            return Kept::Missing;
        };
        let path = directory.join(name);
        let loaded =
            load::read_blocks(&path, PAIR_FILE_BYTES_MAX).and_then(|mut blocks| blocks.take_key());
        let key = match loaded {
            Ok(key) => key,
            Err(error) => return kept_error(path, error),
        };
        match KeyPair::try_from(&key) {
            Ok(key) => {
                warnings.extend(private(&path).err().map(Warning::NotPrivate));
                Kept::Usable(key)
            }
            Err(_) => Kept::Replaceable(path.clone(), Unusable::Load(LoadError::KeyKind { path })),
        }
    }

    fn kept_certificate(&self, name: &str) -> Kept<(PathBuf, CertificateDer<'static>)> {
        let Home::Directory(directory) = &self.home else {
            return Kept::Missing;
        };
        let path = directory.join(name);
        let loaded = load::read_blocks(&path, PAIR_FILE_BYTES_MAX)
            .and_then(|mut blocks| blocks.take_certificates(CHAIN_CERTIFICATES_MAX));
        match loaded {
            Ok(certificates) => match certificates.into_iter().next() {
                Some(certificate) => Kept::Usable((path, certificate)),
                None => Kept::Missing,
            },
            Err(error) => kept_error(path, error),
        }
    }

    fn kept_ca_certificate(&self) -> Kept<(CertificateDer<'static>, String)> {
        let (path, certificate) = match self.kept_certificate(CA_CERTIFICATE) {
            Kept::Usable(found) => found,
            Kept::Missing => return Kept::Missing,
            Kept::Replaceable(path, cause) => return Kept::Replaceable(path, cause),
            Kept::LeaveAlone(path, cause) => return Kept::LeaveAlone(path, cause),
        };
        let Ok(fields) = CertificateFields::read(&certificate) else {
            return Kept::Replaceable(path, Unusable::NotOurs);
        };
        if fields.public_key != self.key.subject_public_key_info() {
            return Kept::Replaceable(path, Unusable::OtherKey);
        }
        // The node may have had another name when it was made. What is issued must name the issuer byte for byte.
        let name = fields
            .subject()
            .ok()
            .and_then(|subject| subject.common_name);
        match name {
            Some(name) if self.is_ours(&fields, &name) => Kept::Usable((certificate, name)),
            _ => Kept::LeaveAlone(path, Unusable::NotOurs),
        }
    }

    /// Whether the hub would make a CA certificate of this subject from this name.
    fn is_ours(&self, fields: &CertificateFields<'_>, common_name: &str) -> bool {
        let made = ca_params(common_name)
            .and_then(|params| Ok(params.self_signed(&self.key)?))
            .map(|made| made.der().clone());
        made.is_ok_and(|made| {
            CertificateFields::read(&made).is_ok_and(|made| made.subject == fields.subject)
        })
    }

    /// A certificate with other names is `Missing`: it is not broken, only not what is wanted.
    fn kept_serving_certificate(
        &self,
        key: &KeyPair,
        sans: &Sans,
    ) -> Kept<CertificateDer<'static>> {
        let (path, certificate) = match self.kept_certificate(SERVING_CERTIFICATE) {
            Kept::Usable(found) => found,
            Kept::Missing => return Kept::Missing,
            Kept::Replaceable(path, cause) => return Kept::Replaceable(path, cause),
            Kept::LeaveAlone(path, cause) => return Kept::LeaveAlone(path, cause),
        };
        let Ok(fields) = CertificateFields::read(&certificate) else {
            return Kept::Replaceable(path, Unusable::NotOurs);
        };
        if fields.public_key != key.subject_public_key_info() {
            return Kept::Replaceable(path, Unusable::OtherKey);
        }
        if !self.has_issued(&certificate) {
            return Kept::Replaceable(path, Unusable::OtherIssuer);
        }
        match fields.sans() {
            Ok(Some(kept)) if kept == *sans => Kept::Usable(certificate),
            _ => Kept::Missing,
        }
    }

    /// By its signature, not by name alone: a CA that was made anew has the name of the one before.
    fn has_issued(&self, certificate: &CertificateDer<'_>) -> bool {
        let mut roots = RootCertStore::empty();
        let any_time = UnixTime::since_unix_epoch(Duration::from_secs(CLOCK_UNSET_UNIX_SECS));
        roots.add(self.certificate.clone()).is_ok()
            && ParsedCertificate::try_from(certificate).is_ok_and(|parsed| {
                let algorithms = provider().signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(
                    &parsed,
                    &roots,
                    &[],
                    any_time,
                    algorithms,
                )
                .is_ok()
            })
    }

    fn keep_key(&mut self, name: &str, warnings: &mut Vec<Warning>) {
        let text = pem::encode("PRIVATE KEY", self.key.serialized_der());
        self.keep(name, text.as_bytes(), KEY_MODE, warnings);
    }

    /// After a first failure nothing more is written: half of a pair is of no use.
    fn keep(&mut self, name: &str, bytes: &[u8], mode: u32, warnings: &mut Vec<Warning>) {
        let Home::Directory(directory) = &self.home else {
            return;
        };
        if let Err(error) = write_whole(&directory.join(name), bytes, mode) {
            warnings.push(Warning::NotKept(error));
            self.home = Home::Ram;
        }
    }
}

/// A file that is there and cannot be read may be a good one on a bad day.
fn kept_error<T>(path: PathBuf, error: LoadError) -> Kept<T> {
    match error {
        LoadError::File(error) if error.is_missing() => Kept::Missing,
        LoadError::File(_) => Kept::LeaveAlone(path, Unusable::Load(error)),
        error => Kept::Replaceable(path, Unusable::Load(error)),
    }
}

fn new_key() -> Result<KeyPair, HubCaError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

fn ca_params(common_name: &str) -> Result<CertificateParams, HubCaError> {
    let mut params = params(common_name)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn params(common_name: &str) -> Result<CertificateParams, HubCaError> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.not_before = date_time_ymd(1970, 1, 1);
    // RFC 5280 section 4.1.2.5: the date that says "never".
    params.not_after = date_time_ymd(9999, 12, 31) + Duration::from_secs(86_399);
    params.serial_number = Some(serial_number()?);
    params.key_identifier_method = KeyIdMethod::Sha256;
    Ok(params)
}

/// 127 random bits, so that no two certificates of a CA ever share a number, with none kept to count from.
fn serial_number() -> Result<SerialNumber, HubCaError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| HubCaError::Random)?;
    // Positive, and of the same length always.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn common_name(prefix: &str, node_name: &str) -> String {
    let clean = node_name.chars().filter(|letter| !letter.is_control());
    let name: String = format!("{prefix} ")
        .chars()
        .chain(clean)
        .take(COMMON_NAME_CHARS_MAX)
        .collect();
    name.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::load::tests::openssl;
    use crate::sys::file::TestDirectory;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    const FILES: [&str; 4] = [CA_CERTIFICATE, CA_KEY, SERVING_CERTIFICATE, SERVING_KEY];

    fn sans(names: &[&str]) -> Sans {
        let mut sans = Sans::default();
        names.iter().for_each(|name| sans.add(name).unwrap());
        sans
    }

    fn usual() -> Sans {
        sans(&[
            "169.254.2.1",
            "127.0.0.1",
            "fd00::2:1",
            "localhost",
            "kubernetes.default.svc",
        ])
    }

    /// Opens the CA and has it serve; whatever was found, the two must fit.
    fn start(directory: &Path, sans: &Sans) -> (HubCa, Pair, Vec<Warning>) {
        let (mut ca, mut warnings) = open(directory, "edge-1").unwrap();
        let (pair, more) = ca.serving(sans).unwrap();
        warnings.extend(more);
        assert!(ca.has_issued(&pair.chain()[0]), "{warnings:?}");
        let fields = CertificateFields::read(&pair.chain()[0]).unwrap();
        assert_eq!(fields.sans().unwrap().as_ref(), Some(sans));
        (ca, pair, warnings)
    }

    #[test]
    fn made_once_and_kept() {
        let directory = TestDirectory::new();
        let state_dir = directory.path().join("state");
        let (ca, pair, warnings) = start(&state_dir, &usual());
        assert!(warnings.is_empty(), "{warnings:?}");
        for name in FILES {
            let mode = fs::metadata(state_dir.join(name)).unwrap().mode() & 0o777;
            assert_eq!(mode & 0o077 == 0, name.ends_with(".key"), "{name} {mode:o}");
        }
        let written = FILES.map(|name| fs::metadata(state_dir.join(name)).unwrap().ino());
        let (again, same, warnings) = start(&state_dir, &usual());
        assert_eq!(
            (again.ca_pem(), &same, warnings.len()),
            (ca.ca_pem(), &pair, 0)
        );
        let still = FILES.map(|name| fs::metadata(state_dir.join(name)).unwrap().ino());
        assert_eq!(written, still, "nothing is written without need");

        let (again, other, warnings) = start(&state_dir, &sans(&["localhost", "10.96.0.1"]));
        assert_eq!((again.ca_pem(), warnings.len()), (ca.ca_pem(), 0));
        assert_ne!(other, pair);
        let (renamed, _) = open(&state_dir, "edge-2").unwrap();
        assert_eq!(
            renamed.ca_pem(),
            ca.ca_pem(),
            "a new name of the node is no reason for a new CA"
        );
        assert!(!format!("{renamed:?}").contains("key"), "{renamed:?}");
    }

    #[test]
    fn openssl_agrees() {
        let directory = TestDirectory::new();
        start(directory.path(), &usual());
        let verified = openssl(
            directory.path(),
            "verify -x509_strict -purpose sslserver -verify_hostname kubernetes.default.svc -CAfile hub-ca.crt hub-serving.crt",
        );
        assert_eq!(verified, "hub-serving.crt: OK\n");
        openssl(
            directory.path(),
            "verify -verify_ip fd00::2:1 -CAfile hub-ca.crt hub-serving.crt",
        );
        for moment in ["1", "32503680000"] {
            openssl(
                directory.path(),
                &format!("verify -attime {moment} -CAfile hub-ca.crt hub-serving.crt"),
            );
        }
        let ca = openssl(directory.path(), "x509 -in hub-ca.crt -noout -text");
        let leaf = openssl(directory.path(), "x509 -in hub-serving.crt -noout -text");
        for text in [&ca, &leaf] {
            assert!(
                text.contains("Not Before: Jan  1 00:00:00 1970 GMT"),
                "{text}"
            );
            assert!(
                text.contains("Not After : Dec 31 23:59:59 9999 GMT"),
                "{text}"
            );
            assert!(
                text.contains("Issuer: CN=edge-hub CA edge-1")
                    || text.contains("Issuer: CN = edge-hub CA edge-1"),
                "{text}"
            );
            assert!(text.contains("NIST CURVE: P-256"), "{text}");
        }
        assert!(ca.contains("CA:TRUE, pathlen:0"), "{ca}");
        assert!(
            ca.contains("Key Usage: critical\n                Certificate Sign\n"),
            "{ca}"
        );
        assert!(
            leaf.contains("CA:FALSE") && leaf.contains("TLS Web Server Authentication\n"),
            "{leaf}"
        );
        assert!(
            leaf.contains("DNS:kubernetes.default.svc, DNS:localhost, IP Address:127.0.0.1, IP Address:169.254.2.1, IP Address:FD00:0:0:0:0:0:2:1"),
            "{leaf}"
        );
        let serials = ["hub-ca.crt", "hub-serving.crt"]
            .map(|name| openssl(directory.path(), &format!("x509 -in {name} -noout -serial")));
        assert_ne!(serials[0], serials[1]);
        assert_eq!(serials[0].trim().len(), "serial=".len() + 32);
    }

    /// Every state that writes which were cut can leave, and more: each file whole, gone, cut, empty, or of another
    /// generation. What is opened fits together, and is kept from then on.
    #[test]
    fn whatever_a_power_cut_left() {
        let (ours, theirs) = (TestDirectory::new(), TestDirectory::new());
        start(ours.path(), &usual());
        start(theirs.path(), &usual());
        let read = |directory: &TestDirectory| {
            FILES.map(|name| fs::read(directory.path().join(name)).unwrap())
        };
        let (ours, theirs) = (read(&ours), read(&theirs));
        let states = |file: usize| {
            let whole = &ours[file];
            [
                Some(whole.clone()),
                None,
                Some(whole[..whole.len() / 2].to_vec()),
                Some(Vec::new()),
                Some(theirs[file].clone()),
            ]
        };
        let ca_of = |directory: &Path| fs::read(directory.join(CA_CERTIFICATE)).unwrap();
        for number in 0..5usize.pow(4) {
            let directory = TestDirectory::new();
            let choice = [number % 5, number / 5 % 5, number / 25 % 5, number / 125];
            for (file, &state) in choice.iter().enumerate() {
                if let Some(bytes) = &states(file)[state] {
                    let path = directory.path().join(FILES[file]);
                    fs::write(&path, bytes).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                }
            }
            let (ca, pair, _) = start(directory.path(), &usual());
            match choice[..2] {
                [0, 0] => assert_eq!(ca_of(directory.path()), ours[0], "{choice:?}"),
                [4, 4] => assert_eq!(ca_of(directory.path()), theirs[0], "{choice:?}"),
                _ => {}
            }
            let (next, same, warnings) = start(directory.path(), &usual());
            assert_eq!((next.ca_pem(), same), (ca.ca_pem(), pair), "{choice:?}");
            assert!(warnings.is_empty(), "{choice:?}: {warnings:?}");
            assert_eq!(directory.names(), FILES, "{choice:?}");
        }
    }

    #[test]
    fn without_a_place_it_is_in_ram() {
        let directory = TestDirectory::new();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let (ca, _, warnings) = start(&file.join("state"), &usual());
        assert!(
            matches!(warnings[..], [Warning::NotKept(_)]),
            "{warnings:?}"
        );
        assert!(warnings[0].to_string().contains("RAM"));
        assert_eq!(ca.home, Home::Ram);
    }

    #[test]
    fn what_cannot_be_read_is_left_alone() {
        let directory = TestDirectory::new();
        fs::create_dir(directory.path().join(CA_KEY)).unwrap();
        let (_, _, warnings) = start(directory.path(), &usual());
        assert!(
            matches!(warnings[..], [Warning::LeftAlone { .. }]),
            "{warnings:?}"
        );
        assert_eq!(directory.names(), [CA_KEY]);

        let directory = TestDirectory::new();
        openssl(
            directory.path(),
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=acme/CN=acme -keyout hub-ca.key -out hub-ca.crt",
        );
        let before = fs::read(directory.path().join(CA_CERTIFICATE)).unwrap();
        let (_, _, warnings) = start(directory.path(), &usual());
        assert!(
            warnings.iter().any(|warning| matches!(
                warning,
                Warning::LeftAlone {
                    cause: Unusable::NotOurs,
                    ..
                }
            )),
            "{warnings:?}"
        );
        assert_eq!(
            fs::read(directory.path().join(CA_CERTIFICATE)).unwrap(),
            before
        );
        assert_eq!(directory.names(), [CA_CERTIFICATE, CA_KEY]);
    }

    #[test]
    fn a_key_that_others_can_read_is_told() {
        let directory = TestDirectory::new();
        start(directory.path(), &usual());
        fs::set_permissions(
            directory.path().join(CA_KEY),
            fs::Permissions::from_mode(0o644),
        )
        .unwrap();
        let (_, _, warnings) = start(directory.path(), &usual());
        assert!(
            warnings[0].to_string().contains("chmod 0600"),
            "{warnings:?}"
        );
    }

    #[test]
    fn names_that_fit() {
        assert_eq!(common_name("edge-hub CA", "edge-1"), "edge-hub CA edge-1");
        assert_eq!(common_name("edge-hub CA", ""), "edge-hub CA");
        assert_eq!(
            common_name("edge-hub CA", &"x".repeat(253)).len(),
            COMMON_NAME_CHARS_MAX
        );
        assert_eq!(common_name("edge-hub", "a\0\nb"), "edge-hub ab");
    }
}
