//! PEM files into what rustls takes: a certificate chain with its key, a set of CA certificates.
//!
//! Errors say which file, which block in it, and what to do. No byte of a file is ever in one: it may be of a key.

use super::certificate::{CertificateError, CertificateFields};
use super::provider;
use super::sans::Sans;
use super::subject::Subject;
use crate::limits::{
    AUTHORITIES_MAX, AUTHORITY_FILE_BYTES_MAX, CHAIN_CERTIFICATES_MAX, PAIR_FILE_BYTES_MAX,
};
use crate::sys::clock::rfc3339;
use crate::sys::file::{FileError, read_bounded};
use ring::digest;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A certificate chain and its private key, which match. Clones share both.
#[derive(Clone)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    subject: Subject,
    not_before_unix_secs: u64,
    not_after_unix_secs: u64,
    fingerprint: [u8; 32],
}

/// The key is not shown.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("subject", &self.subject)
            .field("not_before", &rfc3339(self.not_before_unix_secs))
            .field("not_after", &rfc3339(self.not_after_unix_secs))
            .field("fingerprint", &self.fingerprint_hex())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Pair {
    /// The same certificate, and so the same key.
    fn eq(&self, other: &Pair) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Pair {
    /// Loads a chain from `certificate_path`, leaf first, and its key from `key_path`. One file may hold both, in any
    /// order, and may be behind a symbolic link, as the kubelet's `kubelet-client-current.pem` is and does.
    ///
    /// Whether it is in date is for [`in_date`](Self::in_date) to say, and whether others may read the key for
    /// [`private`](crate::sys::file::private).
    pub fn load(certificate_path: &Path, key_path: &Path) -> Result<Pair, LoadError> {
        let mut certificates = read_blocks(certificate_path, PAIR_FILE_BYTES_MAX)?;
        let chain = certificates.take_certificates(CHAIN_CERTIFICATES_MAX)?;
        let key = match certificate_path == key_path {
            true => certificates.take_key()?,
            false => read_blocks(key_path, PAIR_FILE_BYTES_MAX)?.take_key()?,
        };
        Pair::new(chain, key, certificate_path, key_path)
    }

    /// The same of PEM that is no file, with chain and key in it. The path is the one that errors name.
    pub fn read_pem(pem: &[u8], path: &Path) -> Result<Pair, LoadError> {
        let mut blocks = blocks_of(pem, path)?;
        let chain = blocks.take_certificates(CHAIN_CERTIFICATES_MAX)?;
        Pair::new(chain, blocks.take_key()?, path, path)
    }

    /// Puts a pair together. The paths are those that errors name.
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        certificate_path: &Path,
        key_path: &Path,
    ) -> Result<Pair, LoadError> {
        let bad = |block, cause| LoadError::Certificate {
            path: certificate_path.to_owned(),
            block,
            cause,
        };
        let leaf = chain.first().ok_or_else(|| LoadError::NoCertificate {
            path: certificate_path.to_owned(),
            looks: Looks::Empty,
        })?;
        let fields = CertificateFields::read(leaf).map_err(|cause| bad(1, cause))?;
        let subject = fields.subject().map_err(|cause| bad(1, cause))?;
        let (not_before_unix_secs, not_after_unix_secs) =
            (fields.not_before_unix_secs, fields.not_after_unix_secs);
        let fingerprint = sha256(leaf);
        let certified =
            CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
                TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => LoadError::Mismatch {
                    certificate: certificate_path.to_owned(),
                    key: key_path.to_owned(),
                },
                TlsError::InvalidCertificate(_) => bad(1, CertificateError::Malformed),
                _ => LoadError::KeyKind {
                    path: key_path.to_owned(),
                },
            })?;
        Ok(Pair {
            certified: Arc::new(certified),
            subject,
            not_before_unix_secs,
            not_after_unix_secs,
            fingerprint,
        })
    }

    /// What rustls takes.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Who it is for.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The beginning of its validity, in seconds since 1970, UTC.
    pub fn not_before_unix_secs(&self) -> u64 {
        self.not_before_unix_secs
    }

    /// The last second of its validity, since 1970, UTC.
    pub fn not_after_unix_secs(&self) -> u64 {
        self.not_after_unix_secs
    }

    /// SHA-256 of the leaf.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// SHA-256 of the leaf, in lower-case hexadecimal.
    pub fn fingerprint_hex(&self) -> String {
        hex(&self.fingerprint)
    }

    /// Whether all these names and addresses are among those that it is for.
    pub fn covers(&self, sans: &Sans) -> bool {
        let leaf = self.chain().first().map_or(&[][..], |leaf| leaf);
        let fields = CertificateFields::read(leaf);
        fields.is_ok_and(|fields| matches!(fields.sans(), Ok(Some(own)) if own.contains(sans)))
    }

    /// Whether its key is this one (SubjectPublicKeyInfo, in DER).
    pub fn is_of_key(&self, public_key: &[u8]) -> bool {
        let leaf = self.chain().first().map_or(&[][..], |leaf| leaf);
        CertificateFields::read(leaf).is_ok_and(|fields| fields.public_key == public_key)
    }

    /// Whether it is valid at `now`, in seconds since 1970, UTC.
    pub fn in_date(&self, now_unix_secs: u64) -> Result<(), OutOfDate> {
        in_date(
            self.not_before_unix_secs,
            self.not_after_unix_secs,
            now_unix_secs,
        )
    }
}

