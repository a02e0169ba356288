//! `edge-hub cache`: the same things with the hub running and with it stopped.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::door::{Door, SOON};
use crate::support::cluster::Cluster;
use crate::support::http::{Call, PROTOBUF};
use crate::support::program::{Output, Program, command};
use crate::support::until;

/// What a terminal would obey, and a value that shows whether a Secret got out.
const TRICK: &str = "\u{9b}31m\u{202e}\u{7f}";
const WORD: &str = "c2VjcmV0IHdvcmQ=";
/// Strings that YAML takes for something else, or lays out in another way, where they are not quoted as they must be.
const STRINGS: [&str; 18] = [
    "",
    "no",
    "Null",
    "~",
    "0123",
    "1e3",
    "12:30:45",
    "2026-01-01",
    ".inf",
    "a: b",
    "a #b",
    "- x",
    "*a",
    "{}",
    " x ",
    "a: 1\n  b: |\n\n\tc\n",
    "\n x",
    "a\r\nb\n\n",
];

/// A hub that keeps things for a kubelet under two identities, and for another program.
fn door(namespace: &str) -> Door {
    let door = Door::with(Cluster::shared(), namespace, |setup| {
        setup.set("flush_secs", 1)
    });
    door.set("two", "2");
    let mut one = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "one" },
        "data": { "key": TRICK },
    });
    for (number, text) in STRINGS.iter().enumerate() {
        one["data"][format!("s{number}")] = json!(text);
    }
    let maps = door.maps("");
    (door.direct().call(Call::json(Method::POST, &maps, &one))).expect(201);
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "s" },
        "data": { "word": WORD },
    });
    let made = Call::json(Method::POST, &secrets, &secret);
    door.direct().call(made).expect(201);
    let kubelet = door.client().agent("kubelet/v1.36.4 (linux/amd64)");
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    for path in [&pods, &secrets, &door.maps(""), &door.maps("/one")] {
        kubelet.get(path).expect(200);
    }
    kubelet.get("/apis").expect(200);
    kubelet.get(&door.maps("/none")).expect(404);
    let other = door.cluster.account(namespace, "other", "edit");
    let other = door.hub.client().bearer(&other).agent("kubelet/v1");
    other.get(&door.maps("")).expect(200);
    let app = door.client().agent("App One/1");
    app.call(Call::get(&maps).accept(PROTOBUF)).expect(200);
    door
}

pub fn cache(door: &Door, args: &[&str]) -> Output {
    let output = door.hub.command(&[&["cache"], args].concat());
    let told = format!("{}{}", output.stdout, output.stderr);
    // Whatever is kept, a terminal is safe.
    let tame = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(told.chars().all(tame), "{args:?}: {told:?}");
    output
}

#[track_caller]
pub fn ends(output: &Output, code: i32, text: &str) {
    assert_eq!(output.code, Some(code), "{output:?}");
    let told = format!("{}\n{}", output.stdout, output.stderr);
    assert!(told.contains(text), "no {text:?} in {told}");
}

