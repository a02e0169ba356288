//! The file as it is written: plain structs for serde, and the checks that need no knowledge of what a value means.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::error::{ConfigError, Problems};
use super::keys::{IDENTITY_KEYS, KEYS, Kind, nearest};
use super::places::{Places, Step};
use super::values::byte_count;
use crate::from_json::{FromJson, read_from_json};
use crate::limits::{
    CACHE_BYTES_DEFAULT, CONNECTIONS_DEFAULT, DAILY_WRITE_BYTES_DEFAULT, FLUSH_SECS_DEFAULT,
};

read_from_json! {
/// The file, key by key. `Default` is what stands for a key that is not there; [`KEYS`] shows the same to people.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "KEYS has the text of each key")]
pub struct File {
    pub servers: Vec<String>,
    pub mode: String,
    pub working_mode: String,
    pub ca_file: String,
    pub client: String,
    pub client_cert: Option<String>,
    pub client_key: Option<String>,
    pub client_ca_file: Option<String>,
    pub identities: Vec<FileIdentity>,
    pub node_name: Option<String>,
    pub listen: Vec<String>,
    pub own_addresses: Option<Vec<String>>,
    pub neighbours: String,
    pub local_listen: Option<String>,
    pub local_uids: Vec<u32>,
    pub admin_listen: String,
    pub serving: String,
    pub serving_cert: Option<String>,
    pub serving_key: Option<String>,
    pub extra_sans: Vec<String>,
    pub state_dir: String,
    pub store: String,
    pub cache_dir: String,
    pub cache_max_bytes: u64,
    pub flush_secs: u64,
    pub daily_write_bytes: u64,
    pub seal_key_file: Option<String>,
    pub run_dir: String,
    pub cache_agents: Vec<String>,
    pub jwks_from_callers: bool,
    pub review_secs: u64,
    pub filters: Vec<String>,
    pub drain_secs: u64,
    pub log: String,
    pub ping_after_ms: u64,
    pub ping_wait_ms: u64,
    pub connect_timeout_ms: u64,
    pub probe_min_ms: u64,
    pub probe_max_ms: u64,
    pub header_timeout_ms: u64,
    pub stalled_watch_secs: u64,
    pub connections_max: u64,
}
}

read_from_json! {
/// One entry of `identities` as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "IDENTITY_KEYS has the text of each key")]
pub struct FileIdentity {
    pub cn: String,
    pub o: Option<String>,
    pub cert: String,
    pub key: String,
}
}

impl Default for File {
    fn default() -> File {
        File {
            servers: Vec::new(),
            mode: "priority".to_owned(),
            working_mode: "edge".to_owned(),
            ca_file: "/etc/kubernetes/pki/ca.crt".to_owned(),
            client: "files".to_owned(),
            client_cert: None,
            client_key: None,
            client_ca_file: None,
            identities: Vec::new(),
            node_name: None,
            listen: vec!["127.0.0.1:10268".to_owned(), "169.254.2.1:10268".to_owned()],
            own_addresses: Some(vec!["169.254.2.1".to_owned()]),
            neighbours: "refuse".to_owned(),
            local_listen: None,
            local_uids: vec![0],
            admin_listen: "127.0.0.1:10267".to_owned(),
            serving: "hub-ca".to_owned(),
            serving_cert: None,
            serving_key: None,
            extra_sans: Vec::new(),
            state_dir: "/var/lib/edge-hub".to_owned(),
            store: "ring".to_owned(),
            cache_dir: "/etc/kubernetes/cache".to_owned(),
            cache_max_bytes: CACHE_BYTES_DEFAULT,
            flush_secs: FLUSH_SECS_DEFAULT,
            daily_write_bytes: DAILY_WRITE_BYTES_DEFAULT,
            seal_key_file: None,
            run_dir: "/run/edge-hub".to_owned(),
            cache_agents: Vec::new(),
            jwks_from_callers: false,
            review_secs: 0,
            filters: Vec::new(),
            drain_secs: 20,
            log: "info".to_owned(),
            ping_after_ms: 2_000,
            ping_wait_ms: 2_500,
            connect_timeout_ms: 3_000,
            probe_min_ms: 1_000,
            probe_max_ms: 30_000,
            header_timeout_ms: 10_000,
            stalled_watch_secs: 60,
            connections_max: CONNECTIONS_DEFAULT,
        }
    }
}

