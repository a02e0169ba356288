//! Whoever takes the flash of a box, or a copy of it, has nothing.

use std::path::Path;
use std::process::Command;

use http::Method;
use serde_json::json;

use crate::door::{Door, SOON};
use crate::identities::{door, follow_pods, kubelet, pod, wish};
use crate::offline::{kept, unknown};
use crate::support::cluster::Cluster;
use crate::support::http::Call;
use crate::support::hub::Setup;

/// The bytes of all files below a folder, its links not followed.
fn bytes_below(dir: &Path, all: &mut Vec<u8>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        all.extend_from_slice(entry.file_name().as_encoded_bytes());
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            bytes_below(&entry.path(), all);
        } else if kind.is_file() {
            all.extend(std::fs::read(entry.path()).expect("a file"));
        }
    }
}

fn has(bytes: &[u8], word: &str) -> bool {
    bytes
        .windows(word.len())
        .any(|part| part == word.as_bytes())
}

#[test]
fn the_flash_shows_nothing_that_is_kept_there() {
    const WORD: &str = "the-word-of-the-shop";
    const ENCODED: &str = "dGhlLXdvcmQtb2YtdGhlLXNob3A=";
    let mut door = door("st-strings", |setup| setup);
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "safe" },
        "stringData": { "word": WORD } });
    let secrets = "/api/v1/namespaces/st-strings/secrets";
    let made = Call::json(Method::POST, secrets, &secret);
    door.cluster.admin().call(made).expect(201);
    // Everything that is kept: a Secret, a token that was accepted, a token that was granted, pods.
    let uid = pod(&door, "till", "edge-1");
    let pods = follow_pods(&door);
    let path = "/api/v1/namespaces/st-strings/serviceaccounts/tester/token";
    let asked = Call::json(Method::POST, path, &wish("till", &uid, 3607));
    let granted = kubelet(&door).call(asked).expect(201).json();
    let granted = granted["status"]["token"]
        .as_str()
        .expect("a token")
        .to_string();
    door.client().get(secrets).expect(200);
    drop(pods);
    door.cut();
    kept(&door.client().get(secrets));
    assert_eq!(door.hub.terminate(SOON), Some(0));

    let mut parts = vec![WORD, ENCODED, &ENCODED[..24]];
    for token in [&door.token, &granted] {
        parts.extend(token.split('.').filter(|part| part.len() > 40));
    }
    assert_eq!(parts.len(), 9);
    for folder in ["cache_dir", "state_dir", "run_dir"] {
        let mut bytes = Vec::new();
        bytes_below(&door.hub.folder(folder), &mut bytes);
        for part in &parts {
            assert!(!has(&bytes, part), "{folder} has {part}");
        }
        if folder == "cache_dir" {
            assert!(bytes.len() > 1 << 20, "the ring is among it");
            for name in [
                "st-strings",
                "safe",
                "till",
                &uid,
                "serviceaccount",
                "Secret",
            ] {
                assert!(!has(&bytes, name), "{folder} has {name}");
            }
        }
    }
    let log = door.hub.log();
    assert!(!parts.iter().any(|part| log.contains(part)), "in the log");
    // So that this tests something: with the key it is all there.
    let told = door.hub.command(&[
        "cache",
        "get",
        "--secrets",
        "test",
        "secrets",
        "st-strings/safe",
    ]);
    assert!(
        told.stdout.contains(ENCODED),
        "{} {}",
        told.stdout,
        told.stderr
    );
    // Nor is a token ever shown to who has the key.
    let told = door.hub.command(&["cache", "ls", "--json"]).ok();
    assert!(told.contains("st-strings") && !parts[3..].iter().any(|part| told.contains(part)));
    door.hub.run();
    kept(&door.client().get(secrets));
}

#[test]
fn what_was_copied_to_another_box_is_told_to_nobody() {
    let mut door = Door::with(Cluster::shared(), "st-copied", |setup| {
        setup.set("flush_secs", 1)
    });
    door.set("one", "1");
    let maps = door.maps("");
    door.client().get(&maps).expect(200);
    door.cut();
    kept(&door.client().get(&maps));
    assert_eq!(door.hub.terminate(SOON), Some(0));
    // The thief has the token as well, and calls his box by the same name.
    let mut other = Setup::new(door.cluster, &door.relay.url())
        .set("flush_secs", 1)
        .start();
    other.kill();
    let [from, to] = [&door.hub, &other].map(|hub| hub.folder("cache_dir"));
    std::fs::remove_dir_all(&to).expect("it was there");
    let copied = Command::new("cp").arg("-a").args([&from, &to]).status();
    assert!(copied.expect("cp").success());
    let told = other.command(&["cache", "ls"]);
    assert!(
        told.code != Some(0) && told.stdout.is_empty(),
        "{}",
        told.stdout
    );
    assert!(told.stderr.contains("key"), "{}", told.stderr);
    other.run();
    other.logged("sealed with another key");
    let thief = other.client().bearer(&door.token);
    unknown(&thief.get(&maps));
    unknown(&thief.get("/version"));
    // The box that it was taken from has lost nothing.
    door.hub.run();
    kept(&door.client().get(&maps));
}
