//! A real control plane: etcd, kube-apiserver and kube-controller-manager, started by `tests/cluster/cluster.sh`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::http::Client;
use super::kubeconfig::{User, kubeconfig};
use super::program::{Guard, Output, Program};
use super::{TempDir, free_port, until};

/// How long one call of kubectl may take.
const KUBECTL: Duration = Duration::from_secs(60);

/// Which release of Kubernetes. Of those before 1.34 there is a kubelet alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    V1_37,
    V1_36,
    V1_34,
    V1_30,
    V1_28,
}

impl Release {
    /// What the names of its programs end with, where several are there.
    pub fn suffix(self) -> &'static str {
        match self {
            Release::V1_37 => "-1.37",
            Release::V1_36 => "-1.36",
            Release::V1_34 => "-1.34",
            Release::V1_30 => "-1.30",
            Release::V1_28 => "-1.28",
        }
    }

    /// The control plane that a kubelet of this release is given: at most six releases newer.
    pub fn plane(self) -> Release {
        match self {
            Release::V1_37 => Release::V1_37,
            Release::V1_36 | Release::V1_34 => Release::V1_36,
            Release::V1_30 | Release::V1_28 => Release::V1_34,
        }
    }

    /// The directory with one of its programs, and all others, built when it is not there yet.
    pub fn programs(self, needed: &str) -> PathBuf {
        match self {
            Release::V1_36 | Release::V1_34 => programs().to_owned(),
            other => built("cluster/release.sh", &[&other.suffix()[1..], needed]),
        }
    }
}

/// What a control plane is to be like.
#[derive(Debug, Clone)]
pub struct Setup {
    pub release: Release,
    pub apiserver_flags: String,
    pub controller_manager_flags: String,
    /// An address that nodes in other network namespaces reach.
    pub advertise: Option<Ipv4Addr>,
    /// More names in the API server's certificate, such as `IP:10.0.2.2`.
    pub sans: String,
    /// The node whose certificate is made.
    pub node: String,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            release: Release::V1_36,
            apiserver_flags: String::new(),
            controller_manager_flags: String::new(),
            advertise: None,
            sans: String::new(),
            node: "edge-1".to_string(),
        }
    }
}

/// A running control plane. It is wiped when this value is dropped, and when the process ends without that.
pub struct Cluster {
    port: u16,
    env: Vec<(&'static str, String)>,
    // Dropped in this order.
    _guard: Guard,
    dir: TempDir,
}

/// The directory with Kubernetes' programs, built when they are not there yet.
pub fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| built("cluster/build.sh", &[]))
}

/// The directory with the client programs that are not Go, built when they are not there yet.
pub fn clients() -> &'static Path {
    static CLIENTS: OnceLock<PathBuf> = OnceLock::new();
    CLIENTS.get_or_init(|| built("clients/build.sh", &[]))
}

/// Runs a script of `tests` that builds something and prints its directory.
fn built(script: &str, args: &[&str]) -> PathBuf {
    let output = Command::new(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(script),
    )
    .args(args)
    .stdin(Stdio::null())
    .stderr(Stdio::inherit())
    .output()
    .expect(script);
    assert!(output.status.success(), "tests/{script} failed");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// One of the scripts of `tests/cluster`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cluster")
        .join(name)
}

