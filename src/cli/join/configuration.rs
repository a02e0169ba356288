//! The configuration that a join leaves behind. What somebody has written there otherwise stays.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{failed, folder};
use crate::config::{File, ServerUrl};
use crate::error::{Exit, Failure};
use crate::limits::CONFIG_BYTES_MAX;
use crate::sys::file::read_bounded;

/// The CA's file, beside the configuration: it is there as long as that is.
pub(super) const CA_FILE: &str = "ca.crt";

/// What is to stand in it.
pub(super) struct Wish<'a> {
    pub(super) server: &'a ServerUrl,
    pub(super) node_name: &'a str,
    /// As it was given.
    pub(super) state_dir: Option<&'a Path>,
}

/// The file, as far as it is understood.
pub(super) struct Configuration {
    pub(super) is_there: bool,
    keys: Map<String, Value>,
}

/// Reads what is there. What is no JSON object is taken as an empty one, which somebody has to force.
pub(super) fn read(path: &Path) -> Result<Configuration, Failure> {
    match read_bounded(path, CONFIG_BYTES_MAX) {
        Ok(bytes) => Ok(Configuration {
            is_there: true,
            keys: serde_json::from_slice(&bytes).unwrap_or_default(),
        }),
        Err(error) if error.is_missing() => Ok(Configuration {
            is_there: false,
            keys: Map::new(),
        }),
        Err(error) => Err(failed(Exit::Failed, error.to_string())),
    }
}

impl Configuration {
    /// Puts in what is wished, and says which keys that changes.
    pub(super) fn change(&mut self, wish: &Wish<'_>) -> Vec<&'static str> {
        let mut changed = Vec::new();
        let server = Value::from(wish.server.to_string());
        // One of several servers is enough to join.
        let is_among = |list: &Value| list.as_array().is_some_and(|list| list.contains(&server));
        if !self.keys.get("servers").is_some_and(is_among) {
            self.put("servers", Value::from(vec![server]), &mut changed);
        }
        self.put("ca_file", Value::from(CA_FILE), &mut changed);
        self.put("client", Value::from("joined"), &mut changed);
        for other in ["client_cert", "client_key"] {
            if self
                .keys
                .remove(other)
                .is_some_and(|value| !value.is_null())
            {
                changed.push(other);
            }
        }
        // The kubelet comes with a certificate of its own, from the same CA.
        self.put("client_ca_file", Value::from(CA_FILE), &mut changed);
        self.put("node_name", Value::from(wish.node_name), &mut changed);
        if let Some(dir) = wish.state_dir {
            // Relative to where the command was given, and not to the configuration.
            let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
            let dir = dir.to_string_lossy().into_owned();
            self.put("state_dir", Value::from(dir), &mut changed);
        }
        changed
    }

    fn put(&mut self, key: &'static str, value: Value, changed: &mut Vec<&'static str>) {
        if self.keys.get(key) != Some(&value) {
            self.keys.insert(key.to_owned(), value);
            changed.push(key);
        }
    }

    /// Where the hub will keep its pair.
    pub(super) fn state_dir(&self, config: &Path) -> PathBuf {
        let named = self.keys.get("state_dir").and_then(Value::as_str);
        match named {
            Some(dir) => folder(config).join(dir),
            None => PathBuf::from(File::default().state_dir),
        }
    }

    /// As it is written.
    pub(super) fn text(&self) -> String {
        // A map of strings and what was read from JSON is always JSON.
        serde_json::to_string_pretty(&self.keys).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_but_for_what_a_join_says() {
        let server = ServerUrl::parse("https://10.0.0.1:6443").unwrap();
        let wish = Wish {
            server: &server,
            node_name: "gw-1",
            state_dir: None,
        };
        let all = [
            "servers",
            "ca_file",
            "client",
            "client_ca_file",
            "node_name",
        ];
        for (text, changes) in [
            ("{}", &all[..]),
            (
                r#"{"servers": ["https://a:1", "https://10.0.0.1:6443"], "listen": ["127.0.0.1:1"], "client_key": null}"#,
                &all[1..],
            ),
            (
                r#"{"servers": [], "ca_file": "ca.crt", "client_cert": "a", "client_key": "b", "client_ca_file": "x"}"#,
                &[
                    "servers",
                    "client",
                    "client_cert",
                    "client_key",
                    "client_ca_file",
                    "node_name",
                ],
            ),
        ] {
            let mut file = Configuration {
                is_there: true,
                keys: serde_json::from_str(text).unwrap(),
            };
            assert_eq!(file.change(&wish), changes, "{text}");
            assert_eq!(file.change(&wish), [""; 0], "{text}: a second time");
            assert_eq!(text.contains("listen"), file.text().contains("\"listen\""));
            assert!(!file.text().contains("client_key"));
            let written: Value = serde_json::from_str(&file.text()).unwrap();
            assert_eq!(written["client"], "joined");
            assert_eq!(
                file.state_dir(Path::new("/etc/edge-hub/config.json")),
                Path::new("/var/lib/edge-hub")
            );
        }
    }
}