/// Reads the text. A key with something wrong in it is noted and left out, so that the rest can be checked as well.
pub(super) fn parse(text: &str, path: &Path) -> Result<(File, Problems), ConfigError> {
    let value: Value = serde_json::from_str(text).map_err(|e| ConfigError::json(path, text, &e))?;
    let mut problems = Problems::new();
    let Value::Object(mut map) = value else {
        problems.add(
            "",
            "the file holds ".to_owned() + shape(&value),
            "allowed: one JSON object: { \"servers\": [ ... ] }",
        );
        return Ok((File::default(), problems));
    };
    for twice in Places::scan(text).duplicates() {
        problems.add_at(
            &twice,
            "this key stands here for the second time",
            "each key once; take one of the two out",
        );
    }
    map.retain(
        |name, value| match KEYS.iter().find(|key| key.name == name) {
            None => {
                problems.unknown(
                    &[Step::Key(name.clone())],
                    nearest(name, KEYS.iter().map(|key| key.name)),
                );
                false
            }
            Some(key) => fits(name, &key.kind, value, &mut problems),
        },
    );
    // What remains has the right shape.
    let mut file = File::default();
    file.read(&Value::Object(map));
    Ok((file, problems))
}

fn fits(name: &str, kind: &Kind, value: &mut Value, problems: &mut Problems) -> bool {
    match (kind, &mut *value) {
        (
            Kind::MaybePath | Kind::MaybeText | Kind::MaybeAddress | Kind::MaybeAddresses,
            Value::Null,
        ) => true,
        (
            Kind::Text
            | Kind::MaybeText
            | Kind::Path
            | Kind::MaybePath
            | Kind::Address
            | Kind::MaybeAddress,
            Value::String(_),
        ) => true,
        (Kind::Choice(words), Value::String(text)) if words.contains(&text.as_str()) => true,
        (Kind::Choice(words), Value::String(text)) => {
            let hint = nearest(text, words.iter().copied());
            problems.not_among(name, text, &kind.allowed(), hint);
            false
        }
        (Kind::Flag, Value::Bool(_)) => true,
        (Kind::Number { min, max }, Value::Number(n)) => {
            in_range(name, n.as_u64(), *min, *max, kind, value, problems)
        }
        (Kind::Bytes { min, max }, Value::Number(n)) => {
            in_range(name, n.as_u64(), *min, *max, kind, value, problems)
        }
        (Kind::Bytes { min, max }, Value::String(text)) => {
            let bytes = byte_count(text);
            let fit = in_range(name, bytes, *min, *max, kind, value, problems);
            *value = bytes.map_or(Value::Null, Value::from);
            fit
        }
        (
            Kind::Texts { max } | Kind::Servers { max } | Kind::Addresses { max },
            Value::Array(list),
        ) => texts(name, list, *max, problems),
        (Kind::MaybeAddresses, Value::Array(list)) => {
            texts(name, list, crate::limits::OWN_ADDRESSES_MAX, problems)
        }
        (Kind::Uids { max }, Value::Array(list)) => {
            few(name, list.len(), *max, problems) && uids(name, list, problems)
        }
        (Kind::Identities { max }, Value::Array(list)) => {
            few(name, list.len(), *max, problems) && identities(name, list, problems)
        }
        _ => wrong_type(name, value, &kind.allowed(), problems),
    }
}

fn in_range(
    name: &str,
    n: Option<u64>,
    min: u64,
    max: u64,
    kind: &Kind,
    value: &Value,
    problems: &mut Problems,
) -> bool {
    let fit = n.is_some_and(|n| (min..=max).contains(&n));
    if !fit {
        problems.add(
            name,
            format!("{} is out of range", short(value)),
            &format!("allowed: {}", kind.allowed()),
        );
    }
    fit
}

