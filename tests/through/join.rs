//! A machine becomes a node of a real cluster by `edge-hub join`: what it takes, what must not work, and what the hub does
//! with the papers afterwards.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::door::SOON;
use crate::places::Mount;
use crate::support::cluster::{Cluster, Setup as Plane};
use crate::support::http::{Call, Client, JSON, Reply};
use crate::support::hub::{Hub, PROGRAM, Setup};
use crate::support::program::{Output, Program, command};
use crate::support::relay::Relay;
use crate::support::{TempDir, free_port, until};

/// The token that `cluster.sh` makes: its group's requests are approved at once.
const TOKEN: &str = "abcdef.0123456789abcdef";
/// Long enough for a join that waits for nobody.
const JOIN: Duration = Duration::from_secs(60);

/// A cluster that shows `cluster-info` to everybody, as kubeadm has it, and has signed it with this token.
fn shown<'a>(cluster: &'a Cluster, token: &str) -> &'a Cluster {
    let ca = std::fs::read(cluster.ca()).expect("the CA");
    let kubeconfig = format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: {}\n  name: \"\"\n\
         contexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n",
        base64(&ca),
        cluster.url()
    );
    let meta = json!({ "name": "cluster-info", "namespace": "kube-public" });
    let nobody = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:anonymous" });
    apply(
        cluster,
        &[
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": { "kubeconfig": kubeconfig } }),
            json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": [{
                "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"], "verbs": ["get"],
            }] }),
            json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "cluster-info" },
                "subjects": [nobody] }),
        ],
    );
    signed(cluster, token);
    cluster
}

/// Waits until the cluster has signed `cluster-info` with the token.
fn signed(cluster: &Cluster, token: &str) {
    let key = format!("jws-kubeconfig-{}", &token[..6]);
    let anybody = Client::new(cluster.address(), &cluster.ca());
    let path = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    until("cluster-info is signed", SOON, || {
        let reply = anybody.get(path);
        (reply.status == 200 && reply.json()["data"][&key].is_string()).then_some(())
    });
}

fn apply(cluster: &Cluster, objects: &[Value]) {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    cluster
        .kubectl()
        .run_with(&list.to_string(), &["apply", "-f", "-"])
        .ok();
}

/// Makes a bootstrap token of a group of its own, which may ask for certificates and is approved by nobody.
fn bootstrap_token(cluster: &Cluster, token: &str, more: &[(&str, &str)]) {
    let (id, secret) = token.split_once('.').expect("a token");
    let mut data = json!({
        "token-id": id,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": "system:bootstrappers:manual",
    });
    for (key, value) in more {
        data[key] = json!(value);
    }
    apply(
        cluster,
        &[
            json!({ "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
                "metadata": { "name": format!("bootstrap-token-{id}"), "namespace": "kube-system" }, "stringData": data }),
            json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": { "name": "test:manual" },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-bootstrapper" },
                "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers:manual" }] }),
        ],
    );
}

pub fn base64(bytes: &[u8]) -> String {
    let mut letters = Vec::new();
    edge_hub::object::base64::put(bytes, &mut letters);
    String::from_utf8(letters).expect("letters")
}

/// The hash of the cluster CA's key, made as kubeadm's documentation says.
fn pin(ca: &Path) -> String {
    let script = r#"openssl x509 -pubkey -noout -in "$1" | openssl pkey -pubin -outform der | sha256sum | cut -d' ' -f1"#;
    let output = Command::new("bash")
        .args(["-c", script, "pin"])
        .arg(ca)
        .stdin(Stdio::null())
        .output();
    let output = output.expect("openssl");
    format!("sha256:{}", String::from_utf8_lossy(&output.stdout).trim())
}

/// A machine that may become a node: its folders, and what it is called.
struct Machine {
    dir: TempDir,
    name: &'static str,
    state: PathBuf,
}

