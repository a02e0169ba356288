//! What a cluster tells everybody about itself: the ConfigMap `cluster-info` in `kube-public`, as kubeadm writes it and
//! the controller-manager's bootstrapsigner signs it. Pure. It comes over a connection that nobody vouches for: nothing of
//! it counts before a token's signature of it does.

use super::bootstrap_token::BootstrapToken;
use super::certificate::CertificateFields;
use super::load::{Authorities, LoadError, hex, sha256};
use crate::object::json::Cursor;
use crate::object::{Malformed, base64};
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::path::Path;

/// Where it is.
pub const PATH: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

/// Why it cannot be used.
#[derive(Debug)]
pub enum ClusterInfoError {
    /// The answer is no ConfigMap that could be read.
    NotAConfigMap(Malformed),
    /// There is no kubeconfig in it.
    NoKubeconfig,
    /// There is no signature of this token in it.
    NotSigned {
        /// The token's public part.
        id: String,
    },
    /// There is one, and it is not of this token.
    WrongSignature {
        /// The token's public part.
        id: String,
    },
    /// The kubeconfig names no CA, or several, or in a form that is not read here.
    NoAuthority(&'static str),
    /// What it has as CA cannot be used.
    Authority(LoadError),
}

impl fmt::Display for ClusterInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAConfigMap(error) => write!(f, "cluster-info cannot be read: {error}"),
            Self::NoKubeconfig => write!(f, "cluster-info has no kubeconfig"),
            Self::NotSigned { id } => write!(
                f,
                "cluster-info has no signature for the token {id}: it has expired, or never was, or is not for signing; \
                 make a new one (kubeadm token create)"
            ),
            Self::WrongSignature { id } => write!(
                f,
                "cluster-info is not signed with the secret of the token {id}: the token is mistyped, or this is not the \
                 cluster that has issued it"
            ),
            Self::NoAuthority(why) => write!(f, "cluster-info names no CA: {why}"),
            Self::Authority(error) => write!(f, "the CA in cluster-info: {error}"),
        }
    }
}

impl std::error::Error for ClusterInfoError {}

/// The kubeconfig of the ConfigMap, if `token` has signed it.
pub fn signed_kubeconfig(
    config_map: &[u8],
    token: &BootstrapToken,
) -> Result<String, ClusterInfoError> {
    let (kubeconfig, signature) =
        read(config_map, token.id()).map_err(ClusterInfoError::NotAConfigMap)?;
    let kubeconfig = kubeconfig.ok_or(ClusterInfoError::NoKubeconfig)?;
    let id = || token.id().to_owned();
    let signature = signature.ok_or_else(|| ClusterInfoError::NotSigned { id: id() })?;
    match token.has_signed(&kubeconfig, &signature) {
        true => Ok(kubeconfig),
        false => Err(ClusterInfoError::WrongSignature { id: id() }),
    }
}

/// The kubeconfig, and its signature by the token of this id.
fn read(config_map: &[u8], id: &str) -> Result<(Option<String>, Option<String>), Malformed> {
    let (mut kubeconfig, mut signature) = (None, None);
    let signed_by = format!("jws-kubeconfig-{id}");
    let mut cursor = Cursor::new(config_map);
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        if !key.is("data") || cursor.peek()? != b'{' {
            cursor.skip()?;
            continue;
        }
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            let into = match () {
                () if key.is("kubeconfig") => &mut kubeconfig,
                () if key.is(&signed_by) => &mut signature,
                () => {
                    cursor.skip()?;
                    continue;
                }
            };
            if let Some(text) = cursor.text()? {
                *into = Some(text.decode()?.into_owned());
            }
        }
    }
    cursor.end()?;
    Ok((kubeconfig, signature))
}