fn lines(output: &Output) -> Vec<Value> {
    let lines = output.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// The identities under which something is kept for the kubelet.
fn identities(door: &Door) -> Vec<String> {
    let listed = cache(door, &["ls", "--json", "--agent", "kubelet"]);
    let mut who: Vec<String> = lines(&listed)
        .iter()
        .map(|line| line["who"].as_str().expect("text").to_owned())
        .collect();
    who.sort();
    who.dedup();
    who
}

/// Everything that only looks.
fn looks(door: &Door, state: &str, place: &str) {
    let namespace = door.namespace.as_str();
    let listed = cache(door, &["ls"]);
    ends(&listed, 0, place);
    for (agent, words) in [
        ("kubelet", format!("pods.v1 {namespace}/- 0 0")),
        ("kubelet", format!("secrets.v1 {namespace}/- 1 ")),
        ("kubelet", format!("configmaps.v1 {namespace}/- 3 ")),
        ("kubelet", format!("configmaps.v1 {namespace}/name=one 1 ")),
        ("kubelet", "/apis -/- 1 ".to_owned()),
        ("app%20one", format!("configmaps.v1 {namespace}/- 3 ")),
    ] {
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = listed.stdout.lines().map(squeezed);
        let line = line
            .into_iter()
            .find(|line| line.starts_with(&format!("{agent} {words}")));
        let line = line.unwrap_or_else(|| panic!("no {agent} {words} in\n{}", listed.stdout));
        assert!(
            line.contains(&format!(" {state} ")) && line.contains(" account:"),
            "{line}"
        );
        let class = if agent == "kubelet" { "pinned" } else { "wild" };
        assert!(line.contains(&format!(" {class} ")), "{line}");
    }
    for line in lines(&cache(door, &["ls", "--json"])) {
        assert_eq!(line["state"], state, "{line}");
        assert!(
            line["age_secs"].as_u64().is_some_and(|secs| secs < 600),
            "{line}"
        );
    }
    ends(
        &cache(door, &["ls", "--agent", "nobody"]),
        6,
        "Nothing is kept for nobody",
    );

    // One object, for whom there is but one; with two it must be said.
    let one = format!("{namespace}/one");
    let path = door.maps("/one");
    let two = cache(door, &["get", "kubelet", "configmaps", &one]);
    ends(&two, 7, "say for which with --who");
    let who = identities(door);
    assert_eq!(who.len(), 2, "{who:?}");
    for who in &who {
        for what in [
            &["configmaps", &one][..],
            &["configmaps.v1", &one],
            &[&path],
        ] {
            let got = cache(door, &[&["get", "--who", who, "kubelet"], what].concat());
            let object: Value = serde_json::from_str(&got.ok()).expect("JSON");
            assert_eq!(object["kind"], "ConfigMap");
            assert_eq!(object["data"]["key"], TRICK);
        }
        let list = cache(door, &["get", "--who", who, "kubelet", &door.maps("")]);
        let list: Value = serde_json::from_str(&list.ok()).expect("JSON");
        assert_eq!(list["kind"], "ConfigMapList");
        assert_eq!(list["items"].as_array().expect("items").len(), 3);
    }
    let groups: Value =
        serde_json::from_str(&cache(door, &["get", "kubelet", "/apis"]).ok()).expect("JSON");
    assert_eq!(groups["kind"], "APIGroupList");
    let none = cache(door, &["get", "kubelet", &door.maps("/none")]);
    ends(&none, 6, "known not to exist");
    let gone = cache(door, &["get", "kubelet", "configmaps", "nowhere/none"]);
    ends(&gone, 6, "It is not kept.");
    ends(
        &cache(door, &["get", "kubelet", "configmaps"]),
        2,
        "Which one?",
    );

    // Secrets only when asked for, and protobuf only raw.
    let secret = format!("{namespace}/s");
    let held = cache(door, &["get", "kubelet", "secrets", &secret]);
    ends(&held, 7, "--secrets");
    assert!(!format!("{held:?}").contains(WORD));
    let shown = cache(door, &["get", "--secrets", "kubelet", "secrets", &secret]);
    assert!(shown.ok().contains(WORD));
    let binary = cache(door, &["get", "app one", "configmaps", &one]);
    ends(&binary, 7, "--raw");
    let raw = cache_raw(door, &["get", "--raw", "app one", "configmaps", &one]);
    assert!(raw.starts_with(b"k8s\0"), "{raw:?}");

    let verified = cache(door, &["verify"]);
    ends(
        &verified,
        0,
        "collections with 13 objects are whole, 0 broken.",
    );
    assert!(verified.stdout.starts_with("SEGMENT"), "{verified:?}");
    let stat = cache(door, &["stat"]);
    for text in [
        "pinned ",
        "wild ",
        "in 1 starts of the hub",
        " left to write today",
    ] {
        ends(&stat, 0, text);
    }

    let dir = door.dir.path().join(state);
    let exported = cache(door, &["export", &dir.display().to_string()]);
    ends(&exported, 0, "1 Secrets left out");
    ends(&exported, 0, "3 of them as protobuf");
    let file = |rest: &str| dir.join(rest.replace("NS", namespace));
    let object: Value = serde_json::from_slice(
        &fs::read(file("kubelet/configmaps.v1/NS/one.json")).expect("a file"),
    )
    .expect("JSON");
    assert_eq!(object["data"]["key"], TRICK);
    assert!(file("app%20one/configmaps.v1/NS/one.pb").exists());
    assert!(!file("kubelet/secrets.v1").exists());
    ends(
        &cache(door, &["export", &dir.display().to_string()]),
        1,
        "is not empty",
    );
    // Into a folder of somebody else nothing is written: its owner could lead it elsewhere.
    let foreign = dir.with_extension("foreign");
    fs::create_dir(&foreign).expect("a folder");
    for (uid, mode) in [(4711, 0o755), (0, 0o777)] {
        chown(&foreign, Some(uid), None).expect("root");
        fs::set_permissions(&foreign, fs::Permissions::from_mode(mode)).expect("root");
        let refused = cache(door, &["export", &foreign.display().to_string()]);
        ends(&refused, 1, "others may write to the folder");
    }

    let yaml = dir.with_extension("yaml");
    let exported = cache(door, &["export", "--yaml", &yaml.display().to_string()]);
    ends(&exported, 0, "3 of them as fields by their numbers");
    let file = |rest: &str| {
        let path = yaml.join(rest.replace("NS", namespace));
        fs::read_to_string(path).expect("a file")
    };
    // What kubectl reads in it is what the API server has.
    let text = file("kubelet/configmaps.v1/NS/one.yaml");
    let args = ["create", "--dry-run=client", "-o", "json", "-f", "-"];
    let read = door.cluster.kubectl().run_with(&text, &args).ok();
    let read: Value = serde_json::from_str(&read).expect("JSON");
    let has = door.direct().get(&door.maps("/one")).expect(200).json();
    assert_eq!(read["data"], has["data"], "{text}");
    assert_eq!(read["metadata"]["uid"], has["metadata"]["uid"]);
    let fields = file("app%20one/configmaps.v1/NS/one.pb.txt");
    assert!(
        fields.starts_with("# v1 ConfigMap\n1 {\n  1: \"one\"\n"),
        "{fields}"
    );
    assert!(
        fields.contains("\n2 {\n  1: \"s4\"\n  2: \"0123\"\n}\n"),
        "{fields}"
    );
    for text in [&text, &fields] {
        let obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(obeyed), "{text:?}");
    }

    let with = dir.with_extension("with");
    let args = [
        "export",
        "--secrets",
        "--agent",
        "kubelet",
        &with.display().to_string(),
    ];
    ends(&cache(door, &args), 0, "objects written to");
    let secret = with.join(format!("kubelet/secrets.v1/{namespace}/s.json"));
    assert_eq!(mode(&secret), 0o600);
    assert!(fs::read_to_string(&secret).expect("a file").contains(WORD));
    assert!(!with.join("app%20one").exists());
}

