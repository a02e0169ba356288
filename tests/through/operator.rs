//! What an operator does to a hub that serves: reloads it, gives it addresses, stops it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::door::{Door, SOON, WATCH_LIST};
use crate::support::cluster::{Cluster, Release};
use crate::support::http::{Call, Client, JSON, PROTOBUF_WATCH, Watch};
use crate::support::hub::Setup;
use crate::support::relay::Relay;
use crate::support::{free_port, until};

/// What a namespace has after `door.set("one", ..)`: that, and the cluster's CA.
const BOTH: [&str; 2] = ["kube-root-ca.crt", "one"];

/// The names of the initial events.
fn added(watch: &mut Watch) -> Vec<String> {
    let initial = watch.initial(SOON).into_iter();
    let mut names: Vec<_> = initial
        .filter(|event| event.kind == "ADDED")
        .map(|event| event.meta.name)
        .collect();
    names.sort();
    names
}

#[test]
fn sighup_takes_over_what_is_good_and_keeps_the_old_otherwise() {
    let mut door = Door::new("p-hup");
    door.set("one", "1");
    let client = door.client().agent("app/1");
    let mut watch = client.watch(&door.maps(&format!("?{WATCH_LIST}")), JSON);
    assert_eq!(added(&mut watch), BOTH);

    // A mistake changes nothing, and is named.
    door.hub.reload("cache_agents", "-app");
    door.hub.logged("cache_agents");
    door.hub.logged("the old configuration stays in force");
    door.hub.reload("cache_agents", json!(["*"]));
    // A file that is no certificate neither.
    let broken = door.dir.write("broken.pem", "nothing");
    let ca = door.cluster.ca().display().to_string();
    door.hub.reload("ca_file", broken.display().to_string());
    door.hub.logged("broken.pem");
    client.get(&door.maps("")).expect(200);

    // A good one is in force: this agent's answers are no longer kept or given, and the open watch goes on.
    door.hub.reload("ca_file", ca);
    door.hub.reload("cache_agents", json!(["*", "-app"]));
    door.hub
        .logged("the new configuration and certificates are in force");
    door.set("two", "2");
    assert_eq!(watch.event(SOON).meta.name, "two");
    door.cut();
    client.get(&door.maps("")).expect(503);
}

#[test]
fn a_pair_that_is_gone_for_a_moment_stays_in_use() {
    let cluster = Cluster::shared();
    let (certificate, key) = cluster.pair("admin");
    let mut door = Door::with(cluster, "p-pair", |setup| setup);
    let copy = |name: &str, from: &std::path::Path| {
        door.dir.write(name, std::fs::read(from).expect("a file"))
    };
    let (own_certificate, own_key) = (copy("a.crt", &certificate), copy("a.key", &key));
    let entry = json!([{ "cn": "admin", "cert": own_certificate, "key": own_key }]);
    door.hub.reload("identities", entry);
    door.hub
        .logged("the new configuration and certificates are in force");
    let client = door.hub.client().certificate(&certificate, &key);
    client.get("/api/v1/nodes").expect(200);

    std::fs::write(&own_key, "").expect("a file");
    door.hub.signal("HUP");
    let warned = |text: &str| door.hub.status()["warnings"].to_string().contains(text);
    until("it says so", SOON, || {
        warned("the pair loaded before stays in use").then_some(())
    });
    client.get("/api/v1/nodes").expect(200);
    std::fs::copy(&key, &own_key).expect("a file");
    door.hub.signal("HUP");
    until("it is content", SOON, || {
        (!warned("stays in use")).then_some(())
    });
    client.get("/api/v1/nodes").expect(200);
}