/// When a certificate is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfDate {
    /// Not before this, in seconds since 1970, UTC: a clock is wrong, here or where it was made.
    NotYet {
        /// The beginning of its validity.
        not_before_unix_secs: u64,
    },
    /// Not after this, in seconds since 1970, UTC.
    Expired {
        /// The last second of its validity.
        not_after_unix_secs: u64,
    },
}

impl fmt::Display for OutOfDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotYet {
                not_before_unix_secs,
            } => write!(
                f,
                "the certificate is not valid before {}: set the clock of this machine, or that of the one that made it",
                rfc3339(not_before_unix_secs)
            ),
            Self::Expired {
                not_after_unix_secs,
            } => write!(
                f,
                "the certificate expired at {}: put a new one in its place",
                rfc3339(not_after_unix_secs)
            ),
        }
    }
}

impl std::error::Error for OutOfDate {}

/// Whether `now` is within these seconds since 1970, UTC, both included.
pub fn in_date(not_before: u64, not_after: u64, now: u64) -> Result<(), OutOfDate> {
    if now < not_before {
        Err(OutOfDate::NotYet {
            not_before_unix_secs: not_before,
        })
    } else if now > not_after {
        Err(OutOfDate::Expired {
            not_after_unix_secs: not_after,
        })
    } else {
        Ok(())
    }
}

/// The CA certificates of one file.
#[derive(Debug, Clone)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    newest_not_before_unix_secs: u64,
    last_not_after_unix_secs: u64,
}

impl Authorities {
    /// Loads every certificate of a PEM file. One that cannot be used fails the whole, and is named.
    pub fn load(path: &Path) -> Result<Authorities, LoadError> {
        Authorities::new(Authorities::read(path)?, path)
    }

