//! Files that are there whole or not at all, and readings that have a bound.

use crate::limits::LEFTOVERS_REMOVED_MAX;
use nix::libc;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What could not be done with which file.
#[derive(Debug)]
pub struct FileError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: FileFault,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum FileFault {
    /// It cannot be read.
    Read(io::Error),
    /// It cannot be written. What was there before is still there.
    Write(io::Error),
    /// The path names no file: it has no last part.
    NoName,
    /// It is a directory, a pipe, a socket or a device.
    NotAFile,
    /// It has more bytes than are possible.
    TooLarge {
        /// How many are possible.
        max_bytes: usize,
    },
    /// Others than its owner may read or change it.
    Open {
        /// Its permission bits.
        mode: u32,
    },
    /// Its owner is neither root nor the user that the hub runs as.
    Owner {
        /// Who owns it.
        uid: u32,
        /// Who the hub runs as.
        own_uid: u32,
    },
}

impl FileError {
    /// Whether the error is that there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(&self.fault, FileFault::Read(cause) if cause.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            FileFault::Read(cause) => write!(f, "cannot read {path}: {cause}{}", way_out(cause)),
            FileFault::Write(cause) => write!(f, "cannot write {path}: {cause}{}", way_out(cause)),
            FileFault::NoName => write!(f, "{path} names no file: give the path of a file"),
            FileFault::NotAFile => write!(f, "{path} is not a regular file: give the path of one"),
            FileFault::TooLarge { max_bytes } => {
                write!(
                    f,
                    "{path} is larger than {max_bytes} bytes: is it the right file?"
                )
            }
            FileFault::Open { mode } => write!(
                f,
                "{path} holds a secret, and its mode {mode:04o} lets others at it: chmod 0600 {path}"
            ),
            FileFault::Owner { uid, own_uid } => write!(
                f,
                "{path} holds a secret, and belongs to user {uid}, who could change it: chown {own_uid} {path}"
            ),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            FileFault::Read(cause) | FileFault::Write(cause) => Some(cause),
            _ => None,
        }
    }
}

fn way_out(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "; correct the path, or put it there",
        io::ErrorKind::PermissionDenied => {
            "; let the user that the hub runs as have it, also through the directories above"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; mount it writable, or choose another place",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "; a file is in the way: move it away, or choose another place"
        }
        _ => "",
    }
}

/// Reads a regular file of at most `max_bytes`. Symbolic links are followed; a pipe does not block.
pub fn read_bounded(path: &Path, max_bytes: usize) -> Result<Vec<u8>, FileError> {
    let at = |fault| FileError {
        path: path.to_owned(),
        fault,
    };
    let read = |cause| at(FileFault::Read(cause));
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|cause| match cause.raw_os_error() {
            // What opening a socket says.
            Some(libc::ENXIO) => at(FileFault::NotAFile),
            _ => read(cause),
        })?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(at(FileFault::NotAFile));
    }
    let too_large = || at(FileFault::TooLarge { max_bytes });
    if metadata.len() > max_bytes as u64 {
        return Err(too_large());
    }
    // The length may be 0 (/proc), and the file may grow while it is read.
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(max_bytes as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(read)?;
    match bytes.len() > max_bytes {
        true => Err(too_large()),
        false => Ok(bytes),
    }
}

/// What differs when a file is another, or was written to, at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([i64; 7]);

/// The file that the path leads to now, through symbolic links. `None`: there is none that can be seen.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let m = fs::metadata(path).ok()?;
    Some(Stamp([
        m.dev() as i64,
        m.ino() as i64,
        m.size() as i64,
        m.mtime(),
        m.mtime_nsec(),
        // Of its owner and mode too, by which it may have become readable.
        m.ctime(),
        m.ctime_nsec(),
    ]))
}

