//! What a bearer token says of itself, if it is a JWT (RFC 7519). Pure. It proves nothing: whoever asks can write what he
//! likes. Only an API server's acceptance of this very token, or a signature, makes it true.

use super::base64url;
use crate::limits;
use crate::object::Malformed;
use crate::object::json::{Cursor, Text};

/// The payload of a token, as far as the hub reads it. What is not there is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    pub issuer: String,
    pub subject: String,
    pub audiences: Vec<String>,
    /// Unix seconds, as all that follow.
    pub expires: Option<u64>,
    pub not_before: Option<u64>,
    pub issued: Option<u64>,
    /// The claim `kubernetes.io` of a token of a service account (kubernetes-api.md 5.1).
    pub bound: Option<Bound>,
}

/// To what the API server has bound a service account's token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bound {
    pub namespace: String,
    pub account: Named,
    pub pod: Option<Named>,
    /// The node that the pod is on, or that the token itself is bound to. API servers tell it from 1.30 on.
    pub node: Option<Named>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub uid: String,
}

/// The three parts of a token, still encoded. `None`: it is no JWT, or larger than [`limits::JWT_BYTES_MAX`].
pub fn parts(token: &[u8]) -> Option<[&[u8]; 3]> {
    if token.len() > limits::JWT_BYTES_MAX {
        return None;
    }
    let mut parts = token.split(|b| *b == b'.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

/// Reads the payload. `None`: it is no JWT, or one that two programs could read differently.
pub fn read(token: &[u8]) -> Option<Claims> {
    let [_, payload, _] = parts(token)?;
    claims(&base64url::decode(payload)?).ok()
}

impl Claims {
    /// The service account's claim, if this is a token of the form that API servers issue to one: everything in it agrees,
    /// and it ends some day.
    pub fn of_account(&self) -> Option<&Bound> {
        let bound = self.bound.as_ref()?;
        let names = (self.subject)
            .strip_prefix("system:serviceaccount:")?
            .split_once(':')?;
        let agrees = names == (bound.namespace.as_str(), bound.account.name.as_str())
            && !names.0.is_empty()
            && !names.1.is_empty()
            && !bound.account.uid.is_empty()
            && !self.issuer.is_empty()
            && self.expires.is_some();
        agrees.then_some(bound)
    }
}

fn claims(payload: &[u8]) -> Result<Claims, Malformed> {
    // Also where only a claim that is skipped is no text.
    std::str::from_utf8(payload).map_err(|_| Malformed::Text)?;
    let mut cursor = Cursor::new(payload);
    let mut claims = Claims::default();
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        match Member::of(key)? {
            Member::Issuer => text(&mut cursor, &mut claims.issuer)?,
            Member::Subject => text(&mut cursor, &mut claims.subject)?,
            Member::Audience => audiences(&mut cursor, &mut claims.audiences)?,
            Member::Expires => number(&mut cursor, &mut claims.expires)?,
            Member::NotBefore => number(&mut cursor, &mut claims.not_before)?,
            Member::Issued => number(&mut cursor, &mut claims.issued)?,
            Member::Kubernetes => once(&mut claims.bound, bound(&mut cursor)?)?,
            Member::Other => drop(cursor.skip()?),
        }
    }
    cursor.end()?;
    Ok(claims)
}

enum Member {
    Issuer,
    Subject,
    Audience,
    Expires,
    NotBefore,
    Issued,
    Kubernetes,
    Other,
}

impl Member {
    fn of(key: Text<'_>) -> Result<Member, Malformed> {
        Ok(match key.decode()?.as_ref() {
            "iss" => Member::Issuer,
            "sub" => Member::Subject,
            "aud" => Member::Audience,
            "exp" => Member::Expires,
            "nbf" => Member::NotBefore,
            "iat" => Member::Issued,
            "kubernetes.io" => Member::Kubernetes,
            _ => Member::Other,
        })
    }
}

fn bound(cursor: &mut Cursor<'_>) -> Result<Bound, Malformed> {
    let mut bound = Bound::default();
    let mut account = None;
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        match key.decode()?.as_ref() {
            "namespace" => text(cursor, &mut bound.namespace)?,
            "serviceaccount" => once(&mut account, named(cursor)?)?,
            "pod" => once(&mut bound.pod, named(cursor)?)?,
            "node" => once(&mut bound.node, named(cursor)?)?,
            _ => drop(cursor.skip()?),
        }
    }
    bound.account = account.unwrap_or_default();
    Ok(bound)
}

fn named(cursor: &mut Cursor<'_>) -> Result<Named, Malformed> {
    let mut named = Named::default();
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        match key.decode()?.as_ref() {
            "name" => text(cursor, &mut named.name)?,
            "uid" => text(cursor, &mut named.uid)?,
            _ => drop(cursor.skip()?),
        }
    }
    Ok(named)
}

