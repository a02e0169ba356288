//! What stands before hyper on an HTTP/1.1 connection: reads each head whole, within its bounds and its deadline, and
//! refuses what two programs could take apart differently. Pure; [`super::guarded`] holds the socket.
//!
//! hyper answers a bad head by itself, with an empty body, and silently prefers `Transfer-Encoding` to a
//! `Content-Length` beside it. Here such a request is replaced by one that the hub answers with a `Status` in its turn.

use crate::limits;
use crate::reply::refusal::Refusal;

/// Path of the request that stands in for a refused one. No client can send it: a NUL is refused in a request line.
pub const REFUSED_PATH: &str = "/%00refused";

const STAND_IN: &[u8] = b"GET /%00refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// Follows the bytes of one connection from the client.
pub struct Guard {
    state: State,
    /// Bytes held back: the beginning of a head.
    held: Vec<u8>,
    refused: Option<Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of a body are still to come.
    Body(u64),
    Chunk(Chunk),
    /// After an upgrade: no longer HTTP.
    Open,
    /// A request was refused: the rest is thrown away.
    Refused,
}

/// Where in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// In the line with the size; digits read so far, whether an extension began.
    Size {
        size: u64,
        digits: u8,
        extension: bool,
        line: u16,
    },
    Data(u64),
    /// The CR LF after the data.
    AfterData,
    /// The trailer section, up to an empty line. `line`: bytes of the present line, `total`: of all.
    Trailer {
        line: u16,
        total: u16,
    },
}

const CHUNK_START: Chunk = Chunk::Size {
    size: 0,
    digits: 0,
    extension: false,
    line: 0,
};

impl Default for Guard {
    fn default() -> Self {
        Guard {
            state: State::Head,
            held: Vec::new(),
            refused: None,
        }
    }
}

impl Guard {
    /// Takes what came from the client and appends to `out` what hyper may see. All of `input` is consumed.
    pub fn take(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            let used = match self.state {
                State::Head => self.head(input, out),
                State::Body(left) => {
                    let n = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    out.extend_from_slice(&input[..n]);
                    self.state = match left - n as u64 {
                        0 => State::Head,
                        more => State::Body(more),
                    };
                    n
                }
                State::Chunk(chunk) => self.chunk(chunk, input, out),
                State::Open => {
                    out.extend_from_slice(input);
                    input.len()
                }
                State::Refused => input.len(),
            };
            input = &input[used..];
        }
    }

    /// True while a head has begun and is not complete: the time that its deadline runs.
    pub fn in_head(&self) -> bool {
        self.state == State::Head && !self.held.is_empty()
    }

    /// True between requests.
    pub fn is_idle(&self) -> bool {
        self.state == State::Head && self.held.is_empty()
    }

    /// True in the middle of a request's body.
    pub fn in_body(&self) -> bool {
        matches!(self.state, State::Body(_) | State::Chunk(_))
    }

    /// The head's deadline has passed.
    pub fn head_timed_out(&mut self, out: &mut Vec<u8>) {
        self.refuse(Refusal::HeadTimeout, out);
    }

    /// Why the request that now stands at [`REFUSED_PATH`] was refused.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refused
    }

    fn refuse(&mut self, why: Refusal, out: &mut Vec<u8>) {
        self.state = State::Refused;
        self.held = Vec::new();
        self.refused = Some(why);
        out.extend_from_slice(STAND_IN);
    }

    /// Gathers a head; returns how much of `input` belongs to it.
    fn head(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        // Empty lines before a request are allowed (RFC 9112 2.2) and say nothing.
        if self.held.is_empty() {
            let blank = input
                .iter()
                .take_while(|b| matches!(b, b'\r' | b'\n'))
                .count();
            if blank > 0 {
                return blank;
            }
        }
        let before = self.held.len();
        let room = limits::HEAD_BYTES_MAX + 1 - before;
        self.held.extend_from_slice(&input[..input.len().min(room)]);
        let Some(end) = end_of_head(&self.held, before.saturating_sub(3)) else {
            if self.held.len() > limits::HEAD_BYTES_MAX {
                let line_ended = self.held.contains(&b'\n');
                self.refuse(
                    if line_ended {
                        Refusal::HeadTooLarge
                    } else {
                        Refusal::TargetTooLong
                    },
                    out,
                );
            }
            return input.len().min(room);
        };
        match check(&self.held[..end]) {
            Ok(next) => {
                out.extend_from_slice(&self.held[..end]);
                self.state = next;
                self.held = Vec::new();
                end - before
            }
            Err(why) => {
                self.refuse(why, out);
                input.len()
            }
        }
    }

    fn chunk(&mut self, chunk: Chunk, input: &[u8], out: &mut Vec<u8>) -> usize {
        if let Chunk::Data(left) = chunk {
            let n = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            out.extend_from_slice(&input[..n]);
            self.state = State::Chunk(match left - n as u64 {
                0 => Chunk::AfterData,
                more => Chunk::Data(more),
            });
            return n;
        }
        // hyper sees the byte too and judges the framing by its own, stricter rules; here it is only followed.
        out.push(input[0]);
        self.state = match step(chunk, input[0]) {
            Some(next) => next,
            // Lost: from here on hyper decides alone, and it closes on what it cannot read.
            None => State::Open,
        };
        1
    }
}

