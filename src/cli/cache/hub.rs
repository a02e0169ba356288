//! What a running hub keeps, asked over its control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::source::{Kept, Piece, See, SourceError};
use crate::access::hex::to_hex;
use crate::admin::kept::{END, Row, SOCKET};
use crate::admin::status::Store;
use crate::cache::note::Note;
use crate::error::Failure;
use crate::from_json::{FromJson, object};
use crate::limits::{CLI_RECORD_BYTES_MAX, CLI_SILENCE_SECS_MAX, HEAD_BYTES_MAX};
use crate::store::ring::report::SegmentState;

/// Its socket.
pub(super) struct Hub(PathBuf);

impl Hub {
    /// `None`: no hub has a socket there.
    pub(super) fn find(run_dir: &Path) -> Result<Option<Hub>, Failure> {
        let path = run_dir.join(SOCKET);
        match UnixStream::connect(&path) {
            Ok(_) => Ok(Some(Hub(path))),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                io::ErrorKind::PermissionDenied => Err(Failure::failed(format!(
                    "{}: only root and the user that runs the hub may ask",
                    path.display()
                ))),
                _ => Err(Failure::failed(format!("{}: {error}", path.display()))),
            },
        }
    }

    pub(super) fn kept(&self) -> Result<Vec<Kept>, SourceError> {
        let rows: Vec<Row> = self.all("GET", "/collections")?;
        let kept = |row: Row| {
            Some(Kept {
                key: row.key()?,
                id: row.id,
                objects: row.objects,
                bytes: row.bytes,
                version: row.version,
                state: row.state,
                age_secs: Some(row.age_secs),
                class: row.class,
            })
        };
        Ok(rows.into_iter().filter_map(kept).collect())
    }

    pub(super) fn read(
        &self,
        id: u64,
        item: Option<&str>,
        see: See<'_>,
    ) -> Result<(), SourceError> {
        let item = item.map(|item| format!("&item={}", to_hex(item.as_bytes())));
        let mut answer = self.ask(
            "GET",
            &format!("/items?id={id}{}", item.unwrap_or_default()),
        )?;
        let version = text(answer.part()?)?;
        let note = Note::from_bytes(&answer.part()?).ok_or(SourceError::Broken)?;
        see(Piece::Head {
            version: &version,
            note: &note,
        })?;
        while let Some(key) = answer.record()? {
            let (key, value) = (text(key)?, answer.part()?);
            see(Piece::Item {
                key: &key,
                value: &value,
            })?;
        }
        Ok(())
    }

    pub(super) fn store(&self) -> Result<Store, SourceError> {
        let mut stores = self.all("GET", "/store")?;
        stores.pop().ok_or(SourceError::Broken)
    }

    pub(super) fn segments(&self) -> Result<Vec<SegmentState>, SourceError> {
        self.all("GET", "/segments")
    }

    pub(super) fn forget(&self, ids: &[u64]) -> Result<(), SourceError> {
        let mut is_written = true;
        for id in ids {
            let answer = self.ask("POST", &format!("/drop?id={id}"));
            match answer.and_then(|mut answer| answer.record()) {
                Ok(None) | Err(SourceError::Gone) => {}
                Ok(Some(_)) => is_written = false,
                Err(error) => return Err(error),
            }
        }
        is_written.then_some(()).ok_or_else(|| {
            SourceError::Failed(
                "the hub cannot write that down: it has forgotten it, and will tell it again after its next start; \
                 `edge-hub status` says why, and with the hub stopped it can be dropped for good"
                    .to_owned(),
            )
        })
    }

    fn all<T: FromJson + Default>(
        &self,
        method: &str,
        target: &str,
    ) -> Result<Vec<T>, SourceError> {
        let mut answer = self.ask(method, target)?;
        let mut all = Vec::new();
        while let Some(record) = answer.record()? {
            all.push(object(&text(record)?).ok_or_else(unreadable)?);
        }
        Ok(all)
    }

    fn ask(&self, method: &str, target: &str) -> Result<Answer, SourceError> {
        let mut socket = UnixStream::connect(&self.0).map_err(failed)?;
        let silence = Some(Duration::from_secs(CLI_SILENCE_SECS_MAX));
        (socket.set_read_timeout(silence))
            .and_then(|()| socket.set_write_timeout(silence))
            // HTTP/1.0, so that the body comes as it is, up to its end.
            .and_then(|()| write!(socket, "{method} {target} HTTP/1.0\r\n\r\n"))
            .map_err(failed)?;
        let mut reader = BufReader::new(socket);
        let status = status(&mut (&mut reader).take(HEAD_BYTES_MAX as u64)).map_err(failed)?;
        match status {
            Some(200) => Ok(Answer(reader)),
            Some(404) => Err(SourceError::Gone),
            Some(status) => Err(SourceError::Failed(format!("the hub answered {status}"))),
            None => Err(unreadable()),
        }
    }
}

