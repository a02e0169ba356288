//! Whether a token was signed by an issuer whose keys are known, and is good now: what the API server looks at first
//! (kubernetes-api.md 5.1), without the API server. Pure. Whether what it is bound to is still there, others know.

use super::base64url;
use super::claims::{self, Claims};
use super::jwks::{Key, Kind};
use crate::limits;
use crate::object::Malformed;
use crate::object::json::Cursor;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use std::fmt;

/// Who is believed.
pub struct Trust<'a> {
    pub issuer: &'a str,
    /// One of them must be in a token.
    pub audiences: &'a [String],
    pub keys: &'a [&'a Key],
}

/// Why a token is not believed. Fixed texts: nothing of a token is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    NotJwt,
    NotOfAnAccount,
    Issuer,
    Audience,
    NotYet,
    Expired,
    /// `none`, a shared secret, or whatever else is no signature that API servers make.
    Algorithm,
    Key,
    Signature,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wrong::NotJwt => "it is no JWT",
            Wrong::NotOfAnAccount => "it is not of a service account",
            Wrong::Issuer => "it is of another issuer",
            Wrong::Audience => "it is for another audience",
            Wrong::NotYet => "it is not valid yet",
            Wrong::Expired => "it has run out",
            Wrong::Algorithm => "it is not signed in a way that counts",
            Wrong::Key => "it is signed with a key that is not known",
            Wrong::Signature => "its signature is wrong",
        })
    }
}

/// The algorithms that API servers sign with. No `none` and no HMAC: neither proves who has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
}

impl Algorithm {
    fn of(name: &str) -> Option<Algorithm> {
        Some(match name {
            "RS256" => Algorithm::Rs256,
            "RS384" => Algorithm::Rs384,
            "RS512" => Algorithm::Rs512,
            "ES256" => Algorithm::Es256,
            "ES384" => Algorithm::Es384,
            _ => return None,
        })
    }

    /// Whether this key has signed it. A key of another kind has not, whatever the token says.
    fn verifies(self, key: &Kind, message: &[u8], signed: &[u8]) -> bool {
        let rsa = match self {
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Es256 | Algorithm::Es384 => return self.verifies_ec(key, message, signed),
        };
        let Kind::Rsa { n, e } = key else {
            return false;
        };
        RsaPublicKeyComponents { n, e }
            .verify(rsa, message, signed)
            .is_ok()
    }

    fn verifies_ec(self, key: &Kind, message: &[u8], signed: &[u8]) -> bool {
        let (curve, point) = match (self, key) {
            (Algorithm::Es256, Kind::P256(point)) => (&signature::ECDSA_P256_SHA256_FIXED, point),
            (Algorithm::Es384, Kind::P384(point)) => (&signature::ECDSA_P384_SHA384_FIXED, point),
            _ => return false,
        };
        UnparsedPublicKey::new(curve, point)
            .verify(message, signed)
            .is_ok()
    }
}

/// The claims of a token of a service account that is good at `now`, in unix seconds. The signature last: the rest costs
/// nothing, and whoever asks can see it himself.
pub fn verify(token: &[u8], trust: &Trust<'_>, now: u64) -> Result<Claims, Wrong> {
    let claims = claims::read(token).ok_or(Wrong::NotJwt)?;
    claims.of_account().ok_or(Wrong::NotOfAnAccount)?;
    if claims.issuer != trust.issuer {
        return Err(Wrong::Issuer);
    }
    if !(claims.audiences.iter()).any(|audience| trust.audiences.contains(audience)) {
        return Err(Wrong::Audience);
    }
    let not_before = claims.not_before.max(claims.issued).unwrap_or(0);
    if not_before > now.saturating_add(limits::JWT_LEEWAY_SECS) {
        return Err(Wrong::NotYet);
    }
    if claims.expires.is_none_or(|expires| expires <= now) {
        return Err(Wrong::Expired);
    }
    signed(token, trust.keys)?;
    Ok(claims)
}

fn signed(token: &[u8], keys: &[&Key]) -> Result<(), Wrong> {
    let [header, _, signature] = claims::parts(token).ok_or(Wrong::NotJwt)?;
    let message = &token[..token.len() - signature.len() - 1];
    let signature = base64url::decode(signature).ok_or(Wrong::NotJwt)?;
    let header = base64url::decode(header).ok_or(Wrong::NotJwt)?;
    let header = Header::read(&header).map_err(|_| Wrong::NotJwt)?;
    let algorithm = Algorithm::of(&header.algorithm).filter(|_| !header.critical);
    let algorithm = algorithm.ok_or(Wrong::Algorithm)?;
    let mut named = keys.iter().filter(|key| key.id == header.key_id).peekable();
    named.peek().ok_or(Wrong::Key)?;
    match named.any(|key| algorithm.verifies(&key.kind, message, &signature)) {
        true => Ok(()),
        false => Err(Wrong::Signature),
    }
}