/// One byte of a chunked body outside its data. `None`: not a chunked body.
fn step(chunk: Chunk, byte: u8) -> Option<State> {
    Some(match (chunk, byte) {
        (
            Chunk::Size {
                size: 0,
                digits: 1..,
                ..
            },
            b'\n',
        ) => State::Chunk(Chunk::Trailer { line: 0, total: 0 }),
        (
            Chunk::Size {
                size, digits: 1.., ..
            },
            b'\n',
        ) => State::Chunk(Chunk::Data(size)),
        (
            Chunk::Size {
                size,
                digits,
                extension: false,
                line,
            },
            _,
        ) if byte.is_ascii_hexdigit() => {
            let digit = (byte as char).to_digit(16)?;
            State::Chunk(Chunk::Size {
                size: size.checked_mul(16)?.checked_add(u64::from(digit))?,
                digits: digits.checked_add(1)?,
                extension: false,
                line: line + 1,
            })
        }
        (
            Chunk::Size {
                size,
                digits: digits @ 1..,
                line,
                ..
            },
            _,
        ) if line < limits::CHUNK_LINE_BYTES_MAX => State::Chunk(Chunk::Size {
            size,
            digits,
            extension: true,
            line: line + 1,
        }),
        (Chunk::AfterData, b'\r') => State::Chunk(Chunk::AfterData),
        (Chunk::AfterData, b'\n') => State::Chunk(CHUNK_START),
        (Chunk::Trailer { line: 0, .. }, b'\n') => State::Head,
        (Chunk::Trailer { total, .. }, b'\n') => State::Chunk(Chunk::Trailer { line: 0, total }),
        (Chunk::Trailer { line, total }, b'\r') => State::Chunk(Chunk::Trailer { line, total }),
        (Chunk::Trailer { line, total }, _) if total < limits::CHUNK_LINE_BYTES_MAX => {
            State::Chunk(Chunk::Trailer {
                line: line + 1,
                total: total + 1,
            })
        }
        _ => return None,
    })
}

/// Index after the empty line that ends a head, looking from `from`.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(newline) = bytes[at..].iter().position(|b| *b == b'\n') {
        at += newline + 1;
        match bytes.get(at..) {
            Some([b'\n', ..]) => return Some(at + 1),
            Some([b'\r', b'\n', ..]) => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Reads a complete head: how its body is framed, or why it is refused.
fn check(head: &[u8]) -> Result<State, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; limits::HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refusal::Malformed("the head is incomplete")),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(httparse::Error::Version) => {
            return Err(Refusal::Malformed(
                "the protocol is not HTTP/1.1 or HTTP/1.0",
            ));
        }
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            return Err(Refusal::Malformed(
                "a header line has a character that is not allowed there",
            ));
        }
        Err(_) => return Err(Refusal::Malformed("the request line cannot be read")),
    }
    // After a CONNECT what follows would no longer be HTTP.
    if matches!(request.method, Some("CONNECT" | "TRACE")) {
        return Err(Refusal::Method);
    }
    let target = request.path.unwrap_or_default();
    if target.len() > limits::TARGET_BYTES_MAX {
        return Err(Refusal::TargetTooLong);
    }
    if target.starts_with("/%00") {
        return Err(Refusal::Malformed("the path holds a NUL"));
    }
    framing(&request)
}

