//! The ring's files in a directory of a file system. No mmap: JFFS2 has none that can be written.

use super::media::{Media, Name};
use nix::fcntl::{Flock, FlockArg};
use ring::rand::{SecureRandom, SystemRandom};
use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of zeros written at a time when a file is made.
const ZEROS: usize = 64 * 1024;

/// Only the name that it was given: under another of the same number one segment would be two.
fn number_of(file_name: &str) -> Option<u16> {
    let number = file_name.strip_prefix("seg-")?.parse().ok()?;
    (file_name == file_name_of(Name::Segment(number))).then_some(number)
}

fn file_name_of(name: Name) -> String {
    match name {
        Name::Super => "super".to_owned(),
        Name::Segment(at) => format!("seg-{at:04}"),
    }
}

/// Opens a file, and nothing else: a pipe would be waited for, and a device would do who knows what.
fn open(how: &mut OpenOptions, path: &Path) -> io::Result<File> {
    use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => Err(not_a_file(path)),
        _ => {
            let file = how.custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
            match file.metadata()?.is_file() {
                true => Ok(file),
                false => Err(not_a_file(path)),
            }
        }
    }
}

fn not_a_file(path: &Path) -> io::Error {
    let path = path.display();
    io::Error::other(format!("{path} is no file, and in the way"))
}

/// The files, and the lock that says that no other process writes them.
pub struct Files {
    directory: PathBuf,
    lock: Option<Flock<File>>,
    /// The file that is being written: the same descriptor until it is synced, since an error of the kernel's own
    /// writing is told only once.
    writing: Option<(Name, File)>,
    /// The file read last.
    reading: RefCell<Option<(Name, File)>>,
}

impl Files {
    /// For the one process that writes. `directory` must exist. `WouldBlock`: another process holds it.
    pub fn locked(directory: &Path) -> io::Result<Files> {
        let mut how = OpenOptions::new();
        how.write(true).create(true).truncate(false).mode(0o600);
        let lock = open(&mut how, &directory.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io::Error::from(errno))?;
        Ok(Files {
            lock: Some(lock),
            ..Files::unlocked(directory)
        })
    }

    /// For looking on, also while another process writes.
    pub fn unlocked(directory: &Path) -> Files {
        Files {
            directory: directory.to_owned(),
            lock: None,
            writing: None,
            reading: RefCell::new(None),
        }
    }

