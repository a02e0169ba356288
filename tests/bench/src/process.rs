//! The programs that are measured, and what the kernel says about them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running program; killed when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn start(command: &mut Command, log: &Path) -> Process {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        Process {
            child: command
                .spawn()
                .unwrap_or_else(|e| panic!("{command:?}: {e}")),
        }
    }

    /// Bytes that are its own, and its share of what it has together with others.
    pub fn pss_bytes(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))
            .expect("a running process");
        let line = text
            .lines()
            .find(|l| l.starts_with("Pss:"))
            .expect("a line for Pss");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number");
        kib * 1024
    }

    /// The same when it has stopped moving.
    pub async fn settled_pss_bytes(&self) -> u64 {
        let mut last = (0, 0);
        for _ in 0..100 {
            let now = self.pss_bytes();
            last = if now.abs_diff(last.0) <= 4096 {
                (now, last.1 + 1)
            } else {
                (now, 0)
            };
            if last.1 == 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        last.0
    }

    /// Time on a CPU, in its own code and in the kernel's for it. To the nanosecond, where utime and stime count ticks.
    pub fn cpu(&self) -> Duration {
        let tasks =
            fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("a running process");
        let nanos = tasks.flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// SIGTERM, and its end.
    pub fn terminate(mut self) {
        self.signal(Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where everything of one run is, and what it is run with.
pub struct Bench {
    pub dir: PathBuf,
    pub hub: PathBuf,
}

/// One that serves.
pub struct Served {
    pub process: Process,
    pub address: SocketAddr,
    /// The hub's other listener.
    admin: Option<SocketAddr>,
}

impl Served {
    /// Waits until the hub says that it keeps so many objects: it takes them behind the client's back.
    pub async fn keeps(&self, objects: f64) {
        let start = Instant::now();
        while self.status("/store/objects") < objects {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{objects} are kept, of them {} in {}, {} evicted",
                self.status("/store/objects"),
                self.status("/store/collections"),
                self.status("/store/evicted"),
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the hub says in `/status`, at a path such as `/store/bytes`.
    pub fn status(&self, pointer: &str) -> f64 {
        let mut stream = TcpStream::connect(self.admin.expect("the hub")).expect("a connection");
        stream
            .write_all(b"GET /status HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n")
            .expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let body = text.find("\r\n\r\n").map_or("", |at| &text[at + 4..]);
        let status: serde_json::Value = serde_json::from_str(body).expect("JSON");
        status
            .pointer(pointer)
            .and_then(serde_json::Value::as_f64)
            .unwrap_or_else(|| panic!("no {pointer}: {body}"))
    }
}

/// Settings of the hub that differ between measurements.
pub struct HubSetup {
    /// `ring` or `ram`.
    pub store: &'static str,
    pub cache_bytes_max: u64,
    pub log: &'static str,
    /// Runs it under these words.
    pub within: Vec<String>,
    /// Its own CA and certificate instead of the run's.
    pub own_papers: bool,
    pub wait: bool,
}

impl Default for HubSetup {
    fn default() -> HubSetup {
        HubSetup {
            store: "ring",
            cache_bytes_max: 8 << 20,
            log: "warn",
            within: Vec::new(),
            own_papers: false,
            wait: true,
        }
    }
}

impl Bench {
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    pub fn hub_ca(&self) -> PathBuf {
        self.dir.join("state/hub-ca.crt")
    }

    pub fn upstream(&self) -> Served {
        self.upstream_at(free_address())
    }

    pub fn upstream_at(&self, address: SocketAddr) -> Served {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .arg("serve")
            .arg(address.port().to_string())
            .arg(&self.dir);
        self.serve(command, address, true)
    }

    pub fn hub(&self, server: SocketAddr, setup: &HubSetup) -> Served {
        let (address, admin) = (free_address(), free_address());
        let mut config = serde_json::json!({
            "servers": [format!("https://{server}")],
            "ca_file": self.ca(),
            "node_name": "bench",
            "listen": [address.to_string()],
            "admin_listen": admin.to_string(),
            "own_addresses": [],
            "state_dir": self.dir.join("state"),
            "store": setup.store,
            "cache_dir": self.dir.join(format!("cache-{}", address.port())),
            "run_dir": self.dir.join(format!("run-{}", address.port())),
            "cache_max_bytes": setup.cache_bytes_max,
            "cache_agents": [],
            "log": setup.log,
            "drain_secs": 0,
        });
        if !setup.own_papers {
            config["serving_cert"] = serde_json::json!(self.dir.join("server.crt"));
            config["serving_key"] = serde_json::json!(self.dir.join("server.key"));
        }
        let file = self.dir.join("config.json");
        fs::write(&file, config.to_string()).expect("a file");
        let hub = self.hub.to_string_lossy().into_owned();
        let mut words = setup.within.iter().chain([&hub]);
        let mut command = Command::new(words.next().expect("a word"));
        command
            .args(words)
            .args(["run", "--config"])
            .arg(file)
            .env_remove("RUST_LOG");
        Served {
            admin: Some(admin),
            ..self.serve(command, address, setup.wait)
        }
    }

    pub fn nginx(&self, server: SocketAddr) -> Served {
        let address = free_address();
        let dir = self.dir.display();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log stderr;
             events {{}}
             http {{
               access_log off; keepalive_requests 1000000; client_body_temp_path {dir}/nginx; proxy_temp_path {dir}/nginx;
               fastcgi_temp_path {dir}/nginx; uwsgi_temp_path {dir}/nginx; scgi_temp_path {dir}/nginx;
               upstream api {{ server {server}; keepalive 8; keepalive_requests 1000000; }}
               server {{
                 listen {address} ssl http2; ssl_certificate {dir}/server.crt; ssl_certificate_key {dir}/server.key;
                 location / {{
                   proxy_pass https://api; proxy_http_version 1.1; proxy_set_header Connection \"\";
                   proxy_ssl_trusted_certificate {dir}/ca.crt; proxy_ssl_verify on; proxy_ssl_name bench;
                   proxy_buffering off;
                 }}
               }}
             }}"
        );
        let file = self.dir.join("nginx.conf");
        fs::write(&file, config).expect("a file");
        fs::create_dir_all(self.dir.join("nginx")).expect("a folder");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file);
        self.serve(command, address, true)
    }

    pub fn haproxy(&self, server: SocketAddr) -> Served {
        let address = free_address();
        let dir = self.dir.display();
        let config = format!(
            "global
               nbthread 1
             defaults
               mode http
               timeout connect 5s
               timeout client 60s
               timeout server 60s
             frontend f
               bind {address} ssl crt {dir}/server.pem alpn h2,http/1.1
               default_backend b
             backend b
               http-reuse always
               server s {server} ssl verify required ca-file {dir}/ca.crt alpn h2,http/1.1
"
        );
        let file = self.dir.join("haproxy.cfg");
        fs::write(&file, config).expect("a file");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        self.serve(command, address, true)
    }

    fn serve(&self, mut command: Command, address: SocketAddr, wait: bool) -> Served {
        let process = Process::start(&mut command, &self.dir.join("log"));
        let start = Instant::now();
        while wait && TcpStream::connect(address).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "does not serve: {command:?}; see {:?}",
                self.dir
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        Served {
            process,
            address,
            admin: None,
        }
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}