impl Machine {
    fn new(name: &'static str) -> Machine {
        let dir = TempDir::new("node");
        let state = dir.path().join("state");
        Machine { dir, name, state }
    }

    /// With another `state_dir`.
    fn keeping(self, state: &Path) -> Machine {
        let state = state.to_owned();
        Machine { state, ..self }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("etc/config.json")
    }

    /// `edge-hub join` with these arguments and those that every call has.
    fn command(&self, server: &str, more: &[&str]) -> Command {
        let mut command = command(Path::new(PROGRAM));
        command.args(["join", "--server", server, "--node-name", self.name]);
        command.arg("--config").arg(self.config());
        command.arg("--state-dir").arg(&self.state);
        command.args(more);
        command
    }

    fn join(&self, server: &str, more: &[&str]) -> Output {
        Program::spawn(&mut self.command(server, more)).wait(JOIN)
    }

    /// What stands where the hub looks for it.
    fn written(&self) -> Vec<&'static str> {
        let there = |(name, path): (&'static str, PathBuf)| path.exists().then_some(name);
        [
            ("ca", self.dir.path().join("etc/ca.crt")),
            ("config", self.config()),
            ("pair", self.state.join("node.pem")),
            ("request", self.state.join("node-request.pem")),
        ]
        .into_iter()
        .filter_map(there)
        .collect()
    }

    /// A hub with the configuration that the join has written, and what tests need beside that.
    fn hub(&self, cluster: &Cluster, server: &str) -> Setup {
        let text = std::fs::read_to_string(self.config()).expect("the configuration");
        let written: Value = serde_json::from_str(&text).expect("JSON");
        let mut setup = Setup::new(cluster, server);
        for (key, value) in written.as_object().expect("an object") {
            setup = match (key.as_str(), value) {
                ("servers", _) => setup,
                ("ca_file" | "client_ca_file", name) => {
                    let path = self
                        .dir
                        .path()
                        .join("etc")
                        .join(name.as_str().expect("a path"));
                    setup.set(key, path.display().to_string())
                }
                _ => setup.set(key, value.clone()),
            };
        }
        setup
    }
}

#[track_caller]
fn says(output: &Output, code: i32, parts: &[&str]) {
    let text = format!("{}\n{}", output.stdout, output.stderr);
    assert_eq!(output.code, Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains(&TOKEN[7..]), "a secret: {text}");
}

/// Who the caller is to the API server.
fn who(client: &Client) -> (String, Vec<String>) {
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let reply = client
        .call(Call::json(Method::POST, path, &review))
        .expect(201);
    let info = reply.json()["status"]["userInfo"].clone();
    let groups = info["groups"].as_array().expect("groups").iter();
    (
        info["username"].as_str().expect("a name").to_string(),
        groups
            .map(|g| g.as_str().expect("a group").to_string())
            .collect(),
    )
}

