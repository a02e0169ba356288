//! The file calls below the ring. Two stand behind them: files on a file system, and the simulated flash of the tests.

use std::io;

/// Names one of the ring's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// What the ring is: format, identity, geometry.
    Super,
    Segment(u16),
}

/// Where a ring lies. In steady state it is only written at growing offsets and synced; files are created and removed
/// when it is made, or changes its size.
pub trait Media {
    /// The segments that are there, with their bytes, in any order.
    fn segments(&self) -> io::Result<Vec<(u16, u64)>>;

    /// Fills `buf` from `offset` on. `NotFound` without the file, `UnexpectedEof` past its end.
    fn read(&self, name: Name, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, within the file. Not durable before [`Media::sync`].
    fn write(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what was written to this file.
    fn sync(&mut self, name: Name) -> io::Result<()>;

    /// Makes the file, of `bytes` zeros that have a place on the flash, in place of what has its name. Durable when it
    /// returns; a cut before leaves any part of it.
    fn create(&mut self, name: Name, bytes: u64) -> io::Result<()>;

    /// Removes the file, durably.
    fn remove(&mut self, name: Name) -> io::Result<()>;

    /// Random bytes that nobody can foretell.
    fn random(&mut self, out: &mut [u8]) -> io::Result<()>;
}

impl<M: Media> Media for &mut M {
    fn segments(&self) -> io::Result<Vec<(u16, u64)>> {
        (**self).segments()
    }

    fn read(&self, name: Name, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read(name, offset, buf)
    }

    fn write(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write(name, offset, bytes)
    }

    fn sync(&mut self, name: Name) -> io::Result<()> {
        (**self).sync(name)
    }

    fn create(&mut self, name: Name, bytes: u64) -> io::Result<()> {
        (**self).create(name, bytes)
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        (**self).remove(name)
    }

    fn random(&mut self, out: &mut [u8]) -> io::Result<()> {
        (**self).random(out)
    }
}
