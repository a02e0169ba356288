//! The secret from which what is kept on flash is sealed: 32 random bytes that the hub makes at its first start, or a
//! file that the operator names. It lies outside the cache, so that the cache alone tells nothing. Never logged.
//!
//! A key that cannot be had is never made up for: what was sealed with it would be lost. The hub then keeps in RAM.

use crate::config::Config;
use crate::limits::{SEAL_KEY_BYTES, SEAL_KEY_BYTES_MAX, SEAL_KEY_BYTES_MIN};
use crate::sys::file::{
    FileError, FileFault, make_private_directory, private, read_bounded, write_whole,
};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The file below `state_dir` that holds the hub's own key.
const NAME: &str = "cache.key";
/// Where a file goes that a power cut has left empty or torn. It has nothing worth keeping but for a look at it.
const BROKEN_NAME: &str = "cache.key.broken";
const MODE: u32 = 0o600;

/// The secret. Its bytes are seen only by who asks for them: there is no `Display`, and `Debug` leaves them out.
pub struct SealKey {
    bytes: Vec<u8>,
    warnings: Vec<Warning>,
}

/// What the operator should know about a key that is in use.
#[derive(Debug)]
pub enum Warning {
    /// The hub's own file lets others at it. Configured ones are refused for that; without this one a box that lost
    /// power would come back empty.
    Exposed(FileError),
    /// The hub's own key is gone and a new one was made, so the cache that is there cannot be read.
    Lost(PathBuf),
    /// The same, because a power cut left the file empty or torn; it was set aside.
    Broken(PathBuf),
}

/// Why there is no key.
#[derive(Debug)]
pub enum SealKeyError {
    /// The file cannot be read or written, or others may read it.
    File(FileError),
    /// The configured file is too short to be a secret.
    TooShort {
        /// Which.
        path: PathBuf,
        /// What it has.
        bytes: usize,
    },
    /// The configured file has only zeros: no secret, but what a power cut leaves.
    Zeros(PathBuf),
    /// The kernel gives no random numbers.
    NoRandom,
}

/// What [`load`] would do, for who only wants to know.
#[derive(Debug)]
pub enum Outlook {
    /// There is a good one.
    Good,
    /// The hub makes its own.
    ToBeMade,
    /// The hub makes its own anew: a power cut left this one empty or torn.
    ToBeMadeAnew,
}

/// What is wrong if whoever takes the cache has its key too.
pub fn beside_cache(config: &Config) -> Option<String> {
    let key = config.seal_key_file.as_ref().unwrap_or(&config.state_dir);
    key.starts_with(&config.cache_dir).then(|| {
        format!(
            "seal_key_file: the key lies below cache_dir, where it protects nothing: who takes {} has both; put it elsewhere",
            config.cache_dir.display()
        )
    })
}

/// The key: the configured one, else the hub's own, which is made if it is missing or torn. `cache_exists`: whether
/// there is something sealed already, which a new key cannot open. To be called by the one hub that holds the cache.
///
/// On an error the cache must be left as it is: with the right key it is good.
pub fn load(
    configured: Option<&Path>,
    state_dir: &Path,
    cache_exists: bool,
) -> Result<SealKey, SealKeyError> {
    if let Some(path) = configured {
        return configured_key(path);
    }
    let path = state_dir.join(NAME);
    let warning = match own(&path)? {
        Own::Good(key) => return Ok(key),
        Own::Missing => Warning::Lost(path.clone()),
        Own::Broken => {
            let aside = state_dir.join(BROKEN_NAME);
            fs::rename(&path, &aside).map_err(|cause| at(&path, FileFault::Write(cause)))?;
            Warning::Broken(aside)
        }
    };
    make_private_directory(state_dir).map_err(SealKeyError::File)?;
    Ok(SealKey {
        bytes: make(&path)?,
        warnings: Vec::from_iter(cache_exists.then_some(warning)),
    })
}

/// Whether there is a key, without making one.
pub fn look(configured: Option<&Path>, state_dir: &Path) -> Result<Outlook, SealKeyError> {
    if let Some(path) = configured {
        return configured_key(path).map(|_| Outlook::Good);
    }
    Ok(match own(&state_dir.join(NAME))? {
        Own::Good(key) => match key.warnings.into_iter().next() {
            Some(Warning::Exposed(error)) => return Err(SealKeyError::File(error)),
            _ => Outlook::Good,
        },
        Own::Missing => Outlook::ToBeMade,
        Own::Broken => Outlook::ToBeMadeAnew,
    })
}