#[test]
fn a_machine_joins_once_and_its_hub_goes_up_as_the_node() {
    let cluster = shown(Cluster::shared(), TOKEN);
    let machine = Machine::new("join-1");
    let token = machine.dir.write("token", format!("{TOKEN}\n"));
    let token = token.display().to_string();
    let pin = pin(&cluster.ca());
    let arguments = ["--token-file", &token, "--ca-hash", &pin];
    let joined = machine.join(&cluster.url(), &arguments);
    says(
        &joined,
        0,
        &[
            "trusted  CN=lab-ca, sha256:",
            "CN=system:node:join-1,O=system:nodes, valid until",
            "\"client\": \"joined\"",
            "The node has joined",
        ],
    );
    assert_eq!(machine.written(), ["ca", "config", "pair"]);
    let of = |path: PathBuf| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).expect("it is there").mode() & 0o777
    };
    assert_eq!(
        (
            of(machine.state.clone()),
            of(machine.state.join("node.pem"))
        ),
        (0o700, 0o600)
    );
    assert_eq!(
        std::fs::read(machine.dir.path().join("etc/ca.crt")).expect("the CA"),
        std::fs::read(cluster.ca()).expect("the CA")
    );

    // A second time there is nothing to do, also without a token and without a server.
    let pair = std::fs::read(machine.state.join("node.pem")).expect("the pair");
    says(
        &machine.join(&cluster.url(), &[]),
        0,
        &["has joined already: CN=system:node:join-1"],
    );
    // As another node, or at another server, only by force.
    let other = Machine::new("join-2").keeping(&machine.state);
    says(
        &other.join(&cluster.url(), &arguments),
        3,
        &["is the pair of CN=system:node:join-1", "--force"],
    );
    says(
        &machine.join("https://127.0.0.1:1", &arguments),
        3,
        &["is there already", "servers", "--force"],
    );
    assert_eq!(
        std::fs::read(machine.state.join("node.pem")).expect("the pair"),
        pair
    );

    // The hub runs with it. Who comes with a certificate of the node goes up as the node, without an entry.
    let hub = machine.hub(cluster, &cluster.url()).start();
    hub.sees_online();
    assert_eq!(hub.status()["warnings"], json!([]));
    let certificate = hub.status()["certificates"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|certificate| certificate["what"] == "client")
        .expect("the node's")
        .clone();
    assert_eq!(
        certificate["subject"],
        "CN=system:node:join-1,O=system:nodes"
    );
    assert!(certificate["renewed_from"].is_string(), "{certificate}");
    let (kubelet_certificate, key) =
        cluster.user("kubelet-join-1", "system:node:join-1", "system:nodes");
    let kubelet = hub.client().certificate(&kubelet_certificate, &key);
    let (name, groups) = who(&kubelet);
    assert_eq!(name, "system:node:join-1");
    assert!(groups.contains(&"system:nodes".to_string()), "{groups:?}");
    // Another node's certificate does not.
    let (certificate, key) = cluster.user("kubelet-join-9", "system:node:join-9", "system:nodes");
    let stranger = hub.client().certificate(&certificate, &key);
    stranger.get("/api/v1/nodes/join-1").expect(403);
    let checked = hub.command(&["check"]);
    assert!(
        checked
            .stdout
            .contains("ok    client: CN=system:node:join-1"),
        "{}",
        checked.stdout
    );
    let told = hub.command(&["status"]).ok();
    assert!(told.contains("renewed by the hub from 20"), "{told}");
}

