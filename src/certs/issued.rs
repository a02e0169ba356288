//! The pairs that the cluster issues to the hub, in `state_dir`: each in one file, certificate and key together, so that
//! one write exchanges both; and beside it, as long as the cluster has not answered, the key of the request.

use super::csr::{self, Signer, Wanted};
use super::load::{self, LoadError, Pair};
use super::pem;
use super::renewal;
use crate::limits::{CHAIN_CERTIFICATES_MAX, PAIR_FILE_BYTES_MAX};
use crate::sys::file::{FileError, make_private_directory, write_whole};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

const MODE: u32 = 0o600;

/// Where one of the pairs is.
#[derive(Debug, Clone)]
pub struct Place {
    signer: Signer,
    directory: PathBuf,
}

/// The key of a request that is not answered yet.
pub struct Pending {
    key: KeyPair,
    name: String,
}

/// Why what the cluster has issued is not used.
#[derive(Debug)]
pub enum Unfit {
    /// It cannot be read, or is for another key.
    Load(LoadError),
    /// It is for another subject, or lacks a name that was asked for.
    Other,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => write!(f, "what was issued cannot be used: {error}"),
            Self::Other => write!(f, "what was issued is not what was asked for"),
        }
    }
}

impl std::error::Error for Unfit {}

/// A new key: P-256, which all API servers take, and which the smallest box makes in milliseconds.
pub fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

impl Place {
    pub fn new(state_dir: &Path, signer: Signer) -> Place {
        Place {
            signer,
            directory: state_dir.to_owned(),
        }
    }

    /// The file with certificate and key.
    pub fn pair(&self) -> PathBuf {
        self.directory.join(match self.signer {
            Signer::Client => "node.pem",
            Signer::Serving => "serving.pem",
        })
    }

    /// The file with the key of a request.
    pub fn request(&self) -> PathBuf {
        self.directory.join(match self.signer {
            Signer::Client => "node-request.pem",
            Signer::Serving => "serving-request.pem",
        })
    }

    /// The pair, if there is one.
    pub fn load(&self) -> Result<Option<Pair>, LoadError> {
        let path = self.pair();
        match Pair::load(&path, &path) {
            Ok(pair) => Ok(Some(pair)),
            Err(LoadError::File(error)) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The request that was begun for exactly what is wanted now, or a new one. What cannot be read is a request that
    /// nobody can go on with, and is made anew; so is one whose certificate is in use already, where a crash, or a partition
    /// that cannot be written, came between the two.
    pub fn begin(
        &self,
        wanted: &Wanted<'_>,
        in_use: Option<&Pair>,
    ) -> Result<Pending, rcgen::Error> {
        let kept = self.pending().filter(|kept| {
            let key = kept.key.subject_public_key_info();
            kept.is_for(wanted) && !in_use.is_some_and(|pair| pair.is_of_key(&key))
        });
        match kept {
            Some(kept) => Ok(kept),
            None => {
                let key = new_key()?;
                let name = wanted.request_name(&key);
                Ok(Pending { key, name })
            }
        }
    }

    /// The request that was begun, whatever it was for.
    pub fn pending(&self) -> Option<Pending> {
        let path = self.request();
        let mut blocks = load::read_blocks(&path, PAIR_FILE_BYTES_MAX).ok()?;
        let key = KeyPair::try_from(&blocks.take_key().ok()?).ok()?;
        // Before the block stands the name; PEM passes over it.
        let text = crate::sys::file::read_bounded(&path, PAIR_FILE_BYTES_MAX).ok()?;
        let first = text.split(|b| *b == b'\n').next()?;
        let name = std::str::from_utf8(first).ok()?.to_owned();
        Some(Pending { key, name })
    }

    /// Keeps the [text](Pending::text) of a request, so that it outlives whoever has made it.
    pub fn keep_pending(&self, text: &str) -> Result<(), FileError> {
        make_private_directory(&self.directory)?;
        write_whole(&self.request(), text.as_bytes(), MODE)
    }

    /// Forgets the key: its request is answered, or of no use. Failing is no matter, see [`Place::begin`].
    pub fn forget_pending(&self) {
        let _ = fs::remove_file(self.request());
    }

    /// Makes the pair of what was issued.
    pub fn accept(
        &self,
        chain: &[u8],
        pending: &Pending,
        wanted: &Wanted<'_>,
    ) -> Result<Pair, Unfit> {
        let path = self.pair();
        let chain = load::blocks_of(chain, &path)
            .and_then(|mut blocks| blocks.take_certificates(CHAIN_CERTIFICATES_MAX))
            .map_err(Unfit::Load)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pending.key.serialize_der()));
        let pair = Pair::new(chain, key, &path, &path).map_err(Unfit::Load)?;
        match renewal::fits(&pair, wanted) {
            true => Ok(pair),
            false => Err(Unfit::Other),
        }
    }

    /// Keeps the [text](Pending::text_of_pair) of a pair. Until that is done, the one before is there, whole.
    pub fn keep(&self, text: &str) -> Result<(), FileError> {
        make_private_directory(&self.directory)?;
        write_whole(&self.pair(), text.as_bytes(), MODE)
    }
}

