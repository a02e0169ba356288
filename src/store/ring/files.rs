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

/// The files, and the lock that says that no other process writes them.
pub struct Files {
    directory: PathBuf,
    _lock: Option<Flock<File>>,
    /// The file that is being written: the same descriptor until it is synced, since an error of the kernel's own
    /// writing is told only once.
    writing: Option<(Name, File)>,
    /// The file read last.
    reading: RefCell<Option<(Name, File)>>,
}

impl Files {
    /// For the one process that writes. `directory` must exist. `WouldBlock`: another process holds it.
    pub fn locked(directory: &Path) -> io::Result<Files> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(directory.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io::Error::from(errno))?;
        Ok(Files {
            _lock: Some(lock),
            ..Files::unlocked(directory)
        })
    }

    /// For looking on, also while another process writes.
    pub fn unlocked(directory: &Path) -> Files {
        Files {
            directory: directory.to_owned(),
            _lock: None,
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
            let file = OpenOptions::new()
                .write(true)
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(self.path(name))?;
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
            *reading = Some((name, File::open(self.path(name))?));
        }
        match reading.as_ref() {
            Some((_, file)) => file.read_exact_at(buf, offset),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.open_to_write(name)?;
        // Somebody has removed it, and what is written there nobody would ever find.
        if file.metadata()?.nlink() == 0 {
            return Err(io::Error::other("somebody has removed the files"));
        }
        file.write_all_at(bytes, offset)
    }

    fn sync(&mut self, name: Name) -> io::Result<()> {
        self.open_to_write(name)?.sync_data()
    }

    fn create(&mut self, name: Name, bytes: u64) -> io::Result<()> {
        self.forget(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(self.path(name))?;
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
}