impl SealKey {
    /// The secret, to derive keys from: [`SEAL_KEY_BYTES_MIN`] to [`SEAL_KEY_BYTES_MAX`] bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the operator should know.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

fn configured_key(path: &Path) -> Result<SealKey, SealKeyError> {
    private(path).map_err(SealKeyError::File)?;
    let bytes = read_bounded(path, SEAL_KEY_BYTES_MAX).map_err(SealKeyError::File)?;
    if bytes.len() < SEAL_KEY_BYTES_MIN {
        return Err(SealKeyError::TooShort {
            path: path.to_owned(),
            bytes: bytes.len(),
        });
    }
    if is_zeros(&bytes) {
        return Err(SealKeyError::Zeros(path.to_owned()));
    }
    Ok(SealKey {
        bytes,
        warnings: Vec::new(),
    })
}

enum Own {
    Good(SealKey),
    Missing,
    /// Empty, short, or zeros.
    Broken,
}

fn own(path: &Path) -> Result<Own, SealKeyError> {
    let bytes = match read_bounded(path, SEAL_KEY_BYTES_MAX) {
        Ok(bytes) => bytes,
        // A link that leads nowhere may lead to a partition that is not there yet: that key is not to be replaced.
        Err(error) if error.is_missing() && fs::symlink_metadata(path).is_err() => {
            return Ok(Own::Missing);
        }
        Err(error) => return Err(SealKeyError::File(error)),
    };
    if bytes.len() < SEAL_KEY_BYTES || is_zeros(&bytes) {
        return Ok(Own::Broken);
    }
    Ok(Own::Good(SealKey {
        bytes,
        warnings: private(path)
            .err()
            .map(Warning::Exposed)
            .into_iter()
            .collect(),
    }))
}

/// Some file systems give a file its length before its bytes.
fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn make(path: &Path) -> Result<Vec<u8>, SealKeyError> {
    let mut bytes = vec![0; SEAL_KEY_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| SealKeyError::NoRandom)?;
    write_whole(path, &bytes, MODE).map_err(SealKeyError::File)?;
    Ok(bytes)
}

fn at(path: &Path, fault: FileFault) -> SealKeyError {
    SealKeyError::File(FileError {
        path: path.to_owned(),
        fault,
    })
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Exposed(error) => write!(f, "the key to the cache: {error}"),
            Warning::Lost(path) => write!(
                f,
                "the key to the cache, {}, is gone, and a new one was made; what was kept before cannot be read",
                path.display()
            ),
            Warning::Broken(aside) => write!(
                f,
                "the key to the cache was torn, and a new one was made; what was kept before cannot be read; the torn one is {}",
                aside.display()
            ),
        }
    }
}

impl fmt::Display for SealKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SealKeyError::File(error) => error.fmt(f),
            SealKeyError::TooShort { path, bytes } => write!(
                f,
                "{} has {bytes} bytes, and a key has {SEAL_KEY_BYTES_MIN} to {SEAL_KEY_BYTES_MAX}: \
                 put random ones there (head -c 32 /dev/urandom)",
                path.display()
            ),
            SealKeyError::Zeros(path) => write!(
                f,
                "{} has only zeros, which are no secret: put random bytes there (head -c 32 /dev/urandom)",
                path.display()
            ),
            SealKeyError::NoRandom => f.write_str("the kernel gives no random numbers"),
        }
    }
}

