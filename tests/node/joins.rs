//! How a machine becomes a node behind its hub.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::site::{CUT, NODE, Site, ready_name};
use crate::support::cluster::{Release, script};
use crate::support::hub;
use crate::support::program::{Program, command};
use crate::support::{throughout, until};

/// A machine that has nothing but a bootstrap token: `join` fetches the hub's pair with it, and the kubelet its own by way
/// of the hub; from then on it comes with that, and the hub goes up with the pair that it has.
#[test]
fn a_machine_with_a_token_becomes_a_node_behind_its_hub() {
    let token = "abcdef.0123456789abcdef";
    let site = Site::new(Release::V1_36);
    let within = site.node.within();
    let mut join = command(Path::new(&within[0]));
    let ca = site.cluster.ca();
    let config = site.dir.path().join("etc/config.json");
    let state = site.dir.path().join("state");
    join.args(&within[1..])
        .arg(hub::PROGRAM)
        .args(["join", "--server", &site.server()]);
    join.args(["--token", token, "--node-name", site.node.name()]);
    join.arg("--ca-file")
        .arg(&ca)
        .arg("--config")
        .arg(config)
        .arg("--state-dir")
        .arg(&state);
    Program::spawn(&mut join).wait(NODE).ok();
    let hub = site
        .plain_hub()
        .set("client", "joined")
        .set("state_dir", state.display().to_string())
        .start();
    let hub_ca = hub.ca().display().to_string();
    let at = ["at", "bootstrap", "https://127.0.0.1:10268", &hub_ca];
    let bootstrap = site.dir.write("bootstrap.yaml", site.cluster.script(&at));
    site.node.up(
        &bootstrap,
        &site.config("kube-proxy", "https://127.0.0.1:10268", &hub.ca()),
    );
    site.wait_ready(true);
    site.three_pods();
    let log = hub.log();
    for part in [
        "kubelet create certificatesigningrequests",
        "kubelet create nodes",
    ] {
        assert!(log.contains(part), "{part} in the hub's log");
    }
    // Without its link it goes on, as every node behind a hub does.
    let before = site.node.tasks();
    site.node.net("down");
    hub.sees_offline();
    throughout("every container runs on", CUT, || {
        site.node.tasks() == before
    });
    site.node.net("up");
    hub.sees_online();
    site.wait_ready(true);
    assert_eq!(site.node.tasks(), before);
}

/// Waits for what a program prints that is run in the node's network, if it ends well.
fn within(site: &Site, words: &[&str]) -> Option<String> {
    let [enter, how] = site.node.within();
    let mut command = command(Path::new(&enter));
    let output = Program::spawn(command.arg(how).args(words)).wait(NODE);
    if output.code != Some(0) {
        eprintln!("{words:?}: {output:?}");
    }
    (output.code == Some(0)).then_some(output.stdout)
}

/// A kubeconfig of the node's kubelet as kubeadm writes it.
fn kubelet_conf(site: &Site) -> PathBuf {
    let (certificate, key) = site.cluster.pair("node");
    let name = site.node.name();
    let text = format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority: {}\n    server: {}\n  name: kubernetes\n\
         contexts:\n- context:\n    cluster: kubernetes\n    user: system:node:{name}\n  name: system:node:{name}@kubernetes\n\
         current-context: system:node:{name}@kubernetes\nkind: Config\npreferences: {{}}\nusers:\n- name: system:node:{name}\n  \
         user:\n    client-certificate: {}\n    client-key: {}\n",
        site.cluster.ca().display(),
        site.server(),
        certificate.display(),
        key.display(),
    );
    site.dir.write("kubelet.conf", text)
}

