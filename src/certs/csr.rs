//! Certificate signing requests as Kubernetes has them (`certificates.k8s.io/v1`): what the hub asks for, and what it is
//! answered. Pure.
//!
//! The name of a request comes out of its key and all that is asked for. So whoever was interrupted, and has kept the key,
//! finds its request again, and never makes a second one for the same.

use super::load::{hex, sha256};
use super::pem;
use super::sans::Sans;
use crate::object::json::{Cursor, put_string};
use crate::object::{Malformed, base64};
use rcgen::{CertificateParams, DistinguishedName, DnType, Error, KeyPair, PublicKeyData, SanType};

/// Where requests are made.
pub const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// Who is to sign, which says what the certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The node's own pair towards API servers.
    Client,
    /// What the hub shows to its clients.
    Serving,
}

impl Signer {
    /// As Kubernetes calls it.
    pub fn name(self) -> &'static str {
        match self {
            Signer::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Signer::Serving => "kubernetes.io/kubelet-serving",
        }
    }

    /// As `status` calls the certificate, and as the hub's files begin.
    pub fn word(self) -> &'static str {
        match self {
            Signer::Client => "client",
            Signer::Serving => "serving",
        }
    }

    /// Releases before 1.27 insist on `key encipherment`, later ones let it pass, although no EC key can do it.
    fn usages(self) -> [&'static str; 3] {
        let auth = match self {
            Signer::Client => "client auth",
            Signer::Serving => "server auth",
        };
        ["digital signature", "key encipherment", auth]
    }
}

/// The user that a node is.
pub fn user_of(node_name: &str) -> String {
    format!("system:node:{node_name}")
}

/// The group of all nodes.
pub const GROUP: &str = "system:nodes";

/// What a certificate is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub signer: Signer,
    pub node_name: &'a str,
    /// Of a serving certificate; a client's has none.
    pub sans: &'a Sans,
}

impl Wanted<'_> {
    /// The name under which the request stands.
    pub fn request_name(&self, key: &KeyPair) -> String {
        let mut text = format!("{}\n{}\n", self.signer.name(), self.node_name).into_bytes();
        for name in self.names() {
            text.extend_from_slice(name.as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(&key.subject_public_key_info());
        // 128 bits of it name no two keys.
        let digest = hex(&sha256(&text)[..16]);
        format!("edge-hub-{}-{digest}", self.signer.word())
    }

    /// The object to be made at [`PATH`].
    pub fn request(&self, key: &KeyPair) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, GROUP);
        subject.push(DnType::CommonName, user_of(self.node_name));
        params.distinguished_name = subject;
        if self.signer == Signer::Serving {
            for name in self.sans.dns() {
                let name = SanType::DnsName(name.try_into()?);
                params.subject_alt_names.push(name);
            }
            let ips = self.sans.ips().map(SanType::IpAddress);
            params.subject_alt_names.extend(ips);
        }
        let request = params.serialize_request(key)?;
        let text = pem::encode("CERTIFICATE REQUEST", request.der());
        let mut body =
            b"{\"apiVersion\":\"certificates.k8s.io/v1\",\"kind\":\"CertificateSigningRequest\",\
                         \"metadata\":{\"name\":"
                .to_vec();
        put_string(&mut body, &self.request_name(key));
        body.extend_from_slice(b"},\"spec\":{\"request\":\"");
        base64::put(text.as_bytes(), &mut body);
        body.extend_from_slice(b"\",\"signerName\":");
        put_string(&mut body, self.signer.name());
        for (usage, before) in self.signer.usages().iter().zip([",\"usages\":[", ",", ","]) {
            body.extend_from_slice(before.as_bytes());
            put_string(&mut body, usage);
        }
        body.extend_from_slice(b"]}}");
        Ok(body)
    }

    fn names(&self) -> Vec<String> {
        match self.signer {
            Signer::Client => Vec::new(),
            Signer::Serving => {
                let ips = self.sans.ips().map(|ip| ip.to_string());
                self.sans.dns().map(str::to_owned).chain(ips).collect()
            }
        }
    }
}

/// What the server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// To take the request: POST.
    Make,
    /// How it stands: GET.
    Look,
}

/// What its answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is there, and stands so.
    Answer(Answer),
    /// It was there before: it is to be looked at.
    Exists,
    /// It is there no longer, as clusters forget what nobody decides: it is to be made again.
    Gone,
    /// It cannot be had; and why.
    Failed(Denial, String),
}

/// Why a request cannot even be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The server does not know who asks.
    Unknown,
    /// It knows, and does not allow it.
    Forbidden,
    /// Anything else, which may pass.
    Other,
}