/// A token that is only written in the wrong place, or that the cluster does not know, or no longer.
#[test]
fn without_a_good_token_nobody_joins() {
    let cluster = shown(Cluster::shared(), TOKEN);
    let machine = Machine::new("join-token");
    let join = |token: &str| machine.join(&cluster.url(), &["--token", token]);
    says(
        &machine.join(&cluster.url(), &[]),
        2,
        &["a token is needed"],
    );
    says(&join("abcdef"), 2, &["it is no bootstrap token"]);
    says(
        &join("abcdef.0123456789abcdee"),
        8,
        &["is not signed with the secret of the token abcdef"],
    );
    says(
        &join("abcdeg.0123456789abcdef"),
        8,
        &["no signature for the token abcdeg", "kubeadm token create"],
    );

    // One that expires while it is in use.
    let expires = Command::new("date")
        .args(["-u", "-d", "+6 seconds", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .expect("date");
    let expires = String::from_utf8_lossy(&expires.stdout).trim().to_string();
    let short = "expire.0123456789abcdef";
    bootstrap_token(cluster, short, &[("expiration", &expires)]);
    signed(cluster, short);
    let map = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    until("the signature is gone with the token", SOON, || {
        let reply = cluster.admin().get(map);
        reply.json()["data"]["jws-kubeconfig-expire"]
            .is_null()
            .then_some(())
    });
    says(
        &join(short),
        8,
        &["no signature for the token expire: it has expired"],
    );

    // One that may sign and not authenticate, and one whose group may not ask.
    let signs = "signer.0123456789abcdef";
    bootstrap_token(
        cluster,
        signs,
        &[("usage-bootstrap-authentication", "false")],
    );
    signed(cluster, signs);
    says(
        &join(signs),
        8,
        &[
            "401",
            "the token is wrong or has expired, or is not for authentication",
        ],
    );
    let groups = "nobody.0123456789abcdef";
    bootstrap_token(
        cluster,
        groups,
        &[("auth-extra-groups", "system:bootstrappers:nobody")],
    );
    signed(cluster, groups);
    says(&join(groups), 8, &["403", "system:node-bootstrapper"]);

    // What is left is of use to the next join: the CA, and the key of a request.
    assert_eq!(machine.written(), ["ca", "request"]);
    says(&join(TOKEN), 0, &["The node has joined"]);
    assert_eq!(machine.written(), ["ca", "config", "pair"]);
}

/// Answers every request by TLS with a certificate of its own CA, as one would who stands in between.
struct InBetween {
    address: SocketAddr,
    ca: String,
}

impl InBetween {
    fn new(answer: Vec<u8>) -> InBetween {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_string()]).expect("params");
        let made = params.self_signed(&key).expect("a certificate");
        let secret = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.der().clone()], secret.into())
            .expect("a pair");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(mut socket) = socket else { return };
                let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("TLS");
                let mut stream = rustls::Stream::new(&mut tls, &mut socket);
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                let length = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                let _ = stream.write_all(length.as_bytes());
                let _ = stream.write_all(&answer);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        InBetween {
            address,
            ca: edge_hub::certs::pem::encode("CERTIFICATE", made.der()),
        }
    }
}

#[test]
fn only_the_clusters_own_server_is_believed() {
    let cluster = shown(Cluster::shared(), TOKEN);
    let machine = Machine::new("join-server");
    let join = |server: &str, more: &[&str]| {
        let mut all = vec!["--token", TOKEN];
        all.extend(more);
        machine.join(server, &all)
    };
    let good = pin(&cluster.ca());
    let bad = format!("sha256:{}", "0".repeat(64));
    let refused = join(&cluster.url(), &["--ca-hash", &bad]);
    says(
        &refused,
        8,
        &["the cluster's CA is none that --ca-hash names", &good],
    );
    let nobody = format!("https://127.0.0.1:{}", free_port());
    says(&join(&nobody, &[]), 1, &["no connection", "is the link up"]);

    // Who shows the cluster's own words, signature and all, is no server of the cluster.
    let info = cluster
        .admin()
        .get("/api/v1/namespaces/kube-public/configmaps/cluster-info");
    let mirror = InBetween::new(info.body.clone());
    let server = format!("https://{}", mirror.address);
    says(
        &join(&server, &["--ca-hash", &good]),
        1,
        &["is not signed by a CA in cluster-info"],
    );
    // Who knows the token, as every node does, can sign another CA: there the hash is what helps.
    let mut forged = info.json();
    let text = format!(
        "certificate-authority-data: {}\n",
        base64(mirror.ca.as_bytes())
    );
    forged["data"]["jws-kubeconfig-abcdef"] = json!(signature(&text));
    forged["data"]["kubeconfig"] = json!(text);
    let liar = InBetween::new(forged.to_string().into_bytes());
    let server = format!("https://{}", liar.address);
    says(
        &join(&server, &["--ca-hash", &good]),
        8,
        &["none that --ca-hash names"],
    );
    // What is no cluster-info at all.
    for answer in ["", "{}", "<html>", "{\"data\":{\"kubeconfig\":\"x\"}}"] {
        let odd = InBetween::new(answer.as_bytes().to_vec());
        let output = join(&format!("https://{}", odd.address), &[]);
        says(&output, 8, &["cluster-info"]);
    }
    assert_eq!(machine.written(), [""; 0], "nothing was begun");

    // The right hash among others is enough; a CA from a file needs no cluster-info.
    says(
        &join(&cluster.url(), &["--ca-hash", &bad, "--ca-hash", &good]),
        0,
        &["The node has joined"],
    );
    let machine = Machine::new("join-file");
    let ca = cluster.ca().display().to_string();
    let other = machine
        .dir
        .write("other.crt", &mirror.ca)
        .display()
        .to_string();
    let with = |ca: &str| machine.join(&cluster.url(), &["--token", TOKEN, "--ca-file", ca]);
    says(&with(&other), 1, &["is not signed by a CA in"]);
    says(&with(&ca), 3, &["holds another CA", "--force"]);
    std::fs::remove_file(machine.dir.path().join("etc/ca.crt")).expect("it is there");
    says(&with(&ca), 0, &["The node has joined"]);
}