#[derive(Default)]
struct Header {
    algorithm: String,
    key_id: String,
    /// It says that something must be understood which the hub does not (RFC 7515 section 4.1.11).
    critical: bool,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Header, Malformed> {
        let mut header = Header::default();
        let mut cursor = Cursor::new(bytes);
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            match key.decode()?.as_ref() {
                "alg" => claims::text(&mut cursor, &mut header.algorithm)?,
                "kid" => claims::text(&mut cursor, &mut header.key_id)?,
                name => {
                    header.critical |= name == "crit";
                    cursor.skip()?;
                }
            }
        }
        cursor.end()?;
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::jwks;
    use ring::rand::SystemRandom;
    use ring::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair};

    const NOW: u64 = 1_800_000_000;
    const ISSUER: &str = "https://kubernetes.default.svc";
    const PAYLOAD: &str = r#"{"aud":["api","other"],"exp":1800000001,"iat":1700000000,
        "iss":"https://kubernetes.default.svc","kubernetes.io":{"namespace":"shop",
        "pod":{"name":"till","uid":"p-1"},"serviceaccount":{"name":"till","uid":"s-1"}},
        "nbf":1700000000,"sub":"system:serviceaccount:shop:till"}"#;

    /// Signed by openssl with a key that is gone.
    const RSA_N: &str = "l4lGkwsglsQfoc4V1EQ7idrhyOPs0zxMKPGVY-UxiANGjG9VnLueuQ6iMGVaN1CAZaadYlCWfhEPUhnJuGmanzNvcwO0khsTS4ntvG-69OhXuyB61VaV1CijDXoz-CKpWiNsWrkCvjf1-LCtthFDZFImDf5byd7vq02eOjR-RRFT427N3j3jcvn6a_T-MK3DTyiV4u2D_i_5tStRr8Nw5vUI97J5xoyJEYi_fG1ntmIIO-EeDWLbRwg4KRwFwj4p6nYrobXmtXwq2QYJFI894Bq3TNCvVC2x1Z21JKtAvm9qAMrzgLF-diH0FL3k0gOn0d747r_eVOEpmYd_Z-TN3w";
    const RSA_PAYLOAD: &str = "eyJhdWQiOlsiaHR0cHM6Ly9rdWJlcm5ldGVzLmRlZmF1bHQuc3ZjIl0sImV4cCI6MjAwMDAwMDAwMCwiaWF0IjoxNzY2OTk1MjAwLCJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMiLCJrdWJlcm5ldGVzLmlvIjp7Im5hbWVzcGFjZSI6InNob3AiLCJub2RlIjp7Im5hbWUiOiJndy0xIiwidWlkIjoibi0xIn0sInBvZCI6eyJuYW1lIjoidGlsbCIsInVpZCI6InAtMSJ9LCJzZXJ2aWNlYWNjb3VudCI6eyJuYW1lIjoidGlsbCIsInVpZCI6InMtMSJ9LCJ3YXJuYWZ0ZXIiOjE3NjY5OTg4MDd9LCJuYmYiOjE3NjY5OTUyMDAsInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudDpzaG9wOnRpbGwifQ";
    const RSA_SIGNATURES: [(&str, &str); 3] = [
        (
            "RS256",
            "butQDD7Swxtm1oY0qWgyDo0Y9nvznZsL3oa0OG0MU6NInQgm8bMCFZmqdBgtfqoDiqWp37kBplb6ovkU9m86bbDDzuuVYqXYEBGLys6MdZFpxz0fSwckOAcn7x1bCu-gqY3IaoiRE3EpWepKfrS41m2ypBCeK51Q5418duvfIsYiWJaPh0Dz05pdFbMqSCo1DuNYO6m5sEiMUwFmLJaoAuTeBUsWUDiK2bERVoH0--c374I5c1bYfBLEjTJHJ8Qbd8DSFkSs9ygtZH_8mOmPKdceWMG3WjX-eLzTl3YCYTgnhC20pkRdOODPdAEflqUruEOAH4srOJtWj-mBFWCo2A",
        ),
        (
            "RS384",
            "Q2uwRKHZimgeYcdaQxwZtRmHoxUDhseT3-9dz2h95Fa_oagIvJtPgeYfMRgZI-Sxm9rDiyo325NQYPQsvejbuHDfcHMWQ_eJ35kCBkuv5mf6saTy5-D6ejZKqi2YAD4KglzzbTBs7_wsSlBSbBIiRi1-5WW63WfaE0bN6LplK2tdyw3NhVCw6z8SFMykIn8sEIfGJnQielPbGrtRX9kY_g4FLG_WnRin0mOro3sY2hcnSI7SXNREvZlsW0-qFspfyzFK4WmmfGg0TeR1rcsOpQohtxQg0QQrsb1jlKTpmTrzCnKIH1B5yD6YAPBKBsDhGPGgqTtFhlwlyKHXGSAY0A",
        ),
        (
            "RS512",
            "RuKEog3kd-yPmjEbo_ihLUq43QEga1Vs6c0BUl5OJhwUU1JYdUqg8Jpyd_CbXxXf--opFa23u1Kgc6j5Ga4xSlXpC3omJggluSdhVyvya8JD9grj1Sqm5uAzuipCCfQkPAQRc6DF8b2tYPar1-pRUuWFTPYQoFKpUrOOhroI3gyVwqJMiNdMf_kGC6YCShCwWsDlb-u5dmiwCgSjbqH4d6GOiowFhPy3Xo7AWxARmS1b2eNcT8bzofWM6yov31RDFDeXmETV05dN8kSCVOE8pc8Eqk0op2l0hWWOVAWSr-WWLZrGEPPou85kitpEi2NAIv8Ja_9DcZdDUQ6xqB58fQ",
        ),
    ];

    fn base64url(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let of = |group: &[u8]| {
            let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            (0..=group.len())
                .map(|at| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]))
                .collect::<String>()
        };
        bytes.chunks(3).map(of).collect()
    }

    /// One who signs.
    struct Signer {
        pair: EcdsaKeyPair,
        key: Key,
    }

    impl Signer {
        fn new(curve: &'static EcdsaSigningAlgorithm, kind: fn(Vec<u8>) -> Kind) -> Signer {
            let random = SystemRandom::new();
            let document = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(curve, document.as_ref(), &random).unwrap();
            let key = Key {
                id: "k".into(),
                kind: kind(pair.public_key().as_ref().to_vec()),
            };
            Signer { pair, key }
        }

        fn p256() -> Signer {
            Signer::new(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, Kind::P256)
        }

        fn p384() -> Signer {
            Signer::new(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, Kind::P384)
        }

        fn token(&self, header: &str, payload: &str) -> String {
            let message = [header, payload]
                .map(|part| base64url(part.as_bytes()))
                .join(".");
            let random = SystemRandom::new();
            let signed = self.pair.sign(&random, message.as_bytes()).unwrap();
            format!("{message}.{}", base64url(signed.as_ref()))
        }
    }

    fn with_keys(token: &str, keys: &[&Key]) -> Result<(), Wrong> {
        let audiences = ["more".to_owned(), "api".to_owned(), ISSUER.to_owned()];
        let trust = Trust {
            issuer: ISSUER,
            audiences: &audiences,
            keys,
        };
        verify(token.as_bytes(), &trust, NOW).map(drop)
    }

    #[test]
    fn what_an_api_server_signs() {
        for (signer, algorithm) in [(Signer::p256(), "ES256"), (Signer::p384(), "ES384")] {
            let header = format!(r#"{{"alg":"{algorithm}","kid":"k","typ":"JWT"}}"#);
            let token = signer.token(&header, PAYLOAD);
            assert_eq!(with_keys(&token, &[&signer.key]), Ok(()), "{algorithm}");
        }
        let document =
            format!(r#"{{"keys":[{{"kty":"RSA","kid":"r","n":"{RSA_N}","e":"AQAB"}}]}}"#);
        let keys = jwks::read(document.as_bytes()).unwrap();
        for (algorithm, signature) in RSA_SIGNATURES {
            let header = base64url(format!(r#"{{"alg":"{algorithm}","kid":"r"}}"#).as_bytes());
            let token = format!("{header}.{RSA_PAYLOAD}.{signature}");
            assert_eq!(with_keys(&token, &[&keys[0]]), Ok(()), "{algorithm}");
            // With another algorithm of the same key, which the signature then is not of.
            let other = base64url(br#"{"alg":"RS512","kid":"r","typ":"x"}"#);
            let token = format!("{other}.{RSA_PAYLOAD}.{signature}");
            assert_eq!(with_keys(&token, &[&keys[0]]), Err(Wrong::Signature));
        }
    }

    #[test]
    fn claims_that_do_not_fit() {
        let signer = Signer::p256();
        let header = r#"{"alg":"ES256","kid":"k"}"#;
        for (from, to, wrong) in [
            ("default.svc", "default.svc.x", Wrong::Issuer),
            ("\"api\"", "\"vault\"", Wrong::Audience),
            ("[\"api\",\"other\"]", "[]", Wrong::Audience),
            ("1800000001", "1800000000", Wrong::Expired),
            ("\"nbf\":1700000000", "\"nbf\":1800000061", Wrong::NotYet),
            ("\"iat\":1700000000", "\"iat\":1800000061", Wrong::NotYet),
            (
                "\"sub\":\"system:serviceaccount:shop:till\"",
                "\"sub\":\"bob\"",
                Wrong::NotOfAnAccount,
            ),
            ("\"exp\":1800000001,", "", Wrong::NotOfAnAccount),
            ("{", "", Wrong::NotJwt),
        ] {
            let payload = PAYLOAD.replacen(from, to, 1);
            assert_ne!(payload, PAYLOAD);
            let token = signer.token(header, &payload);
            assert_eq!(with_keys(&token, &[&signer.key]), Err(wrong), "{from} {to}");
        }
        for (from, to) in [
            ("\"nbf\":1700000000", "\"nbf\":1800000060"),
            ("[\"api\",\"other\"]", "\"api\""),
        ] {
            let token = signer.token(header, &PAYLOAD.replacen(from, to, 1));
            assert_eq!(with_keys(&token, &[&signer.key]), Ok(()), "{to}");
        }
    }

    #[test]
    fn signatures_that_are_none() {
        let (signer, other) = (Signer::p256(), Signer::p256());
        let keys = [&signer.key];
        let header = r#"{"alg":"ES256","kid":"k"}"#;
        let good = signer.token(header, PAYLOAD);
        assert_eq!(with_keys(&good, &keys), Ok(()));
        assert_eq!(
            with_keys(&other.token(header, PAYLOAD), &keys),
            Err(Wrong::Signature)
        );
        assert_eq!(with_keys(&good, &[]), Err(Wrong::Key));
        // Of two keys with one name, either.
        assert_eq!(with_keys(&good, &[&other.key, &signer.key]), Ok(()));
        for (header, wrong) in [
            (r#"{"alg":"none","kid":"k"}"#, Wrong::Algorithm),
            (r#"{"alg":"None","kid":"k"}"#, Wrong::Algorithm),
            (r#"{"alg":"","kid":"k"}"#, Wrong::Algorithm),
            (r#"{"kid":"k"}"#, Wrong::Algorithm),
            (r#"{"alg":"HS256","kid":"k"}"#, Wrong::Algorithm),
            (r#"{"alg":"PS256","kid":"k"}"#, Wrong::Algorithm),
            (r#"{"alg":"RS256","kid":"k"}"#, Wrong::Signature),
            (r#"{"alg":"ES384","kid":"k"}"#, Wrong::Signature),
            (r#"{"alg":"ES256","kid":"x"}"#, Wrong::Key),
            (r#"{"alg":"ES256","kid":""}"#, Wrong::Key),
            (r#"{"alg":"ES256"}"#, Wrong::Key),
            (
                r#"{"alg":"ES256","kid":"k","crit":["b64"],"b64":false}"#,
                Wrong::Algorithm,
            ),
            (r#"{"alg":"ES256","kid":"x","kid":"k"}"#, Wrong::NotJwt),
            (r#"[]"#, Wrong::NotJwt),
        ] {
            let token = signer.token(header, PAYLOAD);
            assert_eq!(with_keys(&token, &keys), Err(wrong), "{header}");
        }
        let (message, signature) = good.rsplit_once('.').unwrap();
        for (token, wrong) in [
            (format!("{message}."), Wrong::Signature),
            (format!("{message}.{}", &signature[..80]), Wrong::Signature),
            (format!("{message}.{signature}="), Wrong::NotJwt),
            (format!("{message}.{signature}.x"), Wrong::NotJwt),
            (message.to_owned(), Wrong::NotJwt),
            (String::new(), Wrong::NotJwt),
        ] {
            assert_eq!(with_keys(&token, &keys), Err(wrong), "{token}");
        }
        // Every bit of what is signed counts.
        for at in 0..message.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(with_keys(&changed, &keys).is_err(), "{at}");
        }
    }
}