/// Judges the server's answer to what it was asked.
pub fn judge(ask: Ask, status: u16, body: &[u8]) -> Verdict {
    let said = || match message(body) {
        Some(text) => format!("{status}: {text}"),
        None => status.to_string(),
    };
    match (ask, status) {
        (_, 200..=202) => match read(body) {
            Ok(answer) => Verdict::Answer(answer),
            Err(error) => Verdict::Failed(
                Denial::Other,
                format!("the server's answer is no CertificateSigningRequest: {error}"),
            ),
        },
        (Ask::Make, 409) => Verdict::Exists,
        (Ask::Look, 404) => Verdict::Gone,
        (_, 401) => Verdict::Failed(
            Denial::Unknown,
            format!("the server does not accept who asks ({})", said()),
        ),
        (_, 403) => Verdict::Failed(
            Denial::Forbidden,
            format!("the server does not allow it ({})", said()),
        ),
        _ => Verdict::Failed(Denial::Other, format!("the server answers {}", said())),
    }
}

/// The message of a Status.
fn message(body: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(body);
    cursor.open_object().ok()?;
    while let Some(key) = cursor.next_key().ok()? {
        if key.is("message") {
            return Some(cursor.text().ok()??.decode().ok()?.into_owned());
        }
        cursor.skip().ok()?;
    }
    None
}

/// How a request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nobody has decided yet.
    Waiting,
    /// It is approved, and the signer has not come to it.
    Approved,
    /// The chain, in PEM.
    Issued(Vec<u8>),
    /// Somebody does not want it, or the signer cannot; and why, in their words.
    Refused(String),
}

/// Reads a CertificateSigningRequest that the server has sent.
pub fn read(answer: &[u8]) -> Result<Answer, Malformed> {
    let mut cursor = Cursor::new(answer);
    let mut seen = Seen::default();
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        match key.is("status") && cursor.peek()? == b'{' {
            true => seen.status(&mut cursor)?,
            false => drop(cursor.skip()?),
        }
    }
    cursor.end()?;
    Ok(match seen {
        Seen {
            refused: Some(why), ..
        } => Answer::Refused(why),
        Seen { issued, .. } if !issued.is_empty() => Answer::Issued(base64::read(&issued)?),
        Seen { approved: true, .. } => Answer::Approved,
        _ => Answer::Waiting,
    })
}

#[derive(Default)]
struct Seen {
    issued: Vec<u8>,
    approved: bool,
    refused: Option<String>,
}