impl Pending {
    /// The name of its request.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What of it is kept: its name, and the key in PEM.
    pub fn text(&self) -> String {
        let key = pem::encode("PRIVATE KEY", self.key.serialized_der());
        format!("{}\n{key}", self.name)
    }

    /// What of the pair is kept that came of it: the chain and the key, in PEM.
    pub fn text_of_pair(&self, pair: &Pair) -> String {
        let mut text = String::new();
        for certificate in pair.chain() {
            text += &pem::encode("CERTIFICATE", certificate);
        }
        text + &pem::encode("PRIVATE KEY", self.key.serialized_der())
    }

    /// Whether it is for exactly this.
    pub fn is_for(&self, wanted: &Wanted<'_>) -> bool {
        self.name == wanted.request_name(&self.key)
    }

    /// The object to be made at [`csr::PATH`].
    pub fn request(&self, wanted: &Wanted<'_>) -> Result<Vec<u8>, rcgen::Error> {
        wanted.request(&self.key)
    }

    /// Where the request is.
    pub fn path(&self) -> String {
        format!("{}/{}", csr::PATH, self.name)
    }
}

/// The key is not shown.
impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::sans::Sans;
    use crate::sys::file::TestDirectory;
    use rcgen::{CertificateParams, DnType, Issuer, SanType};
    use std::os::unix::fs::PermissionsExt;

    /// What the cluster would issue to the key: a chain of one, in PEM.
    fn issue(pending: &Pending, common_name: &str, names: &[&str]) -> Vec<u8> {
        let authority = new_key().unwrap();
        let issuer = CertificateParams::default();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::OrganizationName, csr::GROUP);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        for name in names {
            params
                .subject_alt_names
                .push(SanType::DnsName((*name).try_into().unwrap()));
        }
        let issuer = Issuer::from_params(&issuer, &authority);
        let made = params.signed_by(&pending.key, &issuer).unwrap();
        pem::encode("CERTIFICATE", made.der()).into_bytes()
    }

    fn wanted(sans: &Sans, signer: Signer) -> Wanted<'_> {
        Wanted {
            signer,
            node_name: "gw-1",
            sans,
        }
    }

    #[test]
    fn who_was_interrupted_goes_on_with_the_same_request() {
        let directory = TestDirectory::new();
        let state = directory.path().join("state");
        let sans = Sans::default();
        let wanted = wanted(&sans, Signer::Client);
        let place = Place::new(&state, Signer::Client);
        assert!(place.load().unwrap().is_none() && place.pending().is_none());
        let first = place.begin(&wanted, None).unwrap();
        place.keep_pending(&first.text()).unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(state.clone()), mode(place.request())), (0o700, 0o600));
        let again = place.begin(&wanted, None).unwrap();
        assert_eq!(again.name(), first.name());

        // The certificate of another key is not taken, the right one is, and is there whole.
        let other = Pending {
            key: new_key().unwrap(),
            name: String::new(),
        };
        let foreign = issue(&other, "system:node:gw-1", &[]);
        assert!(matches!(
            place.accept(&foreign, &again, &wanted),
            Err(Unfit::Load(LoadError::Mismatch { .. }))
        ));
        for name in ["system:node:gw-2", "gw-1"] {
            let chain = issue(&again, name, &[]);
            assert!(matches!(
                place.accept(&chain, &again, &wanted),
                Err(Unfit::Other)
            ));
        }
        assert!(place.accept(b"", &again, &wanted).is_err());
        let pair = place
            .accept(&issue(&again, "system:node:gw-1", &[]), &again, &wanted)
            .unwrap();
        place.keep(&again.text_of_pair(&pair)).unwrap();
        assert_eq!(mode(place.pair()), 0o600);
        assert_eq!(place.load().unwrap().as_ref(), Some(&pair));

        // A crash before the key of the request was forgotten: the next request is another one.
        let next = place.begin(&wanted, Some(&pair)).unwrap();
        assert_ne!(next.name(), again.name());
        place.keep_pending(&next.text()).unwrap();
        // For other names, or torn, it is another one too.
        let renamed = Wanted {
            node_name: "gw-2",
            ..wanted
        };
        assert_ne!(place.begin(&renamed, None).unwrap().name(), next.name());
        assert_eq!(place.begin(&wanted, None).unwrap().name(), next.name());
        let text = fs::read(place.request()).unwrap();
        fs::write(place.request(), &text[..text.len() / 2]).unwrap();
        assert_ne!(place.begin(&wanted, None).unwrap().name(), next.name());
        place.forget_pending();
        assert!(place.pending().is_none());
    }

    #[test]
    fn a_serving_certificate_has_the_names_that_were_asked_for() {
        let directory = TestDirectory::new();
        let place = Place::new(directory.path(), Signer::Serving);
        let mut sans = Sans::default();
        sans.add("kubernetes").unwrap();
        let pending = place.begin(&wanted(&sans, Signer::Serving), None).unwrap();
        for (names, fits) in [
            (&["kubernetes"][..], true),
            (&["kubernetes", "more"], true),
            (&["more"], false),
            (&[], false),
        ] {
            let chain = issue(&pending, "system:node:gw-1", names);
            let accepted = place.accept(&chain, &pending, &wanted(&sans, Signer::Serving));
            assert_eq!(accepted.is_ok(), fits, "{names:?}");
        }
    }
}
