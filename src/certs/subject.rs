//! Who a certificate is for, as Kubernetes reads it: the user is the common name, the groups are the organizations.
//! Pure.

use super::certificate::CertificateError;
use super::der::{self, DerError, Reader, Value};
use crate::limits::{SUBJECT_NAME_BYTES_MAX, SUBJECT_NAMES_MAX};
use std::fmt;

/// The parts of a subject that Kubernetes looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// CN: the user. Of several the last, as Go's crypto/x509 has it; `None` if there is none or it is empty.
    pub common_name: Option<String>,
    /// O: the groups, in the order in which they stand.
    pub organizations: Vec<String>,
}

impl Subject {
    /// Reads a name (X.501 RDNSequence) in DER. Attributes other than CN and O are passed over, whatever they hold.
    pub fn read(name: &[u8]) -> Result<Subject, CertificateError> {
        const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
        const ORGANIZATION: [u8; 3] = [0x55, 0x04, 0x0a];
        let mut file = Reader::new(name);
        let mut parts = file.enter(der::SEQUENCE)?;
        file.end()?;
        let mut subject = Subject::default();
        while !parts.is_empty() {
            let mut part = parts.enter(der::SET)?;
            while !part.is_empty() {
                let mut attribute = part.enter(der::SEQUENCE)?;
                let id = attribute.expect(der::OBJECT_IDENTIFIER)?;
                let value = attribute.any()?;
                attribute.end()?;
                if id.content == COMMON_NAME {
                    subject.common_name = Some(text(value)?).filter(|name| !name.is_empty());
                } else if id.content == ORGANIZATION {
                    if subject.organizations.len() == SUBJECT_NAMES_MAX {
                        return Err(CertificateError::SubjectTooLarge);
                    }
                    subject.organizations.push(text(value)?);
                }
            }
        }
        Ok(subject)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CN={}", self.common_name.as_deref().unwrap_or(""))?;
        self.organizations
            .iter()
            .try_for_each(|name| write!(f, ",O={name}"))
    }
}

/// The text of a DirectoryString, or of one of the strings that are found in its place. Control characters are
/// refused: a name with a NUL in it has been taken for the part before it, and one with a line end forges log lines.
fn text(value: Value<'_>) -> Result<String, CertificateError> {
    if value.content.len() > SUBJECT_NAME_BYTES_MAX {
        return Err(CertificateError::SubjectTooLarge);
    }
    let wrong = || CertificateError::SubjectText;
    let text = match value.tag {
        der::UTF8_STRING => std::str::from_utf8(value.content)
            .map_err(|_| wrong())?
            .to_owned(),
        // All of them ASCII here: T.61's other letters mean different things to different readers.
        der::PRINTABLE_STRING | der::IA5_STRING | der::NUMERIC_STRING | der::TELETEX_STRING
            if value.content.is_ascii() =>
        {
            String::from_utf8_lossy(value.content).into_owned()
        }
        der::BMP_STRING => two_byte_text(value.content).map_err(|_| wrong())?,
        _ => return Err(wrong()),
    };
    match text.chars().any(char::is_control) {
        true => Err(wrong()),
        false => Ok(text),
    }
}