impl Seen {
    fn status(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            if key.is("certificate") {
                if let Some(text) = cursor.text()? {
                    self.issued = text.decode()?.into_owned().into_bytes();
                }
            } else if key.is("conditions") && cursor.peek()? == b'[' {
                cursor.open_array()?;
                while cursor.next_item()? {
                    self.condition(cursor)?;
                }
            } else {
                cursor.skip()?;
            }
        }
        Ok(())
    }

    /// The three types that there are hold or are not there: one that says `False` or `Unknown` says nothing.
    fn condition(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let [mut kind, mut holds, mut reason, mut message] = [const { String::new() }; 4];
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            let into = match () {
                () if key.is("type") => &mut kind,
                () if key.is("status") => &mut holds,
                () if key.is("reason") => &mut reason,
                () if key.is("message") => &mut message,
                () => {
                    cursor.skip()?;
                    continue;
                }
            };
            if let Some(text) = cursor.text()? {
                *into = text.decode()?.into_owned();
            }
        }
        match kind.as_str() {
            _ if holds != "True" => {}
            "Approved" => self.approved = true,
            "Denied" | "Failed" => self.refused = Some(format!("{kind}, {reason}: {message}")),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::issued;
    use super::*;
    use crate::certs::load::tests::openssl;
    use crate::sys::file::TestDirectory;

    fn sans(names: &[&str]) -> Sans {
        let mut sans = Sans::default();
        names.iter().for_each(|name| sans.add(name).unwrap());
        sans
    }

    #[test]
    fn the_name_is_that_of_the_key_and_of_what_is_asked_for() {
        let (key, other) = (issued::new_key().unwrap(), issued::new_key().unwrap());
        let name = |signer, node_name: &str, names: &[&str], key: &KeyPair| {
            let sans = &sans(names);
            let wanted = Wanted {
                signer,
                node_name,
                sans,
            };
            wanted.request_name(key)
        };
        let client = name(Signer::Client, "gw-1", &[], &key);
        assert_eq!(client.len(), "edge-hub-client-".len() + 32);
        assert!(
            client
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        );
        assert_eq!(
            name(Signer::Client, "gw-1", &["a"], &key),
            client,
            "a client has no names"
        );
        let serving = name(Signer::Serving, "gw-1", &["a", "10.0.0.1"], &key);
        assert_eq!(
            name(Signer::Serving, "gw-1", &["10.0.0.1", "a"], &key),
            serving
        );
        for different in [
            name(Signer::Client, "gw-2", &[], &key),
            name(Signer::Client, "gw-1", &[], &other),
            name(Signer::Serving, "gw-1", &["a"], &key),
            name(Signer::Serving, "gw-1", &["a", "10.0.0.2"], &key),
        ] {
            assert!(different != client && different != serving, "{different}");
        }
    }

    #[test]
    fn others_read_what_is_asked_for() {
        let directory = TestDirectory::new();
        let key = issued::new_key().unwrap();
        let sans = sans(&["kubernetes", "169.254.2.1"]);
        for (signer, usage, extension) in [
            (Signer::Client, "client auth", None),
            (
                Signer::Serving,
                "server auth",
                Some("DNS:kubernetes, IP Address:169.254.2.1"),
            ),
        ] {
            let wanted = Wanted {
                signer,
                node_name: "gw-1",
                sans: &sans,
            };
            let object: serde_json::Value =
                serde_json::from_slice(&wanted.request(&key).unwrap()).unwrap();
            assert_eq!(object["metadata"]["name"], wanted.request_name(&key));
            assert_eq!(object["spec"]["signerName"], signer.name());
            assert_eq!(
                object["spec"]["usages"],
                serde_json::json!(["digital signature", "key encipherment", usage])
            );
            let letters = object["spec"]["request"].as_str().unwrap();
            let file = directory.path().join("request.pem");
            std::fs::write(&file, base64::read(letters.as_bytes()).unwrap()).unwrap();
            let text = openssl(
                directory.path(),
                "req -in request.pem -noout -text -verify -subject -nameopt RFC2253",
            );
            assert!(
                text.contains("CN=system:node:gw-1,O=system:nodes"),
                "{text}"
            );
            assert_eq!(text.contains("X509v3"), extension.is_some(), "{text}");
            assert!(extension.is_none_or(|names| text.contains(names)), "{text}");
        }
    }

    #[test]
    fn verdicts() {
        let status = br#"{"kind":"Status","message":"User \"x\" cannot","code":403}"#;
        let failed = |denial, said: &str| Verdict::Failed(denial, said.to_owned());
        for (ask, code, body, want) in [
            (Ask::Make, 201, &b"{}"[..], Verdict::Answer(Answer::Waiting)),
            (Ask::Look, 200, b"{}", Verdict::Answer(Answer::Waiting)),
            (
                Ask::Look,
                200,
                b"x",
                failed(
                    Denial::Other,
                    "the server's answer is no CertificateSigningRequest: a field has the wrong type",
                ),
            ),
            (Ask::Make, 409, status, Verdict::Exists),
            (Ask::Look, 404, status, Verdict::Gone),
            (
                Ask::Make,
                401,
                b"",
                failed(Denial::Unknown, "the server does not accept who asks (401)"),
            ),
            (
                Ask::Look,
                403,
                status,
                failed(
                    Denial::Forbidden,
                    "the server does not allow it (403: User \"x\" cannot)",
                ),
            ),
            (
                Ask::Make,
                404,
                b"<html>",
                failed(Denial::Other, "the server answers 404"),
            ),
            (
                Ask::Look,
                500,
                b"{\"message\":1}",
                failed(Denial::Other, "the server answers 500"),
            ),
        ] {
            assert_eq!(judge(ask, code, body), want);
        }
    }

    #[test]
    fn answers() {
        for (status, want) in [
            ("", Answer::Waiting),
            (r#","status":{}"#, Answer::Waiting),
            (r#","status":null"#, Answer::Waiting),
            (
                r#","status":{"conditions":[{"type":"Approved","status":"True","reason":"AutoApproved"}]}"#,
                Answer::Approved,
            ),
            (
                r#","status":{"conditions":[{"type":"Approved","status":"False"}]}"#,
                Answer::Waiting,
            ),
            (
                r#","status":{"conditions":[{"type":"Approved","status":"True"}],"certificate":"Zm9v"}"#,
                Answer::Issued(b"foo".to_vec()),
            ),
            (
                r#","status":{"certificate":"Zm9v","conditions":[{"type":"Denied","status":"True","reason":"No","message":"not you"}]}"#,
                Answer::Refused("Denied, No: not you".to_owned()),
            ),
            (
                r#","status":{"conditions":[{"message":"m","reason":"SignerValidationFailure","status":"True","type":"Failed","x":[1]}],"y":{}}"#,
                Answer::Refused("Failed, SignerValidationFailure: m".to_owned()),
            ),
        ] {
            let text = format!(
                r#"{{"kind":"CertificateSigningRequest","spec":{{"request":"x"}}{status}}}"#
            );
            assert_eq!(read(text.as_bytes()), Ok(want), "{text}");
            assert!(read(&text.as_bytes()[..text.len() - 1]).is_err());
        }
        for text in [
            "",
            "[]",
            "{}x",
            r#"{"status":{"certificate":1}}"#,
            r#"{"status":{"certificate":"."}}"#,
            r#"{"status":{"conditions":[1]}}"#,
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
