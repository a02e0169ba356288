//! The real hub, as a process of its own: this program again, with a word in its environment.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::link::free_address;

/// Says that this process is to be the hub; the value is the process id of the demo.
const TOLD: &str = "EDGE_HUB_DEMO";
/// How long the hub may take to serve, and to see that its link is back.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// Runs the hub if this process was started for it.
///
/// The hub's standard input is a pipe that the demo holds open. Whatever ends the demo, the pipe ends too, and then the
/// hub and the demo's files go: nothing is left behind by Ctrl-C, a panic or a kill.
pub fn run_if_told() -> Option<ExitCode> {
    let dir = directory(std::env::var(TOLD).ok()?.parse().ok()?);
    let config = dir.join("config.json");
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = std::fs::remove_dir_all(dir);
        std::process::exit(0);
    });
    let args = ["run".into(), "--config".into(), OsString::from(config)];
    Some(edge_hub::cli::main(args.into()).into())
}

/// Where the demo of this process id has its files.
fn directory(demo: u32) -> PathBuf {
    std::env::temp_dir().join(format!("edge-hub-demo-{demo}"))
}

/// The demo's directory. It is gone when this value is.
pub struct Dir(PathBuf);

impl Dir {
    /// A new one, for this user only.
    pub fn new() -> Result<Dir, String> {
        let path = directory(std::process::id());
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Dir(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The running hub. It has ended when this value is dropped.
pub struct Hub {
    child: Child,
    dir: PathBuf,
    pub address: SocketAddr,
    admin: SocketAddr,
    /// From its start to the first answer that says it serves.
    pub start: Duration,
}

impl Hub {
    /// Starts it towards `server`, whose CA is in `ca`, and waits until it serves and has seen the server. What is not
    /// set here is as on a node.
    pub async fn start(dir: &Dir, server: SocketAddr, ca: &Path) -> Result<Hub, String> {
        let address = free_address()?;
        // Held while the next one is looked for, so that they differ.
        let held = std::net::TcpListener::bind(address).map_err(|error| error.to_string())?;
        let admin = free_address()?;
        drop(held);
        let dir = dir.path().to_path_buf();
        let config = config(&dir, server, ca, address, admin);
        std::fs::write(dir.join("config.json"), config.to_string())
            .map_err(|error| error.to_string())?;
        let began = Instant::now();
        let mut hub = Hub {
            child: spawn(&dir).map_err(|error| format!("the hub cannot be started: {error}"))?,
            dir,
            address,
            admin,
            start: Duration::ZERO,
        };
        hub.until("serves", |_| true).await?;
        hub.start = began.elapsed();
        hub.sees_the_link().await?;
        Ok(hub)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file of the CA that signed its certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("state/hub-ca.crt")
    }

    /// Waits until it has seen that its server answers.
    pub async fn sees_the_link(&mut self) -> Result<(), String> {
        let up = |status: &Value| status["link"]["state"] == "up";
        self.until("sees its server", up).await
    }

    /// The last lines of its log.
    pub fn last_lines(&self) -> String {
        const LINES: usize = 20;
        let log = std::fs::read(self.dir.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Waits until what it says of itself is so.
    async fn until(&mut self, what: &str, so: impl Fn(&Value) -> bool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while !status(self.admin).await.is_some_and(|status| so(&status)) {
            if let Ok(Some(ended)) = self.child.try_wait() {
                return Err(format!(
                    "the hub ended, {ended}; its last lines:\n{}",
                    self.last_lines()
                ));
            }
            if Instant::now() > end {
                return Err(format!(
                    "not within {} s: the hub {what}; its last lines:\n{}",
                    PATIENCE.as_secs(),
                    self.last_lines()
                ));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn config(
    dir: &Path,
    server: SocketAddr,
    ca: &Path,
    address: SocketAddr,
    admin: SocketAddr,
) -> Value {
    json!({
        "servers": [format!("https://{server}")],
        "ca_file": ca,
        "node_name": "demo",
        "listen": [address],
        "own_addresses": [],
        "admin_listen": admin,
        "state_dir": dir.join("state"),
        "store": "ram",
        "cache_dir": dir.join("cache"),
        "run_dir": dir.join("run"),
        "cache_agents": ["edge-app"],
        // A whole cluster's pods may be asked for, which no node does.
        "cache_max_bytes": "64MiB",
    })
}

fn spawn(dir: &Path) -> std::io::Result<Child> {
    let log = File::create(dir.join("log"))?;
    Command::new(std::env::current_exe()?)
        .env(TOLD, std::process::id().to_string())
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C is for the demo; the hub ends with it.
        .process_group(0)
        .spawn()
}

/// What the hub says of itself.
async fn status(admin: SocketAddr) -> Option<Value> {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await?;
        let head = format!("GET /status HTTP/1.0\r\nhost: {admin}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = ask.await.ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}
