//! A kubelet's kubeconfig, read and changed line by line, so that all else stays as somebody has written it. Pure. Of YAML
//! only the form is understood in which kubeadm, k3s and people write it; no other form is guessed at.

/// What it says, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kubeconfig {
    /// Where the kubelet asks.
    pub(super) server: String,
    /// The file of the CA that it trusts.
    pub(super) authority: Option<String>,
    /// The same within, base64 of PEM.
    pub(super) authority_data: Option<String>,
    /// The file with its certificate.
    pub(super) certificate: Option<String>,
    /// The file with the key to it.
    pub(super) key: Option<String>,
}

/// A line that goes, and what comes in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    /// Which, from 0.
    at: usize,
    pub(super) old: &'a str,
    pub(super) new: Vec<String>,
}

const SERVER: &str = "server";
const AUTHORITY: &str = "certificate-authority";
const AUTHORITY_DATA: &str = "certificate-authority-data";
/// What else may stand beside a server, and is about that one alone.
const OF_THE_SERVER: [&str; 3] = ["insecure-skip-tls-verify", "tls-server-name", "proxy-url"];

/// Reads it.
pub(super) fn read(text: &str) -> Result<Kubeconfig, String> {
    let one = |key: &str| {
        let mut values = text.lines().filter_map(|line| value_of(line, key));
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(format!("it has several lines `{key}:`; change it by hand")),
            (Some(value), None)
                if value.is_empty() || value.starts_with(['|', '>', '{', '&', '*']) =>
            {
                Err(format!(
                    "its line `{key}:` is in a form that is not read here; change it by hand"
                ))
            }
            (value, _) => Ok(value.map(str::to_owned)),
        }
    };
    Ok(Kubeconfig {
        server: one(SERVER)?.ok_or("it has no line `server:`; change it by hand")?,
        authority: one(AUTHORITY)?,
        authority_data: one(AUTHORITY_DATA)?,
        certificate: one("client-certificate")?,
        key: one("client-key")?,
    })
}

/// What is to change so that it asks at `server`, and trusts the CA in the file `authority`, or the one that it trusts
/// already. One that [`read`] has read.
pub(super) fn changes<'a>(text: &'a str, server: &str, authority: Option<&str>) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for (at, old) in text.lines().enumerate() {
        let has = |key: &str| value_of(old, key).is_some();
        let mut new = Vec::new();
        if has(SERVER) {
            let indent = &old[..old.len() - old.trim_start().len()];
            let authority = authority.map(|file| format!("{indent}{AUTHORITY}: {}", quoted(file)));
            new.extend(authority);
            new.push(format!("{indent}{SERVER}: {}", quoted(server)));
        } else if !OF_THE_SERVER.iter().any(|key| has(key))
            && !(authority.is_some() && (has(AUTHORITY) || has(AUTHORITY_DATA)))
        {
            continue;
        }
        changes.push(Change { at, old, new });
    }
    changes
}

/// The text with these changes.
pub(super) fn changed(text: &str, changes: &[Change<'_>]) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let mut changes = changes.iter().peekable();
    for (at, line) in text.lines().enumerate() {
        match changes.next_if(|change| change.at == at) {
            Some(change) => change.new.iter().for_each(|line| put_line(&mut out, line)),
            None => put_line(&mut out, line),
        }
    }
    out
}

fn put_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

/// Whether nothing but these changes has come between the two.
pub(super) fn is_changed_by_setup(before: &str, now: &str) -> bool {
    let (Ok(was), Ok(is)) = (read(before), read(now)) else {
        return false;
    };
    let asks_elsewhere = was.server != is.server;
    let trusts_others =
        (&was.authority, &was.authority_data) != (&is.authority, &is.authority_data);
    let authority = is.authority.as_deref().filter(|_| trusts_others);
    (asks_elsewhere || trusts_others)
        && changed(before, &changes(before, &is.server, authority)) == now
}

/// The value of a key on a line of its own, without quotes and comment.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let line = line.trim_start();
    let quote = ['"', '\''].into_iter().find(|q| line.starts_with(*q));
    let rest = match quote {
        Some(quote) => (line.strip_prefix(quote)?.strip_prefix(key)?).strip_prefix(quote)?,
        None => line.strip_prefix(key)?,
    };
    let rest = rest.trim_start_matches([' ', '\t']).strip_prefix(':')?;
    let value = match rest.strip_prefix([' ', '\t']) {
        Some(value) => value.trim(),
        None if rest.trim().is_empty() => "",
        None => return None,
    };
    let value = value.split(" #").next().unwrap_or(value).trim_end();
    let inner = ['"', '\''].into_iter().find_map(|quote| {
        let inner = value.strip_prefix(quote)?;
        inner.strip_suffix(quote)
    });
    Some(inner.unwrap_or(value))
}

