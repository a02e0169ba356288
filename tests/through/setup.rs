//! `edge-hub setup kubelet`: a kubelet's kubeconfig before, by way of the hub, and as it was.

use crate::support::TempDir;
use crate::support::cluster::{Cluster, programs};
use crate::support::free_port;
use crate::support::hub::PROGRAM;
use crate::support::program::{Output, Program, command};
use crate::support::until;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

use super::door::SOON;

fn setup(dir: &TempDir, kubeconfig: &Path, words: &[&str]) -> Output {
    let mut command = command(Path::new(PROGRAM));
    command
        .args(["setup", "kubelet", "--kubeconfig"])
        .arg(kubeconfig);
    command.arg("--config").arg(dir.path().join("config.json"));
    Program::spawn(command.args(words)).wait(SOON)
}

/// The name that kubectl has with this kubeconfig, and whether it asked the hub.
fn asks(kubeconfig: &Path) -> String {
    let mut command = command(&programs().join("kubectl"));
    command.arg("--kubeconfig").arg(kubeconfig);
    let said = Program::spawn(command.args(["auth", "whoami", "-v6"])).wait(SOON);
    let asked = format!("{}\n{}", said.stdout, said.stderr);
    assert!(asked.contains("system:node:setup-1"), "{asked}");
    asked
}

#[test]
fn a_kubelet_is_sent_to_the_hub_and_back() {
    let cluster = Cluster::shared();
    let (certificate, key) = cluster.user("setup-1", "system:node:setup-1", "system:nodes");
    let ca = fs::read(cluster.ca()).expect("the CA");
    let dir = TempDir::new("setup");
    let file = dir.path().join("kubelet.conf");
    // As kubeadm writes it.
    let before = format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: {}\n  name: kubernetes\n\
         contexts:\n- context:\n    cluster: kubernetes\n    user: system:node:setup-1\n  name: system:node:setup-1@kubernetes\n\
         current-context: system:node:setup-1@kubernetes\nkind: Config\npreferences: {{}}\nusers:\n- name: system:node:setup-1\n  \
         user:\n    client-certificate: {}\n    client-key: {}\n",
        base64(&ca),
        cluster.url(),
        certificate.display(),
        key.display(),
    );
    fs::write(&file, &before).expect("a kubeconfig");
    assert!(asks(&file).contains(&cluster.url()));

    // Shown, and nothing else.
    let shown = setup(&dir, &file, &[]).ok();
    assert!(
        shown.contains("\"cn\": \"system:node:*\"") && shown.contains("--write"),
        "{shown}"
    );
    let entries = fs::read_dir(dir.path()).expect("a folder").count();
    assert_eq!(entries, 1, "nothing is written");

    // First the hub's configuration: a node that had none gets one that is whole.
    setup(&dir, &file, &["--write"]).ok();
    assert_eq!(fs::read_to_string(&file).expect("a kubeconfig"), before);
    let config = dir.path().join("config.json");
    let mut keys: Value =
        serde_json::from_slice(&fs::read(&config).expect("a file")).expect("JSON");
    assert_eq!(keys["servers"], json!([cluster.url()]));
    // Where a test has to be elsewhere than a node.
    let (door, admin) = (free_port(), free_port());
    for (key, value) in [
        ("node_name", json!("setup-1")),
        ("listen", json!([format!("127.0.0.1:{door}")])),
        ("admin_listen", json!(format!("127.0.0.1:{admin}"))),
        ("own_addresses", json!([])),
        ("state_dir", json!("state")),
        ("cache_dir", json!("cache")),
        ("run_dir", json!("run")),
    ] {
        keys[key] = value;
    }
    fs::write(&config, keys.to_string()).expect("a file");

    // Not while no hub runs: the kubelet would be cut off.
    let refused = setup(&dir, &file, &["--write"]);
    assert_eq!(refused.code, Some(5), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&file).expect("a kubeconfig"), before);
    let mut hub = command(Path::new(PROGRAM));
    hub.args(["run", "--config"]).arg(&config);
    let _hub = Program::without_pipes(&mut hub);
    until("the kubelet's kubeconfig names the hub", SOON, || {
        let done = setup(&dir, &file, &["--write"]);
        (done.code == Some(0)).then_some(())
    });
    let after = fs::read_to_string(&file).expect("a kubeconfig");
    assert!(asks(&file).contains(&format!("https://127.0.0.1:{door}/")));
    assert!(
        setup(&dir, &file, &["--write"])
            .ok()
            .contains("Nothing to do")
    );
    assert_eq!(fs::read_to_string(&file).expect("a kubeconfig"), after);

    // The hub at the place of the cluster, whose CA did not sign what it shows.
    let own_ca = dir.path().join("state/hub-ca.crt");
    let half = after.replace(&*own_ca.to_string_lossy(), &cluster.ca().to_string_lossy());
    assert_ne!(half, after);
    fs::write(&file, &half).expect("a kubeconfig");
    let mended = setup(&dir, &file, &[]).ok();
    assert!(mended.contains("hub-ca.crt"), "{mended}");

    // Somebody has written another one since, and nothing of it is lost.
    let newer = before.replace("preferences: {}\n", "");
    fs::write(&file, &newer).expect("a kubeconfig");
    let refused = setup(&dir, &file, &["--undo"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&file).expect("a kubeconfig"), newer);

    fs::write(&file, &after).expect("a kubeconfig");
    // A link stays one.
    let link = dir.path().join("link.conf");
    std::os::unix::fs::symlink("kubelet.conf", &link).expect("a link");
    setup(&dir, &link, &["--undo"]).ok();
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
    assert_eq!(fs::read_to_string(&file).expect("a kubeconfig"), before);
    assert!(asks(&file).contains(&cluster.url()));
    let nothing = setup(&dir, &file, &["--undo"]);
    assert_eq!(nothing.code, Some(1), "{}", nothing.stderr);
}