impl std::error::Error for SealKeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SealKeyError::File(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::TestDirectory;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn made_once_and_for_its_owner_alone() {
        let directory = TestDirectory::new();
        let state = directory.path().join("a/state");
        assert!(matches!(look(None, &state), Ok(Outlook::ToBeMade)));
        assert!(!state.exists(), "looking makes nothing");
        let key = load(None, &state, false).unwrap();
        assert_eq!((key.bytes().len(), key.warnings().len()), (32, 0));
        assert!(!is_zeros(key.bytes()));
        let meta = fs::metadata(state.join(NAME)).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o600);
        assert!(matches!(look(None, &state), Ok(Outlook::Good)));
        let again = load(None, &state, true).unwrap();
        assert_eq!(
            (again.bytes(), again.warnings().len()),
            (key.bytes(), 0),
            "the same at the next start"
        );
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
        assert_eq!(format!("{key:?}"), "SealKey(..)");
    }

    #[test]
    fn torn_or_lost_is_made_anew_and_told() {
        for torn in [&b""[..], &[7; 31], &[0; 32]] {
            let directory = TestDirectory::new();
            let file = directory.path().join(NAME);
            fs::write(&file, torn).unwrap();
            assert!(matches!(
                look(None, directory.path()),
                Ok(Outlook::ToBeMadeAnew)
            ));
            let key = load(None, directory.path(), true).unwrap();
            let text = key.warnings()[0].to_string();
            assert!(
                text.contains("torn") && text.contains(BROKEN_NAME),
                "{text}"
            );
            assert_eq!(fs::read(&file).unwrap(), key.bytes());
            assert_eq!(directory.names(), [NAME, BROKEN_NAME]);
            assert_eq!(
                fs::read(directory.path().join(BROKEN_NAME)).unwrap(),
                torn,
                "as it was"
            );
            fs::write(&file, torn).unwrap();
            let key = load(None, directory.path(), false).unwrap();
            assert!(key.warnings().is_empty(), "nothing was lost");
        }
        let directory = TestDirectory::new();
        let key = load(None, directory.path(), true).unwrap();
        assert!(key.warnings()[0].to_string().contains("is gone"));
    }

    #[test]
    fn what_may_be_a_good_key_is_never_replaced() {
        let directory = TestDirectory::new();
        let file = directory.path().join(NAME);
        symlink("/nowhere/at/all", &file).unwrap();
        assert!(load(None, directory.path(), true).is_err());
        assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
        fs::remove_file(&file).unwrap();

        fs::write(&file, [7; SEAL_KEY_BYTES_MAX + 1]).unwrap();
        let text = load(None, directory.path(), true).unwrap_err().to_string();
        assert!(text.contains("larger than 4096"), "{text}");
        fs::remove_file(&file).unwrap();

        fs::create_dir(&file).unwrap();
        let text = load(None, directory.path(), true).unwrap_err().to_string();
        assert!(text.contains("not a regular file"), "{text}");
        assert_eq!(directory.names(), [NAME]);
    }

    #[test]
    fn the_hubs_own_key_is_used_though_others_may_read_it() {
        let directory = TestDirectory::new();
        let file = directory.path().join(NAME);
        fs::write(&file, [7; 32]).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let key = load(None, directory.path(), true).unwrap();
        assert_eq!(key.bytes(), [7; 32]);
        assert!(key.warnings()[0].to_string().contains("chmod 0600"));
        assert!(look(None, directory.path()).is_err());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error() {
        let directory = TestDirectory::new();
        let state = directory.path().join("file/state");
        fs::write(directory.path().join("file"), "").unwrap();
        let text = load(None, &state, false).unwrap_err().to_string();
        assert!(text.contains("file/state"), "{text}");
    }

    #[test]
    fn a_configured_key_is_taken_as_it_is_or_not_at_all() {
        let directory = TestDirectory::new();
        let file = directory.path().join("tpm.key");
        let state = directory.path().join("state");
        let get = |bytes: &[u8], mode: u32| {
            let _ = fs::remove_file(&file);
            fs::write(&file, bytes).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let looked = look(Some(&file), &state).is_ok();
            let loaded = load(Some(&file), &state, true);
            assert_eq!(looked, loaded.is_ok());
            loaded.map_err(|error| error.to_string())
        };
        for len in [SEAL_KEY_BYTES_MIN, 32, SEAL_KEY_BYTES_MAX] {
            assert_eq!(get(&vec![7; len], 0o400).unwrap().bytes(), vec![7; len]);
        }
        for (bytes, mode, part) in [
            (vec![7; SEAL_KEY_BYTES_MIN - 1], 0o600, "has 15 bytes"),
            (Vec::new(), 0o600, "has 0 bytes"),
            (vec![7; SEAL_KEY_BYTES_MAX + 1], 0o600, "larger than 4096"),
            (vec![0; 32], 0o600, "only zeros"),
            (vec![7; 32], 0o644, "chmod 0600"),
            (vec![7; 32], 0o620, "chmod 0600"),
        ] {
            let text = get(&bytes, mode).unwrap_err();
            assert!(text.contains(part), "{part} in {text}");
            assert_eq!(fs::read(&file).unwrap(), bytes, "left as it is");
        }
        fs::remove_file(&file).unwrap();
        let error = load(Some(&file), &state, false).unwrap_err();
        assert!(matches!(&error, SealKeyError::File(e) if e.is_missing()));
        assert!(!file.exists() && !state.exists(), "nothing is made");
    }
}