/// As it may stand in YAML.
fn quoted(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:".contains(&b);
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut out = Vec::new();
    crate::object::json::put_string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBEADM: &str = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: LS0t\n    \
        server: https://10.0.0.1:6443\n  name: default-cluster\ncontexts:\n- context:\n    cluster: default-cluster\n    \
        namespace: default\n    user: default-auth\n  name: default-context\ncurrent-context: default-context\n\
        kind: Config\npreferences: {}\nusers:\n- name: default-auth\n  user:\n    \
        client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n    \
        client-key: /var/lib/kubelet/pki/kubelet-client-current.pem\n";

    #[test]
    fn what_kubeadm_writes() {
        let read = read(KUBEADM).expect("a kubeconfig");
        let pem = Some("/var/lib/kubelet/pki/kubelet-client-current.pem".to_owned());
        let want = Kubeconfig {
            server: "https://10.0.0.1:6443".to_owned(),
            authority: None,
            authority_data: Some("LS0t".to_owned()),
            certificate: pem.clone(),
            key: pem,
        };
        assert_eq!(read, want);
        let server = "https://127.0.0.1:10268";
        let new = changes(KUBEADM, server, Some("/var/lib/edge-hub/hub-ca.crt"));
        assert_eq!(new.len(), 2);
        let text = changed(KUBEADM, &new);
        let wanted = KUBEADM
            .replace("    certificate-authority-data: LS0t\n", "")
            .replace(
                "    server: https://10.0.0.1:6443\n",
                "    certificate-authority: /var/lib/edge-hub/hub-ca.crt\n    server: https://127.0.0.1:10268\n",
            );
        assert_eq!(text, wanted);
        // What it trusts may stay.
        let text = changed(KUBEADM, &changes(KUBEADM, server, None));
        assert_eq!(text, KUBEADM.replace("https://10.0.0.1:6443", server));
    }

    #[test]
    fn what_setup_has_changed() {
        let server = "https://127.0.0.1:10268";
        for authority in [Some("/var/lib/edge-hub/hub-ca.crt"), None] {
            let now = changed(KUBEADM, &changes(KUBEADM, server, authority));
            assert!(is_changed_by_setup(KUBEADM, &now));
            for other in [
                now.replace("default-auth", "other"),
                now.replace("client-key", "# client-key"),
                now.clone() + "    tls-server-name: x\n",
                KUBEADM.to_owned(),
                String::new(),
            ] {
                assert!(!is_changed_by_setup(KUBEADM, &other), "{other}");
            }
        }
    }

    #[test]
    fn other_forms() {
        for (text, server) in [
            ("    server: \"https://a:1\"\n", Ok("https://a:1")),
            ("    server: 'https://a:1' # ours\n", Ok("https://a:1")),
            ("    server:   https://a:1", Ok("https://a:1")),
            ("    \"server\": https://a:1", Ok("https://a:1")),
            ("    'server' : https://a:1", Ok("https://a:1")),
            ("    server : a\n    \"server\": b\n", Err("several")),
            (
                "    server: https://a:1\n    servers: x\n",
                Ok("https://a:1"),
            ),
            ("    server: a\n  server: b\n", Err("several")),
            ("{server: a}\n", Err("no line")),
            ("    server: |\n      a\n", Err("form")),
            ("    server:\n      a\n", Err("form")),
            ("", Err("no line")),
        ] {
            match (read(text), server) {
                (Ok(read), Ok(want)) => assert_eq!(read.server, want, "{text}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
        let text = "    \"certificate-authority-data\": LS0t\n    certificate-authority : /x\n    server: a\n";
        let new = changed(text, &changes(text, "https://h:1", Some("/h")));
        assert_eq!(
            new,
            "    certificate-authority: /h\n    server: https://h:1\n"
        );
        let text = "    insecure-skip-tls-verify: true\n    server: a\n    tls-server-name: b\n    x: \"y\"";
        let new = changed(text, &changes(text, "https://h:1", Some("/a b\n")));
        assert_eq!(
            new,
            "    certificate-authority: \"/a b\\n\"\n    server: https://h:1\n    x: \"y\"\n"
        );
    }
}
