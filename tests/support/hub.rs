//! The hub under test: the built program with a configuration of its own, and everything it prints.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::http::{Client, plain_get};
use super::program::{Output, Program, command};
use super::{TempDir, free_port, until};

/// How long the hub may take to serve after it was started, and to end after it was told to.
const START: Duration = Duration::from_secs(10);
/// How long the hub may take to see what the tests do to its link; a black hole takes the longest.
pub const SEES: Duration = Duration::from_secs(15);

/// The hub's program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_edge-hub");

/// The program that is a hub's: the one just built, or that of `EDGE_HUB_TEST_PROGRAM`, such as one for another machine
/// with an emulator before it.
fn program() -> &'static Path {
    static OTHER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let other = OTHER.get_or_init(|| std::env::var_os("EDGE_HUB_TEST_PROGRAM").map(PathBuf::from));
    other.as_deref().unwrap_or(Path::new(PROGRAM))
}

/// How a hub is to be started.
pub struct Setup {
    config: Value,
    /// A program and arguments that run the hub elsewhere, such as in a network namespace.
    within: Vec<String>,
    env: Vec<(String, String)>,
}

impl Setup {
    /// Towards one server, with the cluster's CA for servers and clients, keeping what everyone is told, and quick to
    /// notice: what production waits seconds for, tests wait tenths of.
    pub fn new(cluster: &Cluster, server: &str) -> Setup {
        let ca = cluster.ca();
        Setup::at(&ca, server).set("client_ca_file", json!(ca))
    }

    /// The same towards any server, whose certificate this CA has signed.
    pub fn at(ca: &Path, server: &str) -> Setup {
        let config = json!({
            "servers": [server],
            "ca_file": ca,
            "node_name": "edge-1",
            "listen": [format!("127.0.0.1:{}", free_port())],
            "admin_listen": format!("127.0.0.1:{}", free_port()),
            "own_addresses": [],
            "cache_agents": ["*"],
            "cache_max_bytes": 64 << 20,
            "drain_secs": 5,
            "ping_after_ms": 300,
            "ping_wait_ms": 700,
            "connect_timeout_ms": 1000,
            "probe_min_ms": 50,
            "probe_max_ms": 500,
            "log": "debug",
        });
        Setup {
            config,
            within: Vec::new(),
            env: Vec::new(),
        }
    }

    /// With another value for a key of the configuration.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Setup {
        self.config[key] = value.into();
        self
    }

    /// Goes up with the cluster's pair of `user` for callers with this common name.
    pub fn identity(mut self, cluster: &Cluster, common_name: &str, user: &str) -> Setup {
        let (certificate, key) = cluster.pair(user);
        let entry = json!({ "cn": common_name, "cert": certificate, "key": key });
        match self.config["identities"].as_array_mut() {
            Some(list) => list.push(entry),
            None => self.config["identities"] = json!([entry]),
        }
        self
    }

    /// Runs it by way of another program.
    pub fn within(mut self, words: &[&str]) -> Setup {
        self.within = words.iter().map(ToString::to_string).collect();
        self
    }

    /// With a variable in its environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_string(), value.to_string()));
        self
    }

    /// Starts it and waits until it serves.
    pub fn start(self) -> Hub {
        let dir = TempDir::new("hub");
        let mut config = self.config;
        for (key, name) in [
            ("state_dir", "state"),
            ("cache_dir", "cache"),
            ("run_dir", "run"),
        ] {
            if config[key].is_null() {
                config[key] = json!(dir.path().join(name));
            }
        }
        let mut hub = Hub {
            program: None,
            config,
            within: self.within,
            env: self.env,
            dir,
        };
        hub.run();
        hub
    }
}

/// A running hub. When the test fails, what it logged is printed.
pub struct Hub {
    program: Option<Program>,
    config: Value,
    within: Vec<String>,
    env: Vec<(String, String)>,
    dir: TempDir,
}

impl Hub {
    /// Starts it (again), with the directories it had, and waits until it serves.
    pub fn run(&mut self) {
        self.spawn();
        let start = std::time::Instant::now();
        loop {
            if self
                .admin("/healthz")
                .is_ok_and(|(status, _)| status == 200)
            {
                return;
            }
            let ended = self.program.as_mut().and_then(Program::ended);
            assert!(ended.is_none(), "the hub ended with {ended:?}");
            assert!(
                start.elapsed() < START,
                "the hub does not serve within {START:?}"
            );
            std::thread::sleep(super::POLL);
        }
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self) {
        let file = self.write_config();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("the log");
        let mut words = self.within.iter().map(Path::new).chain([program()]);
        let mut command = command(words.next().expect("the program at least"));
        command.args(words).args(["run", "--config"]).arg(file);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .stdout(log.try_clone().expect("the log"))
            .stderr(log);
        self.program = Some(Program::without_pipes(&mut command));
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("config.json")
    }

