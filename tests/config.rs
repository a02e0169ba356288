//! The configuration, the README's tables, and the commands that need no hub.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use edge_hub::certs::pem::encode as pem;
use edge_hub::config::{
    AgentRule, Config, ConfigError, File, FileIdentity, IDENTITY_KEYS, KEYS, Key, Mode, Problem,
    Reload, Rim, StoreKind, changed, keep_until_restart, known,
};
use edge_hub::error::EXITS;
use edge_hub::filter::Filter;
use edge_hub::limits::{CONFIG_BYTES_MAX, CONFIG_PROBLEMS_MAX};

// ---- the file

const PATH: &str = "/etc/edge-hub/config.json";

/// Every file is there whose name does not say otherwise.
fn parse_bytes(bytes: &[u8]) -> Result<Config, ConfigError> {
    let look = |path: &Path| match path.to_string_lossy().contains("missing") {
        true => Err("there is no such file".to_owned()),
        false => Ok(()),
    };
    let rim = Rim {
        base: Path::new("/etc/edge-hub"),
        host_name: Some("gw-1".to_owned()),
        look: &look,
    };
    Config::from_bytes(bytes, Path::new(PATH), &rim)
}

fn good(text: &str) -> Config {
    parse_bytes(text.as_bytes()).unwrap_or_else(|e| panic!("{text}\n{e}"))
}

fn problems(text: &str) -> Vec<Problem> {
    match parse_bytes(text.as_bytes()) {
        Err(ConfigError::Problems { problems, .. }) => problems,
        other => panic!("{text}\n{other:?}"),
    }
}

/// The file with `servers` and these further keys.
fn with(rest: &str) -> String {
    format!("{{\"servers\": [\"https://a:6443\"],\n{rest}}}")
}