/// The CA certificates that the kubeconfig of a cluster-info names, at least one.
///
/// A kubeconfig is YAML. Of it only the one line is read that matters, in the forms in which Go and people write it; no
/// other form is guessed at.
pub fn authorities(kubeconfig: &str) -> Result<Vec<CertificateDer<'static>>, ClusterInfoError> {
    let letters = scalar(kubeconfig, "certificate-authority-data")?;
    let pem = base64::read(letters.as_bytes())
        .map_err(|_| ClusterInfoError::NoAuthority("certificate-authority-data is not base64"))?;
    let named = Path::new("certificate-authority-data");
    let certificates = Authorities::read_pem(&pem, named).map_err(ClusterInfoError::Authority)?;
    // Whether they can be used is found now, not when a connection fails.
    Authorities::new(certificates.clone(), named).map_err(ClusterInfoError::Authority)?;
    Ok(certificates)
}

/// The value of a key that stands in one place only, as `key: value` on a line of YAML or `"key":"value"` in JSON.
fn scalar<'a>(text: &'a str, key: &str) -> Result<&'a str, ClusterInfoError> {
    let no = |why| Err(ClusterInfoError::NoAuthority(why));
    let mut found = text.match_indices(key);
    let Some((at, _)) = found.next() else {
        return no("it has no certificate-authority-data");
    };
    if found.next().is_some() {
        return no("it has certificate-authority-data in several places");
    }
    let before = text[..at].trim_end_matches(['"', '\'']);
    let line = before.rsplit('\n').next().unwrap_or(before);
    // In a block of YAML nothing but indentation and the dash of a list stands before a key; else it is within braces.
    let begins = line.chars().all(|c| matches!(c, ' ' | '-'))
        || line.contains('{') && line.ends_with(['{', ',', ' ']);
    let after = text[at + key.len()..].trim_start_matches(['"', '\'']);
    let Some(value) = after.strip_prefix(':').filter(|_| begins) else {
        return no("its certificate-authority-data is in a form that is not read here");
    };
    let value = value.trim_start_matches([' ', '\t']);
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let value = match quote {
        Some(quote) => value[1..].split(quote).next().unwrap_or_default(),
        None => value
            .split(['\n', '\r', ' ', '\t', ',', '}'])
            .next()
            .unwrap_or_default(),
    };
    let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    match !value.is_empty() && value.bytes().all(letters) {
        true => Ok(value),
        false => no("its certificate-authority-data is in a form that is not read here"),
    }
}