#[test]
fn k3s_gets_a_kubeconfig_of_its_own() {
    let cluster = Cluster::shared();
    let (certificate, key) = cluster.user("setup-2", "system:node:setup-1", "system:nodes");
    let dir = TempDir::new("setup-k3s");
    let (door, admin) = (free_port(), free_port());
    let config = json!({
        "servers": [cluster.url()], "ca_file": cluster.ca(), "client_ca_file": cluster.ca(),
        "node_name": "setup-1", "own_addresses": [], "admin_listen": format!("127.0.0.1:{admin}"),
        "listen": [format!("127.0.0.1:{door}")], "state_dir": "state", "cache_dir": "cache", "run_dir": "run",
        "identities": [{ "cn": "system:node:setup-1", "cert": certificate, "key": key }],
    });
    let config = dir.write("config.json", config.to_string());
    let mut hub = command(Path::new(PROGRAM));
    hub.args(["run", "--config"]).arg(&config);
    let _hub = Program::without_pipes(&mut hub);
    let place = dir.path().join("var/lib/rancher/k3s/agent");
    fs::create_dir_all(&place).expect("a folder");
    // k3s' agent has a balancer of its own between.
    let file = place.join("kubelet.kubeconfig");
    let before = format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    server: https://127.0.0.1:6444\n    certificate-authority: {}\n  name: local\n\
         contexts:\n- context:\n    cluster: local\n    namespace: default\n    user: user\n  name: Default\n\
         current-context: Default\nkind: Config\npreferences: {{}}\nusers:\n- name: user\n  user:\n    \
         client-certificate: {}\n    client-key: {}\n",
        cluster.ca().display(),
        certificate.display(),
        key.display(),
    );
    fs::write(&file, &before).expect("a kubeconfig");
    let said = until("it is written", SOON, || {
        let done = setup(&dir, &file, &["--write"]);
        (done.code == Some(0)).then_some(done.stdout)
    });
    assert!(said.contains("kubelet-arg"), "{said}");
    assert_eq!(fs::read_to_string(&file).expect("a kubeconfig"), before);
    let own = dir.path().join("kubelet.conf");
    assert!(asks(&own).contains(&format!("https://127.0.0.1:{door}/")));
    setup(&dir, &file, &["--undo"]).ok();
    assert!(!own.exists());
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .fold(0, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for at in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= three.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}