fn framing(request: &httparse::Request<'_, '_>) -> Result<State, Refusal> {
    let (mut length, mut chunked, mut hosts, mut upgrade) = (None::<u64>, false, 0, false);
    for header in request.headers.iter() {
        let value = header.value.trim_ascii();
        if header.name.eq_ignore_ascii_case("content-length") {
            let read = std::str::from_utf8(value)
                .ok()
                .filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|v| v.parse().ok())
                .ok_or(Refusal::Malformed(
                    "Content-Length is not a number of bytes",
                ))?;
            if length.is_some_and(|l| l != read) {
                return Err(Refusal::Malformed("two Content-Length lines differ"));
            }
            length = Some(read);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") || request.version == Some(0) {
                return Err(Refusal::Malformed(
                    "the only Transfer-Encoding that is taken is chunked",
                ));
            }
            chunked = true;
        } else if header.name.eq_ignore_ascii_case("host") {
            hosts += 1;
        } else if header.name.eq_ignore_ascii_case("upgrade") {
            upgrade = true;
        }
    }
    if chunked && length.is_some() {
        return Err(Refusal::TwoFramings);
    }
    if hosts > 1 || (hosts == 0 && request.version == Some(1)) {
        return Err(Refusal::Malformed("there must be one Host line"));
    }
    Ok(match (upgrade, chunked, length) {
        (true, ..) => State::Open,
        (_, true, _) => State::Chunk(CHUNK_START),
        (_, _, Some(length @ 1..)) => State::Body(length),
        _ => State::Head,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hyper sees, and the refusal, whatever the pieces in which the bytes arrive.
    fn check(input: &str, want: &str, refusal: Option<u16>) {
        for size in [1, 2, 3, 7, input.len().max(1)] {
            let (mut guard, mut out) = (Guard::default(), Vec::new());
            for piece in input.as_bytes().chunks(size) {
                guard.take(piece, &mut out);
            }
            assert_eq!(
                String::from_utf8_lossy(&out),
                want,
                "pieces of {size}: {input:?}"
            );
            assert_eq!(guard.refusal().map(|r| r.code()), refusal, "{input:?}");
        }
    }

    fn passes(input: &str) {
        check(input, input, None);
    }

    fn refused(before: &str, bad: &str, code: u16) {
        let want = format!("{before}{}", std::str::from_utf8(STAND_IN).unwrap());
        check(&format!("{before}{bad}"), &want, Some(code));
    }

    const GET: &str = "GET /api HTTP/1.1\r\nHost: h\r\n\r\n";

    #[test]
    fn what_is_sound_passes_as_it_came() {
        passes(GET);
        passes(&GET.repeat(3));
        passes(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        );
        passes(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        );
        passes(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        );
        passes("GET / HTTP/1.0\r\n\r\n");
        passes(
            "POST /x/exec HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n\0\x01binary\n\n",
        );
        passes("GET / HTTP/1.1\nHost: h\n\n");
        check(&format!("\r\n\r\n{GET}"), GET, None);
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        let both = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        refused("", both, 400);
        refused(GET, both, 400);
        refused(
            "",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            400,
        );
        for lines in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Host: two\r\n",
            "Bad Name: x\r\n",
            "X: a\0b\r\n",
        ] {
            refused(
                "",
                &format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\nrest"),
                400,
            );
        }
        refused("", "GET / HTTP/1.1\r\n\r\n", 400);
        refused("", "GET / HTTP/9.9\r\nHost: h\r\n\r\n", 400);
        refused("", "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 405);
        refused("", "GET /%00refused HTTP/1.1\r\nHost: h\r\n\r\n", 400);
        refused("", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400);
        refused(
            "",
            "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        );
    }

    #[test]
    fn bounds_on_each_side_and_exactly_there() {
        let target =
            |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(bytes - 1));
        passes(&target(limits::TARGET_BYTES_MAX - 1));
        passes(&target(limits::TARGET_BYTES_MAX));
        refused("", &target(limits::TARGET_BYTES_MAX + 1), 414);

        let lines = |n: usize| {
            format!(
                "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
                "a: b\r\n".repeat(n - 1)
            )
        };
        passes(&lines(limits::HEADERS_MAX));
        refused("", &lines(limits::HEADERS_MAX + 1), 431);

        let head = |bytes: usize| {
            let rest = "GET / HTTP/1.1\r\nHost: h\r\na: \r\n\r\n".len();
            format!(
                "GET / HTTP/1.1\r\nHost: h\r\na: {}\r\n\r\n",
                "x".repeat(bytes - rest)
            )
        };
        passes(&head(limits::HEAD_BYTES_MAX));
        refused("", &head(limits::HEAD_BYTES_MAX + 2), 431);
        refused("", &"x".repeat(limits::HEAD_BYTES_MAX + 1), 414);
    }

    #[test]
    fn knows_where_it_is() {
        let (mut guard, mut out) = (Guard::default(), Vec::new());
        assert!(guard.is_idle() && !guard.in_head());
        guard.take(b"GET / HT", &mut out);
        assert!(guard.in_head() && out.is_empty());
        guard.take(b"TP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na", &mut out);
        assert!(guard.in_body() && !guard.in_head());
        guard.take(b"bc", &mut out);
        assert!(guard.is_idle());
        guard.take(b"GET", &mut out);
        let before = out.len();
        guard.head_timed_out(&mut out);
        assert_eq!(&out[before..], STAND_IN);
        assert_eq!(guard.refusal().map(|r| r.code()), Some(408));
    }

    /// No bytes make it panic or grow, and what passes never depends on the pieces.
    #[test]
    fn random_bytes() {
        let mut seed = 1u64;
        let mut random = move || {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) as usize
        };
        let words = [
            "GET / HTTP/1.1\r\n",
            "Host: h\r\n",
            "\r\n",
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n",
            "0\r\n",
            "Content-Length: 3\r\n",
            "abc",
            "\n",
            "\0",
            "FFFFFFFFFFFFFFFFF\r\n",
        ];
        for _ in 0..20_000 {
            let input: String = (0..random() % 12)
                .map(|_| words[random() % words.len()])
                .collect();
            let run = |size: usize| {
                let (mut guard, mut out) = (Guard::default(), Vec::new());
                input
                    .as_bytes()
                    .chunks(size)
                    .for_each(|piece| guard.take(piece, &mut out));
                (out, guard.refusal(), guard.state)
            };
            assert!(run(1) == run(usize::MAX), "{input:?}");
        }
    }
}