/// A JWS of the text by [`TOKEN`].
fn signature(text: &str) -> String {
    let url = |bytes: &[u8]| {
        base64(bytes)
            .replace('+', "-")
            .replace('/', "_")
            .replace('=', "")
    };
    let header = url(br#"{"alg":"HS256","kid":"abcdef"}"#);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &TOKEN.as_bytes()[7..]);
    let mac = ring::hmac::sign(
        &key,
        format!("{header}.{}", url(text.as_bytes())).as_bytes(),
    );
    format!("{header}..{}", url(mac.as_ref()))
}

/// The names of the requests that this token has made.
fn requests_of(cluster: &Cluster, user: &str) -> Vec<String> {
    let list = cluster
        .kubectl()
        .json(&["get", "certificatesigningrequests"]);
    let items = list["items"].as_array().expect("a list").iter();
    let of_user = items.filter(|item| item["spec"]["username"] == user);
    let name = |item: &Value| {
        item["metadata"]["name"]
            .as_str()
            .expect("a name")
            .to_string()
    };
    of_user.map(name).collect()
}

#[test]
fn an_interrupted_join_goes_on_with_its_own_request() {
    let token = "manual.0123456789abcdef";
    let cluster = shown(Cluster::shared(), TOKEN);
    bootstrap_token(cluster, token, &[]);
    signed(cluster, token);
    let user = "system:bootstrap:manual";
    let machine = Machine::new("join-slow");
    // It waits for somebody, and says for what.
    let first = machine.join(&cluster.url(), &["--token", token, "--wait", "2"]);
    says(
        &first,
        9,
        &[
            "nobody has approved",
            "kubectl certificate approve edge-hub-client-",
            "the same command goes on",
        ],
    );
    // Killed in the middle of it.
    let mut second = Program::spawn(&mut machine.command(&cluster.url(), &["--token", token]));
    second.line("it waits", JOIN, |line| line.starts_with("waiting"));
    second.kill();
    let names = requests_of(cluster, user);
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(
        first.stderr.contains(&names[0]),
        "{} in {}",
        names[0],
        first.stderr
    );
    assert_eq!(machine.written(), ["ca", "request"]);
    cluster
        .kubectl()
        .run(&["certificate", "approve", &names[0]])
        .ok();
    // The token comes by standard input, as from a provisioning script.
    let file = machine.dir.write("token", token);
    let stdin = std::fs::File::open(file).expect("the token");
    let mut third = machine.command(&cluster.url(), &["--token-file", "-"]);
    let third = Program::spawn(third.stdin(stdin)).wait(JOIN);
    says(&third, 0, &["The node has joined"]);
    assert_eq!(requests_of(cluster, user), names, "no second request");
    assert_eq!(machine.written(), ["ca", "config", "pair"]);

    // A crash between the pair and the configuration: it is written without asking anybody.
    std::fs::remove_file(machine.config()).expect("it is there");
    says(
        &machine.join(&cluster.url(), &[]),
        0,
        &["goes on", "The node has joined"],
    );
    assert_eq!(requests_of(cluster, user), names);

    // Denied: said, and the next join asks anew.
    let machine = Machine::new("join-denied");
    let arguments = ["--token", token, "--wait", "60"];
    let waiting = Program::spawn(&mut machine.command(&cluster.url(), &arguments));
    let name = until("it has asked", JOIN, || {
        requests_of(cluster, user)
            .into_iter()
            .find(|name| !names.contains(name))
    });
    cluster.kubectl().run(&["certificate", "deny", &name]).ok();
    says(
        &waiting.wait(JOIN),
        8,
        &["was refused: Denied, KubectlDeny"],
    );
    assert_eq!(machine.written(), ["ca"]);
}

#[test]
fn a_configuration_that_is_there_is_only_changed_by_force() {
    let cluster = shown(Cluster::shared(), TOKEN);
    let machine = Machine::new("join-config");
    std::fs::create_dir_all(machine.dir.path().join("etc")).expect("a folder");
    let before = r#"{"servers": ["https://10.9.9.9:6443"], "cache_agents": ["mine"], "client_cert": "x", "client_key": "y"}"#;
    std::fs::write(machine.config(), before).expect("a file");
    let arguments = ["--token", TOKEN, "--force"];
    says(
        &machine.join(&cluster.url(), &arguments[..2]),
        3,
        &["is there already", "client_cert", "--force"],
    );
    assert_eq!(machine.written(), ["config"], "nothing was begun");
    assert_eq!(
        std::fs::read_to_string(machine.config()).expect("a file"),
        before
    );
    says(
        &machine.join(&cluster.url(), &arguments),
        0,
        &["what was there before", "The node has joined"],
    );
    let old = machine.config().with_extension("json.old");
    assert_eq!(std::fs::read_to_string(old).expect("the old one"), before);
    let now: Value =
        serde_json::from_slice(&std::fs::read(machine.config()).expect("a file")).expect("JSON");
    assert_eq!(now["cache_agents"], json!(["mine"]));
    assert_eq!(now["servers"], json!([cluster.url()]));
    assert!(now["client_cert"].is_null());
}

/// A control plane whose certificates live for two minutes. They begin five minutes before they are issued, so that the
/// time to renew them comes at once, or within the first of the two.
fn hasty() -> &'static Cluster {
    static HASTY: OnceLock<Cluster> = OnceLock::new();
    HASTY.get_or_init(|| {
        Cluster::start(&Plane {
            controller_manager_flags: "--cluster-signing-duration=120s".to_string(),
            ..Plane::default()
        })
    })
}