/// The hash of a CA's public key, as kubeadm prints it: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// Reads one. `None`: it is none.
    pub fn parse(text: &str) -> Option<Pin> {
        let digits = text.strip_prefix("sha256:")?.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        let digit = |d: u8| char::from(d).to_digit(16);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Some(Pin(bytes))
    }

    /// That of this certificate's key.
    pub fn of(certificate: &CertificateFields<'_>) -> Pin {
        Pin(sha256(certificate.public_key))
    }

    /// Whether it is that of this certificate's key.
    pub fn fits(&self, certificate: &[u8]) -> bool {
        CertificateFields::read(certificate).is_ok_and(|fields| Pin::of(&fields) == *self)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap_token::tests::sign;
    use super::super::pem;
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    fn authority() -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::default().self_signed(&key).unwrap();
        (made.der().clone(), key)
    }

    fn letters(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        base64::put(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn token() -> BootstrapToken {
        BootstrapToken::parse("abcdef.0123456789abcdef").unwrap()
    }

    #[test]
    fn a_kubeconfig_counts_once_it_is_signed() {
        let kubeconfig = "apiVersion: v1\n";
        let signature = sign(&token(), kubeconfig);
        let map = |data: serde_json::Value| {
            serde_json::json!({ "kind": "ConfigMap", "data": data, "metadata": { "name": "cluster-info" } })
                .to_string()
        };
        let good = map(
            serde_json::json!({ "kubeconfig": kubeconfig, "jws-kubeconfig-abcdef": signature, "x": "y" }),
        );
        assert_eq!(
            signed_kubeconfig(good.as_bytes(), &token()).unwrap(),
            kubeconfig
        );
        for (text, said) in [
            (
                map(serde_json::json!({ "kubeconfig": kubeconfig })),
                "no signature for the token abcdef",
            ),
            (
                map(
                    serde_json::json!({ "kubeconfig": kubeconfig, "jws-kubeconfig-abcdeg": signature }),
                ),
                "no signature",
            ),
            (
                map(
                    serde_json::json!({ "kubeconfig": "apiVersion: v2\n", "jws-kubeconfig-abcdef": signature }),
                ),
                "not signed with the secret",
            ),
            (
                map(serde_json::json!({ "jws-kubeconfig-abcdef": signature })),
                "no kubeconfig",
            ),
            (map(serde_json::Value::Null), "no kubeconfig"),
            (good.replace("ConfigMap", ""), ""),
            (format!("{good}x"), "cannot be read"),
            (good[..good.len() - 1].to_owned(), "cannot be read"),
            (
                map(serde_json::json!({ "kubeconfig": 1 })),
                "cannot be read",
            ),
        ] {
            match signed_kubeconfig(text.as_bytes(), &token()) {
                Ok(_) => assert_eq!(said, "", "{text}"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(!said.is_empty() && error.contains(said), "{text}: {error}");
                    assert!(!error.contains("0123456789abcdef"), "{error}");
                }
            }
        }
    }

    #[test]
    fn the_ca_of_a_kubeconfig() {
        let (certificate, _) = authority();
        let data = letters(pem::encode("CERTIFICATE", &certificate).as_bytes());
        for text in [
            format!(
                "clusters:\n- cluster:\n    certificate-authority-data: {data}\n    server: https://a\n"
            ),
            format!("clusters:\r\n- certificate-authority-data: \"{data}\" # ours\r\n"),
            format!("  'certificate-authority-data': '{data}'"),
            format!(
                "{{\"clusters\":[{{\"cluster\":{{\"certificate-authority-data\":\"{data}\"}}}}]}}"
            ),
            format!(
                "clusters: [{{cluster: {{server: https://a, certificate-authority-data: {data}}}}}]\n"
            ),
        ] {
            let found = authorities(&text).unwrap();
            assert_eq!(found, std::slice::from_ref(&certificate), "{text}");
        }
        for text in [
            String::new(),
            "certificate-authority-data:".to_owned(),
            "certificate-authority-data".to_owned(),
            "certificate-authority-data: \"".to_owned(),
            format!("certificate-authority-data: |\n  {data}\n"),
            format!("certificate-authority-data: &x {data}\n"),
            format!("x-certificate-authority-data: {data}\n"),
            format!("# certificate-authority-data: {data}\n"),
            format!("# certificate-authority-data-x: {data}\n"),
            format!("certificate-authority-data: {data}\ncertificate-authority-data: {data}\n"),
            "certificate-authority-data: Zm9v\n".to_owned(),
            format!("certificate-authority-data: {}\n", &data[..data.len() - 5]),
        ] {
            assert!(authorities(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn pins() {
        let (certificate, key) = authority();
        let hex = hex(&sha256(&key.subject_public_key_info()));
        assert!(
            Pin::parse(&format!("sha256:{hex}"))
                .unwrap()
                .fits(&certificate)
        );
        assert!(
            Pin::parse(&format!("sha256:{}", hex.to_uppercase()))
                .unwrap()
                .fits(&certificate)
        );
        assert!(
            !Pin::parse(&format!("sha256:{}", "0".repeat(64)))
                .unwrap()
                .fits(&certificate)
        );
        for text in [
            "",
            "sha256:",
            &hex,
            &format!("sha256:{}", &hex[1..]),
            &format!("sha256:{}g", &hex[1..]),
            "sha512:00",
        ] {
            assert_eq!(Pin::parse(text), None, "{text}");
        }
    }
}
