//! A `cache_dir` that cannot be used, or holds what is not this hub's, or fails under it: the hub says so in a line that
//! names the key and the way out, warns in its status, and serves what it can.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use edge_hub::hub::store::ring_dir;
use serde_json::json;

use crate::cache_cli::{cache, ends};
use crate::door::{Door, SOON};
use crate::flash::size;
use crate::offline::{kept, unknown};
use crate::support::cluster::Cluster;
use crate::support::hub::Setup;
use crate::support::program::Guard;
use crate::support::{TempDir, until};

/// A file system in memory, of so many bytes, that goes with this value.
pub struct Mount {
    pub path: PathBuf,
    // Dropped in this order.
    _guard: Guard,
    _dir: TempDir,
}

impl Mount {
    pub fn tmpfs(bytes: u64) -> Mount {
        let dir = TempDir::new("mount");
        let path = dir.path().to_owned();
        let options = format!("size={bytes},mode=0755");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "tmpfs", &text(&path)],
        );
        let guard = Guard::new("umount -l \"$1\"", &[], &[&path]);
        Mount {
            path,
            _guard: guard,
            _dir: dir,
        }
    }

    pub fn remount(&self, how: &str) {
        run(
            "mount",
            &["-o", &format!("remount,{how}"), &text(&self.path)],
        );
    }

    /// Takes all the room that is left.
    pub fn fill(&self) -> PathBuf {
        let path = self.path.join("filler");
        let file = fs::File::create(&path).expect("a file");
        let mut at = 0;
        while file.write_at(&[1; 4096], at).is_ok_and(|len| len == 4096) {
            at += 4096;
        }
        path
    }
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect(program);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "this test needs root: {program} {args:?}: {said}"
    );
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The log has a line with all of `parts`, and the status warns of the same.
#[track_caller]
fn told(door: &Door, parts: &[&str]) {
    let has_all = |text: &str| parts.iter().all(|part| text.contains(part));
    until(&format!("the log has a line with {parts:?}"), SOON, || {
        door.hub.log().lines().any(has_all).then_some(())
    });
    until(&format!("the status warns of {parts:?}"), SOON, || {
        let status = door.hub.status();
        let warnings = status["warnings"].as_array().expect("warnings");
        (warnings.iter().any(|warning| has_all(&warning.to_string()))).then_some(())
    });
}

/// Starts a hub in place of the door's, with this configuration.
fn start(door: &mut Door, change: impl FnOnce(Setup) -> Setup) {
    door.relay.pass();
    door.hub.kill();
    let setup = Setup::new(door.cluster, &door.relay.url()).set("flush_secs", 1);
    door.hub = change(setup).start();
    door.hub.sees_online();
}

/// Online it passes everything on; offline it tells from memory what it was told in this run.
fn serves_from_memory(door: &Door) {
    let before = door.client().get(&door.maps("")).expect(200);
    assert_eq!(door.hub.status()["store"]["kind"], "ram");
    door.cut();
    let after = door.client().get(&door.maps(""));
    kept(&after);
    assert_eq!(after.body, before.body);
}

#[test]
fn a_place_that_cannot_be_had() {
    let mut door = Door::new("g-places");
    door.set("one", "1");
    let dir = TempDir::new("places");
    let file = dir.write("file", "");
    let read_only = Mount::tmpfs(8 << 20);
    read_only.remount("ro");
    let small = Mount::tmpfs(1 << 20);
    let under_ring = |name: &str| {
        let ring = ring_dir(&dir.path().join(name));
        fs::create_dir_all(&ring).expect("folders");
        ring
    };
    fs::remove_dir(under_ring("ring-is-a-file")).expect("an empty folder");
    fs::write(ring_dir(&dir.path().join("ring-is-a-file")), "").expect("a file");
    fs::create_dir(under_ring("super-is-a-folder").join("super")).expect("a folder");
    // Whoever opens a pipe waits for the other end.
    for (place, name) in [("lock-is-a-pipe", "lock"), ("super-is-a-pipe", "super")] {
        run("mkfifo", &[&text(&under_ring(place).join(name))]);
    }
    let cases: [(PathBuf, &[&str]); 9] = [
        (
            dir.path().join("lock-is-a-pipe"),
            &[
                "/lock is no file, and in the way",
                "move it away, or name another",
            ],
        ),
        (
            dir.path().join("super-is-a-pipe"),
            &[
                "/super is no file, and in the way",
                "move it away, or name another",
            ],
        ),
        (file.clone(), &["a file is in the way: move it away"]),
        (file.join("below"), &["a file is in the way: move it away"]),
        (PathBuf::from("/proc/none/cache"), &["correct the path"]),
        (
            read_only.path.join("cache"),
            &["Read-only", "mount it writable, or choose another place"],
        ),
        (
            small.path.join("cache"),
            &["no room", "bytes (cache_max_bytes); make room, or lower it"],
        ),
        (
            dir.path().join("ring-is-a-file"),
            &["move it away, or choose another place"],
        ),
        (
            dir.path().join("super-is-a-folder"),
            &["move it away, or name another cache_dir"],
        ),
    ];
    for (place, parts) in cases {
        start(&mut door, |setup| setup.set("cache_dir", text(&place)));
        let mut all = vec![
            "cache_dir: ",
            "answers are kept in memory until the next start",
        ];
        all.extend(parts);
        told(&door, &all);
        serves_from_memory(&door);
    }
    assert!(
        size(&small.path) < 100 << 10,
        "what is of no use takes no room"
    );
}