/// Long enough for a certificate of that cluster to be renewed, or to end.
const LIFE: Duration = Duration::from_secs(150);

/// The end of the certificate, as `status` has it.
fn end_of(hub: &Hub, what: &str) -> String {
    let status = hub.status();
    let mut certificates = status["certificates"].as_array().expect("a list").iter();
    let one = certificates.find(|certificate| certificate["what"] == what);
    one.map(|one| one["not_after"].as_str().expect("a time").to_string())
        .unwrap_or_default()
}

#[track_caller]
fn warns(hub: &Hub, what: &str) -> String {
    until(&format!("it warns of {what:?}"), LIFE, || {
        let status = hub.status();
        let mut warnings = status["warnings"].as_array().expect("a list").iter();
        warnings
            .find_map(|warning| warning.as_str().filter(|text| text.contains(what)))
            .map(str::to_string)
    })
}

#[test]
fn the_nodes_pair_is_renewed_under_load_and_outlives_an_outage() {
    let cluster = shown(hasty(), TOKEN);
    let mount = Mount::tmpfs(1 << 20);
    let machine = Machine::new("renew-1").keeping(&mount.path.join("state"));
    says(
        &machine.join(&cluster.url(), &["--token", TOKEN]),
        0,
        &["The node has joined"],
    );
    let relay = Relay::new(cluster.address());
    let mut hub = machine
        .hub(cluster, &relay.url())
        .set("log", "warn,edge_hub::hub=debug")
        .start();
    hub.sees_online();
    let (certificate, key) = cluster.user("kubelet-renew-1", "system:node:renew-1", "system:nodes");
    let kubelet = hub
        .client()
        .certificate(&certificate, &key)
        .agent("kubelet/1");
    let path = "/api/v1/services";
    let mut watch = kubelet.watch(&format!("{path}?watch=true"), JSON);
    watch.event(SOON);
    let mut connection = kubelet.connect().expect("a connection");
    let pair = || std::fs::read(machine.state.join("node.pem")).expect("the pair");
    let mut renewed = |hub: &Hub| {
        // While it is renewed, requests go on without one failing.
        let end = end_of(hub, "client");
        until("it is renewed", LIFE, || {
            let reply = connection.send(Call::get(path)).and_then(Reply::whole);
            assert_eq!(reply.as_ref().map(|reply| reply.status), Ok(200));
            let reply = reply.expect("a reply");
            assert_eq!(reply.header("edge-hub-cache"), "", "from the cloud");
            (end_of(hub, "client") != end).then_some(())
        });
    };
    // On a partition that cannot be written what is renewed is in use, and not kept.
    let joined = pair();
    mount.remount("ro");
    renewed(&hub);
    hub.logged("is in use, and not kept");
    assert_eq!(pair(), joined);
    mount.remount("rw");
    renewed(&hub);
    let kept = pair();
    assert_ne!(kept, joined);
    assert!(!machine.state.join("node-request.pem").exists());
    // The watch that was open all the time was never broken.
    cluster
        .kubectl()
        .run(&["create", "service", "clusterip", "renew-1", "--tcp=80"])
        .ok();
    assert_eq!(
        until("the new service", SOON, || {
            let event = watch.event(SOON);
            (event.meta.name == "renew-1").then_some(event.kind)
        }),
        "ADDED"
    );

    // A request that waits for its signer when the hub is killed is gone on with by the next one.
    cluster.script(&["stop", "cm"]);
    let request = until("it is asked for", LIFE, || {
        let text = std::fs::read_to_string(machine.state.join("node-request.pem")).ok()?;
        text.lines().next().map(str::to_string)
    });
    let waits = format!("{request} waits for somebody");
    hub.logged(&waits);
    let asked = requests_of(cluster, "system:node:renew-1");
    hub.kill();
    hub.run();
    hub.sees_online();
    until("it is looked at", SOON, || {
        (hub.log().matches(&waits).count() == 2).then_some(())
    });
    assert_eq!(requests_of(cluster, "system:node:renew-1"), asked);
    let end = end_of(&hub, "client");
    cluster.script(&["start", "cm"]);
    until("it is renewed", LIFE, || {
        (end_of(&hub, "client") != end).then_some(())
    });
    until("it is kept", SOON, || (pair() != kept).then_some(()));

    // Cut off until after its end: still in use, and said. The server decides, and what is kept is answered.
    let kubelet = hub
        .client()
        .certificate(&certificate, &key)
        .agent("kubelet/1");
    kubelet.get(path).expect(200);
    relay.refuse();
    hub.sees_offline();
    warns(&hub, "a new one cannot be had: link is down");
    let over = warns(&hub, "is over since");
    assert!(
        over.contains("`edge-hub join`") && over.contains("still shown"),
        "{over}"
    );
    assert_ne!(kubelet.get(path).expect(200).header("edge-hub-cache"), "");
    relay.pass();
    hub.sees_online();
    warns(&hub, "401");
    // A join with a new token mends it, with the hub running.
    says(
        &machine.join(&cluster.url(), &["--token", TOKEN]),
        0,
        &["The node has joined"],
    );
    hub.signal("HUP");
    until("the hub goes up as the node again", LIFE, || {
        (kubelet.get(path).header("edge-hub-cache").is_empty()).then_some(())
    });
    until("it is content", LIFE, || {
        (hub.status()["warnings"] == json!([])).then_some(())
    });
    let log = hub.log();
    assert!(
        !log.contains(&TOKEN[7..]) && !log.contains("PRIVATE"),
        "a secret in the log"
    );
}

