//! Tokens of service accounts that nobody has asked the API server for: signed with its own key, with another one, or with
//! none.

use edge_hub::access::claims;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::cluster::Cluster;

/// Signs with a cluster's own key.
pub struct Signer {
    pair: RsaKeyPair,
}

/// The parts of a token, to be changed.
#[derive(Clone)]
pub struct Token {
    pub header: Value,
    pub payload: Value,
}

impl Token {
    /// Takes a token apart.
    pub fn read(token: &str) -> Token {
        let parts = claims::parts(token.as_bytes()).expect("a JWT");
        let json = |part: &[u8]| serde_json::from_slice(&decode(part)).expect("JSON");
        Token {
            header: json(parts[0]),
            payload: json(parts[1]),
        }
    }

    /// With another value in its payload.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Token {
        self.payload[key] = value.into();
        self
    }

    /// With another value in its header; null takes it out.
    pub fn head(mut self, key: &str, value: impl Into<Value>) -> Token {
        self.header[key] = value.into();
        if let Some(header) = self.header.as_object_mut() {
            header.retain(|_, value| !value.is_null());
        }
        self
    }

    /// A claim of its own, so that no two are alike.
    pub fn number(self, n: usize) -> Token {
        self.with("jti", json!(format!("test-{n}")))
    }

    /// In base64url, as parts of a token are.
    pub fn encode(bytes: &[u8]) -> String {
        encode(bytes)
    }

    fn message(&self) -> String {
        let part = |value: &Value| encode(value.to_string().as_bytes());
        format!("{}.{}", part(&self.header), part(&self.payload))
    }

    /// With these bytes where the signature belongs.
    pub fn signed_by(&self, signature: &[u8]) -> String {
        format!("{}.{}", self.message(), encode(signature))
    }

    /// With an HMAC under this secret.
    pub fn sealed(&self, secret: &[u8]) -> String {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        self.signed_by(ring::hmac::sign(&key, self.message().as_bytes()).as_ref())
    }
}

impl Signer {
    /// Of the API server of this cluster.
    pub fn of(cluster: &Cluster) -> Signer {
        Signer::from_pem(&std::fs::read(cluster.file("pki/sa.key")).expect("the signing key"))
    }

    /// Of a private key.
    pub fn from_pem(pem: &[u8]) -> Signer {
        let key = PrivateKeyDer::from_pem_slice(pem).expect("a key");
        let pair = match &key {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            key => RsaKeyPair::from_der(key.secret_der()),
        };
        Signer {
            pair: pair.expect("an RSA key"),
        }
    }

    pub fn sign(&self, token: &Token) -> String {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let message = token.message();
        (self.pair)
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .expect("a signature");
        token.signed_by(&signature)
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8]) -> String {
    let of = |group: &[u8]| {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        (0..=group.len())
            .map(|at| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]))
            .collect::<String>()
    };
    bytes.chunks(3).map(of).collect()
}

fn decode(text: &[u8]) -> Vec<u8> {
    let (mut bits, mut held, mut out) = (0u32, 0, Vec::new());
    for letter in text {
        let value = LETTERS.iter().position(|l| l == letter).expect("base64url");
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}