/// Waits until what was told so far is on flash; the number of flushes by then.
fn flushed(door: &Door, before: f64) -> f64 {
    until("it is written", SOON, || {
        let flushes = door.hub.metric("edge_hub_cache_flushes_total");
        (flushes > before).then_some(flushes)
    })
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o7777
}

/// The standard output as it is.
fn cache_raw(door: &Door, args: &[&str]) -> Vec<u8> {
    let file = door.dir.path().join("raw");
    let mut command = command(Path::new(crate::support::hub::PROGRAM));
    command
        .arg("cache")
        .args(args)
        .arg("--config")
        .arg(door.hub.config_file());
    command.stdout(fs::File::create(&file).expect("a file"));
    let mut program = Program::without_pipes(&mut command);
    until("it ends", SOON, || program.ended());
    fs::read(&file).expect("a file")
}

#[test]
fn what_is_kept_with_the_hub_running_and_stopped() {
    let mut door = door("cli-look");
    flushed(&door, 0.0);
    looks(&door, "frozen", "The hub is running");
    // What is a person's own is told over no port.
    for path in ["/collections", "/store", "/items?id=1"] {
        assert_eq!(door.hub.admin(path).map(|(status, _)| status), Ok(404));
    }
    let flash = &door.hub.status()["store"]["flash"];
    assert!(
        flash["payload_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 0),
        "{flash}"
    );
    assert!(door.hub.metric("edge_hub_cache_flash_bytes_total") > 0.0);
    assert_eq!(door.hub.metric("edge_hub_cache_on_flash"), 1.0);
    assert_eq!(door.hub.terminate(SOON), Some(0));
    assert!(!door.hub.folder("run_dir").join("control").exists());
    looks(&door, "kept", "No hub is running");
}

#[test]
fn what_is_dropped_is_not_told_and_the_rest_is() {
    let mut door = door("cli-drop");
    let secrets = "/api/v1/namespaces/cli-drop/secrets";
    let app = ["drop", "app one"];
    ends(
        &cache(&door, &app),
        0,
        "dropped app%20one configmaps.v1 cli-drop/- ",
    );
    ends(&cache(&door, &app), 6, "Nothing is kept for app one");
    ends(
        &cache(&door, &["drop", "kubelet", "nodes"]),
        6,
        "Nothing of that",
    );
    ends(
        &cache(&door, &["drop", "kubelet", &door.maps("")]),
        0,
        "(3 objects)",
    );
    let kubelet = door.client().agent("kubelet/v1");
    door.cut();
    kubelet.get(&door.maps("")).expect(503);
    kubelet.get(secrets).expect(200);
    // It is gone when it says so, and not some seconds later.
    let pods = cache(&door, &["drop", "kubelet", "pods.v1"]);
    ends(&pods, 0, "dropped kubelet pods.v1 cli-drop/- ");
    door.hub.kill();
    door.hub.run();
    let kubelet = door.client().agent("kubelet/v1");
    kubelet.get("/api/v1/namespaces/cli-drop/pods").expect(503);
    kubelet.get(secrets).expect(200);
    assert_eq!(door.hub.terminate(SOON), Some(0));

    let dropped = cache(&door, &["drop", "kubelet", "secrets.v1"]);
    ends(&dropped, 0, "dropped kubelet secrets.v1 cli-drop/- ");
    ends(&cache(&door, &["ls"]), 0, "kubelet");
    assert!(!cache(&door, &["ls"]).stdout.contains("secrets.v1"));
    door.hub.run();
    let kubelet = door.client().agent("kubelet/v1");
    kubelet.get(secrets).expect(503);
    kubelet.get(&door.maps("")).expect(503);
    kubelet.get("/apis").expect(200);
}

#[test]
fn what_is_rotten_is_found() {
    let mut door = door("cli-rot");
    let flushes = flushed(&door, 0.0);
    // Its commit marker lies elsewhere than most of its objects then.
    door.set("two", "3");
    let kubelet = door.client().agent("kubelet/v1");
    kubelet.get(&door.maps("")).expect(200);
    flushed(&door, flushes);
    assert_eq!(door.hub.terminate(SOON), Some(0));
    ends(&cache(&door, &["verify"]), 0, " 0 broken.");
    let ring = door.hub.folder("cache_dir").join("_internal/ring");
    let mut flipped = 0;
    for entry in fs::read_dir(&ring).expect("a folder") {
        let path = entry.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("a file");
        if !path.display().to_string().contains("/seg-") || bytes.iter().all(|b| *b == 0) {
            continue;
        }
        // The body of the first frame that is there.
        let frame = bytes
            .chunks(4096)
            .position(|block| block.starts_with(b"EHF1"));
        bytes[frame.expect("a frame") * 4096 + 100] ^= 1;
        fs::write(&path, bytes).expect("a file");
        flipped += 1;
    }
    assert!(flipped > 0);
    let verified = cache(&door, &["verify"]);
    ends(&verified, 4, "BROKEN  a collection whose name is lost");
    ends(&verified, 4, "1 places cannot be read");
    door.relay.refuse();
    door.hub.run();
    door.hub.logged("can no longer be read whole");
    assert!(door.hub.metric("edge_hub_cache_rotten_total") > 0.0);
    door.client()
        .agent("kubelet/v1")
        .get(&door.maps(""))
        .expect(503);
}

#[test]
fn the_control_socket_is_for_the_owner_alone() {
    let door = door("cli-own");
    let run = door.hub.folder("run_dir");
    let socket = run.join("control");
    assert_eq!((mode(&run), mode(&socket)), (0o700, 0o600));
    // Even where somebody has opened the doors.
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).expect("a folder");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("a socket");
    let ask = |uid: &str| {
        let mut curl = command(Path::new("setpriv"));
        curl.args(["--reuid", uid, "--clear-groups", "curl", "-sS", "-m", "5"]);
        curl.args(["-o", "/dev/null", "-w", "%{http_code}", "--unix-socket"]);
        curl.arg(&socket).arg("http://hub/collections");
        Program::spawn(&mut curl).wait(SOON)
    };
    assert_eq!(ask("0").stdout, "200");
    assert_eq!(ask("65534").stdout, "000");
    door.hub.logged("somebody else than root");
}

#[test]
fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let mut door = door("cli-two");
    let run = door.hub.folder("run_dir");
    door.hub.kill();
    assert!(run.join("control").exists());
    ends(&cache(&door, &["ls"]), 0, "No hub is running");
    door.hub.run();
    until("it has a socket", SOON, || {
        let listed = cache(&door, &["ls"]);
        listed.stderr.contains("The hub is running").then_some(())
    });
    // Another hub with the same folders keeps in memory, and leaves the socket alone.
    let second = crate::support::hub::Setup::new(door.cluster, &door.relay.url())
        .set("run_dir", run.display().to_string())
        .set(
            "cache_dir",
            door.hub.folder("cache_dir").display().to_string(),
        )
        .start();
    second.logged("is another hub's");
    let (_, ready) = second.admin("/readyz").expect("it answers");
    assert!(
        ready.contains("kept in memory until the next start"),
        "{ready}"
    );
    drop(second);
    ends(&cache(&door, &["ls"]), 0, "The hub is running");
}