    /// The certificates of a PEM file, at least one, not yet looked at.
    pub fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
        read_blocks(path, AUTHORITY_FILE_BYTES_MAX)?.take_certificates(AUTHORITIES_MAX)
    }

    /// The same of PEM that is no file. The path is the one that errors name.
    pub fn read_pem(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
        blocks_of(pem, path)?.take_certificates(AUTHORITIES_MAX)
    }

    /// Takes certificates that were read already. The path is the one that errors name.
    pub fn new(
        certificates: Vec<CertificateDer<'static>>,
        path: &Path,
    ) -> Result<Authorities, LoadError> {
        let mut roots = RootCertStore::empty();
        let (mut newest_not_before_unix_secs, mut last_not_after_unix_secs) = (0, 0);
        for (index, certificate) in certificates.into_iter().enumerate() {
            let bad = |cause| LoadError::Certificate {
                path: path.to_owned(),
                block: index + 1,
                cause,
            };
            let fields = CertificateFields::read(&certificate).map_err(bad)?;
            newest_not_before_unix_secs =
                newest_not_before_unix_secs.max(fields.not_before_unix_secs);
            last_not_after_unix_secs = last_not_after_unix_secs.max(fields.not_after_unix_secs);
            roots
                .add(certificate)
                .map_err(|_| bad(CertificateError::Malformed))?;
        }
        Ok(Authorities {
            roots: Arc::new(roots),
            newest_not_before_unix_secs,
            last_not_after_unix_secs,
        })
    }

    /// What rustls takes.
    pub fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }

    /// How many there are; never 0.
    pub fn count(&self) -> usize {
        self.roots.len()
    }

    /// The latest beginning among them, in seconds since 1970, UTC.
    pub fn newest_not_before_unix_secs(&self) -> u64 {
        self.newest_not_before_unix_secs
    }

    /// Whether at least one can be valid at `now`, in seconds since 1970, UTC. rustls does not look at the dates of
    /// roots, but other clients do, and so will the people who have to find out.
    pub fn in_date(&self, now_unix_secs: u64) -> Result<(), OutOfDate> {
        in_date(0, self.last_not_after_unix_secs, now_unix_secs)
    }
}

/// Why a file of certificates or keys cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    File(FileError),
    /// There is no certificate in it.
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What seems to be in it.
        looks: Looks,
    },
    /// There is no private key in it.
    NoKey {
        /// The file.
        path: PathBuf,
        /// What seems to be in it.
        looks: Looks,
    },
    /// There is more than one private key in it.
    SeveralKeys {
        /// The file.
        path: PathBuf,
    },
    /// There are too many certificates in it.
    TooMany {
        /// The file.
        path: PathBuf,
        /// How many are possible.
        max: usize,
    },
    /// It is broken as PEM.
    Pem {
        /// The file.
        path: PathBuf,
        /// Which block, counted from 1 among those of certificates and keys.
        block: usize,
    },
    /// A certificate in it cannot be used.
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which certificate, counted from 1.
        block: usize,
        /// Why.
        cause: CertificateError,
    },
    /// The key is broken, or of a kind that is not possible.
    KeyKind {
        /// The file.
        path: PathBuf,
    },
    /// The key is not that of the first certificate.
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
}

/// What a file seems to hold instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// Nothing.
    Empty,
    /// DER: the same without the PEM around it.
    Der,
    /// A key that is encrypted with a password.
    Encrypted,
    /// PEM, but of other things.
    OtherPem,
    /// Something else.
    Unknown,
}