#[test]
fn the_cluster_signs_what_the_hub_shows() {
    let cluster = shown(Cluster::shared(), TOKEN);
    let machine = Machine::new("serve-1");
    says(
        &machine.join(&cluster.url(), &["--token", TOKEN]),
        0,
        &["The node has joined"],
    );
    let mut hub = machine
        .hub(cluster, &cluster.url())
        .set("serving", "csr")
        .start();
    hub.sees_online();
    let name_in = |text: &str| {
        let at = text.find("edge-hub-serving-").expect("a name");
        text[at..]
            .split_whitespace()
            .next()
            .expect("a name")
            .to_string()
    };
    // Until somebody has approved, clients see the hub's own CA, and status says who can help.
    let told = warns(&hub, "kubectl certificate approve");
    assert!(told.contains("until the cluster has signed"), "{told}");
    let request = name_in(&told);
    let account = cluster.token("kube-system", "default");
    hub.client().bearer(&account).get("/version").expect(200);
    let of_cluster = |hub: &Hub| Client::new(hub.address(), &cluster.ca()).bearer(&account);
    assert!(of_cluster(&hub).connect().is_err(), "signed by whom?");
    assert!(hub.command(&["check"]).stdout.contains(&request));
    let mut open = hub
        .client()
        .bearer(&account)
        .connect()
        .expect("a connection");
    cluster
        .kubectl()
        .run(&["certificate", "approve", &request])
        .ok();
    // Then they see the cluster's, and the connection that was open goes on.
    until("the cluster's certificate serves", LIFE, || {
        of_cluster(&hub).connect().ok().map(drop)
    });
    of_cluster(&hub).get("/version").expect(200);
    let reply = open.send(Call::get("/version")).and_then(Reply::whole);
    assert_eq!(reply.map(|reply| reply.status), Ok(200));
    assert_eq!(hub.status()["warnings"], json!([]));
    let shown = hub.status()["certificates"].to_string();
    assert!(shown.contains("renewed_from"), "{shown}");
    // The name by which pods call it is among those that it is good for: the cluster IP too.
    let text = openssl_text(&machine.state.join("serving.pem"));
    for part in [
        "DNS:kubernetes.default.svc",
        "IP Address:10.96.0.1",
        "IP Address:127.0.0.1",
        "CN = system:node:serve-1",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }

    // A restart asks nobody. A further name needs a further approval, and what was signed serves meanwhile.
    let signed = requests_of(cluster, "system:node:serve-1");
    assert_eq!(hub.terminate(SOON), Some(0));
    hub.run();
    hub.sees_online();
    of_cluster(&hub).get("/version").expect(200);
    assert_eq!(hub.status()["warnings"], json!([]));
    assert_eq!(requests_of(cluster, "system:node:serve-1"), signed);
    hub.reload("extra_sans", json!(["gateway.example"]));
    let told = warns(&hub, "kubectl certificate approve");
    assert!(told.contains("the certificate ends at"), "{told}");
    of_cluster(&hub).get("/version").expect(200);
    let further = name_in(&told);
    assert_ne!(further, request);
    cluster
        .kubectl()
        .run(&["certificate", "deny", &further])
        .ok();
    warns(&hub, "was refused: Denied");
    of_cluster(&hub).get("/version").expect(200);
    // Wished for no longer, it is content; and without the key the hub's own CA is back at once.
    hub.reload("extra_sans", json!([]));
    until("it is content", SOON, || {
        (hub.status()["warnings"] == json!([])).then_some(())
    });
    hub.reload("serving", "hub-ca");
    until("the hub's own CA serves", SOON, || {
        hub.client().connect().ok().map(drop)
    });
}

fn openssl_text(file: &Path) -> String {
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-text", "-in"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