#[test]
fn a_place_of_somebody_else() {
    let mut door = Door::new("g-owner");
    door.set("one", "1");
    let dir = TempDir::new("owner");
    let place = dir.path().join("cache");
    fs::create_dir(&place).expect("a folder");
    chown(&place, Some(4711), Some(4711)).expect("root");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).expect("root");
    // Root without its powers is as good as any other user.
    start(&mut door, |setup| {
        setup
            .set("cache_dir", text(&place))
            .within(&["setpriv", "--bounding-set", "-all"])
    });
    told(
        &door,
        &[
            "cache_dir: ",
            "let the user that the hub runs as have it",
            "kept in memory",
        ],
    );
    serves_from_memory(&door);

    // With them it can write there, and what it writes is its own.
    start(&mut door, |setup| setup.set("cache_dir", text(&place)));
    door.client().get(&door.maps("")).expect(200);
    assert_eq!(door.hub.status()["store"]["kind"], "ring");
    let ring = ring_dir(&place);
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (
            mode(&ring),
            mode(&ring.join("super")),
            mode(&ring.join("seg-0000"))
        ),
        (0o700, 0o600, 0o600)
    );
}

#[test]
fn two_hubs_on_one_cache() {
    let mut first = Door::new("g-two");
    first.set("one", "1");
    first.client().get(&first.maps("")).expect(200);
    let mut second = Door::new("g-two-more");
    second.set("one", "1");
    let place = text(&first.hub.folder("cache_dir"));
    start(&mut second, |setup| setup.set("cache_dir", place));
    told(
        &second,
        &[
            "cache_dir: ",
            "two hubs cannot share a cache",
            "a cache_dir of its own",
        ],
    );
    serves_from_memory(&second);
    // The first one has lost nothing by it.
    first.cut();
    assert_eq!(first.hub.terminate(SOON), Some(0));
    first.hub.run();
    kept(&first.client().get(&first.maps("")));
}