/// Writes `bytes` to `path` so that after a power cut there is either what was before or all of it. `mode` are the
/// permission bits of the new file, less the umask. A symbolic link is replaced, not followed.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let at = |fault| FileError {
        path: path.to_owned(),
        fault,
    };
    let write = |cause| at(FileFault::Write(cause));
    let name = path.file_name().ok_or_else(|| at(FileFault::NoName))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".tmp");
    remove_leftovers(directory, &prefix);
    prefix.push(format!(".{}", std::process::id()));
    let temporary = directory.join(prefix);
    let result = write_new(&temporary, bytes, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(write);
    if result.is_err() {
        // It is a leftover of ours at most; if it stays, the next write removes it.
        let _ = fs::remove_file(&temporary);
        return result;
    }
    sync_directory(directory).map_err(write)
}

/// Makes `path` a directory that only its owner may enter, and ordinary ones above it; no error if it is there.
pub fn make_private_directory(path: &Path) -> Result<(), FileError> {
    let make = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        DirBuilder::new().mode(0o700).create(path)
    };
    match make() {
        Err(_) if path.is_dir() => Ok(()),
        result => result.map_err(|cause| FileError {
            path: path.to_owned(),
            fault: FileFault::Write(cause),
        }),
    }
}

/// Checks that a file with a secret in it is its owner's alone, and that the owner is root or who we run as. A
/// symbolic link is judged by what it leads to.
pub fn private(path: &Path) -> Result<(), FileError> {
    let at = |fault| FileError {
        path: path.to_owned(),
        fault,
    };
    let metadata = fs::metadata(path).map_err(|cause| at(FileFault::Read(cause)))?;
    let own_uid = own_uid();
    if !metadata.is_file() {
        Err(at(FileFault::NotAFile))
    } else if metadata.uid() != 0 && metadata.uid() != own_uid {
        Err(at(FileFault::Owner {
            uid: metadata.uid(),
            own_uid,
        }))
    } else if metadata.mode() & 0o077 != 0 {
        Err(at(FileFault::Open {
            mode: metadata.mode() & 0o7777,
        }))
    } else {
        Ok(())
    }
}

/// Who this process acts as.
pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Bytes that this process could still write to the file system that the path is on.
pub fn space(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    // Of 32 bits on some targets, of 64 on others.
    let (blocks, size) = (stat.blocks_available() as u64, stat.fragment_size() as u64);
    Ok(blocks.saturating_mul(size))
}

/// Whether the path is on a file system that is in memory, and gone with the next start of the machine.
pub fn is_in_memory(path: &Path) -> io::Result<bool> {
    use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
    /// Of `linux/magic.h`; nix does not have it. What a small system's root in an initramfs is.
    const RAMFS_MAGIC: u32 = 0x8584_58f6;
    let FsType(kind) = statfs(path)?.filesystem_type();
    // The magic is of 32 bits; the field is wider on some targets, and signed.
    let (kind, tmpfs) = (kind as u32, TMPFS_MAGIC.0 as u32);
    Ok(kind == tmpfs || kind == RAMFS_MAGIC)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems (FUSE, 9p) do not have it.
        Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        result => result,
    }
}

/// What power cuts left of earlier writes. Failing to remove it is not failing to write.
fn remove_leftovers(directory: &Path, prefix: &OsString) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let leftovers = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().as_bytes().starts_with(prefix.as_bytes()))
        .take(LEFTOVERS_REMOVED_MAX);
    for leftover in leftovers {
        let _ = fs::remove_file(leftover.path());
    }
}

/// A directory of a test's own, gone with it.
#[cfg(test)]
pub(crate) struct TestDirectory(PathBuf);

#[cfg(test)]
impl TestDirectory {
    pub(crate) fn new() -> TestDirectory {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "edge-hub-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        TestDirectory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[cfg(test)]
impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn written_whole_with_its_mode_and_without_leftovers() {
        let directory = TestDirectory::new();
        let path = directory.path().join("a.key");
        fs::write(directory.path().join(".a.key.tmp.1"), "cut").unwrap();
        fs::write(directory.path().join(".b.key.tmp.1"), "another's").unwrap();
        write_whole(&path, b"one", 0o600).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"one".to_vec(), 0o600)
        );
        write_whole(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(directory.names(), [".b.key.tmp.1", "a.key"]);
    }