fn unreadable() -> SourceError {
    SourceError::Failed("what the hub answers cannot be read; is it of another version?".to_owned())
}

fn text(bytes: Vec<u8>) -> Result<String, SourceError> {
    String::from_utf8(bytes).map_err(|_| unreadable())
}

/// An answer that ends too early has broken off.
fn failed(error: io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => SourceError::Broken,
        _ => SourceError::Failed(format!("the hub: {error}")),
    }
}

/// Reads a head; the code in it, if it is one.
fn status(reader: &mut impl BufRead) -> io::Result<Option<u16>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    match line.ends_with('\n') {
        true => Ok(status),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The records of an answer.
struct Answer<R = BufReader<UnixStream>>(R);

impl<R: Read> Answer<R> {
    /// The next one; `None` behind the last. An answer that ends before that has broken off.
    fn record(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        let mut len = [0; 4];
        self.fill(&mut len)?;
        let len = match u32::from_le_bytes(len) {
            END => return Ok(None),
            len => len as usize,
        };
        if len > CLI_RECORD_BYTES_MAX {
            return Err(unreadable());
        }
        let mut record = vec![0; len];
        self.fill(&mut record)?;
        Ok(Some(record))
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<(), SourceError> {
        self.0.read_exact(buf).map_err(failed)
    }

    /// One that must be there.
    fn part(&mut self) -> Result<Vec<u8>, SourceError> {
        self.record()?.ok_or(SourceError::Broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::kept::{put, put_end};

    #[test]
    fn an_answer_is_whole_or_broken() {
        let mut bytes = Vec::new();
        put(b"one", &mut bytes);
        put(b"", &mut bytes);
        put_end(&mut bytes);
        let records = |bytes: &[u8]| {
            let mut answer = Answer(bytes);
            let mut records = Vec::new();
            while let Some(record) = answer.record()? {
                records.push(record);
            }
            Ok::<_, SourceError>(records)
        };
        assert_eq!(records(&bytes).unwrap(), [b"one".to_vec(), Vec::new()]);
        for cut in 0..bytes.len() {
            assert!(
                matches!(records(&bytes[..cut]), Err(SourceError::Broken)),
                "{cut}"
            );
        }
        let long = (CLI_RECORD_BYTES_MAX as u32 + 1).to_le_bytes();
        assert!(matches!(records(&long), Err(SourceError::Failed(_))));
    }

    #[test]
    fn heads() {
        let broken = Err(io::ErrorKind::UnexpectedEof);
        for (head, want) in [
            ("HTTP/1.0 200 OK\r\nx: y\r\n\r\nrest", Ok(Some(200))),
            ("HTTP/1.0 404 Not Found\r\n\r\n", Ok(Some(404))),
            ("nonsense\n\n", Ok(None)),
            ("HTTP/1.0 200 OK\r\nx: y\r\n", broken),
            ("", broken),
        ] {
            let mut reader = head.as_bytes();
            let got = status(&mut reader).map_err(|error| error.kind());
            assert_eq!(got, want, "{head}");
            assert!(want != Ok(Some(200)) || reader == b"rest");
        }
    }
}