#[test]
fn the_log_holds_no_secret_however_much_it_says() {
    let door = Door::with(Cluster::shared(), "p-log", |setup| {
        setup.env("RUST_LOG", "trace")
    });
    let word = "c2VjcmV0LXdvcmQtb2YtdGhlLXRlc3Q";
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "s" },
        "data": { "word": format!("{word}=") },
    });
    let path = "/api/v1/namespaces/p-log/secrets";
    for client in [door.client(), door.client().http1()] {
        client
            .call(Call::json(Method::POST, path, &secret))
            .expect(201);
        let got = client
            .get(&format!("{path}/s?token=querysecret"))
            .expect(200);
        assert!(got.text().contains(word));
        let mut watch = client.watch(&format!("{path}?{WATCH_LIST}"), JSON);
        assert_eq!(added(&mut watch), ["s"]);
        client
            .call(Call {
                method: Method::DELETE,
                ..Call::get(&format!("{path}/s"))
            })
            .expect(200);
    }
    door.cut();
    // The watch has told of the deletion, and of nothing else.
    door.client().get(path).expect(200);
    let log = door.hub.log();
    assert!(log.contains("get secrets: "), "{log}");
    for hidden in [door.token.as_str(), word, "querysecret"] {
        assert!(!log.contains(hidden), "the log holds {hidden}");
    }
}

#[test]
fn what_is_kept_can_be_looked_at_in_the_cache_dir() {
    let door = Door::new("p-look");
    let path = "/api/v1/namespaces/p-look/pods";
    let kubelet = door.client().agent("kubelet/v1.36.4 (linux/amd64)");
    kubelet.get(path).expect(200);
    // Whoever calls itself so is let in by `*`, and gets no file outside its place, nor one of the hub's own.
    for odd in ["_internal/1", "../../state/1", "..", "-rf/1"] {
        door.client().agent(odd).get(path).expect(200);
    }
    let (run, cache) = (door.hub.folder("run_dir"), door.hub.folder("cache_dir"));
    let line = |index: std::path::PathBuf, words: &str| {
        until(&format!("{} has {words:?}", index.display()), SOON, || {
            let text = std::fs::read_to_string(&index).unwrap_or_default();
            let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut lines = text.lines().map(squeezed);
            lines.find(|line| line.starts_with(words))
        })
    };
    line(
        run.join("cache/kubelet/index"),
        "pods.v1 p-look/- frozen(not-followed) 0 ",
    );
    let kept = line(cache.join("kubelet/index"), "pods.v1 p-look/- frozen");
    assert!(kept.contains(" pinned json account:"), "{kept}");
    let names = |dir: &std::path::Path| {
        let entries = std::fs::read_dir(dir).expect("a folder");
        let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&run.join("cache")), ["kubelet", "unknown"]);
    assert_eq!(names(&cache), ["_internal", "kubelet", "unknown"]);
    assert_eq!(door.hub.status()["warnings"], json!([]));

    // Followed by a watch it is complete.
    let mut watch = kubelet.watch(&format!("{path}?{WATCH_LIST}"), JSON);
    assert!(added(&mut watch).is_empty());
    line(cache.join("kubelet/index"), "pods.v1 p-look/- complete 0 ");
}