fn two_byte_text(content: &[u8]) -> Result<String, DerError> {
    let units = content.chunks(2).map(|unit| match unit {
        &[high, low] => Ok(u16::from_be_bytes([high, low])),
        _ => Err(DerError),
    });
    let units: Vec<u16> = units.collect::<Result<_, _>>()?;
    String::from_utf16(&units).map_err(|_| DerError)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CN: [u8; 3] = [0x55, 4, 3];
    const O: [u8; 3] = [0x55, 4, 10];
    const OU: [u8; 3] = [0x55, 4, 11];

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len() as u16;
        let length_bytes = match length {
            0..=0x7f => vec![length as u8],
            0x80..=0xff => vec![0x81, length as u8],
            _ => [&[0x82][..], &length.to_be_bytes()].concat(),
        };
        [&[tag][..], &length_bytes, content].concat()
    }

    fn attribute(id: [u8; 3], tag: u8, value: &[u8]) -> Vec<u8> {
        let pair = [wrap(der::OBJECT_IDENTIFIER, &id), wrap(tag, value)].concat();
        wrap(der::SEQUENCE, &pair)
    }

    /// One inner list for each SET.
    fn name(parts: &[&[Vec<u8>]]) -> Vec<u8> {
        let sets: Vec<u8> = parts
            .iter()
            .flat_map(|part| wrap(der::SET, &part.concat()))
            .collect();
        wrap(der::SEQUENCE, &sets)
    }

    fn utf8(id: [u8; 3], value: &str) -> Vec<u8> {
        attribute(id, der::UTF8_STRING, value.as_bytes())
    }

    fn check(name: &[u8], expected: Result<(Option<&str>, &[&str]), CertificateError>) {
        let expected = expected.map(|(common_name, organizations)| Subject {
            common_name: common_name.map(str::to_owned),
            organizations: organizations.iter().map(|&name| name.to_owned()).collect(),
        });
        assert_eq!(Subject::read(name), expected, "{name:x?}");
    }

    #[test]
    fn users_and_groups() {
        check(&name(&[]), Ok((None, &[])));
        check(
            &name(&[
                &[utf8(O, "system:nodes")],
                &[utf8(CN, "system:node:edge-1")],
            ]),
            Ok((Some("system:node:edge-1"), &["system:nodes"])),
        );
        // Several attributes in one SET, several names of one kind.
        check(
            &name(&[
                &[utf8(O, "b"), utf8(CN, "one"), utf8(O, "a")],
                &[utf8(CN, "two"), utf8(OU, "unit")],
                &[utf8(O, "c")],
            ]),
            Ok((Some("two"), &["b", "a", "c"])),
        );
        check(
            &name(&[&[utf8(CN, "one")], &[utf8(CN, "")]]),
            Ok((None, &[])),
        );
    }

    #[test]
    fn encodings() {
        for tag in [
            der::PRINTABLE_STRING,
            der::IA5_STRING,
            der::NUMERIC_STRING,
            der::TELETEX_STRING,
        ] {
            check(
                &name(&[&[attribute(CN, tag, b"12")]]),
                Ok((Some("12"), &[])),
            );
            check(
                &name(&[&[attribute(CN, tag, b"\xe9")]]),
                Err(CertificateError::SubjectText),
            );
        }
        check(
            &name(&[&[attribute(CN, der::BMP_STRING, b"\0k\x01\x11")]]),
            Ok((Some("k\u{111}"), &[])),
        );
        for bad in [&b"\0k\0"[..], b"\xd8\x00", b"\0\0"] {
            check(
                &name(&[&[attribute(CN, der::BMP_STRING, bad)]]),
                Err(CertificateError::SubjectText),
            );
        }
        check(&name(&[&[utf8(CN, "höst")]]), Ok((Some("höst"), &[])));
        check(
            &name(&[&[attribute(CN, der::UTF8_STRING, b"\xff")]]),
            Err(CertificateError::SubjectText),
        );
        check(
            &name(&[&[attribute(CN, der::OCTET_STRING, b"x")]]),
            Err(CertificateError::SubjectText),
        );
        check(
            &name(&[
                &[attribute(OU, der::OCTET_STRING, b"\xff\0")],
                &[utf8(CN, "x")],
            ]),
            Ok((Some("x"), &[])),
        );
    }

    #[test]
    fn what_could_be_mistaken_is_refused() {
        for bad in ["admin\0.example", "a\nb", "a\u{7f}", "a\u{85}"] {
            check(
                &name(&[&[utf8(CN, bad)]]),
                Err(CertificateError::SubjectText),
            );
            check(
                &name(&[&[utf8(O, bad)]]),
                Err(CertificateError::SubjectText),
            );
        }
    }

    #[test]
    fn bounds() {
        let fits = "x".repeat(SUBJECT_NAME_BYTES_MAX);
        check(&name(&[&[utf8(CN, &fits)]]), Ok((Some(&fits), &[])));
        check(
            &name(&[&[utf8(CN, &(fits + "x"))]]),
            Err(CertificateError::SubjectTooLarge),
        );
        let groups = vec![utf8(O, "g"); SUBJECT_NAMES_MAX];
        check(&name(&[&groups]), Ok((None, &["g"; SUBJECT_NAMES_MAX])));
        check(
            &name(&[&groups, &[utf8(O, "g")]]),
            Err(CertificateError::SubjectTooLarge),
        );
    }

    #[test]
    fn no_name_panics() {
        let good = name(&[
            &[utf8(O, "system:nodes")],
            &[attribute(CN, der::BMP_STRING, b"\0k\x01\x11")],
        ]);
        for cut in 0..good.len() {
            assert!(Subject::read(&good[..cut]).is_err());
            for value in 0..=255 {
                let mut bad = good.clone();
                bad[cut] = value;
                let _ = Subject::read(&bad);
            }
        }
        check(
            &[good.clone(), vec![0]].concat(),
            Err(CertificateError::Malformed),
        );
    }
}
