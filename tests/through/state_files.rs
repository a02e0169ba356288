//! The hub's own files: nobody else's, whole, and told when they are not as they must be.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::door::{Door, SOON};
use crate::offline::kept;
use crate::places::Mount;
use crate::support::cluster::Cluster;
use crate::support::until;

fn mode(path: &Path) -> u32 {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    meta.permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its owner may");
}

/// That the running hub warns of it in status and in the log, and `check` too.
#[track_caller]
fn told(door: &Door, parts: &[&str]) {
    let has_all = |text: &str| parts.iter().all(|part| text.contains(part));
    let warnings = door.hub.status()["warnings"].clone();
    let warnings: Vec<String> = serde_json::from_value(warnings).expect("sentences");
    assert!(warnings.iter().any(|line| has_all(line)), "{warnings:?}");
    assert!(door.hub.log().lines().any(has_all), "{}", door.hub.log());
    let check = door.hub.command(&["check"]);
    assert!(
        check
            .stdout
            .lines()
            .any(|line| line.starts_with("warn ") && has_all(line)),
        "{}",
        check.stdout
    );
}

#[test]
fn its_files_are_its_own() {
    let mut door = Door::new("f-own");
    door.set("one", "1");
    door.client().get(&door.maps("")).expect(200);
    let (state, cache) = (door.hub.folder("state_dir"), door.hub.folder("cache_dir"));
    assert_eq!(door.hub.terminate(SOON), Some(0));
    assert_eq!(mode(&state), 0o700);
    let mut names: Vec<_> = fs::read_dir(&state)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    let public = ["hub-ca.crt", "hub-serving.crt"];
    let secret = ["cache.key", "hub-ca.key", "hub-serving.key", "last-time"];
    let mut all = [&public[..], &secret].concat();
    all.sort_unstable();
    assert_eq!(names, all);
    for name in all {
        let want = if public.contains(&name) { 0o644 } else { 0o600 };
        assert_eq!(mode(&state.join(name)), want, "{name}");
    }
    for folder in ["_internal", "_internal/ring"] {
        assert_eq!(mode(&cache.join(folder)), 0o700, "{folder}");
    }
    for entry in fs::read_dir(cache.join("_internal/ring")).expect("a folder") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }

    // What a crash has left is cleaned up, and what another process writes at this moment is not.
    let leftover = state.join(".hub-ca.key.tmp.4194305");
    let underway = state.join(format!(".node.pem.tmp.{}", std::process::id()));
    for path in [&leftover, &underway] {
        fs::write(path, "half of a key").expect("a file");
    }
    // What lies at a file's place and leads elsewhere is replaced; nothing is written there.
    let victim = door.dir.write("victim", "untouched");
    fs::remove_file(state.join("last-time")).expect("it was there");
    symlink(&victim, state.join("last-time")).expect("a link");
    door.hub.run();
    door.hub.sees_online();
    assert!(!leftover.exists() && underway.exists());
    door.client().get(&door.maps("")).expect(200);
    assert_eq!(door.hub.terminate(SOON), Some(0));
    assert_eq!(fs::read_to_string(&victim).expect("a file"), "untouched");
    let kept = fs::symlink_metadata(state.join("last-time")).expect("it is written");
    assert!(kept.is_file());
    door.hub.run();
    assert_eq!(door.hub.status()["warnings"], json!([]));
}