    fn write_config(&self) -> PathBuf {
        self.dir.write(
            "config.json",
            serde_json::to_string_pretty(&self.config).expect("JSON"),
        )
    }

    /// Changes a key and sends SIGHUP.
    pub fn reload(&mut self, key: &str, value: impl Into<Value>) {
        self.config[key] = value.into();
        self.write_config();
        self.signal("HUP");
    }

    /// Changes a key for the next start.
    pub fn change(&mut self, key: &str, value: impl Into<Value>) {
        self.config[key] = value.into();
    }

    /// Gives it this environment at the next start, beside the test's own.
    pub fn set_env(&mut self, variables: &[(&str, &str)]) {
        let owned = variables.iter();
        self.env = owned
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.program.as_ref().expect("a running hub").signal(name);
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.program.as_ref().expect("a running hub").pid()
    }

    /// SIGTERM, and waits for its end: the exit code.
    pub fn terminate(&mut self, within: Duration) -> Option<i32> {
        self.signal("TERM");
        let mut program = self.program.take().expect("a running hub");
        until("the hub ends", within, || program.ended()).code()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.config["listen"][0]
            .as_str()
            .expect("an address")
            .parse()
            .expect("an address")
    }

    /// Its URL for clients.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// The CA that its certificate is signed by.
    pub fn ca(&self) -> PathBuf {
        let state = PathBuf::from(self.config["state_dir"].as_str().expect("a path"));
        until("the hub has made its CA", START, || find_ca(&state))
    }

    /// A client of its plain port.
    pub fn local(&self) -> Client {
        let address = self.config["local_listen"].as_str().expect("an address");
        Client::plain(address.parse().expect("an address"))
    }

    /// An anonymous client.
    pub fn client(&self) -> Client {
        Client::new(self.address(), &self.ca())
    }

    /// GET from the admin address.
    pub fn admin(&self, path: &str) -> Result<(u16, String), String> {
        let address = self.config["admin_listen"].as_str().expect("an address");
        if self.within.is_empty() {
            return plain_get(address.parse().expect("an address"), path);
        }
        let output = Command::new(&self.within[0])
            .args(&self.within[1..])
            .args([
                "curl",
                "-sS",
                "-m",
                "5",
                "-w",
                "\n%{http_code}",
                &format!("http://{address}{path}"),
            ])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').ok_or_else(|| text.clone())?;
        Ok((status.parse().map_err(|_| text.clone())?, body.to_string()))
    }

    /// What it says of itself.
    pub fn status(&self) -> Value {
        let (status, body) = self.admin("/status").expect("the hub answers");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// A number that Prometheus would read.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.admin("/metrics").expect("metrics");
        metric_in(&text, name).unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Whether it says that it can reach a server. `/readyz` does not tell: a hub is ready without one, too.
    pub fn online(&self) -> bool {
        self.status()["link"]["state"] == "up"
    }

    /// Waits until it has seen that no server answers.
    #[track_caller]
    pub fn sees_offline(&self) {
        until("the hub sees that it is offline", SEES, || {
            (!self.online()).then_some(())
        });
    }

    /// Waits until it has seen that a server answers.
    #[track_caller]
    pub fn sees_online(&self) {
        until("the hub sees that it is online", SEES, || {
            self.online().then_some(())
        });
    }

    /// Runs a command of the program with this hub's configuration, whether it runs or not.
    pub fn command(&self, args: &[&str]) -> Output {
        let mut command = command(program());
        command.args(args).arg("--config").arg(self.config_file());
        Program::spawn(&mut command).wait(START)
    }

    /// What it printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// Waits for a line in the log that contains `text`.
    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        until(&format!("the log has {text:?}"), SEES, || {
            self.log()
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_string)
        })
    }

    /// The folder of that key of the configuration.
    pub fn folder(&self, key: &str) -> PathBuf {
        PathBuf::from(self.config[key].as_str().expect("a path"))
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(200);
            eprintln!(
                "---- the hub's last lines\n{}\n----",
                lines[last..].join("\n")
            );
            if let Ok((_, status)) = self.admin("/status") {
                eprintln!("---- its status\n{status}\n----");
            }
        }
    }
}

/// The certificate (not the key) of the hub's own CA, once it is whole.
fn find_ca(dir: &Path) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if let Some(found) = find_ca(&path) {
                return Some(found);
            }
        } else if name.contains("ca") && (name.ends_with(".crt") || name.ends_with(".pem")) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if text.contains("END CERTIFICATE") && !text.contains("PRIVATE KEY") {
                return Some(path);
            }
        }
    }
    None
}

/// A number in what `/metrics` says.
pub fn metric_in(text: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value?.parse().ok()
}
