//! A real node: containerd, kubelet and kube-proxy in a network namespace of their own, by `tests/cluster/node.sh`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::TempDir;
use super::cluster::{Cluster, Release, programs, script};
use super::program::Guard;

/// Where a node lives, told by the third byte of all addresses: no two nodes of a process share one.
#[derive(Debug, Clone, Copy)]
pub struct Network(u8);

impl Network {
    /// One that no other node of this process has, and that other processes' hardly have.
    pub fn take() -> Network {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        Network(1 + ((std::process::id() * 16 + nth) % 250) as u8)
    }

    /// The control plane's address that the node reaches.
    pub fn advertise(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 76, self.0, 1)
    }

    /// A name for the node, short enough for all of it to be in that of its link.
    pub fn name(self) -> String {
        format!("n{}-{}", std::process::id() % 100_000, self.0)
    }
}

/// A node. It is wiped when this value is dropped, and when the process ends without that.
pub struct Node {
    name: String,
    network: Network,
    env: Vec<(&'static str, String)>,
    // Dropped in this order.
    _guard: Guard,
    _dir: TempDir,
}

impl Node {
    /// Makes the namespace and its link, and starts nothing in it.
    pub fn new(network: Network, release: Release, cluster: &Cluster) -> Node {
        let dir = TempDir::new("node");
        let bin = release.programs("kubelet");
        let program = |name: &str| {
            bin.join(format!("{name}{}", release.suffix()))
                .display()
                .to_string()
        };
        let images = ["pause", "app", "informer", "coredns"]
            .map(|image| programs().join(format!("image/{image}.tar")));
        let images: Vec<String> = images
            .iter()
            .map(|image| image.display().to_string())
            .collect();
        let env = vec![
            ("NODE", network.name()),
            ("NODE_DIR", dir.path().display().to_string()),
            ("BIN", bin.display().to_string()),
            ("SUBNET", format!("10.77.{}", network.0)),
            ("POD_CIDR", format!("10.244.{}.0/24", network.0)),
            ("KUBELET", program("kubelet")),
            ("KUBE_PROXY", program("kube-proxy")),
            ("IMAGES", images.join(" ")),
            // Whose certificates the kubelet's own port accepts; a hub has another CA.
            ("CLIENT_CA", cluster.ca().display().to_string()),
            // The lease is renewed every quarter of this.
            ("KUBELET_YAML", "nodeLeaseDurationSeconds: 8".to_string()),
            // It tells when which pod is ready.
            ("KUBELET_EXTRA", "-v=2".to_string()),
        ];
        let wipe = r#""$1" wipe; rm -rf "$NODE_DIR""#;
        let guard = Guard::new(wipe, &env, &[script("node.sh")]);
        let node = Node {
            name: network.name(),
            network,
            env,
            _guard: guard,
            _dir: dir,
        };
        node.script(&["prep"]);
        node
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address as the machine reaches it.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.network.0, 2)
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self._dir.path().join(name)
    }

    /// Words before a command that run it in the node's network.
    pub fn within(&self) -> [String; 2] {
        [
            "nsenter".to_string(),
            format!("--net=/run/netns/{}", self.name),
        ]
    }

    /// Calls `node.sh`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn script(&self, args: &[&str]) -> String {
        self.script_with(args, &[])
    }

    #[track_caller]
    fn script_with(&self, args: &[&str], env: &[(&str, String)]) -> String {
        let env = self
            .env
            .iter()
            .chain(env)
            .map(|(name, value)| (*name, value));
        let mut command = Command::new(script("node.sh"));
        let output = command
            .args(args)
            .envs(env)
            .stdin(Stdio::null())
            .output()
            .expect("node.sh");
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Power on: containerd, the kubelet and kube-proxy, each program with its kubeconfig.
    pub fn up(&self, kubelet: &Path, kube_proxy: &Path) {
        let kubelet = kubelet.display().to_string();
        self.script_with(
            &["up", &kubelet],
            &[("KP", kube_proxy.display().to_string())],
        );
    }

    /// Power off.
    pub fn down(&self) {
        self.script(&["down"]);
    }

    /// Its link to the control plane: `up`, `down` (no carrier) or `drop` (every packet is swallowed).
    pub fn net(&self, state: &str) {
        self.script(&["net", state]);
    }

    /// Its running containers, as containerd tells: lines of identity, process id and state, sorted.
    pub fn tasks(&self) -> Vec<String> {
        let text = self.ctr(&["tasks", "ls"]);
        let mut lines: Vec<String> = text.lines().skip(1).map(str::to_string).collect();
        lines.sort();
        lines
    }

    /// Kills the program of a pod's one container; the kubelet starts it again.
    #[track_caller]
    pub fn kill_program(&self, pod: &str) {
        let which = format!(
            r#"labels."io.kubernetes.pod.name"=={pod},labels."io.cri-containerd.kind"==container"#
        );
        let ids = self.ctr(&["containers", "ls", "-q", &which]);
        let tasks = self.tasks();
        let running = tasks.iter().find(|task| {
            let mut ids = ids.lines();
            ids.any(|id| task.starts_with(id) && task.ends_with("RUNNING"))
        });
        let pid = running.and_then(|task| task.split_whitespace().nth(1));
        super::netns::run(&["kill", "-KILL", pid.expect("it runs")]);
    }

    /// What containerd answers.
    #[track_caller]
    pub fn ctr(&self, args: &[&str]) -> String {
        let output = Command::new("ctr")
            .arg("-a")
            .arg(self._dir.path().join("run/containerd.sock"))
            .args(["-n", "k8s.io"])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("ctr");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the one container of a pod has printed, as the runtime keeps it on the node.
    pub fn printed(&self, pod: &str) -> Vec<String> {
        self.printed_by_start(pod).concat()
    }

    /// The same, each time that it was started by itself.
    pub fn printed_by_start(&self, pod: &str) -> Vec<Vec<String>> {
        let mut starts = Vec::new();
        // A controller gives its pods longer names.
        let begins = format!("default_{pod}");
        let logs = std::fs::read_dir(self._dir.path().join("pod-logs"));
        for entry in logs.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let rest = name.strip_prefix(&begins);
            if !rest.is_some_and(|rest| rest.starts_with(['_', '-'])) {
                continue;
            }
            let files = std::fs::read_dir(entry.path().join("app"));
            let files = files.into_iter().flatten().flatten();
            let mut files: Vec<_> = files.map(|file| file.path()).collect();
            files.sort_by_key(|file| {
                let name = file.file_stem().unwrap_or_default().to_string_lossy();
                name.parse::<u32>().unwrap_or(u32::MAX)
            });
            for file in files {
                let text = std::fs::read(file).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                // Time, stream and tag stand in front of what was printed.
                let said = |line: &str| line.splitn(4, ' ').nth(3).unwrap_or_default().to_string();
                starts.push(text.lines().map(said).collect());
            }
        }
        starts
    }

    /// A program's log, of all its runs.
    pub fn whole_log(&self, program: &str) -> String {
        let text =
            std::fs::read(self._dir.path().join(format!("{program}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Its end.
    pub fn log(&self, program: &str) -> String {
        let text = self.whole_log(program);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "---- the kubelet's last lines\n{}\n----",
                self.log("kubelet")
            );
        }
    }
}