#[test]
fn others_who_could_read_or_change_them_are_told() {
    let cluster = Cluster::shared();
    let (certificate, key) = cluster.pair("admin");
    let mut door = Door::new("f-others");
    let own_key = door.dir.write("admin.key", fs::read(&key).expect("a file"));
    chmod(&own_key, 0o640);
    door.hub.change(
        "identities",
        json!([{ "cn": "admin", "cert": certificate, "key": own_key }]),
    );
    let (state, cache) = (door.hub.folder("state_dir"), door.hub.folder("cache_dir"));
    let restart = |door: &mut Door| {
        door.hub.terminate(SOON);
        door.hub.run();
    };
    restart(&mut door);
    told(
        &door,
        &["admin.key holds a secret, and its mode 0640", "chmod 0600"],
    );
    // It is seen at once when it is put right.
    chmod(&own_key, 0o600);
    until("it is content", SOON, || {
        (door.hub.status()["warnings"] == json!([])).then_some(())
    });

    for (path, bad, good, parts) in [
        (
            state.join("hub-ca.key"),
            0o644,
            0o600,
            ["hub-ca.key holds a secret", "chmod 0600"],
        ),
        (
            state.join("cache.key"),
            0o604,
            0o600,
            ["cache.key holds a secret", "chmod 0600"],
        ),
        (
            state.clone(),
            0o777,
            0o700,
            ["state_dir: the mode 0777", "chmod 0755"],
        ),
        (
            cache.clone(),
            0o775,
            0o755,
            ["cache_dir: the mode 0775", "chmod 0755"],
        ),
        (
            cache.join("_internal"),
            0o711,
            0o700,
            ["cache_dir: the mode 0711", "chmod 0700"],
        ),
    ] {
        chmod(&path, bad);
        restart(&mut door);
        told(&door, &parts);
        chmod(&path, good);
        chown(&path, Some(4711), None).expect("this test needs root, to give a file away");
        restart(&mut door);
        told(&door, &["belongs to user 4711", "chown 0 "]);
        chown(&path, Some(0), None).expect("root");
    }
    restart(&mut door);
    assert_eq!(door.hub.status()["warnings"], json!([]));
}

/// What a client gets that does not look at certificates: the status, and the whole of it.
fn curl(door: &Door, path: &str) -> (u16, String) {
    let output = Command::new("curl")
        .args(["-sSki", "-m", "10", "-A", "test/1"])
        .args(["-H", &format!("authorization: Bearer {}", door.token)])
        .arg(format!("{}{path}", door.hub.url()))
        .output()
        .expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    let why = String::from_utf8_lossy(&output.stderr);
    (status.unwrap_or_else(|| panic!("{text} {why}")), text)
}

/// From the first start on, or later: the hub runs with what it has, and is well again when there is room.
#[test]
fn a_partition_that_takes_nothing_stops_nobody() {
    let mount = Mount::tmpfs(1 << 20);
    let filler = mount.fill();
    let state = mount.path.join("state");
    let text = state.display().to_string();
    let mut door = Door::with(Cluster::shared(), "f-full", |setup| {
        setup.set("state_dir", text).set("flush_secs", 1)
    });
    door.set("one", "1");
    let maps = door.maps("");
    assert_eq!(curl(&door, &maps).0, 200);
    let names = || {
        let mut names: Vec<_> = (fs::read_dir(&state).into_iter().flatten())
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| fs::metadata(state.join(name)).is_ok_and(|meta| meta.len() > 0))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), [""; 0], "nothing that is half of something");
    told(&door, &["/state", "make room"]);
    let warnings = door.hub.status()["warnings"].to_string();
    assert!(warnings.contains("kept in RAM"), "{warnings}");
    assert!(
        warnings.contains("answers are kept in memory"),
        "{warnings}"
    );
    door.cut();
    let (status, again) = curl(&door, &maps);
    assert!(
        status == 200 && again.contains("edge-hub-cache: age="),
        "{again}"
    );
    door.mend();

    // There is room, and the next start takes it.
    fs::remove_file(&filler).expect("it was there");
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    door.hub.sees_online();
    assert_eq!(door.hub.status()["warnings"], json!([]));
    let ca = fs::read(door.hub.ca()).expect("the hub's CA");
    let client = door.client();
    client.get(&maps).expect(200);
    let whole = names();
    assert!(whole.len() >= 6, "{whole:?}");

    // From then on nothing is needed of it, whatever becomes of it: by an end, by a kill, with no server in sight.
    for read_only in [false, true] {
        let filler = mount.fill();
        if read_only {
            mount.remount("ro");
        }
        door.cut();
        for kill in [false, true] {
            match kill {
                true => door.hub.kill(),
                false => assert_eq!(door.hub.terminate(SOON), Some(0)),
            }
            door.hub.run();
            assert_eq!(fs::read(door.hub.ca()).expect("the hub's CA"), ca);
            kept(&client.get(&maps));
            assert_eq!(door.hub.status()["warnings"], json!([]));
        }
        door.mend();
        client.get(&maps).expect(200);
        assert_eq!(names(), whole);
        mount.remount("rw");
        fs::remove_file(&filler).expect("it was there");
    }
}