/// Whether this machine has the address.
fn is_here(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[test]
fn its_own_addresses_come_and_go_with_it() {
    let cluster = Cluster::shared();
    let v4: IpAddr = "169.254.77.1".parse().expect("an address");
    let v6: IpAddr = "fd00:77::1".parse().expect("an address");
    assert!(
        !is_here(v4) && !is_here(v6),
        "this test needs {v4} and {v6} for itself"
    );
    let listen: Vec<String> = [v4, v6]
        .map(|ip| SocketAddr::new(ip, free_port()).to_string())
        .to_vec();
    let mut hub = Setup::new(cluster, &cluster.url())
        .set("own_addresses", json!([v4, v6]))
        .set("listen", listen)
        .start();
    assert!(
        is_here(v4) && is_here(v6),
        "this test needs root (CAP_NET_ADMIN): {}",
        hub.log()
    );
    // Its certificate is good for them.
    hub.client().get("/version").expect(200);
    assert_eq!(hub.terminate(SOON), Some(0));
    assert!(!is_here(v4) && !is_here(v6));

    // One that was killed leaves them; the next one takes them away when it ends.
    hub.run();
    hub.kill();
    assert!(is_here(v4) && is_here(v6));
    hub.run();
    hub.client().get("/version").expect(200);
    assert_eq!(hub.terminate(SOON), Some(0));
    until("they are gone", Duration::from_secs(5), || {
        (!is_here(v4) && !is_here(v6)).then_some(())
    });
}

#[test]
fn two_servers_of_which_one_dies() {
    let first = Cluster::shared();
    let door = Door::new("p-two");
    door.set("one", "1");
    // Two ways to the same API server stand for two of them.
    let other = Relay::new(first.address());
    for mode in ["priority", "round-robin"] {
        door.relay.pass();
        let hub = Setup::new(first, &door.relay.url())
            .set("servers", json!([door.relay.url(), other.url()]))
            .set("mode", mode)
            .start();
        hub.sees_online();
        let client = hub.client().bearer(&door.token);
        for _ in 0..4 {
            client.get(&door.maps("")).expect(200);
        }
        door.relay.refuse();
        for _ in 0..20 {
            let reply = client.get(&door.maps("")).expect(200);
            assert_eq!(
                reply.header("edge-hub-cache"),
                "",
                "{mode}: from the other one"
            );
        }
        assert!(hub.online());
    }
}

#[test]
fn api_servers_of_1_34_and_1_37_are_as_good() {
    for (release, cluster) in Cluster::old_and_new() {
        let is = release.suffix().replace('-', "v");
        let door = Door::with(cluster, "p-release", |setup| setup);
        door.set("one", "1");
        let client = door.client();
        let version = client.get("/version").expect(200);
        assert!(version.text().contains(&is), "{}", version.text());
        let path = door.maps(&format!("?{WATCH_LIST}"));
        // From 1.37 on it compresses such an answer for who takes that. It must be read, and so comes as it is.
        let zipped = |of: &Client| {
            let call = Call::get(&path).header("accept-encoding", "gzip");
            let reply = of.send(call).expect("an answer");
            (reply.status, reply.header("content-encoding").to_owned())
        };
        let by_itself = match release {
            Release::V1_37 => "gzip",
            _ => "",
        };
        assert_eq!(zipped(&cluster.admin()), (200, by_itself.to_owned()));
        assert_eq!(zipped(&client), (200, String::new()));
        let mut open = Vec::new();
        for accept in [JSON, PROTOBUF_WATCH] {
            let mut watch = client.watch(&path, accept);
            assert_eq!(added(&mut watch), BOTH, "{is} {accept}");
            open.push(watch);
        }
        client.get(&door.maps("")).expect(200);
        door.cut();
        let kept = client.get(&door.maps("")).expect(200);
        assert_ne!(kept.header("edge-hub-cache"), "");
        let mut held = client.watch(&path, JSON);
        assert_eq!(added(&mut held), BOTH);
        open.push(held);
        door.set("two", "2");
        door.mend();
        for watch in &mut open {
            assert_eq!(watch.event(SOON).meta.name, "two", "{is}");
        }
    }
}

#[test]
fn the_wear_of_the_flash_is_told() {
    let mut door = Door::new("p-wear");
    door.hub.kill();
    // A machine with an eMMC and a UBI device, as the kernel shows them; nobody else sees it.
    let machine = "mount -t tmpfs none /sys && mkdir -p /sys/bus/mmc/devices/mmc0:0001 /sys/class/ubi/ubi0 \
        && echo 0x02 0x05 > /sys/bus/mmc/devices/mmc0:0001/life_time \
        && echo 0x03 > /sys/bus/mmc/devices/mmc0:0001/pre_eol_info \
        && echo 4711 > /sys/class/ubi/ubi0/max_ec && exec \"$@\"";
    let setup = Setup::new(door.cluster, &door.relay.url());
    door.hub = setup
        .within(&["unshare", "--mount", "sh", "-c", machine, "sh"])
        .start();
    let status = door.hub.status();
    let devices = json!([
        { "device": "mmc0:0001", "life_used_percent": 50, "reserve_used_percent": 90, "erases_max": null },
        { "device": "ubi0", "life_used_percent": null, "reserve_used_percent": null, "erases_max": 4711 },
    ]);
    assert_eq!(status["flash_devices"], devices);
    let warnings = status["warnings"].to_string();
    assert!(
        warnings.contains("the flash mmc0:0001 has used 90 %"),
        "{warnings}"
    );
    for (name, value) in [
        ("life_used_percent", 50.0),
        ("reserve_used_percent", 90.0),
        ("erases_max", 4711.0),
    ] {
        assert_eq!(door.hub.metric(&format!("edge_hub_flash_{name}")), value);
    }
}
