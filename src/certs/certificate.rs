//! The few fields of an X.509 certificate (RFC 5280) that the hub looks at. Pure; it verifies nothing: whether a
//! certificate is to be believed is for rustls to say before anything here counts.

use super::der::{self, DerError, Reader, Value};
use super::sans::Sans;
use super::subject::Subject;
use crate::limits::CERTIFICATE_BYTES_MAX;
use crate::sys::clock;
use std::fmt;
use std::net::IpAddr;

/// The fields of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFields<'a> {
    /// The subject's name, in DER.
    pub subject: &'a [u8],
    /// The issuer's name, in DER.
    pub issuer: &'a [u8],
    /// Seconds since 1970, UTC; 0 for anything before.
    pub not_before_unix_secs: u64,
    /// Seconds since 1970, UTC; 0 for anything before.
    pub not_after_unix_secs: u64,
    /// The public key with its algorithm (SubjectPublicKeyInfo), in DER.
    pub public_key: &'a [u8],
    /// The content of the extension subjectAltName, in DER.
    alternative_names: Option<&'a [u8]>,
    /// The content of the extension basicConstraints, in DER.
    constraints: Option<&'a [u8]>,
}

/// Why a certificate cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateError {
    /// More than `CERTIFICATE_BYTES_MAX`.
    TooLarge,
    /// It is not what RFC 5280 says.
    Malformed,
    /// A name in its subject has control characters, or is encoded as what it is not.
    SubjectText,
    /// A name in its subject is too long, or there are too many.
    SubjectTooLarge,
}

impl From<DerError> for CertificateError {
    fn from(_: DerError) -> CertificateError {
        CertificateError::Malformed
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "it has more than {CERTIFICATE_BYTES_MAX} bytes"),
            Self::Malformed => write!(f, "it is no well-formed X.509 certificate"),
            Self::SubjectText => {
                write!(
                    f,
                    "its subject has a name with control characters or in a wrong encoding"
                )
            }
            Self::SubjectTooLarge => write!(f, "its subject has too many or too long names"),
        }
    }
}

impl std::error::Error for CertificateError {}

impl<'a> CertificateFields<'a> {
    /// Reads one certificate, with nothing behind it.
    pub fn read(certificate: &'a [u8]) -> Result<CertificateFields<'a>, CertificateError> {
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLarge);
        }
        let mut file = Reader::new(certificate);
        let mut outer = file.enter(der::SEQUENCE)?;
        file.end()?;
        let mut inner = outer.enter(der::SEQUENCE)?;
        inner.optional(der::context_constructed(0))?; // version
        inner.expect(der::INTEGER)?; // serial number
        inner.expect(der::SEQUENCE)?; // signature algorithm
        let issuer = inner.expect(der::SEQUENCE)?.whole;
        let mut validity = inner.enter(der::SEQUENCE)?;
        let not_before_unix_secs = time(validity.any()?)?;
        let not_after_unix_secs = time(validity.any()?)?;
        let subject = inner.expect(der::SEQUENCE)?.whole;
        let public_key = inner.expect(der::SEQUENCE)?.whole;
        inner.optional(der::context_primitive(1))?; // unique identifiers, which nobody uses
        inner.optional(der::context_primitive(2))?;
        let (alternative_names, constraints) = match inner.optional(der::context_constructed(3))? {
            Some(extensions) => find_extensions(Reader::new(extensions.content))?,
            None => (None, None),
        };
        inner.end()?;
        outer.expect(der::SEQUENCE)?; // signature algorithm
        outer.any()?; // signature
        outer.end()?;
        Ok(CertificateFields {
            subject,
            issuer,
            not_before_unix_secs,
            not_after_unix_secs,
            public_key,
            alternative_names,
            constraints,
        })
    }

    /// Whether it may sign others. What cannot be read, or is not there, says no.
    pub fn is_ca(&self) -> bool {
        let is_ca = |content| {
            let mut constraints = Reader::new(content).enter(der::SEQUENCE)?;
            constraints.optional(der::BOOLEAN)
        };
        let said = self.constraints.map(is_ca);
        matches!(
            said,
            Some(Ok(Some(Value {
                content: [0xff],
                ..
            })))
        )
    }

    /// Who it is for.
    pub fn subject(&self) -> Result<Subject, CertificateError> {
        Subject::read(self.subject)
    }

    /// The names and addresses that it is valid for; `None` if there are other kinds among them.
    pub fn sans(&self) -> Result<Option<Sans>, CertificateError> {
        let Some(content) = self.alternative_names else {
            return Ok(Some(Sans::default()));
        };
        let mut file = Reader::new(content);
        let mut names = file.enter(der::SEQUENCE)?;
        file.end()?;
        let mut sans = Sans::default();
        while !names.is_empty() {
            let Some(san) = alternative_name(names.any()?) else {
                return Ok(None);
            };
            if sans.add(&san).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(sans))
    }
}

