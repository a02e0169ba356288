//! The token with which a node introduces itself to a cluster (`kubeadm token create`), and what it has signed. Pure.

use crate::object::base64;
use ring::hmac;
use std::fmt;

/// A bootstrap token. Its secret is seen only by who asks for it: there is no `Display`, and `Debug` leaves it out.
pub struct BootstrapToken {
    id: String,
    secret: String,
}

/// The text is no bootstrap token. It is not shown: it may be one with a slip in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAToken;

impl BootstrapToken {
    /// Reads `ID.SECRET`: six and sixteen lower-case letters and digits.
    pub fn parse(text: &str) -> Result<BootstrapToken, NotAToken> {
        let (id, secret) = text.split_once('.').ok_or(NotAToken)?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        match id.len() == 6 && secret.len() == 16 && id.bytes().chain(secret.bytes()).all(plain) {
            true => Ok(BootstrapToken {
                id: id.to_owned(),
                secret: secret.to_owned(),
            }),
            false => Err(NotAToken),
        }
    }

    /// Its public part, under which the cluster knows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As it stands in `Authorization: Bearer`.
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// Whether `signature` is a JWS of `payload` by this token (RFC 7515, compact, detached: `header..mac`, HS256). The
    /// header is not read but must be the very one that Kubernetes writes, so that there is no algorithm to choose.
    pub fn has_signed(&self, payload: &str, signature: &str) -> bool {
        let header = format!("{{\"alg\":\"HS256\",\"kid\":\"{}\"}}", self.id);
        let header = url_letters(header.as_bytes());
        let mac = signature.strip_prefix(&header);
        let Some(mac) = mac.and_then(|rest| rest.strip_prefix("..")) else {
            return false;
        };
        let Some(mac) = from_url_letters(mac) else {
            return false;
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signed = format!("{header}.{}", url_letters(payload.as_bytes()));
        // In constant time.
        hmac::verify(&key, signed.as_bytes(), &mac).is_ok()
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootstrapToken({}.*)", self.id)
    }
}

impl fmt::Display for NotAToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "it is no bootstrap token: six lower-case letters or digits, a dot, and sixteen more, \
             as `kubeadm token create` prints them",
        )
    }
}

impl std::error::Error for NotAToken {}

/// Base64url without padding (RFC 7515 section 2).
fn url_letters(bytes: &[u8]) -> String {
    let mut letters = Vec::new();
    base64::put(bytes, &mut letters);
    let letters = letters.into_iter().filter(|letter| *letter != b'=');
    let letters = letters.map(|letter| match letter {
        b'+' => '-',
        b'/' => '_',
        letter => char::from(letter),
    });
    letters.collect()
}

fn from_url_letters(text: &str) -> Option<Vec<u8>> {
    let letters = text.bytes().map(|letter| match letter {
        b'-' => b'+',
        b'_' => b'/',
        // Of the other alphabet, and padding.
        b'+' | b'/' | b'=' => b' ',
        letter => letter,
    });
    let mut letters: Vec<u8> = letters.collect();
    let missing = letters.len().wrapping_neg() % 4;
    letters.extend(std::iter::repeat_n(b'=', missing));
    base64::read(&letters).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the cluster's bootstrapsigner writes.
    pub(crate) fn sign(token: &BootstrapToken, payload: &str) -> String {
        let header =
            url_letters(format!("{{\"alg\":\"HS256\",\"kid\":\"{}\"}}", token.id).as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret.as_bytes());
        let signed = format!("{header}.{}", url_letters(payload.as_bytes()));
        format!(
            "{header}..{}",
            url_letters(hmac::sign(&key, signed.as_bytes()).as_ref())
        )
    }

    #[test]
    fn tokens() {
        let token = BootstrapToken::parse("abcdef.0123456789abcdef").unwrap();
        assert_eq!(
            (token.id(), token.bearer().as_str()),
            ("abcdef", "abcdef.0123456789abcdef")
        );
        assert_eq!(format!("{token:?}"), "BootstrapToken(abcdef.*)");
        for text in [
            "",
            "abcdef",
            "abcdef.",
            "abcdef.0123456789abcde",
            "abcdef.0123456789abcdefg",
            "abcde.00123456789abcdef",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcdeF",
            "abcdef.0123456789abcd.f",
            "abcdef.0123456789abcde\n",
            "abcdéf.0123456789abcdef",
        ] {
            assert_eq!(BootstrapToken::parse(text).err(), Some(NotAToken), "{text}");
        }
    }

    #[test]
    fn only_its_own_signature_of_the_very_text_counts() {
        let token = BootstrapToken::parse("abcdef.0123456789abcdef").unwrap();
        let payload = "apiVersion: v1\nclusters: []\n";
        // Computed with openssl: printf %s "$header.$payload" | openssl dgst -sha256 -hmac 0123456789abcdef -binary
        let known =
            "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..BBvDJAkf27s1H4CVEm8EIMiBR80uZHSN_IM4Siy8zsU";
        assert!(token.has_signed(payload, known));
        assert_eq!(sign(&token, payload), known);
        let other = BootstrapToken::parse("abcdef.0123456789abcdee").unwrap();
        let another = BootstrapToken::parse("bbcdef.0123456789abcdef").unwrap();
        for (token, payload, signature) in [
            (&other, payload, known.to_owned()),
            (&another, payload, known.to_owned()),
            (&token, "apiVersion: v1\nclusters: []", known.to_owned()),
            (&token, payload, String::new()),
            (&token, payload, known.replace("..", ".")),
            (&token, payload, known.replace("..", ".e30.")),
            (&token, payload, format!("{known}=")),
            (&token, payload, known[..known.len() - 1].to_owned()),
            (
                &token,
                payload,
                format!("{}..", known.split_once('.').unwrap().0),
            ),
            // {"alg":"none","kid":"abcdef"}
            (
                &token,
                payload,
                "eyJhbGciOiJub25lIiwia2lkIjoiYWJjZGVmIn0..".to_owned(),
            ),
        ] {
            assert!(
                !token.has_signed(payload, &signature),
                "{token:?} {signature}"
            );
        }
    }
}