#[test]
fn the_least_configuration_has_the_defaults() {
    let config = good(r#"{"servers": ["https://10.0.0.1:6443"]}"#);
    assert_eq!(config.servers[0].to_string(), "https://10.0.0.1:6443");
    assert_eq!(config.node_name, "gw-1");
    assert_eq!(config.mode, Mode::Priority);
    assert_eq!(config.ca_file, Path::new("/etc/kubernetes/pki/ca.crt"));
    assert_eq!(
        config.listen,
        [
            "127.0.0.1:10268".parse().unwrap(),
            "169.254.2.1:10268".parse().unwrap()
        ]
    );
    assert_eq!(config.store, StoreKind::Ring);
    assert_eq!(config.cache_dir, Path::new("/etc/kubernetes/cache"));
    assert_eq!(config.cache_bytes_max, 8 << 20);
    assert_eq!(config.flush.as_secs(), 2);
    assert_eq!(config.daily_write_bytes, 32 << 20);
    assert_eq!(config.seal_key_file, None);
    assert_eq!(config.run_dir, Path::new("/run/edge-hub"));
    assert_eq!(config.drain.as_secs(), 20);
}

#[test]
fn values_that_are_allowed() {
    let config = good(&with(
        r#""cache_max_bytes": "1GiB", "own_addresses": null, "client_cert": "node.pem", "client_key": "node.pem",
           "cache_agents": ["*", "-Noisy"], "listen": ["[fd00::2:1]:10268"], "drain_secs": 0, "node_name": "a.b-c",
           "store": "ram", "cache_dir": "cache", "flush_secs": 3600, "daily_write_bytes": "1TiB", "run_dir": "/run/x",
           "seal_key_file": "/missing/is/looked/for/later",
           "client_ca_file": "ca.crt", "identities": [{"cn": "x", "cert": "c", "key": "k"}, {"cn": "x", "o": "y", "cert": "c", "key": "k"}]"#,
    ));
    assert_eq!(config.cache_bytes_max, 1 << 30);
    assert!(config.own_addresses.is_empty());
    assert_eq!(
        config.client.unwrap().cert,
        Path::new("/etc/edge-hub/node.pem"),
        "relative to the file"
    );
    assert_eq!(
        config.cache_agents,
        [AgentRule::All, AgentRule::Not("noisy".to_owned())]
    );
    assert_eq!(config.identities.len(), 2);
    assert_eq!(config.store, StoreKind::Ram);
    assert_eq!(config.cache_dir, Path::new("/etc/edge-hub/cache"));
    assert_eq!(config.flush.as_secs(), 3600);
    assert_eq!(config.daily_write_bytes, 1 << 40);
    assert!(config.seal_key_file.is_some());
}

#[test]
fn each_mistake_has_its_place_and_its_way_out() {
    // The rest of the file, the key, line and column, and what the message says.
    type Mistake = (
        &'static str,
        &'static str,
        Option<(usize, usize)>,
        &'static [&'static str],
    );
    let table: &[Mistake] = &[
        (
            r#""cacheagents": []"#,
            "cacheagents",
            Some((2, 1)),
            &["no such key", "did you mean `cache_agents`?"],
        ),
        (
            r#""colour": 1"#,
            "colour",
            Some((2, 1)),
            &["no such key", "README"],
        ),
        (
            r#""drain_secs": "20""#,
            "drain_secs",
            Some((2, 1)),
            &["\"20\" is a string", "from 0 to 3600"],
        ),
        (
            r#""drain_secs": -1"#,
            "drain_secs",
            Some((2, 1)),
            &["-1 is out of range", "from 0 to 3600"],
        ),
        (
            r#""drain_secs": 3601"#,
            "drain_secs",
            Some((2, 1)),
            &["out of range"],
        ),
        (
            r#""drain_secs": 1.5"#,
            "drain_secs",
            Some((2, 1)),
            &["1.5 is out of range", "whole number"],
        ),
        (
            r#""drain_secs": null"#,
            "drain_secs",
            Some((2, 1)),
            &["is nothing"],
        ),
        (
            r#""mode": "round_robin""#,
            "mode",
            Some((2, 1)),
            &["did you mean \"round-robin\"?", "\"priority\" or"],
        ),
        (
            r#""store": "rang""#,
            "store",
            Some((2, 1)),
            &[
                "\"rang\" is not known",
                "allowed: \"ring\" or \"ram\"",
                "did you mean \"ring\"?",
            ],
        ),
        (
            r#""client": "join""#,
            "client",
            Some((2, 1)),
            &["\"files\" or \"joined\"", "did you mean \"joined\"?"],
        ),
        (
            r#""client": "joined", "client_cert": "c", "client_key": "k""#,
            "client",
            Some((2, 1)),
            &["names another pair", "take out"],
        ),
        (
            r#""serving": "csr""#,
            "serving",
            Some((2, 1)),
            &["no pair of its own", "edge-hub join"],
        ),
        (
            r#""serving": "csr", "client": "joined", "serving_cert": "c", "serving_key": "k""#,
            "serving",
            Some((2, 1)),
            &["names another pair"],
        ),
        (
            r#""cache_dir": """#,
            "cache_dir",
            Some((2, 1)),
            &["no path"],
        ),
        (
            r#""cache_dir": "/run/edge-hub/cache""#,
            "cache_dir",
            Some((2, 1)),
            &["one lies within the other", "beside each other"],
        ),
        (
            r#""run_dir": "/etc/kubernetes/cache""#,
            "run_dir",
            Some((2, 1)),
            &["one lies within the other"],
        ),
        (
            r#""cache_dir": "/data", "run_dir": "/data/run""#,
            "run_dir",
            Some((2, 23)),
            &["one lies within the other"],
        ),
        (
            r#""flush_secs": 0"#,
            "flush_secs",
            Some((2, 1)),
            &["0 is out of range", "from 1 to 3600"],
        ),
        (
            r#""flush_secs": 3601"#,
            "flush_secs",
            Some((2, 1)),
            &["out of range"],
        ),
        (
            r#""daily_write_bytes": 1048575"#,
            "daily_write_bytes",
            Some((2, 1)),
            &["1 MiB to 1 TiB"],
        ),
        (
            r#""daily_write_bytes": "1025GiB""#,
            "daily_write_bytes",
            Some((2, 1)),
            &["out of range"],
        ),
        (
            r#""seal_key_file": """#,
            "seal_key_file",
            Some((2, 1)),
            &["no path"],
        ),
        (
            r#""cache_max_bytes": 1048575"#,
            "cache_max_bytes",
            Some((2, 1)),
            &["1 MiB to 1 GiB"],
        ),
        (
            r#""cache_max_bytes": "8MB""#,
            "cache_max_bytes",
            Some((2, 1)),
            &["\"8MB\" is out of range", "8MiB"],
        ),
        (
            r#""cache_max_bytes": "2GiB""#,
            "cache_max_bytes",
            Some((2, 1)),
            &["out of range"],
        ),
        (
            r#""listen": "127.0.0.1:1""#,
            "listen",
            Some((2, 1)),
            &["is a string", "a list of 1 to 64"],
        ),
        (r#""listen": []"#, "listen", Some((2, 1)), &["serve nobody"]),
        (
            r#""listen": ["127.0.0.1:1", 7]"#,
            "listen[1]",
            Some((2, 27)),
            &["7 is a number"],
        ),
        (
            r#""listen": ["127.0.0.1:0"]"#,
            "listen[0]",
            Some((2, 12)),
            &["port 0", "1 to 65535"],
        ),
        (
            r#""listen": ["127.0.0.1"]"#,
            "listen[0]",
            Some((2, 12)),
            &["the port is missing"],
        ),
        (
            r#""listen": ["localhost:1"]"#,
            "listen[0]",
            Some((2, 12)),
            &["not looked up"],
        ),
        (
            r#""listen": ["127.0.0.1:1", "127.0.0.1:1"]"#,
            "listen[1]",
            Some((2, 27)),
            &["second time"],
        ),
        (
            r#""listen": ["127.0.0.1:1", "0.0.0.0:1"]"#,
            "listen[1]",
            Some((2, 27)),
            &["overlap"],
        ),
        (
            r#""admin_listen": "127.0.0.1:10268""#,
            "admin_listen",
            Some((2, 1)),
            &["also in `listen`"],
        ),
        (
            r#""admin_listen": "127.0.0.1:0""#,
            "admin_listen",
            Some((2, 1)),
            &["port 0"],
        ),
        (
            r#""local_listen": "169.254.2.1:10261""#,
            "local_listen",
            Some((2, 1)),
            &["no TLS", "127.0.0.1:10261"],
        ),
        (
            r#""local_listen": "0.0.0.0:10261""#,
            "local_listen",
            Some((2, 1)),
            &["no TLS"],
        ),
        (
            r#""local_listen": "127.0.0.1:10268""#,
            "local_listen",
            Some((2, 1)),
            &["also in `listen`"],
        ),
        (
            r#""local_listen": "127.0.0.1:10267""#,
            "local_listen",
            Some((2, 1)),
            &["`admin_listen`"],
        ),
        (
            r#""local_listen": 10261"#,
            "local_listen",
            Some((2, 1)),
            &["a number", "or null"],
        ),
        (
            r#""local_uids": ["root"]"#,
            "local_uids[0]",
            Some((2, 16)),
            &["id -u"],
        ),
        (
            r#""local_uids": [0, -1]"#,
            "local_uids[1]",
            Some((2, 19)),
            &["id -u"],
        ),
        (
            r#""local_uids": [4294967295]"#,
            "local_uids[0]",
            Some((2, 16)),
            &["id -u"],
        ),
        (
            r#""own_addresses": ["0.0.0.0"]"#,
            "own_addresses[0]",
            Some((2, 19)),
            &["no device"],
        ),
        (
            r#""own_addresses": ["127.0.0.9"]"#,
            "own_addresses[0]",
            Some((2, 19)),
            &["already"],
        ),
        (
            r#""own_addresses": ["169.254.2.1/32"]"#,
            "own_addresses[0]",
            Some((2, 19)),
            &["prefix length"],
        ),
        (
            r#""client_cert": "/x""#,
            "client_cert",
            Some((2, 1)),
            &["`client_key` is not", "or neither"],
        ),
        (
            r#""serving_key": "/x""#,
            "serving_key",
            Some((2, 1)),
            &["`serving_cert` is not"],
        ),
        (
            r#""ca_file": "/missing""#,
            "ca_file",
            Some((2, 1)),
            &["/missing: there is no such file", "set `ca_file`"],
        ),
        (r#""ca_file": """#, "ca_file", Some((2, 1)), &["no path"]),
        (
            r#""node_name": "GW_1""#,
            "node_name",
            Some((2, 1)),
            &["cannot be a node's name", "kubectl get nodes"],
        ),
        (
            r#""extra_sans": ["a b"]"#,
            "extra_sans[0]",
            Some((2, 16)),
            &["neither a DNS name"],
        ),
        (
            r#""cache_agents": ["kubelet/v1"]"#,
            "cache_agents[0]",
            Some((2, 18)),
            &["without the version"],
        ),
        (
            r#""log": "loud""#,
            "log",
            Some((2, 1)),
            &["\"loud\" is no log filter", "debug"],
        ),
        (
            r#""probe_max_ms": 900"#,
            "probe_max_ms",
            Some((2, 1)),
            &["probe_min_ms is 1000"],
        ),
        (
            r#""probe_min_ms": 31000"#,
            "probe_min_ms",
            Some((2, 1)),
            &["probe_max_ms is 30000"],
        ),
        (
            r#""mode": "priority", "mode": "priority""#,
            "mode",
            Some((2, 21)),
            &["second time", "take one"],
        ),
        (
            r#""identities": [{"cn": "a"}]"#,
            "identities[0]",
            Some((2, 16)),
            &["is missing"],
        ),
        (
            r#""identities": [7]"#,
            "identities[0]",
            Some((2, 16)),
            &["7 is a number", "an object"],
        ),
        (
            r#""identities": [{"cn": 7, "cert": "c", "key": "k"}]"#,
            "identities[0].cn",
            Some((2, 17)),
            &["7 is a number"],
        ),
        (
            r#""identities": [{"cm": "a", "cn": "a", "cert": "c", "key": "k"}]"#,
            "identities[0].cm",
            Some((2, 17)),
            &["did you mean `cn`?"],
        ),
        (
            r#""identities": [{"cn": "a", "cert": "c", "key": "k"}]"#,
            "identities",
            Some((2, 1)),
            &["client_ca_file"],
        ),
        (
            r#""client_ca_file": "/ca", "identities": [{"cn": "a", "cert": "/missing", "key": "/k"}]"#,
            "identities[0].cert",
            Some((2, 53)),
            &["no such file"],
        ),
        (
            r#""client_ca_file": "/ca", "identities": [{"cn": "a", "cert": "c", "key": "k"}, {"cn": "a", "cert": "c", "key": "k"}]"#,
            "identities[1].cn",
            Some((2, 80)),
            &["second time"],
        ),
        (
            r#""client_ca_file": "/ca", "identities": [{"cn": "system:*", "cert": "c", "key": "k"}]"#,
            "identities[0].cn",
            Some((2, 42)),
            &["is a pattern", "system:node:*"],
        ),
        (
            r#""client_ca_file": "/ca", "identities": [{"cn": " ", "cert": "c", "key": "k"}]"#,
            "identities[0].cn",
            Some((2, 42)),
            &["no name", "system:node"],
        ),
    ];
    for (rest, key, place, parts) in table {
        let found = problems(&with(rest));
        let problem = found.first().expect(rest);
        assert_eq!(
            (problem.key.as_str(), problem.place),
            (*key, *place),
            "{rest}\n{found:#?}"
        );
        let shown = problem.to_string();
        parts
            .iter()
            .for_each(|part| assert!(shown.contains(part), "{part} in {shown}"));
        let siblings = if problem.what.ends_with("` is missing") {
            2
        } else {
            1
        };
        assert_eq!(
            found.len(),
            siblings,
            "one mistake is told once: {found:#?}"
        );
    }
}

#[test]
fn mistakes_in_servers() {
    for (text, key, part) in [
        ("{}", "servers", "no API server is named"),
        (r#"{"servers": []}"#, "servers", "no API server is named"),
        (r#"{"servers": "https://a:1"}"#, "servers", "is a string"),
        (
            r#"{"servers": ["http://a:1"]}"#,
            "servers[0]",
            "in the clear",
        ),
        (r#"{"servers": ["https://a:0"]}"#, "servers[0]", "port 0"),
        (
            r#"{"servers": ["https://a:1", "https://A:1/"]}"#,
            "servers[1]",
            "second time",
        ),
        (
            r#"{"servers": ["https://127.0.0.1:10268"]}"#,
            "servers[0]",
            "the hub itself",
        ),
        (
            r#"{"servers": ["https://169.254.2.1:10268"]}"#,
            "servers[0]",
            "the hub itself",
        ),
    ] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert_eq!(found[0].key, key, "{text}");
        assert!(found[0].to_string().contains(part), "{text}\n{}", found[0]);
    }
    let many = (0..65)
        .map(|i| format!("\"https://h{i}:1\""))
        .collect::<Vec<_>>()
        .join(",");
    assert!(
        problems(&format!("{{\"servers\": [{many}]}}"))[0]
            .what
            .contains("65 entries")
    );
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = "{\n \"log\": 7,\n \"servers\": [\"x\"],\n \"modes\": \"priority\",\n \"ca_file\": \"missing\",\n \"probe_min_ms\": 0\n}";
    let keys: Vec<String> = problems(text).into_iter().map(|p| p.key).collect();
    assert_eq!(
        keys,
        ["log", "servers[0]", "modes", "ca_file", "probe_min_ms"]
    );
    let shown = parse_bytes(text.as_bytes()).unwrap_err().to_string();
    assert!(
        shown.starts_with("/etc/edge-hub/config.json:2:2: log: "),
        "{shown}"
    );
    assert_eq!(shown.lines().count(), 5);
    let many = (0..1000)
        .map(|i| format!("\"unknown{i}\":0"))
        .collect::<Vec<_>>()
        .join(",");
    assert_eq!(problems(&with(&many)).len(), CONFIG_PROBLEMS_MAX);
}

#[test]
fn no_host_name_and_a_bad_one() {
    let text = br#"{"servers": ["https://a:1"]}"#;
    for (host_name, part) in [
        (None, "no host name"),
        (Some("my_box"), "the host name \"my_box\" cannot"),
    ] {
        let rim = Rim {
            base: Path::new(""),
            host_name: host_name.map(str::to_owned),
            look: &|_| Ok(()),
        };
        let error = Config::from_bytes(text, Path::new(PATH), &rim)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(part) && error.contains("set `node_name`"),
            "{error}"
        );
    }
}

#[test]
fn what_is_not_json_says_where() {
    for (text, place, parts) in [
        ("", (1, 0), &["the file is empty"][..]),
        (
            "{\n  \"mode\": \"priority\",\n}",
            (3, 1),
            &["trailing comma", "take out the comma"],
        ),
        ("{\n  // servers\n}", (2, 3), &["no comments"]),
        ("{'servers': 1}", (1, 2), &["double quotes"]),
        ("{\"servers\": [}", (1, 14), &["not JSON"]),
        ("{} {}", (1, 4), &["trailing characters"]),
    ] {
        let error = parse_bytes(text.as_bytes()).unwrap_err();
        let shown = error.to_string();
        assert!(
            matches!(&error, ConfigError::Json { line, column, .. } if (*line, *column) == place),
            "{text}: {shown}"
        );
        parts
            .iter()
            .for_each(|part| assert!(shown.contains(part), "{part} in {shown}"));
    }
    assert!(problems("[]")[0].what.contains("the file holds a list"));
    assert!(
        parse_bytes(&b"[".repeat(10_000)).is_err(),
        "depth is bounded"
    );
}

#[test]
fn encodings() {
    let text = r#"{"servers": ["https://a:1"]}"#;
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    assert!(parse_bytes(&marked).is_ok(), "a UTF-8 mark is skipped");
    for (bytes, part) in [
        (&b"\xff\xfe{\0"[..], "UTF-16"),
        (b"\xfe\xff\0{", "UTF-16"),
        (b"{\n\"a\": \"\xfc\"}", "line 2 holds a byte"),
    ] {
        let error = parse_bytes(bytes).unwrap_err().to_string();
        assert!(
            error.contains(part) && error.contains("save it as UTF-8"),
            "{error}"
        );
    }
}

#[test]
fn a_message_never_carries_control_characters_or_long_values() {
    let long = "x".repeat(10_000);
    let text = with(&format!("\"a\\u001b[2J\\n\": 1, \"log\": \"{long}\""));
    for problem in problems(&text) {
        let shown = problem.to_string();
        assert!(
            !shown.contains(char::is_control) && shown.len() < 400,
            "{shown}"
        );
    }
}

#[test]
fn no_prefix_of_a_file_breaks_it() {
    let text = with(
        r#""identities": [{"cn": "\u00e4\"", "cert": null, "x": [{}]}], "a": {"b": [1, 2]}, "a": 1e99, "log": "x""#,
    );
    for end in 0..=text.len() {
        let _ = parse_bytes(&text.as_bytes()[..end]);
    }
}

#[test]
fn files_at_and_past_the_bound_and_none() {
    let dir = Dir::new("bound");
    let ca = dir.write("ca.crt", b"");
    let text = |len: usize| {
        let text = format!(
            "{{\"servers\": [\"https://a:1\"], \"node_name\": \"a\", \"ca_file\": \"{}\"}}",
            ca.display()
        );
        let fill = " ".repeat(len - text.len());
        text + &fill
    };
    let at = dir.write("at.json", text(CONFIG_BYTES_MAX).as_bytes());
    assert!(Config::load(&at).is_ok());
    let past = dir.write("past.json", text(CONFIG_BYTES_MAX + 1).as_bytes());
    assert!(
        Config::load(&past)
            .unwrap_err()
            .to_string()
            .contains("longer than 262144 bytes")
    );
    let none = Config::load(&dir.0.join("none.json"))
        .unwrap_err()
        .to_string();
    assert!(
        none.contains("no such file") && none.contains("--config"),
        "{none}"
    );
    assert!(
        Config::load(&dir.0)
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
}

#[test]
fn a_folder_is_no_certificate() {
    let dir = Dir::new("folder");
    let path = dir.write(
        "c.json",
        br#"{"servers": ["https://a:1"], "node_name": "a", "ca_file": "."}"#,
    );
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.contains("it is not a file"), "{error}");
}

#[test]
fn a_reload_tells_what_it_cannot_do() {
    let old = good(&with(r#""store": "ram""#));
    assert!(changed(&old, &old.clone()).is_empty());
    for (rest, want) in [
        (r#""log": "debug""#, &[][..]),
        (r#""cache_agents": ["a"], "drain_secs": 1"#, &[]),
        (r#""listen": ["127.0.0.1:1"], "log": "warn""#, &["listen"]),
        (
            r#""cache_max_bytes": "1MiB", "node_name": "b""#,
            &["node_name"],
        ),
    ] {
        let file = good(&with(&format!(r#""store": "ram", {rest}"#)));
        let mut new = file.clone();
        assert_eq!(keep_until_restart(&old, &mut new), want, "{rest}");
        // What is not told is taken over, what is told is as it was.
        let taken: Vec<&str> = changed(&old, &new).iter().map(|key| key.name).collect();
        let all = changed(&old, &file);
        let rest_of = |key: &&&Key| key.reload != Reload::Restart;
        let live: Vec<&str> = all.iter().filter(rest_of).map(|key| key.name).collect();
        assert_eq!(taken, live, "{rest}");
    }
    // The ring's files are made once, so there the cap waits for a restart, and for the restart alone.
    let ring = good(&with(r#""store": "ring""#));
    for (old, new, want) in [
        (
            &ring,
            r#""store": "ring", "cache_max_bytes": "1MiB""#,
            &["cache_max_bytes"][..],
        ),
        (
            &ring,
            r#""store": "ram", "cache_max_bytes": "1MiB""#,
            &["store", "cache_max_bytes"],
        ),
        (
            &old,
            r#""store": "ring", "cache_max_bytes": "1MiB""#,
            &["store"],
        ),
    ] {
        let mut new = good(&with(new));
        assert_eq!(keep_until_restart(old, &mut new), want);
    }
    let new = good(&with(
        r#""store": "ram", "client_cert": "/a", "client_key": "/b""#,
    ));
    assert_eq!(
        changed(&old, &new)
            .iter()
            .map(|key| key.name)
            .collect::<Vec<_>>(),
        ["client_cert", "client_key"]
    );
}

#[test]
fn a_change_of_each_key_is_seen() {
    let other = |name: &str| match name {
        "servers" => r#""servers": ["https://b:6443"]"#.to_owned(),
        "mode" => r#""mode": "round-robin""#.to_owned(),
        "working_mode" => r#""working_mode": "cloud""#.to_owned(),
        "listen" | "own_addresses" | "admin_listen" => {
            let list = [
                r#""listen": ["[::1]:7"]"#,
                r#""own_addresses": []"#,
                r#""admin_listen": "[::1]:8""#,
            ];
            list.iter()
                .find(|text| text.contains(name))
                .unwrap()
                .to_string()
        }
        "ca_file" | "client_ca_file" | "state_dir" | "node_name" | "cache_dir" | "run_dir"
        | "seal_key_file" => format!("\"{name}\": \"other\""),
        "client_cert" | "client_key" => r#""client_cert": "c", "client_key": "k""#.to_owned(),
        "serving_cert" | "serving_key" => r#""serving_cert": "c", "serving_key": "k""#.to_owned(),
        "identities" => {
            r#""client_ca_file": "ca", "identities": [{"cn": "a", "cert": "c", "key": "k"}]"#
                .to_owned()
        }
        "filters" => r#""filters": ["-hubca"]"#.to_owned(),
        "extra_sans" | "cache_agents" => format!("\"{name}\": [\"other\"]"),
        "local_listen" => r#""local_listen": "127.0.0.1:7""#.to_owned(),
        "local_uids" => r#""local_uids": []"#.to_owned(),
        "neighbours" => r#""neighbours": "serve""#.to_owned(),
        "log" => r#""log": "warn""#.to_owned(),
        "jwks_from_callers" => r#""jwks_from_callers": true"#.to_owned(),
        "client" => r#""client": "joined""#.to_owned(),
        "serving" => r#""serving": "csr", "client": "joined""#.to_owned(),
        "store" => r#""store": "ram""#.to_owned(),
        "cache_max_bytes" | "daily_write_bytes" => format!("\"{name}\": \"1MiB\""),
        _ => format!("\"{name}\": 1900"),
    };
    let old = good("{\"servers\": [\"https://a:6443\"]}");
    for key in KEYS {
        let text = match key.name {
            "servers" => format!("{{{}}}", other(key.name)),
            name => with(&other(name)),
        };
        let seen: Vec<&str> = changed(&old, &good(&text))
            .iter()
            .map(|key| key.name)
            .collect();
        assert!(seen.contains(&key.name), "{} in {seen:?}", key.name);
        assert!(seen.len() <= 2, "{} in {seen:?}", key.name);
    }
}

// ---- the tables

#[test]
fn the_table_of_keys_is_the_struct() {
    let serde_json::Value::Object(map) = serde_json::to_value(File::default()).unwrap() else {
        panic!()
    };
    let mut of_struct: Vec<&str> = map.keys().map(String::as_str).collect();
    let mut of_table: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    of_struct.sort_unstable();
    of_table.sort_unstable();
    assert_eq!(of_struct, of_table);
    for key in KEYS {
        let default = if key.default.is_empty() {
            "[]"
        } else {
            key.default
        };
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(default).unwrap(),
            map[key.name],
            "{}",
            key.name
        );
    }
    let serde_json::Value::Object(map) = serde_json::to_value(FileIdentity::default()).unwrap()
    else {
        panic!()
    };
    let mut of_struct: Vec<&str> = map.keys().map(String::as_str).collect();
    let mut of_table: Vec<&str> = IDENTITY_KEYS.iter().map(|key| key.name).collect();
    of_struct.sort_unstable();
    of_table.sort_unstable();
    assert_eq!(of_struct, of_table);
}

#[test]
fn every_key_is_read() {
    // Each key alone, with its own default, is accepted.
    for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
        good(&with(&format!("\"{}\": {}", key.name, key.default)));
    }
    assert!(known("servers").is_some() && known("server").is_none());
}

/// The rows of the README's table after `<!-- name -->`, cell by cell.
fn readme_table(name: &str) -> Vec<Vec<String>> {
    let text = include_str!("../README.md");
    let (_, rest) = text.split_once(&format!("<!-- {name} -->\n")).expect(name);
    let (table, _) = rest.split_once("<!-- end -->").expect(name);
    let cells = |line: &str| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    table.lines().skip(2).map(cells).collect()
}

#[test]
fn the_readme_has_the_tables_of_the_code() {
    let keys: Vec<Vec<String>> = KEYS
        .iter()
        .map(|key| {
            let default = if key.default.is_empty() {
                "required".to_owned()
            } else {
                format!("`{}`", key.default)
            };
            vec![
                format!("`{}`", key.name),
                key.kind.allowed(),
                default,
                key.reload.told().to_owned(),
                key.text.to_owned(),
            ]
        })
        .collect();
    assert_eq!(readme_table("keys"), keys);
    let keys: Vec<Vec<String>> = IDENTITY_KEYS
        .iter()
        .map(|key| {
            let required = if key.required { "required" } else { "optional" };
            vec![
                format!("`{}`", key.name),
                required.to_owned(),
                key.text.to_owned(),
            ]
        })
        .collect();
    assert_eq!(readme_table("identity keys"), keys);
    let exits: Vec<Vec<String>> = EXITS
        .iter()
        .map(|(exit, text)| vec![exit.code().to_string(), (*text).to_owned()])
        .collect();
    assert_eq!(readme_table("exit codes"), exits);
    let told = readme_table("filters");
    let told: Vec<[&str; 2]> = told.iter().map(|row| [&*row[0], &*row[1]]).collect();
    let filters: Vec<[String; 2]> = (Filter::ALL.into_iter())
        .map(|filter| [format!("`{}`", filter.name()), filter.agents().join(", ")])
        .collect();
    assert_eq!(told, filters);
}

#[test]
fn the_readme_names_every_metric() {
    // The names are literals of these two files, whole, and nowhere else.
    let code = [
        include_str!("../src/admin/metrics.rs"),
        include_str!("../src/admin/report.rs"),
    ]
    .concat();
    let mut of_code: Vec<&str> = code
        .split('"')
        .filter(|word| {
            word.starts_with("edge_hub_")
                && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        })
        .collect();
    let table = readme_table("metrics");
    let mut of_readme: Vec<&str> = table.iter().map(|row| row[0].trim_matches('`')).collect();
    of_code.sort_unstable();
    of_readme.sort_unstable();
    assert_eq!(of_readme, of_code);
    for row in &table {
        assert!(code.contains(&row[1]), "{row:?}");
    }
}

#[test]
fn the_readmes_examples_are_good() {
    let text = include_str!("../README.md");
    let examples: Vec<&str> = text
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(!examples.is_empty());
    examples.iter().for_each(|text| drop(good(text)));
}

// ---- the commands

/// A folder of one test, gone at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!(
            "edge-hub-test-{}-{count}-{name}",
            std::process::id()
        ));
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn hub(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-hub"));
    command
        .args(args)
        .env_remove("RUST_LOG")
        .env_remove("JOURNAL_STREAM");
    command
}

fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_command_line() {
    let dir = Dir::new("cli");
    let bad = dir.write("bad.json", br#"{"server": []}"#);
    let bad = bad.to_str().unwrap();
    for (args, code, part) in [
        (&["--version"][..], 0, "edge-hub 0.1.0\n"),
        (&["version"], 0, "edge-hub 0.1.0\n"),
        (&["--help"], 0, "status"),
        (&["run", "--help"], 0, "--config"),
        (&[], 2, "Usage: edge-hub run|join|check"),
        (&["start"], 2, "Usage"),
        (&["run", "--confg", "x"], 2, "Usage"),
        (&["run", "--config"], 2, "Usage"),
        (&["run", "--config=/none/config.json"], 3, "no such file"),
        (&["run", "--config", "/none/config.json"], 3, "no such file"),
        (&["run", "--config", bad], 3, "did you mean `servers`?"),
        (&["check", "--config", bad], 4, "FAIL  "),
        (&["check", "--config", "/none/config.json"], 4, "FAIL  "),
        (&["join", "--help"], 0, "--token-file"),
        (&["join"], 2, "--server"),
        (&["join", "--server", "http://a:1"], 2, "plain http"),
        (
            &["join", "--server", "https://a:1", "--ca-hash", "x"],
            2,
            "--ca-hash: sha256:",
        ),
        (
            &["join", "--server", "https://a:1", "--wait", "86401"],
            2,
            "86400 at most",
        ),
        (
            &["join", "--server", "https://a:1", "--node-name", "A_b"],
            2,
            "--node-name: ",
        ),
        (
            &[
                "join",
                "--server",
                "https://a:1",
                "--node-name",
                "a",
                "--config",
                bad,
            ],
            3,
            "is there already",
        ),
    ] {
        let output = hub(args).output().unwrap();
        let told = told(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{told}");
        assert!(told.contains(part), "{args:?}\n{told}");
    }
}

#[test]
fn the_cache_where_nothing_is_kept() {
    let dir = Dir::new("no-cache");
    dir.write("ca.crt", b"");
    let config = |name: &str, store: &str| {
        let text = format!(
            r#"{{"servers": ["https://10.0.0.1:6443"], "ca_file": "ca.crt", "state_dir": "state",
                "cache_dir": "cache", "run_dir": "run", "store": "{store}"}}"#
        );
        dir.write(name, text.as_bytes()).display().to_string()
    };
    let (ring, ram) = (config("ring.json", "ring"), config("ram.json", "ram"));
    for (args, code, part) in [
        (&["cache"][..], 2, "Usage"),
        (&["cache", "--help"], 0, "export"),
        (&["cache", "get", "--config", &ring], 2, "agent"),
        (
            &["cache", "ls", "--config", "/none/config.json"],
            3,
            "no such file",
        ),
        (&["cache", "ls", "--config", &ring], 5, "nothing is kept in"),
        (&["cache", "ls", "--config", &ram], 5, "nothing outlives it"),
        (
            &["cache", "drop", "kubelet", "--config", &ring],
            5,
            "nothing is kept in",
        ),
    ] {
        let output = hub(args).output().unwrap();
        let told = told(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{told}");
        assert!(told.contains(part), "{args:?}\n{told}");
    }
    // Who only looks leaves nothing.
    for name in ["state", "cache", "run"] {
        assert!(!dir.0.join(name).exists(), "{name}");
    }
    // A key that is lost is not made anew, and a ring that is none is not touched.
    let place = dir.0.join("cache/_internal/ring");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("super"), b"nothing").unwrap();
    let asked = || {
        hub(&["cache", "drop", "kubelet", "--config", &ring])
            .output()
            .unwrap()
    };
    let output = asked();
    assert_eq!(output.status.code(), Some(5));
    assert!(told(&output).contains("is lost") && !dir.0.join("state").exists());
    fs::create_dir(dir.0.join("state")).unwrap();
    dir.write("state/cache.key", &[7; 32]);
    let output = asked();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
}

#[test]
fn an_argument_that_is_not_utf8_is_a_usage_error() {
    use std::os::unix::ffi::OsStrExt;
    let output = hub(&[])
        .arg(std::ffi::OsStr::from_bytes(b"\xff"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// Answers each of `count` requests with the same bytes, by plain HTTP.
fn plain_server(answer: &'static [u8], count: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming().take(count) {
            let mut socket = socket.unwrap();
            read_head(&mut socket);
            let _ = socket.write_all(answer);
        }
    });
    port
}

/// Speaks first, and not TLS.
fn loud_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = socket.read_to_end(&mut Vec::new());
    });
    port
}

fn read_head(from: &mut impl Read) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && from.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
}

#[test]
fn status_prints_what_the_hub_says() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e\r\n{\"version\":\"0.1.0\",\"node_name\":\"gw-1\",\"link\":{\"state\":\"down\"}}\r\n0\r\n\r\n";
    let dir = Dir::new("status");
    let ask = |answer: &'static [u8], args: &[&str]| {
        let port = plain_server(answer, 1);
        // The rest of the file is wrong, and the hub is found all the same.
        let config = dir.write(
            "c.json",
            format!("{{\"admin_listen\": \"127.0.0.1:{port}\", \"nonsense\": 1}}").as_bytes(),
        );
        hub(&["status", "--config", config.to_str().unwrap()])
            .args(args)
            .output()
            .unwrap()
    };
    let output = ask(ANSWER, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(
        told(&output).contains("edge-hub 0.1.0 on gw-1")
            && told(&output).contains("link      DOWN"),
        "{}",
        told(&output)
    );
    let output = ask(ANSWER, &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["node_name"], "gw-1");
    for (answer, part) in [
        (
            &b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"[..],
            "it answered 404",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP server"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "no edge-hub",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
            "ended early",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"a\": 1}<script",
            "no edge-hub",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
            "no edge-hub",
        ),
    ] {
        for args in [&[][..], &["--json"]] {
            let output = ask(answer, args);
            assert_eq!(output.status.code(), Some(5), "{}", told(&output));
            assert!(told(&output).contains(part), "{part} in {}", told(&output));
            assert!(output.stdout.is_empty(), "{}", told(&output));
        }
    }
}

#[test]
fn status_without_a_hub() {
    let dir = Dir::new("nobody");
    // Bound and let go: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = dir.write(
        "c.json",
        format!("{{\"admin_listen\": \"127.0.0.1:{port}\"}}").as_bytes(),
    );
    let output = hub(&["status", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(
        told(&output).contains("No edge-hub answers"),
        "{}",
        told(&output)
    );
}

// ---- check

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

fn authority(name: &str) -> Authority {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let pem = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
    Authority {
        issuer: rcgen::Issuer::new(params, key),
        pem,
    }
}

/// A pair for the name, valid in these years.
fn issue(
    by: &Authority,
    san: &str,
    cn: &str,
    years: (i32, i32),
) -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![san.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, cn);
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    (params.signed_by(&key, &by.issuer).unwrap(), key)
}

const GOOD: (i32, i32) = (2020, 2100);

/// Answers one request by TLS with that certificate.
fn tls_server(pair: (rcgen::Certificate, rcgen::KeyPair), answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(pair.1.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = Arc::new(
        config
            .with_no_client_auth()
            .with_single_cert(vec![pair.0.der().clone()], key.into())
            .unwrap(),
    );
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut tls = rustls::ServerConnection::new(config).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        read_head(&mut stream);
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.flush();
    });
    port
}

/// Two ports that nobody had a moment ago.
fn free_ports() -> (u16, u16) {
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (a, b) = (bind(), bind());
    (
        a.local_addr().unwrap().port(),
        b.local_addr().unwrap().port(),
    )
}

/// Runs `check` with the server and these further keys.
fn check(dir: &Dir, server: &str, ca: &Authority, rest: &str) -> (Option<i32>, String) {
    let (listen, admin) = free_ports();
    dir.write("ca.crt", ca.pem.as_bytes());
    let text = format!(
        r#"{{"servers": ["{server}"], "node_name": "gw-1", "ca_file": "ca.crt", "own_addresses": [],
            "state_dir": "state/x", "cache_dir": "state/cache", "run_dir": "state/run",
            "listen": ["127.0.0.1:{listen}"], "admin_listen": "127.0.0.1:{admin}"{rest}}}"#
    );
    let config = dir.write("c.json", text.as_bytes());
    let output = hub(&["check", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    (output.status.code(), told(&output))
}

#[test]
fn check_tells_what_is_wrong_with_a_server() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    const LATE: &str =
        "HTTP/1.1 200 OK\r\nDate: Fri, 03 Jan 2025 00:00:00 GMT\r\nContent-Length: 2\r\n\r\n{}";
    const DENIED: &str = "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n";
    let dir = Dir::new("server");
    let (ours, other) = (authority("our ca"), authority("other ca"));
    for (by, san, years, answer, code, part) in [
        (
            &ours,
            "127.0.0.1",
            GOOD,
            ANSWER,
            0,
            "answers, and its certificate is good",
        ),
        (&ours, "127.0.0.1", GOOD, LATE, 0, "warn  clock is"),
        (&ours, "127.0.0.1", GOOD, DENIED, 0, "answers 401"),
        (
            &ours,
            "127.0.0.1",
            (2020, 2021),
            ANSWER,
            4,
            "expired at 2021-01-01",
        ),
        (
            &ours,
            "127.0.0.1",
            (2090, 2100),
            ANSWER,
            4,
            "not valid before 2090-01-01",
        ),
        (&ours, "10.0.0.1", GOOD, ANSWER, 4, "not for 127.0.0.1"),
        (
            &other,
            "127.0.0.1",
            GOOD,
            ANSWER,
            4,
            "issued by CN=other ca) is not signed by a CA in ca_file",
        ),
        (
            &ours,
            "127.0.0.1",
            GOOD,
            "SSH",
            4,
            "no answer after the connection",
        ),
    ] {
        let port = tls_server(issue(by, san, "api", years), answer);
        let (got, text) = check(&dir, &format!("https://127.0.0.1:{port}"), &ours, "");
        assert_eq!(got, Some(code), "{part}\n{text}");
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let port = loud_server();
    let (_, text) = check(&dir, &format!("https://127.0.0.1:{port}"), &ours, "");
    assert!(text.contains("it does not speak TLS"), "{text}");
    let (port, _) = free_ports();
    let (code, text) = check(&dir, &format!("https://127.0.0.1:{port}"), &ours, "");
    assert!(
        code == Some(4) && text.contains("no connection (127.0.0.1:"),
        "{text}"
    );
    assert!(!dir.0.join("state").exists(), "check leaves nothing behind");
}

#[test]
fn check_knows_what_the_cluster_has_issued() {
    let dir = Dir::new("joined");
    let ca = authority("good CA");
    let keys = r#", "client": "joined", "serving": "csr", "client_ca_file": "ca.crt""#;
    let look = || {
        let (_, text) = check(&dir, "https://127.0.0.1:1", &ca, keys);
        text
    };
    let told = look();
    assert!(
        told.contains("FAIL  client: this node has not joined"),
        "{told}"
    );
    assert!(
        told.contains("warn  serving: the cluster has not signed yet"),
        "{told}"
    );
    let state = dir.0.join("state/x");
    fs::create_dir_all(&state).unwrap();
    let put = |name: &str, years: (i32, i32)| {
        let (cert, key) = issue(&ca, "gw-1", "system:node:gw-1", years);
        let text = pem("CERTIFICATE", cert.der()) + &pem("PRIVATE KEY", key.serialized_der());
        let path = state.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let pair = put("node.pem", GOOD);
    fs::set_permissions(&pair, fs::Permissions::from_mode(0o644)).unwrap();
    put("serving.pem", (2000, 2001));
    fs::write(
        state.join("serving-request.pem"),
        "edge-hub-serving-00\n".to_owned()
            + &pem(
                "PRIVATE KEY",
                rcgen::KeyPair::generate().unwrap().serialized_der(),
            ),
    )
    .unwrap();
    let told = look();
    for part in [
        "ok    client: CN=system:node:gw-1 is valid until 2100-01-01T00:00:00Z, and the hub renews it from 20",
        "node.pem holds a secret, and its mode 0644 lets others at it",
        "FAIL  serving: CN=system:node:gw-1: the certificate expired",
        "kubectl certificate approve edge-hub-serving-00",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains("gets 403"), "{told}");
    // Torn.
    fs::write(&pair, "-----BEGIN CERTIFICATE-----\n").unwrap();
    let told = look();
    assert!(told.contains("FAIL  client: "), "{told}");
}

#[test]
fn check_tells_what_is_wrong_with_files_and_ports() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let dir = Dir::new("files");
    let ca = authority("our ca");
    for (name, years) in [
        ("good", GOOD),
        ("other", GOOD),
        ("old", (2020, 2021)),
        ("early", (2090, 2100)),
    ] {
        let (cert, key) = issue(&ca, "node", "system:node:gw-1", years);
        dir.write(
            &format!("{name}.crt"),
            pem("CERTIFICATE", cert.der()).as_bytes(),
        );
        dir.write(
            &format!("{name}.key"),
            pem("PRIVATE KEY", &key.serialize_der()).as_bytes(),
        );
    }
    dir.write("empty", b"");
    dir.write("torn", b"-----BEGIN CERTIFICATE-----\nMIIB");
    let open = dir.write("open.key", &fs::read(dir.0.join("good.key")).unwrap());
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
    let pair =
        |cert: &str, key: &str| format!(r#", "client_cert": "{cert}", "client_key": "{key}""#);
    let identity = |cn: &str| {
        format!(
            r#", "client_ca_file": "ca.crt", "identities": [{{"cn": "{cn}", "cert": "good.crt", "key": "good.key"}}]"#
        )
    };
    for (rest, code, part) in [
        (
            pair("good.crt", "good.key"),
            0,
            "ok    client_cert and client_key belong together",
        ),
        (
            pair("good.crt", "open.key"),
            0,
            "holds a secret, and its mode 0644 lets others at it: chmod 0600",
        ),
        (
            pair("good.crt", "other.key"),
            4,
            "is not that of the first certificate",
        ),
        (pair("old.crt", "old.key"), 4, "expired at 2021-01-01"),
        (pair("early.crt", "early.key"), 4, "set the clock"),
        (
            pair("empty", "good.key"),
            4,
            "no PEM block CERTIFICATE; it is empty",
        ),
        (pair("torn", "good.key"), 4, "client_cert: "),
        (pair("good.crt", "empty"), 4, "no PEM block PRIVATE KEY"),
        (
            r#", "client_ca_file": "good.crt""#.to_owned(),
            0,
            "is not a CA",
        ),
        (
            identity("system:node:gw-1"),
            0,
            "the subject is the one in the entry",
        ),
        (
            identity("system:node:gw-2"),
            4,
            "would act as somebody else",
        ),
    ] {
        let port = tls_server(issue(&ca, "127.0.0.1", "api", GOOD), ANSWER);
        let (got, text) = check(&dir, &format!("https://127.0.0.1:{port}"), &ca, &rest);
        assert_eq!(got, Some(code), "{rest}\n{text}");
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn check_tells_what_is_wrong_with_the_cache() {
    use std::os::unix::fs::chown;
    let dir = Dir::new("cache");
    let ca = authority("our ca");
    dir.write("key", &[7; 32]);
    dir.write("short", &[7; 15]);
    dir.write("open", &[7; 32]);
    fs::set_permissions(dir.0.join("open"), fs::Permissions::from_mode(0o644)).unwrap();
    dir.write("file", b"");
    for name in ["torn", "good", "wide/_internal/ring", "others/_internal"] {
        fs::create_dir_all(dir.0.join(name)).unwrap();
    }
    dir.write("torn/cache.key", b"");
    dir.write("good/cache.key", &[7; 32]);
    let mode = |name: &str, bits| {
        fs::set_permissions(dir.0.join(name), fs::Permissions::from_mode(bits)).unwrap();
    };
    mode("wide", 0o777);
    mode("wide/_internal", 0o750);
    chown(dir.0.join("others/_internal"), Some(4711), None)
        .expect("this test needs root, to give a folder away");
    let memory = format!("/dev/shm/edge-hub-test-{}", std::process::id());
    // The keys that replace the usual ones, and what is said.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let table: &[Case<'_>] = &[
        (
            &[],
            &[
                "ok    cache_dir: ",
                "cache can be made",
                "ok    cache_dir: there is room for the 8388608 bytes",
                "ok    seal_key_file: the hub makes a key in ",
                "ok    run_dir: ",
                "is not in memory, so flash is written",
            ],
        ),
        (
            &[("run_dir", &memory), ("state_dir", "good")],
            &[
                "ok    run_dir: /dev/shm/",
                "ok    seal_key_file: the key to the cache is good",
            ],
        ),
        (
            &[("cache_dir", &memory)],
            &["is in memory, and a restart of the machine forgets"],
        ),
        (
            &[("cache_dir", "file")],
            &["/file is a file and no folder, so answers are kept in memory"],
        ),
        (
            &[("cache_dir", "file/below"), ("run_dir", "file/run")],
            &[
                "/file is a file and no folder, so answers are kept in memory",
                "warn  run_dir: ",
            ],
        ),
        (
            &[("cache_dir", "file"), ("store", "ram")],
            &["so nothing there leads to what is kept"],
        ),
        (
            // Nobody can write there, root neither.
            &[("cache_dir", "/proc/edge-hub")],
            &["warn  cache_dir: nothing can be written in /proc"],
        ),
        (
            &[("cache_dir", "wide")],
            &[
                "warn  cache_dir: the mode 0777 of ",
                "chmod 0755 ",
                "warn  cache_dir: the mode 0750 of ",
                "chmod 0700 ",
            ],
        ),
        (
            &[("cache_dir", "others")],
            &["belongs to user 4711", "chown 0 "],
        ),
        (
            &[("run_dir", "wide")],
            &["warn  run_dir: the mode 0777 of ", "chmod 0755 "],
        ),
        (
            &[("seal_key_file", "key")],
            &["ok    seal_key_file: the key to the cache is good"],
        ),
        (
            &[("seal_key_file", "none")],
            &["warn  seal_key_file: cannot read ", "kept in memory"],
        ),
        (
            &[("seal_key_file", "short")],
            &["warn  seal_key_file: ", "has 15 bytes"],
        ),
        (
            &[("seal_key_file", "open")],
            &["warn  seal_key_file: ", "chmod 0600"],
        ),
        (
            &[("state_dir", "torn")],
            &["warn  seal_key_file: a power cut has torn"],
        ),
        (
            &[("cache_dir", "."), ("seal_key_file", "key")],
            &["the key lies below cache_dir"],
        ),
    ];
    for (keys, parts) in table {
        let (listen, admin) = free_ports();
        let mut config = serde_json::json!({
            "servers": ["https://127.0.0.1:1"], "node_name": "a", "ca_file": "ca.crt", "own_addresses": [],
            "listen": [format!("127.0.0.1:{listen}")], "admin_listen": format!("127.0.0.1:{admin}"),
            "state_dir": "state", "cache_dir": "cache", "run_dir": "run",
        });
        dir.write("ca.crt", ca.pem.as_bytes());
        for (key, value) in *keys {
            config[key] = (*value).into();
        }
        // One of the two lies within the other unless both move.
        if config["cache_dir"] == "." {
            config["run_dir"] = memory.clone().into();
        }
        let config = dir.write("c.json", config.to_string().as_bytes());
        let output = hub(&["check", "--config", config.to_str().unwrap()])
            .output()
            .unwrap();
        let text = told(&output);
        for part in *parts {
            assert!(text.contains(part), "{part} in {keys:?}\n{text}");
        }
        assert!(!text.contains("FAIL  cache_dir") && !text.contains("FAIL  seal_key_file"));
    }
    for name in ["cache", "run", "state", "torn/cache.key.broken"] {
        assert!(!dir.0.join(name).exists(), "check leaves nothing behind");
    }
    assert!(!Path::new(&memory).exists());
}

/// A small file system of its own, gone with this value, also when the test fails.
struct Mounted(PathBuf);

impl Mounted {
    fn mount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "none"]);
        let done = mount.arg(&self.0).status().unwrap();
        assert!(done.success(), "this test needs root, to mount");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn check_tells_when_the_cache_has_no_room() {
    let dir = Dir::new("room");
    dir.write("ca.crt", authority("our ca").pem.as_bytes());
    let text = r#"{"servers": ["https://127.0.0.1:9"], "node_name": "a", "ca_file": "ca.crt", "own_addresses": [],
        "listen": ["127.0.0.1:1"], "admin_listen": "127.0.0.1:2", "state_dir": "state",
        "cache_dir": "small/cache", "run_dir": "run"}"#;
    let config = dir.write("c.json", text.as_bytes());
    let look = |parts: &[&str]| {
        let output = hub(&["check", "--config", config.to_str().unwrap()])
            .output()
            .unwrap();
        let text = told(&output);
        for part in parts {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    };
    let small = Mounted(dir.0.join("small"));
    fs::create_dir_all(&small.0).unwrap();
    small.mount("size=4m");
    look(&["warn  cache_dir: 8388608 bytes are wanted (`cache_max_bytes`) and 4"]);
    // What the ring has already is not wanted again.
    let ring = small.0.join("cache/_internal/ring");
    fs::create_dir_all(&ring).unwrap();
    small.mount("remount,size=9m");
    fs::write(ring.join("seg-00"), vec![1; 4 << 20]).unwrap();
    look(&["ok    cache_dir: there is room for the 8388608 bytes"]);
    small.mount("remount,ro");
    look(&[
        "warn  cache_dir: nothing can be written in ",
        "Read-only file system",
        "mount it writable",
    ]);
}

#[test]
fn check_tells_who_cannot_have_an_address_or_a_port() {
    let dir = Dir::new("ports");
    let ca = authority("our ca");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let held = holder.local_addr().unwrap();
    dir.write("ca.crt", ca.pem.as_bytes());
    // 192.0.2.0/24 is for documentation; no machine has it.
    let text = format!(
        r#"{{"servers": ["https://127.0.0.1:1"], "node_name": "a", "ca_file": "ca.crt", "state_dir": ".",
            "cache_dir": "cache", "run_dir": "run",
            "own_addresses": ["192.0.2.9"], "listen": ["{held}", "192.0.2.7:10268"], "admin_listen": "0.0.0.0:{}"}}"#,
        free_ports().0
    );
    let config = dir.write("c.json", text.as_bytes());
    let text = told(
        &hub(&["check", "--config", config.to_str().unwrap()])
            .output()
            .unwrap(),
    );
    for part in [
        "in use by another program",
        "no device of this machine has 192.0.2.7",
        "nothing listens on 192.0.2.9",
        "own_addresses: 192.0.2.9 is not",
        "warn  admin_listen: 0.0.0.0:",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}
