//! Kubeconfig files, written as JSON (which YAML contains), so that nothing needs quoting.

use std::path::Path;

use serde_json::{Value, json};

/// Who the user of a kubeconfig is.
pub enum User<'a> {
    Token(&'a str),
    Certificate {
        certificate: &'a Path,
        key: &'a Path,
    },
    Anonymous,
}

/// The text of a kubeconfig for one server.
pub fn kubeconfig(server: &str, ca: &Path, user: &User<'_>) -> String {
    let user: Value = match user {
        User::Token(token) => json!({ "token": token }),
        User::Certificate { certificate, key } => {
            json!({ "client-certificate": certificate, "client-key": key })
        }
        User::Anonymous => json!({}),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": server, "certificate-authority": ca } }],
        "users": [{ "name": "u", "user": user }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    })
    .to_string()
}