/// A node as kubeadm has left it: `setup kubelet --write` sends its kubelet to the hub, and `--undo` back, at the price of
/// a restart of the kubelet each time, and of no container.
#[test]
fn a_kubelet_is_sent_to_its_hub_and_back() {
    let site = Site::new(Release::V1_36);
    let proxy = site.config("kube-proxy", &site.server(), &site.cluster.ca());
    site.node.up(&kubelet_conf(&site), &proxy);
    site.wait_ready(true);
    site.three_pods();
    let before = site.node.tasks();

    let of_kubelet = site.node.file("kubeconfig").display().to_string();
    let config = site.dir.path().join("config.json");
    let config_name = config.display().to_string();
    let setup = |word: &str| {
        let file = ["--kubeconfig", &of_kubelet, "--config", &config_name];
        within(
            &site,
            &[&[hub::PROGRAM, "setup", "kubelet"], &file[..], &[word]].concat(),
        )
    };
    let direct = std::fs::read_to_string(&of_kubelet).expect("a kubeconfig");
    setup("--write").expect("the configuration is written");
    // All that differs from a box is where this one may write.
    let text = std::fs::read(&config).expect("a file");
    let mut keys: Value = serde_json::from_slice(&text).expect("JSON");
    keys["node_name"] = json!(site.node.name());
    for key in ["state_dir", "cache_dir", "run_dir"] {
        keys[key] = json!(site.dir.path().join(key));
    }
    std::fs::write(&config, keys.to_string()).expect("a file");
    let [enter, how] = site.node.within();
    let mut hub = command(Path::new(&enter));
    let mut hub = Program::spawn(hub.args([&how, hub::PROGRAM, "run", "--config", &config_name]));
    until("the kubelet is sent to the hub", NODE, || setup("--write"));
    let restart = || {
        site.node.script(&["stop", "kubelet"]);
        site.node.script(&["start", "kubelet"]);
    };
    restart();
    let asked = || {
        hub.errors()
            .iter()
            .filter(|line| line.contains("kubelet get pods: "))
            .count()
    };
    until("the kubelet asks the hub", NODE, || {
        (asked() > 0).then_some(())
    });
    site.wait_ready(true);
    site.apply(&[site.pod("by-hub", &["tick", "1s"], json!({}))]);
    site.wait_pods(&["by-hub", "hostnet", "serve", "tick"]);
    site.delete("by-hub");
    until("nothing else has changed", NODE, || {
        (site.node.tasks() == before).then_some(())
    });

    setup("--undo").expect("it is undone");
    assert_eq!(
        std::fs::read_to_string(&of_kubelet).expect("a kubeconfig"),
        direct
    );
    restart();
    hub.kill();
    site.apply(&[site.pod("direct", &["tick", "1s"], json!({}))]);
    site.wait_pods(&["direct", "hostnet", "serve", "tick"]);
    site.delete("direct");
    until("nothing else has changed", NODE, || {
        (site.node.tasks() == before).then_some(())
    });
}

/// The image that a static pod needs: the program, and the libraries of the machine that built it.
fn image(site: &Site) -> String {
    let mut ldd = command(Path::new("ldd"));
    let libraries = Program::spawn(ldd.arg(hub::PROGRAM)).wait(NODE).ok();
    let libraries = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    let files = libraries.map(|path| format!("{path}={path}"));
    let archive = site.dir.path().join("edge-hub.tar").display().to_string();
    let mut pack = command(Path::new("python3"));
    pack.arg(script("image/mkimage.py"));
    pack.args([&archive, "lab.local/edge-hub:1"]);
    pack.arg(format!("{}=/usr/bin/edge-hub", hub::PROGRAM))
        .args(files);
    Program::spawn(pack.args(["--", "/usr/bin/edge-hub"]))
        .wait(NODE)
        .ok();
    archive
}

