//! Network namespaces of a test's own, as boxes, containers and neighbours have.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs a command that must succeed.
#[track_caller]
pub fn run(words: &[&str]) -> String {
    let output = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(
        output.status.success(),
        "{words:?} (this needs root): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A namespace with nothing but its loopback device. It is gone with this value, and all that lies in it.
pub struct Netns {
    name: String,
}

impl Netns {
    /// A new one.
    pub fn new(what: &str) -> Netns {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("eh-{what}-{}-{n}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        run(&["ip", "-n", &name, "link", "set", "lo", "up"]);
        Netns { name }
    }

    /// Words before a command that run it there.
    pub fn within(&self) -> [String; 2] {
        let net = format!("--net=/run/netns/{}", self.name);
        ["nsenter".to_string(), net]
    }

    /// A cable to the machine that the test runs on; gives the machine's address at it, which programs that are run by the
    /// words of [`Netns::within_knowing`] know by this name.
    pub fn uplink(&self, name: &str) -> Ipv4Addr {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let net = ((id + n) % 250) as u8;
        let [here, there] = [1, 2].map(|last| Ipv4Addr::new(10, 78, net, last));
        let device = format!("eh{}-{n}", id % 1_000_000);
        let peer = ["peer", "name", "up0", "netns", &self.name];
        let add = ["ip", "link", "add", &device, "type", "veth"];
        run(&[&add[..], &peer].concat());
        run(&[
            "ip",
            "address",
            "add",
            &format!("{here}/24"),
            "dev",
            &device,
        ]);
        run(&["ip", "link", "set", &device, "up"]);
        self.run(&["ip", "address", "add", &format!("{there}/24"), "dev", "up0"]);
        self.run(&["ip", "link", "set", "up0", "up"]);
        std::fs::create_dir_all(self.own_files()).expect("this needs root");
        let hosts = format!("127.0.0.1 localhost\n{here} {name}\n");
        std::fs::write(self.own_files().join("hosts"), hosts).expect("a file");
        here
    }

    /// Words before a command that run it there, with the names of [`Netns::uplink`].
    pub fn within_knowing(&self) -> [String; 4] {
        ["ip", "netns", "exec", &self.name].map(str::to_string)
    }

    /// What iproute2 shows there in the place of the files of `/etc`.
    fn own_files(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// Runs a command there, which must succeed.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        let within = self.within();
        let mut all: Vec<&str> = within.iter().map(String::as_str).collect();
        all.extend(words);
        run(&all)
    }

    /// A cable between a new device `own` here, with this address and a prefix of 24 bits, and `others` over there, with that.
    pub fn cable(&self, own: &str, at: Ipv4Addr, other: &Netns, others: &str, there: Ipv4Addr) {
        let peer = ["peer", "name", others, "netns", &other.name];
        let add = ["ip", "-n", &self.name, "link", "add", own, "type", "veth"];
        run(&[&add[..], &peer].concat());
        for (netns, device, address) in [(self, own, at), (other, others, there)] {
            let address = format!("{address}/24");
            netns.run(&["ip", "address", "add", &address, "dev", device]);
            netns.run(&["ip", "link", "set", device, "up"]);
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.own_files());
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
    }
}