fn alternative_name(name: Value<'_>) -> Option<String> {
    const DNS: u8 = der::context_primitive(2);
    const IP: u8 = der::context_primitive(7);
    match name.tag {
        DNS => std::str::from_utf8(name.content).ok().map(str::to_owned),
        IP => {
            let addr = match name.content.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(name.content).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(name.content).ok()?),
            };
            Some(addr.to_string())
        }
        _ => None,
    }
}

/// The contents of subjectAltName and basicConstraints.
type Extensions<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn find_extensions(mut outer: Reader<'_>) -> Result<Extensions<'_>, DerError> {
    const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];
    const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];
    let mut extensions = outer.enter(der::SEQUENCE)?;
    outer.end()?;
    let (mut names, mut constraints) = (None, None);
    while !extensions.is_empty() {
        let mut extension = extensions.enter(der::SEQUENCE)?;
        let id = extension.expect(der::OBJECT_IDENTIFIER)?;
        extension.optional(der::BOOLEAN)?; // critical
        let content = extension.expect(der::OCTET_STRING)?.content;
        extension.end()?;
        let found = match id.content {
            id if id == SUBJECT_ALT_NAME => &mut names,
            id if id == BASIC_CONSTRAINTS => &mut constraints,
            _ => continue,
        };
        if found.replace(content).is_some() {
            return Err(DerError);
        }
    }
    Ok((names, constraints))
}

/// RFC 5280 section 4.1.2.5: UTCTime to 2049, GeneralizedTime after; seconds and `Z` always.
fn time(value: Value<'_>) -> Result<u64, DerError> {
    let (digits, zone) = value
        .content
        .split_at_checked(value.content.len().saturating_sub(1))
        .ok_or(DerError)?;
    if zone != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DerError);
    }
    let two = |at: usize| match digits.get(at..at + 2) {
        Some(&[tens, ones]) => Ok((tens - b'0') * 10 + (ones - b'0')),
        _ => Err(DerError),
    };
    let (year, at) = match (value.tag, digits.len()) {
        (der::UTC_TIME, 12) => (u16::from(two(0)?), 2),
        (der::GENERALIZED_TIME, 14) => (u16::from(two(0)?) * 100 + u16::from(two(2)?), 4),
        _ => return Err(DerError),
    };
    let year = match (value.tag, year) {
        (der::UTC_TIME, 0..50) => year + 2000,
        (der::UTC_TIME, _) => year + 1900,
        _ => year,
    };
    // The calendar of `clock` begins in 1970. A leap year's days stand in for those of any year before.
    let counted = if year < 1970 { 1972 } else { year };
    let unix_secs = clock::unix_secs(
        counted,
        two(at)?,
        two(at + 2)?,
        two(at + 4)?,
        two(at + 6)?,
        two(at + 8)?,
    )
    .ok_or(DerError)?;
    Ok(if year < 1970 { 0 } else { unix_secs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let read = |tag, text: &'static str| {
            time(Value {
                tag,
                content: text.as_bytes(),
                whole: &[],
            })
        };
        for (tag, text, secs) in [
            (der::UTC_TIME, "700101000000Z", 0),
            (der::UTC_TIME, "500101000000Z", 0),
            (der::UTC_TIME, "491231235959Z", 2_524_607_999),
            (der::UTC_TIME, "260301120000Z", 1_772_366_400),
            (
                der::GENERALIZED_TIME,
                "99991231235959Z",
                clock::LAST_UNIX_SECS,
            ),
            (der::GENERALIZED_TIME, "00000101000000Z", 0),
        ] {
            assert_eq!(read(tag, text), Ok(secs), "{text}");
        }
        for (tag, text) in [
            (der::UTC_TIME, "2603011200Z"),
            (der::UTC_TIME, "260301120000+0100"),
            (der::UTC_TIME, "260230120000Z"),
            (der::UTC_TIME, "26030112000:Z"),
            (der::GENERALIZED_TIME, "260301120000Z"),
            (der::GENERALIZED_TIME, "20260301120000.5Z"),
            (der::UTC_TIME, ""),
            (der::UTC_TIME, "Z"),
            (der::INTEGER, "260301120000Z"),
        ] {
            assert_eq!(read(tag, text), Err(DerError), "{text}");
        }
    }
}