/// The hub as the static pod that `manifest static-pod` prints, which the node's own kubelet starts, and asks: also when the
/// power comes back without the cloud.
#[test]
fn the_hub_is_a_static_pod_of_the_kubelet_that_asks_it() {
    let site = Site::new(Release::V1_36);
    let proxy = |server: &str, ca: &Path| site.config("kube-proxy", server, ca);
    let conf = kubelet_conf(&site);
    site.node
        .up(&conf, &proxy(&site.server(), &site.cluster.ca()));
    site.wait_ready(true);
    site.node.ctr(&["images", "import", &image(&site)]);

    // Where a box has these files, this machine may have others.
    let root = site.dir.path().display().to_string();
    let folder = |name: &str| {
        let folder = site.dir.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    };
    let (etc, kubernetes) = (folder("etc/edge-hub"), folder("etc/kubernetes"));
    let copy = |from: &Path, name: &str| {
        std::fs::copy(from, kubernetes.join(name)).expect("a copy");
    };
    copy(&site.cluster.ca(), "ca.crt");
    let mut identities = Vec::new();
    for (user, cn) in [
        ("node", "system:node:*"),
        ("kube-proxy", "system:kube-proxy"),
    ] {
        let (certificate, key) = site.cluster.pair(user);
        let names = [format!("{user}.crt"), format!("{user}.key")];
        copy(&certificate, &names[0]);
        copy(&key, &names[1]);
        let [cert, key] = names.map(|name| format!("/etc/kubernetes/{name}"));
        identities.push(json!({ "cn": cn, "cert": cert, "key": key }));
    }
    let config = json!({
        "servers": [site.server()], "ca_file": "/etc/kubernetes/ca.crt", "client_ca_file": "/etc/kubernetes/ca.crt",
        "identities": identities, "node_name": site.node.name(),
    });
    std::fs::write(etc.join("config.json"), config.to_string()).expect("a file");
    let print = [
        hub::PROGRAM,
        "manifest",
        "static-pod",
        "--image",
        "lab.local/edge-hub:1",
    ];
    let mut manifest = within(&site, &print).expect("a manifest");
    for place in [
        "/etc/edge-hub",
        "/etc/kubernetes",
        "/var/lib/kubelet/pki",
        "/var/lib/edge-hub",
        "/run/edge-hub",
    ] {
        let (own, there) = (
            format!("      path: {place}\n"),
            format!("      path: {root}{place}\n"),
        );
        assert_eq!(manifest.matches(&own).count(), 1, "{manifest}");
        manifest = manifest.replace(&own, &there);
    }
    std::fs::write(site.node.file("static/edge-hub.yaml"), manifest).expect("a file");
    let healthy = || {
        within(
            &site,
            &["curl", "-sSf", "-m", "1", "http://127.0.0.1:10267/healthz"],
        )
    };
    until("the kubelet has started the hub", NODE, healthy);

    let hub_ca = site.dir.path().join("var/lib/edge-hub/hub-ca.crt");
    let (direct, by_hub) = (
        format!("server: {}", site.server()),
        "server: https://127.0.0.1:10268",
    );
    let text = std::fs::read_to_string(&conf).expect("a kubeconfig");
    let text = text.replace(&direct, by_hub);
    let text = text.replace(
        &*site.cluster.ca().display().to_string(),
        &hub_ca.display().to_string(),
    );
    std::fs::write(&conf, text).expect("a kubeconfig");
    let power_on = || {
        site.node
            .up(&conf, &proxy("https://127.0.0.1:10268", &hub_ca))
    };
    site.node.down();
    power_on();
    site.wait_ready(true);
    site.three_pods();
    until("it is a pod of the cluster too", NODE, || {
        let pods = site
            .cluster
            .kubectl()
            .json(&["get", "pods", "-n", "kube-system"]);
        (pods["items"]
            .as_array()?
            .iter()
            .any(|pod| ready_name(pod).starts_with("edge-hub-")))
        .then_some(())
    });
    // Longer than `flush_secs`, by what the hub says of it.
    let flushed = || {
        let metrics = within(
            &site,
            &["curl", "-sSf", "-m", "1", "http://127.0.0.1:10267/metrics"],
        )?;
        let flushes = metrics
            .lines()
            .find_map(|line| line.strip_prefix("edge_hub_cache_flushes_total "))?;
        flushes.parse::<f64>().ok()
    };
    let before = until("it tells", NODE, flushed);
    site.cluster
        .kubectl()
        .run(&["annotate", "pod", "serve", "told=all"])
        .ok();
    until("what was told is on flash", NODE, || {
        (flushed()? > before).then_some(())
    });

    site.node.down();
    site.node.script(&["prep"]);
    site.node.net("down");
    power_on();
    until("the hub and all pods are back", NODE, || {
        (site.node.tasks().len() == 8).then_some(())
    });
    let before = site.node.tasks();
    site.node.net("up");
    site.wait_ready(true);
    site.wait_pods(&["hostnet", "serve", "tick"]);
    assert_eq!(site.node.tasks(), before, "the same containers as before");
}