#[test]
fn a_ring_that_is_not_its_own_is_begun_anew_and_never_told() {
    let mut door = Door::new("g-anew");
    door.set("one", "1");
    let key = |byte: u8| {
        let path = door.dir.write(&format!("key-{byte}"), [byte; 32]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file of ours");
        text(&path)
    };
    let (first, second) = (key(1), key(2));
    start(&mut door, |setup| setup.set("seal_key_file", first));
    let patch = |door: &Door, at: u64, bytes: &[u8]| {
        let path = ring_dir(&door.hub.folder("cache_dir")).join("super");
        let file = fs::File::options()
            .write(true)
            .open(path)
            .expect("the super block");
        for copy in [0, 4096] {
            file.write_all_at(bytes, copy + at).expect("a write");
        }
    };
    type Change<'a> = &'a dyn Fn(&mut Door);
    let changes: [(Change<'_>, &[&str]); 4] = [
        (
            &|door| door.hub.change("seal_key_file", second.clone()),
            &["seal_key_file: ", "sealed with another key"],
        ),
        (
            &|door| door.hub.change("node_name", "edge-2"),
            &["node_name: ", "another node's"],
        ),
        (
            &|door| patch(door, 8, &[99, 0]),
            &["cache_dir: ", "has format 99, this is 2"],
        ),
        (
            &|door| patch(door, 0, &[0x55; 4096]),
            &["cache_dir: ", "what was kept there cannot be read"],
        ),
    ];
    for (change, parts) in changes {
        door.client().get(&door.maps("")).expect(200);
        door.cut();
        assert_eq!(door.hub.terminate(SOON), Some(0));
        door.hub.run();
        kept(&door.client().get(&door.maps("")));
        assert_eq!(door.hub.terminate(SOON), Some(0));
        change(&mut door);
        door.hub.run();
        let mut all = parts.to_vec();
        all.push("begun anew");
        told(&door, &all);
        unknown(&door.client().get(&door.maps("")));
        // It is good from then on.
        door.mend();
        door.client().get(&door.maps("")).expect(200);
        assert_eq!(door.hub.terminate(SOON), Some(0));
        door.relay.refuse();
        door.hub.run();
        kept(&door.client().get(&door.maps("")));
        assert_eq!(door.hub.status()["warnings"], json!([]));
        door.mend();
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut source = fs::File::open("/dev/urandom").expect("random bytes");
    source.read_exact(&mut bytes).expect("random bytes");
    bytes
}

#[test]
fn garbage_in_the_files_costs_answers_and_makes_none() {
    let mut door = Door::with(Cluster::shared(), "g-garbage", |setup| {
        setup.set("cache_max_bytes", 2 << 20).set("flush_secs", 1)
    });
    const OBJECTS: usize = 30;
    for n in 0..OBJECTS {
        // Nothing that becomes much smaller when it is compressed.
        let words = random::<1024>().map(|byte| format!("{byte:02x}"));
        door.set(&format!("n{n:02}"), &words.concat());
    }
    let mut paths: Vec<String> = (0..OBJECTS)
        .map(|n| door.maps(&format!("?fieldSelector=metadata.name%3Dn{n:02}")))
        .collect();
    paths.push(door.maps(""));
    let bodies: Vec<Vec<u8>> = (paths
        .iter()
        .map(|path| door.client().get(path).expect(200).body))
    .collect();
    door.cut();
    assert_eq!(door.hub.terminate(SOON), Some(0));
    let ring = ring_dir(&door.hub.folder("cache_dir"));
    let good = door.dir.path().join("good");
    run("cp", &["-a", &text(&ring), &text(&good)]);
    // Where something is written, not in the empty rest.
    let mut blocks = Vec::new();
    for entry in fs::read_dir(&ring).expect("the ring").flatten() {
        let bytes = fs::read(entry.path()).expect("a segment");
        let written = bytes
            .chunks(4096)
            .enumerate()
            .filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        let is_segment = entry.file_name() != "super";
        blocks.extend(
            written
                .filter(|_| is_segment)
                .map(|(at, _)| (entry.path(), at as u64 * 4096)),
        );
    }
    let (mut same, mut lost) = (0, 0);
    for round in 0..12 {
        // Longer with every round, from a byte to a block.
        let garbage = random::<4096>();
        let (path, at) = &blocks[u32::from_le_bytes(random()) as usize % blocks.len()];
        let file = fs::File::options()
            .write(true)
            .open(path)
            .expect("a segment");
        file.write_all_at(&garbage[..1 << round], *at)
            .expect("a write");
        door.hub.run();
        let mut connection = door.client().connect().expect("the hub serves");
        for (path, body) in paths.iter().zip(&bodies) {
            let reply = connection
                .send(crate::support::http::Call::get(path))
                .and_then(crate::support::http::Reply::whole)
                .expect("an answer");
            if reply.status == 200 {
                kept(&reply);
                assert!(
                    reply.body == *body,
                    "round {round}: {path}: {}",
                    reply.text()
                );
                same += 1;
            } else {
                unknown(&reply);
                lost += 1;
            }
        }
        assert_eq!(door.hub.terminate(SOON), Some(0));
        fs::remove_dir_all(&ring).expect("the ring goes");
        run("cp", &["-a", &text(&good), &text(&ring)]);
    }
    door.hub.logged("can no longer be read whole");
    println!("garbage: {same} lists were the same, {lost} were not told");
    assert!(same > 0 && lost > 0, "{same} the same, {lost} lost");
}

#[test]
fn a_ring_on_a_read_only_partition_is_told() {
    let mount = Mount::tmpfs(16 << 20);
    let mut door = Door::with(Cluster::shared(), "g-read-only", |setup| {
        setup
            .set("flush_secs", 1)
            .set("cache_max_bytes", 4 << 20)
            .set("cache_dir", text(&mount.path.join("cache")))
    });
    door.set("one", "1");
    let list = door.client().get(&door.maps("")).expect(200);
    door.cut();
    assert_eq!(door.hub.terminate(SOON), Some(0));
    mount.remount("ro");
    door.hub.run();
    let after = door.client().get(&door.maps(""));
    kept(&after);
    assert_eq!(after.body, list.body);
    told(
        &door,
        &[
            "cache_dir: ",
            "nothing is kept any more until the next start",
            "Read-only",
        ],
    );
    // What comes now is passed on and not kept; what was kept stays what it was.
    door.mend();
    let new = door.set("one", "2");
    let online = door.client().get(&door.maps("")).expect(200);
    assert!(online.text().contains(&new));
    door.cut();
    let after = door.client().get(&door.maps(""));
    kept(&after);
    assert_eq!(after.body, list.body);
    assert_eq!(door.hub.terminate(SOON), Some(0));
    mount.remount("rw");
    door.hub.run();
    assert_eq!(door.client().get(&door.maps("")).body, list.body);
    assert_eq!(door.hub.status()["warnings"], json!([]));
}

#[test]
fn a_larger_cap_without_room_for_it_loses_nothing() {
    let mount = Mount::tmpfs(6 << 20);
    let mut door = Door::with(Cluster::shared(), "g-grow", |setup| {
        setup
            .set("flush_secs", 1)
            .set("cache_max_bytes", 4 << 20)
            .set("cache_dir", text(&mount.path.join("cache")))
    });
    door.set("one", "1");
    let list = door.client().get(&door.maps("")).expect(200);
    door.cut();
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.change("cache_max_bytes", 16 << 20);
    door.hub.run();
    told(
        &door,
        &[
            "cache_max_bytes: no room",
            "make room, or lower cache_max_bytes",
        ],
    );
    let after = door.client().get(&door.maps(""));
    kept(&after);
    assert_eq!(after.body, list.body);
    // It goes on keeping.
    door.mend();
    door.set("one", "2");
    let list = door.client().get(&door.maps("")).expect(200);
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.relay.refuse();
    door.hub.run();
    assert_eq!(door.client().get(&door.maps("")).body, list.body);
}

/// The hub latches: what was written stays told, what comes is passed on, and everybody hears of it.
fn latched(door: &Door, list: &[u8], cause: &str) {
    told(
        door,
        &[
            "cache_dir: ",
            "nothing is kept any more until the next start",
            cause,
        ],
    );
    door.client().get("/version").expect(200);
    let (status, ready) = door.hub.admin("/readyz").expect("an answer");
    assert_eq!(status, 200);
    assert!(ready.contains(cause), "{ready}");
    door.set("later", "1");
    let online = door.client().get(&door.maps("")).expect(200);
    assert_eq!(online.header("edge-hub-cache"), "");
    assert_ne!(door.hub.status()["store"]["flash"]["off"], json!(null));
    until("it counts what it does not keep", SOON, || {
        (door.hub.metric("edge_hub_cache_off_total") > 0.0).then_some(())
    });
    door.cut();
    let after = door.client().get(&door.maps(""));
    kept(&after);
    assert!(after.body == list, "{}", after.text());
    let dropped = cache(door, &["drop", "test", "configmaps.v1"]);
    ends(&dropped, 1, "will tell it again after its next start");
    door.client().get(&door.maps("")).expect(503);
    door.mend();
}

#[test]
fn no_room_while_it_runs() {
    let mount = Mount::tmpfs(16 << 20);
    let mut door = Door::with(Cluster::shared(), "g-full", |setup| {
        setup
            .set("flush_secs", 1)
            .set("cache_max_bytes", 4 << 20)
            .set("cache_dir", text(&mount.path.join("cache")))
    });
    door.set("one", "1");
    let list = door.client().get(&door.maps("")).expect(200);
    door.cut();
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    kept(&door.client().get(&door.maps("")));
    // As on a file system that compresses: what is all zeros has no place of its own, and then there is no room.
    let ring = ring_dir(&mount.path.join("cache"));
    for entry in fs::read_dir(&ring).expect("the ring").flatten() {
        run("fallocate", &["--dig-holes", &text(&entry.path())]);
    }
    let filler = mount.fill();
    door.mend();
    door.set("two", "2");
    door.client()
        .get(&door.maps("?limit=500&labelSelector=a%3Db"))
        .expect(200);
    latched(&door, &list.body, "No space left on device");
    // With room again, and a restart, it keeps again.
    assert_eq!(door.hub.terminate(SOON), Some(0));
    fs::remove_file(filler).expect("the filler");
    door.hub.run();
    door.hub.sees_online();
    let list = door.client().get(&door.maps("")).expect(200);
    assert_eq!(door.hub.status()["warnings"], json!([]));
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.relay.refuse();
    door.hub.run();
    assert_eq!(door.client().get(&door.maps("")).body, list.body);
}

#[test]
fn files_taken_away_while_it_runs() {
    let mut door = Door::with(Cluster::shared(), "g-gone", |setup| {
        setup.set("flush_secs", 1)
    });
    door.set("one", "1");
    door.client().get(&door.maps("")).expect(200);
    door.cut();
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    fs::remove_dir_all(ring_dir(&door.hub.folder("cache_dir"))).expect("the ring goes");
    door.mend();
    door.client()
        .get(&door.maps("?labelSelector=a%3Db"))
        .expect(200);
    told(
        &door,
        &[
            "cache_dir: ",
            "nothing is kept any more until the next start",
            "somebody has removed the files",
        ],
    );
    door.client().get(&door.maps("")).expect(200);
    // Whatever it still tells is right; it does not end.
    door.cut();
    let after = door.client().get(&door.maps(""));
    assert!(matches!(after.status, 200 | 503), "{}", after.text());
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    unknown(&door.client().get(&door.maps("")));
    door.mend();
    door.client().get(&door.maps("")).expect(200);
    door.cut();
    kept(&door.client().get(&door.maps("")));
}

#[test]
fn a_partition_that_fails_while_it_runs() {
    let dir = TempDir::new("ext4");
    let image = dir.path().join("image");
    let place = dir.path().join("place");
    fs::create_dir(&place).expect("a folder");
    (fs::File::create(&image).and_then(|file| file.set_len(16 << 20))).expect("an image");
    run("mkfs.ext4", &["-q", &text(&image)]);
    run("mount", &["-o", "loop", &text(&image), &text(&place)]);
    let _guard = Guard::new("umount -l \"$1\"", &[], &[&place]);
    let mut door = Door::with(Cluster::shared(), "g-fails", |setup| {
        (setup.set("flush_secs", 1).set("cache_max_bytes", 4 << 20))
            .set("cache_dir", text(&place.join("cache")))
    });
    door.set("one", "1");
    door.client().get(&door.maps("")).expect(200);
    door.cut();
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    kept(&door.client().get(&door.maps("")));
    // Every call fails with EIO from here on, as when the device has gone (EXT4_IOC_SHUTDOWN, at once).
    let shutdown = "import fcntl,os,struct,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
    run("python3", &["-c", shutdown, &text(&place)]);
    door.mend();
    door.set("two", "2");
    door.client()
        .get(&door.maps("?labelSelector=a%3Db"))
        .expect(200);
    told(
        &door,
        &[
            "cache_dir: ",
            "nothing is kept any more until the next start",
            "writing: ",
            "Input/output error",
        ],
    );
    assert_eq!(door.hub.metric("edge_hub_cache_on_flash"), 0.0);
    // What cannot be read is not known; nothing is made up, and nothing ends.
    door.client().get(&door.maps("")).expect(200);
    door.cut();
    // Who finds that out may see the answer break off; whoever asks then is told that it is not known.
    let found_out = (door
        .client()
        .send(crate::support::http::Call::get(&door.maps(""))))
    .and_then(crate::support::http::Reply::whole);
    assert!(found_out.is_err() || found_out.is_ok_and(|reply| reply.status == 503));
    unknown(&door.client().get(&door.maps("")));
    door.mend();
    door.client().get(&door.maps("")).expect(200);
    // Started again it keeps in memory.
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    told(
        &door,
        &[
            "cache_dir: ",
            "Input/output error",
            "answers are kept in memory until the next start",
        ],
    );
    door.hub.sees_online();
    serves_from_memory(&door);
}