    #[test]
    fn a_symbolic_link_is_replaced_not_followed() {
        let directory = TestDirectory::new();
        let (target, link) = (
            directory.path().join("target"),
            directory.path().join("link"),
        );
        fs::write(&target, "kept").unwrap();
        symlink(&target, &link).unwrap();
        write_whole(&link, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"kept");
        assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_stamp_is_of_what_a_link_leads_to() {
        let directory = TestDirectory::new();
        let at = |name: &str| directory.path().join(name);
        let link = at("current");
        assert_eq!(stamp(&link), None);
        for name in ["one", "two"] {
            fs::write(at(name), "same").unwrap();
        }
        symlink("one", &link).unwrap();
        let first = stamp(&link);
        assert_eq!(first, stamp(&at("one")));
        // As the kubelet does.
        symlink("two", at("next")).unwrap();
        fs::rename(at("next"), &link).unwrap();
        assert_ne!(first, stamp(&link));
        let second = stamp(&link);
        fs::set_permissions(at("two"), fs::Permissions::from_mode(0o400)).unwrap();
        fs::write(at("two"), "longer").unwrap();
        assert_ne!(second, stamp(&link));
    }

    #[test]
    fn a_failed_write_leaves_what_was() {
        let directory = TestDirectory::new();
        let missing = directory.path().join("no/such/file");
        let text = write_whole(&missing, b"x", 0o600).unwrap_err().to_string();
        assert!(
            text.contains("no/such/file") && text.contains("cannot write"),
            "{text}"
        );
        let taken = directory.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_whole(&taken, b"x", 0o600).is_err());
        assert_eq!(directory.names(), ["taken"]);
        assert!(matches!(
            write_whole(Path::new("/"), b"", 0o600),
            Err(FileError {
                fault: FileFault::NoName,
                ..
            })
        ));
    }

    #[test]
    fn only_files_are_read_and_only_so_much() {
        let directory = TestDirectory::new();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("five"), "12345").unwrap();
        symlink(at("five"), at("link")).unwrap();
        assert_eq!(read_bounded(&at("link"), 5).unwrap(), b"12345");
        assert!(matches!(
            read_bounded(&at("five"), 4).unwrap_err().fault,
            FileFault::TooLarge { max_bytes: 4 }
        ));
        // /proc tells a length of 0.
        assert!(matches!(
            read_bounded(Path::new("/proc/self/status"), 10)
                .unwrap_err()
                .fault,
            FileFault::TooLarge { .. }
        ));
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for name in ["pipe", "socket", "."] {
            let error = read_bounded(&at(name), 5).unwrap_err();
            assert!(matches!(error.fault, FileFault::NotAFile), "{error}");
        }
        assert!(matches!(
            read_bounded(Path::new("/dev/zero"), 5).unwrap_err().fault,
            FileFault::NotAFile
        ));
        let missing = read_bounded(&at("missing"), 5).unwrap_err();
        assert!(
            missing.is_missing() && missing.to_string().contains("missing"),
            "{missing}"
        );
    }

    #[test]
    fn a_secret_is_its_owners_alone() {
        let directory = TestDirectory::new();
        let path = directory.path().join("key");
        write_whole(&path, b"", 0o600).unwrap();
        private(&path).unwrap();
        for bits in [0o640, 0o604, 0o610, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            let text = private(&path).unwrap_err().to_string();
            assert!(
                text.contains("chmod 0600") && text.contains(&format!("{bits:04o}")),
                "{text}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        private(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(4711), None)
            .expect("this test needs root, to give a file away");
        let text = private(&path).unwrap_err().to_string();
        assert!(text.contains("chown") && text.contains("4711"), "{text}");
    }

    #[test]
    fn a_directory_for_secrets() {
        let directory = TestDirectory::new();
        let path = directory.path().join("a/b");
        make_private_directory(&path).unwrap();
        make_private_directory(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_ne!(mode(path.parent().unwrap()), 0o700, "others may pass");
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(make_private_directory(&directory.path().join("file/x")).is_err());
    }
}