fn texts(name: &str, list: &[Value], max: usize, problems: &mut Problems) -> bool {
    let mut fit = few(name, list.len(), max, problems);
    for (i, value) in list
        .iter()
        .enumerate()
        .filter(|(_, value)| !value.is_string())
    {
        fit = wrong_type(
            &format!("{name}[{i}]"),
            value,
            "a string in \"quotes\"",
            problems,
        );
    }
    fit
}

fn few(name: &str, len: usize, max: usize, problems: &mut Problems) -> bool {
    if len > max {
        problems.add(
            name,
            format!("{len} entries are too many"),
            &format!("allowed: {max} at most"),
        );
    }
    len <= max
}

/// The last number is the kernel's own for "nobody that can be told".
fn uids(name: &str, list: &[Value], problems: &mut Problems) -> bool {
    let is_uid = |value: &Value| value.as_u64().is_some_and(|n| n < u64::from(u32::MAX));
    let mut fit = true;
    for (i, value) in list.iter().enumerate().filter(|(_, v)| !is_uid(v)) {
        let at = format!("{name}[{i}]");
        fit = wrong_type(
            &at,
            value,
            "a user's number, as `id -u NAME` prints it",
            problems,
        );
    }
    fit
}

fn identities(name: &str, list: &[Value], problems: &mut Problems) -> bool {
    let mut fit = true;
    for (i, value) in list.iter().enumerate() {
        let at = format!("{name}[{i}]");
        let Value::Object(map) = value else {
            fit = wrong_type(
                &at,
                value,
                "an object: { \"cn\": ..., \"cert\": ..., \"key\": ... }",
                problems,
            );
            continue;
        };
        for (key, value) in map {
            let known = IDENTITY_KEYS.iter().find(|k| k.name == key);
            match (known, value) {
                (None, _) => {
                    let steps = [
                        Step::Key(name.to_owned()),
                        Step::Index(i),
                        Step::Key(key.clone()),
                    ];
                    problems.unknown(&steps, nearest(key, IDENTITY_KEYS.iter().map(|k| k.name)));
                    fit = false;
                }
                (Some(_), Value::String(_)) => {}
                (Some(k), Value::Null) if !k.required => {}
                (Some(_), _) => {
                    fit = wrong_type(
                        &format!("{at}.{key}"),
                        value,
                        "a string in \"quotes\"",
                        problems,
                    )
                }
            }
        }
        for key in IDENTITY_KEYS
            .iter()
            .filter(|key| key.required && !map.contains_key(key.name))
        {
            problems.add(&at, format!("`{}` is missing", key.name), key.text);
            fit = false;
        }
    }
    fit
}

/// Always false: the value does not fit.
fn wrong_type(at: &str, value: &Value, allowed: &str, problems: &mut Problems) -> bool {
    problems.add(
        at,
        format!("{} is {}", short(value), shape(value)),
        &format!("allowed: {allowed}"),
    );
    false
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Array(_) => "[...]".to_owned(),
        Value::Object(_) => "{...}".to_owned(),
        Value::String(text) => super::error::quoted(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_json::tests::change;
    use serde_json::json;

    #[test]
    fn every_key_is_read_into_its_field() {
        let mut json = serde_json::to_value(File::default()).unwrap();
        for (name, value) in json.as_object_mut().unwrap() {
            match value {
                _ if name == "identities" => {
                    *value = json!([{ "cn": "", "o": "", "cert": "", "key": "" }]);
                }
                Value::Null => *value = "".into(),
                Value::Array(list) if list.is_empty() => list.push("".into()),
                _ => {}
            }
        }
        change(&mut json);
        let mut file = File::default();
        file.read(&json);
        assert_eq!(serde_json::to_value(&file).unwrap(), json);
    }

    #[test]
    fn null_takes_what_stands_without_it() {
        let mut file = File::default();
        file.read(&json!({ "own_addresses": null, "node_name": null }));
        assert_eq!((file.own_addresses, file.node_name), (None, None));
    }
}