impl From<FileError> for LoadError {
    fn from(error: FileError) -> LoadError {
        LoadError::File(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => write!(f, "{error}"),
            Self::NoCertificate { path, looks } => {
                let path = path.display();
                write!(f, "{path}: no PEM block CERTIFICATE")?;
                match looks {
                    Looks::Der => write!(
                        f,
                        "; it looks like DER: openssl x509 -inform der -in {path}"
                    ),
                    looks => write!(f, "{looks}"),
                }
            }
            Self::NoKey { path, looks } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: no PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY"
                )?;
                match looks {
                    Looks::Der => write!(
                        f,
                        "; it looks like DER: openssl pkey -inform der -in {path}"
                    ),
                    Looks::Encrypted => write!(
                        f,
                        "; its key is encrypted, and nobody is there to give the password: openssl pkey -in {path}"
                    ),
                    looks => write!(f, "{looks}"),
                }
            }
            Self::SeveralKeys { path } => {
                write!(
                    f,
                    "{}: more than one private key; leave the one of the first certificate",
                    path.display()
                )
            }
            Self::TooMany { path, max } => {
                write!(
                    f,
                    "{}: more than {max} certificates; is it the right file?",
                    path.display()
                )
            }
            Self::Pem { path, block } => write!(
                f,
                "{}: PEM block {block} is broken (a missing END line, or letters that are not base64); write the file anew",
                path.display()
            ),
            Self::Certificate { path, block, cause } => {
                write!(
                    f,
                    "{}: certificate {block} cannot be used: {cause}",
                    path.display()
                )
            }
            Self::KeyKind { path } => write!(
                f,
                "{}: the private key is broken or of another kind than RSA of 2048 bits or more, EC P-256 or P-384, Ed25519",
                path.display()
            ),
            Self::Mismatch { certificate, key } => write!(
                f,
                "the private key in {} is not that of the first certificate in {}; the leaf must stand first",
                key.display(),
                certificate.display()
            ),
        }
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "; it is empty",
            Self::Der => "; it looks like DER",
            Self::Encrypted => "; it has an encrypted key",
            Self::OtherPem => "; it has other PEM blocks: are files exchanged?",
            Self::Unknown => "; it is no PEM file",
        })
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::Certificate { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

/// In lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// The certificates and keys of one PEM file, in the order in which they stand.
pub(super) struct Blocks {
    path: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
    keys: Vec<PrivateKeyDer<'static>>,
    looks: Looks,
}

/// Reads a PEM file.
pub(super) fn read_blocks(path: &Path, max_bytes: usize) -> Result<Blocks, LoadError> {
    blocks_of(&read_bounded(path, max_bytes)?, path)
}

/// Takes PEM apart. The path is the one that errors name.
pub(super) fn blocks_of(bytes: &[u8], path: &Path) -> Result<Blocks, LoadError> {
    let mut blocks = Blocks {
        path: path.to_owned(),
        certificates: Vec::new(),
        keys: Vec::new(),
        looks: looks(bytes),
    };
    if blocks.looks == Looks::Encrypted && !contains(bytes, b"BEGIN CERTIFICATE") {
        return Ok(blocks);
    }
    for (index, section) in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes).enumerate() {
        let (kind, der) = section.map_err(|_| LoadError::Pem {
            path: path.to_owned(),
            block: index + 1,
        })?;
        match kind {
            SectionKind::Certificate => blocks.certificates.push(der.into()),
            SectionKind::PrivateKey => blocks.keys.push(PrivateKeyDer::Pkcs8(der.into())),
            SectionKind::EcPrivateKey => blocks.keys.push(PrivateKeyDer::Sec1(der.into())),
            SectionKind::RsaPrivateKey => blocks.keys.push(PrivateKeyDer::Pkcs1(der.into())),
            _ => {}
        }
    }
    Ok(blocks)
}

impl Blocks {
    /// All certificates, at least one and at most `max`.
    pub(super) fn take_certificates(
        &mut self,
        max: usize,
    ) -> Result<Vec<CertificateDer<'static>>, LoadError> {
        match self.certificates.len() {
            0 => Err(LoadError::NoCertificate {
                path: self.path.clone(),
                looks: self.looks,
            }),
            count if count > max => Err(LoadError::TooMany {
                path: self.path.clone(),
                max,
            }),
            _ => Ok(std::mem::take(&mut self.certificates)),
        }
    }

    /// The only key.
    pub(super) fn take_key(&mut self) -> Result<PrivateKeyDer<'static>, LoadError> {
        let key = self.keys.pop().ok_or_else(|| LoadError::NoKey {
            path: self.path.clone(),
            looks: self.looks,
        })?;
        match self.keys.is_empty() {
            true => Ok(key),
            false => Err(LoadError::SeveralKeys {
                path: self.path.clone(),
            }),
        }
    }
}

