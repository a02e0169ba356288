//! One request by HTTP/1.1, for commands that ask once and end. The hub itself uses hyper.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::limits::CLI_REPLY_BYTES_MAX;

/// What came back.
pub(super) struct Reply {
    pub(super) status: u16,
    /// The header `Date`.
    pub(super) date: Option<String>,
    pub(super) body: Vec<u8>,
}

/// Why nothing useful came back.
#[derive(Debug)]
pub(super) enum HttpError {
    Io(io::Error),
    /// What answers does not speak HTTP.
    NotHttp,
    TooLarge,
    /// The answer ended early.
    Short,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Io(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                f.write_str("it did not answer in time")
            }
            HttpError::Io(e) => e.fmt(f),
            HttpError::NotHttp => f.write_str("what answers there is no HTTP server"),
            HttpError::TooLarge => {
                write!(f, "the answer is longer than {CLI_REPLY_BYTES_MAX} bytes")
            }
            HttpError::Short => f.write_str("the answer ended early"),
        }
    }
}

/// A connection that ends at a given time, however the other end dawdles.
pub(super) struct Timed {
    socket: TcpStream,
    until: Instant,
}

impl Timed {
    pub(super) fn new(socket: TcpStream, until: Instant) -> Timed {
        Timed { socket, until }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(Some(left))
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buf)
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// What is asked.
pub(super) struct Ask<'a> {
    pub(super) path: &'a str,
    /// A bearer token.
    pub(super) token: Option<&'a str>,
    /// JSON to be posted; without it the request is a GET.
    pub(super) body: Option<&'a [u8]>,
}

impl<'a> Ask<'a> {
    /// A GET of somebody who says nothing of himself.
    pub(super) fn get(path: &'a str) -> Ask<'a> {
        Ask {
            path,
            token: None,
            body: None,
        }
    }

    fn bytes(&self, authority: &str) -> Vec<u8> {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut request = format!(
            "{method} {} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: edge-hub/{}\r\nAccept: application/json\r\nConnection: close\r\n",
            self.path,
            env!("CARGO_PKG_VERSION")
        );
        if let Some(token) = self.token {
            request += &format!("Authorization: Bearer {token}\r\n");
        }
        if let Some(body) = self.body {
            request += &format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            );
        }
        request += "\r\n";
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(self.body.unwrap_or_default());
        bytes
    }
}

/// Asks and reads the whole answer, bounded by [`CLI_REPLY_BYTES_MAX`].
pub(super) fn ask(
    stream: &mut (impl Read + Write),
    authority: &str,
    ask: &Ask<'_>,
) -> Result<Reply, HttpError> {
    stream
        .write_all(&ask.bytes(authority))
        .and_then(|()| stream.flush())
        .map_err(HttpError::Io)?;
    let mut bytes = Vec::new();
    // The connection is closed after the answer, as asked; one byte more than allowed tells too long from just right.
    let end = stream
        .take(CLI_REPLY_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes);
    if bytes.len() > CLI_REPLY_BYTES_MAX {
        return Err(HttpError::TooLarge);
    }
    match (parse(&bytes), end) {
        (Ok(reply), _) => Ok(reply),
        // Servers cut a TLS connection without closing it properly; only what is missing then is an error.
        (Err(HttpError::Short), Err(cause)) => Err(HttpError::Io(cause)),
        (Err(error), _) => Err(error),
    }
}

fn parse(bytes: &[u8]) -> Result<Reply, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let body_at = match head.parse(bytes) {
        Ok(httparse::Status::Complete(at)) => at,
        Ok(httparse::Status::Partial) => return Err(HttpError::Short),
        Err(_) => return Err(HttpError::NotHttp),
    };
    let header = |name: &str| {
        let found = head
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let rest = bytes.get(body_at..).unwrap_or_default();
    let body = match (header("transfer-encoding"), header("content-length")) {
        (Some(_), _) => dechunk(rest)?,
        (None, Some(length)) => {
            let length: usize = length.trim().parse().map_err(|_| HttpError::NotHttp)?;
            rest.get(..length).ok_or(HttpError::Short)?.to_vec()
        }
        (None, None) => rest.to_vec(),
    };
    Ok(Reply {
        status: head.code.unwrap_or(0),
        date: header("date").map(str::to_owned),
        body,
    })
}

fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    loop {
        let (at, length) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Err(HttpError::Short),
            Err(_) => return Err(HttpError::NotHttp),
        };
        if length == 0 {
            return Ok(body);
        }
        let length = usize::try_from(length).map_err(|_| HttpError::TooLarge)?;
        let end = at.checked_add(length).ok_or(HttpError::TooLarge)?;
        body.extend_from_slice(rest.get(at..end).ok_or(HttpError::Short)?);
        rest = rest
            .get(end..)
            .and_then(|rest| rest.strip_prefix(b"\r\n"))
            .ok_or(HttpError::Short)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_framing() {
        for (bytes, want) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Some("hi")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", None),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n",
                Some("hi"),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n",
                None,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nh\r\n",
                None,
            ),
            ("HTTP/1.0 200 OK\r\n\r\nhi", Some("hi")),
            ("HTTP/1.1 200 OK\r\nContent-Le", None),
            ("SSH-2.0-x\r\n", None),
            ("", None),
        ] {
            let body = parse(bytes.as_bytes())
                .ok()
                .map(|reply| String::from_utf8(reply.body).unwrap());
            assert_eq!(body.as_deref(), want, "{bytes}");
        }
        let reply = parse(b"HTTP/1.1 503 No\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n")
            .ok()
            .unwrap();
        assert_eq!(
            (reply.status, reply.date.as_deref()),
            (503, Some("Thu, 01 Jan 1970 00:00:00 GMT"))
        );
    }
}