    fn path(&self, name: Name) -> PathBuf {
        self.directory.join(file_name_of(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn forget(&mut self, name: Name) {
        self.writing.take_if(|(open, _)| *open == name);
        self.reading.get_mut().take_if(|(open, _)| *open == name);
    }

    fn open_to_write(&mut self, name: Name) -> io::Result<&File> {
        if self.writing.as_ref().is_none_or(|(open, _)| *open != name) {
            let file = open(OpenOptions::new().write(true), &self.path(name))?;
            self.writing = Some((name, file));
        }
        match &self.writing {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Media for Files {
    fn segments(&self) -> io::Result<Vec<(u16, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(number_of);
            let metadata = entry.metadata()?;
            if let Some(number) = number.filter(|_| metadata.is_file()) {
                found.push((number, metadata.len()));
            }
        }
        Ok(found)
    }

    fn read(&self, name: Name, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut reading = self.reading.borrow_mut();
        if reading.as_ref().is_none_or(|(open, _)| *open != name) {
            let file = open(OpenOptions::new().read(true), &self.path(name))?;
            *reading = Some((name, file));
        }
        match reading.as_ref() {
            Some((_, file)) => file.read_exact_at(buf, offset),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // What is written to a file that is gone nobody would ever find; and where the lock is gone, another hub may have one.
        let is_gone = |file: &File| file.metadata().map(|of| of.nlink() == 0);
        let lock_is_gone = self.lock.as_deref().map_or(Ok(false), is_gone)?;
        let file = self.open_to_write(name)?;
        if lock_is_gone || is_gone(file)? {
            return Err(io::Error::other("somebody has removed the files"));
        }
        file.write_all_at(bytes, offset)
    }

    fn sync(&mut self, name: Name) -> io::Result<()> {
        self.open_to_write(name)?.sync_data()
    }

    fn create(&mut self, name: Name, bytes: u64) -> io::Result<()> {
        self.forget(name);
        // Whatever has the name goes: it may be a link to something that is somebody else's.
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                return Err(not_a_file(&self.path(name)));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut how = OpenOptions::new();
        how.write(true).create_new(true).mode(0o600);
        let file = open(&mut how, &self.path(name))?;
        // Written, not fallocated: turning unwritten extents into written ones costs journal traffic at every first write.
        let zeros = vec![0; ZEROS];
        let mut at = 0;
        while at < bytes {
            let piece = zeros.len().min((bytes - at) as usize);
            file.write_all_at(&zeros[..piece], at)?;
            at += piece as u64;
        }
        file.sync_all()?;
        self.sync_directory()
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        self.forget(name);
        fs::remove_file(self.path(name))?;
        self.sync_directory()
    }

    fn random(&mut self, out: &mut [u8]) -> io::Result<()> {
        SystemRandom::new()
            .fill(out)
            .map_err(|_| io::Error::other("the kernel gives no random numbers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::TestDirectory;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_segment_has_one_name() {
        for number in [0, 7, 4095, 65_535] {
            assert_eq!(
                number_of(&file_name_of(Name::Segment(number))),
                Some(number)
            );
        }
        for name in [
            "seg-7",
            "seg-00007",
            "seg-+007",
            "seg-",
            "seg-65536",
            "super",
            "seg-0007~",
        ] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_file_is_neither_waited_for_nor_followed() {
        let directory = TestDirectory::new();
        let path = |name: &str| directory.path().join(name);
        let pipe = |name: &str| nix::unistd::mkfifo(&path(name), nix::sys::stat::Mode::S_IRWXU);
        pipe("lock").unwrap();
        assert!(Files::locked(directory.path()).is_err());
        fs::remove_file(path("lock")).unwrap();
        let mut files = Files::locked(directory.path()).unwrap();
        pipe("super").unwrap();
        symlink("/dev/zero", path("seg-0001")).unwrap();
        for name in [Name::Super, Name::Segment(1)] {
            assert!(files.read(name, 0, &mut [0; 8]).is_err(), "{name:?}");
            assert!(files.write(name, 0, b"x").is_err(), "{name:?}");
        }
        assert_eq!(files.segments().unwrap(), []);
        // A link to somebody's file, of either kind, goes, and the file stays.
        fs::write(path("precious"), "as it was").unwrap();
        fs::hard_link(path("precious"), path("seg-0002")).unwrap();
        symlink("precious", path("seg-0003")).unwrap();
        for number in [1, 2, 3] {
            files.create(Name::Segment(number), 70_000).unwrap();
            files.write(Name::Segment(number), 69_999, b"x").unwrap();
        }
        files.create(Name::Super, 10).unwrap();
        fs::create_dir(path("seg-0004")).unwrap();
        let error = files.create(Name::Segment(4), 10).unwrap_err().to_string();
        assert!(error.contains("seg-0004 is no file"), "{error}");
        let all = [(1, 70_000), (2, 70_000), (3, 70_000)];
        let mut there = files.segments().unwrap();
        there.sort_unstable();
        assert_eq!(there, all);
        assert_eq!(fs::read_to_string(path("precious")).unwrap(), "as it was");
    }

    #[test]
    fn who_has_lost_the_lock_does_not_write_any_more() {
        let directory = TestDirectory::new();
        let mut first = Files::locked(directory.path()).unwrap();
        first.create(Name::Segment(0), 10).unwrap();
        first.write(Name::Segment(0), 0, b"1").unwrap();
        let error = Files::locked(directory.path()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        fs::remove_file(directory.path().join("lock")).unwrap();
        let mut second = Files::locked(directory.path()).unwrap();
        second.write(Name::Segment(0), 0, b"2").unwrap();
        assert!(first.write(Name::Segment(0), 0, b"1").is_err());
    }
}