/// One text, or a list of them (RFC 7519 section 4.1.3).
fn audiences(cursor: &mut Cursor<'_>, out: &mut Vec<String>) -> Result<(), Malformed> {
    if !out.is_empty() {
        return Err(Malformed::Shape);
    }
    if cursor.peek()? != b'[' {
        out.push(String::new());
        return text(cursor, &mut out[0]);
    }
    cursor.open_array()?;
    while cursor.next_item()? {
        if out.len() == limits::JWT_AUDIENCES_MAX {
            return Err(Malformed::TooLarge);
        }
        let mut audience = String::new();
        text(cursor, &mut audience)?;
        out.push(audience);
    }
    Ok(())
}

pub(super) fn text(cursor: &mut Cursor<'_>, into: &mut String) -> Result<(), Malformed> {
    let text = cursor.text()?.ok_or(Malformed::Shape)?.decode()?;
    // Which of two a server takes would be a guess.
    if !into.is_empty() {
        return Err(Malformed::Shape);
    }
    into.push_str(&text);
    Ok(())
}

fn number(cursor: &mut Cursor<'_>, into: &mut Option<u64>) -> Result<(), Malformed> {
    once(into, cursor.whole_number()?)
}

fn once<T>(into: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match into.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed::Shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an API server of 1.36 puts into a pod.
    const POD: &str = r#"{"aud":["https://kubernetes.default.svc"],"exp":1798531200,"iat":1766995200,
        "iss":"https://kubernetes.default.svc","jti":"a","kubernetes.io":{"namespace":"shop",
        "node":{"name":"gw-1","uid":"n-1"},"pod":{"name":"till","uid":"p-1"},
        "serviceaccount":{"name":"till","uid":"s-1"},"warnafter":1766998807},
        "nbf":1766995200,"sub":"system:serviceaccount:shop:till"}"#;

    fn of(payload: &str) -> Option<Claims> {
        claims(payload.as_bytes()).ok()
    }

    fn named(name: &str, uid: &str) -> Named {
        Named {
            name: name.into(),
            uid: uid.into(),
        }
    }

    #[test]
    fn a_pods_token() {
        let claims = of(POD).unwrap();
        let want = Bound {
            namespace: "shop".into(),
            account: named("till", "s-1"),
            pod: Some(named("till", "p-1")),
            node: Some(named("gw-1", "n-1")),
        };
        assert_eq!(claims.of_account(), Some(&want));
        assert_eq!(claims.issuer, "https://kubernetes.default.svc");
        assert_eq!(claims.audiences, ["https://kubernetes.default.svc"]);
        assert_eq!(
            (claims.issued, claims.not_before, claims.expires),
            (Some(1766995200), Some(1766995200), Some(1798531200))
        );
    }

    #[test]
    fn what_does_not_agree_is_no_account() {
        for (from, to) in [
            (
                "\"sub\":\"system:serviceaccount:shop:till\"",
                "\"sub\":\"bob\"",
            ),
            (":shop:till", ":shop:other"),
            (":shop:till", ":other:till"),
            (":shop:till", ":shop"),
            ("\"namespace\":\"shop\"", "\"namespace\":\"\""),
            ("\"uid\":\"s-1\"", "\"uid\":\"\""),
            ("\"iss\":\"https://kubernetes.default.svc\",", ""),
            ("\"exp\":1798531200,", ""),
            ("\"kubernetes.io\"", "\"other\""),
        ] {
            let payload = POD.replacen(from, to, 1);
            assert_ne!(payload, POD);
            assert_eq!(of(&payload).unwrap().of_account(), None, "{from} {to}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        for (from, to) in [
            ("\"jti\"", "\"sub\""),
            ("\"jti\":\"a\"", "\"s\\u0075b\":\"a\""),
            ("\"jti\":\"a\"", "\"exp\":1"),
            ("\"jti\":\"a\"", "\"aud\":\"a\""),
            ("\"jti\":\"a\"", "\"kubernetes.io\":{}"),
            ("\"jti\":\"a\"", "\"sub\":null"),
            ("\"exp\":1798531200", "\"exp\":1.7e9"),
            ("\"exp\":1798531200", "\"exp\":\"1798531200\""),
            ("\"exp\":1798531200", "\"exp\":-1"),
            ("\"name\":\"till\"", "\"name\":\"x\",\"name\":\"till\""),
            ("}}", "}} x"),
        ] {
            let payload = POD.replacen(from, to, 1);
            if payload != POD {
                assert_eq!(of(&payload), None, "{from} {to}");
            }
        }
        assert_eq!(of(&format!("{POD}x")), None);
        assert!(claims(b"{\"jti\":\"\xff\"}").is_err());
        let many = vec!["\"a\""; limits::JWT_AUDIENCES_MAX + 1].join(",");
        assert_eq!(of(&format!("{{\"aud\":[{many}]}}")), None);
    }

    #[test]
    fn parts_of_a_token() {
        assert!(parts(b"a.b.c").is_some());
        for text in ["", "a", "a.b", "a.b.c.d"] {
            assert_eq!(parts(text.as_bytes()), None, "{text}");
        }
        let longest = limits::JWT_BYTES_MAX;
        assert!(parts(&[&vec![b'a'; longest - 4][..], b".b.c"].concat()).is_some());
        assert!(parts(&[&vec![b'a'; longest - 3][..], b".b.c"].concat()).is_none());
    }
}