impl Cluster {
    /// The control plane that all tests of this process share. It lives as long as the process.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::start(&Setup::default()))
    }

    /// The same with an older API server, and with the newest.
    pub fn old_and_new() -> [(Release, &'static Cluster); 2] {
        static ALL: OnceLock<[Cluster; 2]> = OnceLock::new();
        let of = |release| {
            Cluster::start(&Setup {
                release,
                ..Setup::default()
            })
        };
        let releases = [Release::V1_34, Release::V1_37];
        let [old, new] = ALL.get_or_init(|| releases.map(of));
        [(releases[0], old), (releases[1], new)]
    }

    /// Starts a control plane on ports and in a directory of its own.
    pub fn start(setup: &Setup) -> Cluster {
        let dir = TempDir::new("cluster");
        let bin = setup.release.programs("kube-apiserver");
        let port = free_port();
        let etcd_port = until("two free ports in a row", Duration::from_secs(10), || {
            let port = free_port();
            (free_port() == port + 1).then_some(port)
        });
        let env = vec![
            ("CLUSTER_DIR", dir.path().display().to_string()),
            ("BIN", bin.display().to_string()),
            ("PORT", port.to_string()),
            ("ETCD_PORT", etcd_port.to_string()),
            ("CM_PORT", free_port().to_string()),
            ("CM", "1".to_string()),
            ("NODE", setup.node.clone()),
            ("APISERVER_EXTRA", setup.apiserver_flags.clone()),
            ("EXTRA_SANS", setup.sans.clone()),
            ("CM_EXTRA", setup.controller_manager_flags.clone()),
            (
                "SUFFIX",
                match setup.release {
                    Release::V1_36 => "",
                    other => other.suffix(),
                }
                .to_string(),
            ),
            (
                "BIND",
                if setup.advertise.is_some() {
                    "0.0.0.0"
                } else {
                    "127.0.0.1"
                }
                .to_string(),
            ),
            (
                "ADVERTISE",
                setup
                    .advertise
                    .map(|address| address.to_string())
                    .unwrap_or_default(),
            ),
        ];
        let wipe = r#""$1" wipe; rm -rf "$CLUSTER_DIR""#;
        let guard = Guard::new(wipe, &env, &[script("cluster.sh")]);
        let cluster = Cluster {
            port,
            env,
            _guard: guard,
            dir,
        };
        cluster.script(&["up"]);
        cluster
    }

    /// Calls `cluster.sh`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn script(&self, args: &[&str]) -> String {
        let mut command = Command::new(script("cluster.sh"));
        command
            .args(args)
            .envs(self.env.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null());
        let output = command.output().expect("cluster.sh");
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The API server's URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// A file of the cluster's directory: `ca.crt`, `admin.kubeconfig`, `pki/node.crt`, `apiserver.log` and the like.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The CA of servers and clients.
    pub fn ca(&self) -> PathBuf {
        self.file("ca.crt")
    }

    /// Certificate and key of a user made before: `admin`, `node`, `kube-proxy`, or one of [`Cluster::user`].
    pub fn pair(&self, user: &str) -> (PathBuf, PathBuf) {
        (
            self.file(&format!("pki/{user}.crt")),
            self.file(&format!("pki/{user}.key")),
        )
    }

    /// Makes a client certificate with this subject.
    pub fn user(&self, name: &str, common_name: &str, organization: &str) -> (PathBuf, PathBuf) {
        self.script(&["user", name, common_name, organization]);
        self.pair(name)
    }

    /// A client of the API server itself, with the administrator's certificate.
    pub fn admin(&self) -> Client {
        let (certificate, key) = self.pair("admin");
        Client::new(self.address(), &self.ca()).certificate(&certificate, &key)
    }

    /// kubectl as the administrator, at the API server itself.
    pub fn kubectl(&self) -> Kubectl<'_> {
        Kubectl {
            cluster: self,
            config: self.file("admin.kubeconfig"),
        }
    }

    /// kubectl at another server.
    pub fn kubectl_at(
        &self,
        dir: &TempDir,
        server: &str,
        ca: &Path,
        user: &User<'_>,
    ) -> Kubectl<'_> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let config = dir.write(&format!("kubeconfig-{n}"), kubeconfig(server, ca, user));
        Kubectl {
            cluster: self,
            config,
        }
    }

    /// Makes a namespace and waits until pods could be made in it.
    pub fn namespace(&self, name: &str) {
        self.kubectl().run(&["create", "namespace", name]).ok();
        until(
            "the namespace has its default ServiceAccount",
            Duration::from_secs(30),
            || {
                let output = self
                    .kubectl()
                    .run(&["-n", name, "get", "serviceaccount", "default"]);
                (output.code == Some(0)).then_some(())
            },
        );
    }

    /// Makes a ServiceAccount that may do what the ClusterRole says, everywhere, and returns a token of it.
    pub fn account(&self, namespace: &str, name: &str, cluster_role: &str) -> String {
        let kubectl = self.kubectl();
        kubectl
            .run(&["-n", namespace, "create", "serviceaccount", name])
            .ok();
        let binding = format!("{namespace}-{name}");
        let subject = format!("--serviceaccount={namespace}:{name}");
        let role = format!("--clusterrole={cluster_role}");
        kubectl
            .run(&["create", "clusterrolebinding", &binding, &role, &subject])
            .ok();
        let token = self.token(namespace, name);
        // The binding reaches the authorizer by a watch of its own.
        let review = Client::new(self.address(), &self.ca()).bearer(&token);
        until("the account may list", Duration::from_secs(30), || {
            (review
                .get(&format!("/api/v1/namespaces/{namespace}/configmaps"))
                .status
                == 200)
                .then_some(())
        });
        token
    }

    /// A fresh token of a ServiceAccount.
    pub fn token(&self, namespace: &str, name: &str) -> String {
        self.kubectl()
            .run(&["-n", namespace, "create", "token", name, "--duration=2h"])
            .ok()
            .trim()
            .to_string()
    }

    /// Makes a ConfigMap, or replaces its data, at the API server itself; returns its version.
    #[track_caller]
    pub fn config_map(&self, namespace: &str, name: &str, key: &str, value: &str) -> String {
        let object = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": namespace },
            "data": { key: value },
        });
        let path = format!(
            "/api/v1/namespaces/{namespace}/configmaps/{name}?fieldManager=test&force=true"
        );
        let call = super::http::Call {
            method: http::Method::PATCH,
            path: &path,
            headers: vec![("content-type", "application/apply-patch+yaml")],
            body: object.to_string().into(),
        };
        let reply = self.admin().call(call);
        assert!(
            reply.status == 200 || reply.status == 201,
            "{}",
            reply.text()
        );
        reply.json()["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version")
            .to_string()
    }
}

/// kubectl with one kubeconfig.
#[derive(Clone)]
pub struct Kubectl<'a> {
    cluster: &'a Cluster,
    config: PathBuf,
}

impl Kubectl<'_> {
    /// The kubeconfig file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = super::program::command(&programs().join("kubectl"));
        // No discovery cache: what one test learned is not for another.
        command
            .env("HOME", self.cluster.dir.path())
            .env("KUBECACHEDIR", self.config.with_extension("cache"));
        command.arg("--kubeconfig").arg(&self.config).args(args);
        command
    }

    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> Output {
        Program::spawn(&mut self.command(args)).wait(KUBECTL)
    }

    /// Runs with `input` on standard input.
    pub fn run_with(&self, input: &str, args: &[&str]) -> Output {
        // Other threads run kubectl with the same kubeconfig.
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = self.config.with_extension(format!("input-{n}"));
        std::fs::write(&file, input).expect("a file");
        let stdin = std::fs::File::open(&file).expect("the file just written");
        std::fs::remove_file(&file).expect("the file just written");
        Program::spawn(self.command(args).stdin(stdin)).wait(KUBECTL)
    }

    /// Starts and goes on.
    pub fn start(&self, args: &[&str]) -> Program {
        Program::spawn(&mut self.command(args))
    }

    /// Runs with `-o json`.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        serde_json::from_str(&self.run(&all).ok()).expect("JSON")
    }
}