fn looks(bytes: &[u8]) -> Looks {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        Looks::Empty
    } else if contains(bytes, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(bytes, b"4,ENCRYPTED") {
        Looks::Encrypted
    } else if contains(bytes, b"-----BEGIN ") {
        Looks::OtherPem
    } else if bytes.first() == Some(&super::der::SEQUENCE) {
        Looks::Der
    } else {
        Looks::Unknown
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sys::file::TestDirectory;
    use std::fs;
    use std::process::Command;

    /// Runs openssl with arguments split at spaces, in `directory`; tells what it printed.
    pub(in crate::certs) fn openssl(directory: &Path, arguments: &str) -> String {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory)
            .output()
            .expect("this test needs openssl");
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn self_signed(directory: &Path, name: &str, kind: &str) {
        openssl(
            directory,
            &format!(
                "req -x509 -newkey {kind} -nodes -days 30 -subj /O=system:nodes/CN=system:node:{name} \
                 -keyout {name}.key -out {name}.crt"
            ),
        );
    }

    const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";

    #[test]
    fn every_kind_of_key_in_every_wrapping() {
        let directory = TestDirectory::new();
        let at = |name: &str| directory.path().join(name);
        for (name, kind) in [
            ("p256", P256),
            ("p384", "ec -pkeyopt ec_paramgen_curve:P-384"),
            ("rsa", "rsa:2048"),
            ("ed25519", "ed25519"),
        ] {
            self_signed(directory.path(), name, kind);
            let (certificate, key) = (at(&format!("{name}.crt")), at(&format!("{name}.key")));
            let pair = Pair::load(&certificate, &key).unwrap();
            let subject = pair.subject();
            assert_eq!(subject.common_name, Some(format!("system:node:{name}")));
            assert_eq!(subject.organizations, ["system:nodes"]);
            let dates = openssl(
                directory.path(),
                &format!("x509 -in {name}.crt -noout -dates -dateopt iso_8601"),
            );
            let expected = format!(
                "notBefore={}\nnotAfter={}\n",
                rfc3339(pair.not_before_unix_secs()).replace('T', " "),
                rfc3339(pair.not_after_unix_secs()).replace('T', " ")
            );
            assert_eq!(dates, expected);
            let fingerprint = openssl(
                directory.path(),
                &format!("x509 -in {name}.crt -noout -fingerprint -sha256"),
            );
            assert!(
                fingerprint
                    .replace(':', "")
                    .to_ascii_lowercase()
                    .contains(&pair.fingerprint_hex()),
                "{fingerprint}"
            );
            if name != "ed25519" {
                let old = at("old.key");
                openssl(
                    directory.path(),
                    &format!("pkey -in {name}.key -traditional -out old.key"),
                );
                assert_eq!(Pair::load(&certificate, &old).unwrap(), pair);
            }
        }
    }

    #[test]
    fn one_file_behind_a_link_as_the_kubelet_has_it() {
        let directory = TestDirectory::new();
        let at = |name: &str| directory.path().join(name);
        self_signed(directory.path(), "n", P256);
        let both = [
            fs::read(at("n.crt")).unwrap(),
            fs::read(at("n.key")).unwrap(),
        ]
        .concat();
        fs::write(at("dated.pem"), &both).unwrap();
        std::os::unix::fs::symlink(at("dated.pem"), at("current.pem")).unwrap();
        let pair = Pair::load(&at("current.pem"), &at("current.pem")).unwrap();
        let shown = format!("{pair:?}");
        assert!(
            shown.contains("system:node:n") && !shown.to_lowercase().contains("key"),
            "{shown}"
        );
        assert_eq!(Authorities::load(&at("current.pem")).unwrap().count(), 1);
    }

    #[test]
    fn dates() {
        let directory = TestDirectory::new();
        self_signed(directory.path(), "n", P256);
        let at = |name: &str| directory.path().join(name);
        let pair = Pair::load(&at("n.crt"), &at("n.key")).unwrap();
        let (begin, end) = (pair.not_before_unix_secs(), pair.not_after_unix_secs());
        assert_eq!(
            pair.in_date(begin - 1),
            Err(OutOfDate::NotYet {
                not_before_unix_secs: begin
            })
        );
        assert_eq!((pair.in_date(begin), pair.in_date(end)), (Ok(()), Ok(())));
        assert_eq!(
            pair.in_date(end + 1),
            Err(OutOfDate::Expired {
                not_after_unix_secs: end
            })
        );
        assert!(pair.in_date(0).unwrap_err().to_string().contains("clock"));
    }

    #[test]
    fn errors_say_what_to_do() {
        let directory = TestDirectory::new();
        let at = |name: &str| directory.path().join(name);
        self_signed(directory.path(), "a", P256);
        self_signed(directory.path(), "b", P256);
        openssl(directory.path(), "pkey -in a.key -outform der -out a.der");
        openssl(directory.path(), "x509 -in a.crt -outform der -out a.cer");
        openssl(
            directory.path(),
            "pkcs8 -topk8 -in a.key -passout pass:x -out locked.key",
        );
        openssl(
            directory.path(),
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out p521.key",
        );
        let a = fs::read_to_string(at("a.crt")).unwrap();
        let key = fs::read_to_string(at("a.key")).unwrap();
        fs::write(at("empty"), "\n").unwrap();
        fs::write(at("cut.crt"), &a[..a.len() / 2]).unwrap();
        fs::write(at("second-cut.crt"), [&a, &a[..a.len() / 2]].concat()).unwrap();
        fs::write(at("cut.key"), &key[..key.len() - 60]).unwrap();
        fs::write(
            at("bad.crt"),
            "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        fs::write(at("two.key"), [&key[..], &key].concat()).unwrap();
        fs::write(at("chain"), a.repeat(CHAIN_CERTIFICATES_MAX)).unwrap();
        fs::write(at("long-chain"), a.repeat(CHAIN_CERTIFICATES_MAX + 1)).unwrap();
        Pair::load(&at("chain"), &at("a.key")).unwrap();
        for (certificate, key, expected) in [
            ("missing.crt", "a.key", "missing.crt"),
            ("empty", "a.key", "it is empty"),
            ("a.cer", "a.key", "openssl x509 -inform der"),
            ("a.key", "a.key", "are files exchanged?"),
            ("cut.crt", "a.key", "PEM block 1 is broken"),
            ("second-cut.crt", "a.key", "PEM block 2 is broken"),
            ("bad.crt", "a.key", "certificate 1 cannot be used"),
            ("long-chain", "a.key", "more than 10 certificates"),
            ("a.crt", "missing.key", "missing.key"),
            ("a.crt", "a.crt", "are files exchanged?"),
            ("a.crt", "a.der", "openssl pkey -inform der"),
            ("a.crt", "locked.key", "openssl pkey -in"),
            ("a.crt", "cut.key", "PEM block 1 is broken"),
            ("a.crt", "two.key", "more than one private key"),
            ("a.crt", "b.key", "is not that of the first certificate"),
            ("a.crt", "p521.key", "EC P-256"),
        ] {
            let error = Pair::load(&at(certificate), &at(key)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(expected), "{certificate} {key}: {text}");
            let shown = format!("{text} {error:?}");
            let secrets = fs::read_to_string(at("a.key")).unwrap();
            assert!(secrets.lines().all(|line| !shown.contains(line)), "{shown}");
        }
        for (file, expected) in [
            ("second-cut.crt", "PEM block 2"),
            ("bad.crt", "certificate 1"),
            ("a.key", "exchanged"),
        ] {
            let text = Authorities::load(&at(file)).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
    }

    /// What a change of any byte makes of a certificate is read or refused.
    #[test]
    fn no_certificate_panics() {
        let directory = TestDirectory::new();
        openssl(
            directory.path(),
            &format!(
                "req -x509 -newkey {P256} -nodes -subj /O=o/CN=c -keyout n.key -outform der -out n.der \
                 -addext subjectAltName=DNS:a.example,IP:10.0.0.1,IP:fd00::1"
            ),
        );
        let good = fs::read(directory.path().join("n.der")).unwrap();
        let sans = CertificateFields::read(&good)
            .unwrap()
            .sans()
            .unwrap()
            .unwrap();
        assert_eq!(sans.dns().collect::<Vec<_>>(), ["a.example"]);
        assert_eq!(sans.ips().count(), 2);
        for at in 0..good.len() {
            assert!(CertificateFields::read(&good[..at]).is_err());
            for value in [0, 1, 0x30, 0x7f, 0x80, 0x81, 0x82, 0xff, good[at] ^ 1] {
                let mut bad = good.clone();
                bad[at] = value;
                if let Ok(fields) = CertificateFields::read(&bad) {
                    let _ = (fields.subject(), fields.sans());
                }
            }
        }
        let longer = [&good[..], &[0]].concat();
        assert_eq!(
            CertificateFields::read(&longer),
            Err(CertificateError::Malformed)
        );
    }
}
