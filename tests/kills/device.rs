//! The hub on an emulated device whose power goes at any time: armv7 with 128 MiB, and a serial flash of 16 MiB whose bytes
//! are a file, so that they outlive the emulator, which is killed. On UBIFS and on JFFS2. A real API server is at the other
//! end; whatever the device tells without it, when it has power again, is what that had at exactly that version.
//!
//! Needs the program for armv7: `EDGE_HUB_ARMV7` names it, otherwise `cross/build armv7` makes it. `EDGE_HUB_TEST_LONG`
//! makes it 25 power cuts on each file system; `EDGE_HUB_TEST_SEED` repeats the choices of an earlier run.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::readers::READERS;
use crate::support::cluster::{Cluster, Setup};
use crate::support::http::{Client, plain_get};
use crate::support::hub::metric_in;
use crate::support::program::{Program, command};
use crate::support::relay::Relay;
use crate::support::{TempDir, free_port, until};
use crate::trial::Trial;

const NAMESPACE: &str = "device";
const CUTS: usize = 3;
const CUTS_LONG: usize = 25;
/// The cut after which the chip is another one, and blank.
const NEW_CHIP: usize = 10;
/// Of a chip that real routers have, with blocks of 64 KiB.
const FLASH_BYTES: usize = 16 << 20;
/// How this machine looks from the device.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The emulator takes ten seconds for it alone on a machine.
const BOOT: Duration = Duration::from_secs(240);
/// From the first instruction to a hub that serves.
const BOOT_MS: u64 = 12_000;
/// After all that is asked for has been kept once.
const ALIVE_MORE_MS: u64 = 10_000;
/// An emulated processor cannot follow more.
const PACE: Duration = Duration::from_millis(60);

/// What the device boots and where its programs go.
struct Device {
    dir: TempDir,
    fs: &'static str,
    port: u16,
    admin: u16,
}

/// One that is on, up to its power cut.
struct Running {
    qemu: Program,
    client: Client,
}

fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("EDGE_HUB_ARMV7") {
        return program.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = command(&root.join("cross/build"))
        .arg("armv7")
        .output()
        .expect("cross/build");
    let said = String::from_utf8_lossy(&output.stdout);
    let program = said.split_whitespace().next().map(|path| root.join(path));
    program.unwrap_or_else(|| {
        panic!(
            "cross/build armv7: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

impl Device {
    fn new(fs: &'static str, cluster: &Cluster, relay: &Relay) -> Device {
        let dir = TempDir::new("guest");
        let server = format!("https://{HOST}:{}", relay.address().port());
        let config = json!({
            "servers": [server], "ca_file": "/etc/ca.crt", "node_name": "gw-1",
            "listen": ["10.0.2.15:10268", "127.0.0.1:10268"], "own_addresses": null,
            "admin_listen": "0.0.0.0:10267", "state_dir": "/mnt/state", "cache_dir": "/mnt/cache", "cache_max_bytes": 2 << 20,
            "daily_write_bytes": 4u64 << 30, "flush_secs": 1, "probe_min_ms": 200, "probe_max_ms": 1000,
            "cache_agents": ["*"], "log": "warn",
        });
        let config = dir.write("config.json", config.to_string());
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest");
        let made = Command::new(tests.join("image"))
            .arg(dir.path())
            .args([&program(), &tests.join("init"), &config, &cluster.ca()])
            .status();
        assert!(made.expect("tests/guest/image").success());
        let device = Device {
            dir,
            fs,
            port: free_port(),
            admin: free_port(),
        };
        device.take_new_chip();
        device
    }

    fn take_new_chip(&self) {
        self.dir.write("flash", vec![0xff; FLASH_BYTES]);
    }

    fn switch_on(&self) -> Program {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let initrd = at("initrd");
        let bytes = std::fs::metadata(&initrd).expect("an initrd").len();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // The board has 256 MiB at least; its initramfs would lie above what is left of that.
        let words = format!(
            "console=ttyS4,115200 quiet panic=-1 mem=128M maxcpus=1 initrd=0x84000000,{bytes} rdinit=/init fs={} now={}",
            self.fs,
            now.expect("a date").as_secs()
        );
        let (flash, port, admin) = (at("flash"), self.port, self.admin);
        let mut qemu = command(Path::new("qemu-system-arm"));
        qemu.args(["-M", "ast2600-evb,spi-model=s25sl12801", "-m", "256M"])
            .args(["-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-serial", "stdio", "-append", &words])
            .args(["-kernel", &at("kernel"), "-dtb", &at("ast2600-evb.dtb")])
            .args([
                "-device",
                &format!("loader,file={initrd},addr=0x84000000,force-raw=on"),
            ])
            .args(["-drive", &format!("file={flash},format=raw,if=mtd,index=1")])
            .args([
                "-nic",
                &format!(
                    "user,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:10268,hostfwd=tcp:127.0.0.1:{admin}-10.0.2.15:10267"
                ),
            ]);
        Program::spawn(&mut qemu)
    }

    /// A number of the hub on it, if it can tell now.
    fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = plain_get((Ipv4Addr::LOCALHOST, self.admin).into(), "/metrics").ok()?;
        metric_in(&text, name)
    }

    /// Waits until all that is asked for has been kept once, and lies on flash: how long that takes an emulated processor
    /// depends on what else this machine does.
    fn keeps_all(&self) {
        let is = |name, least| self.metric(name).filter(|now| *now >= least);
        let lists = READERS.iter().filter(|reader| reader.is_of_lists()).count() as f64;
        let flushes = "edge_hub_cache_flushes_total";
        let before = until("all lists are kept", BOOT, || {
            is("edge_hub_cache_collections", lists)?;
            is("edge_hub_cache_lists_total", lists)?;
            self.metric(flushes)
        });
        until("they are on flash", BOOT, || is(flushes, before + 2.0));
    }

    fn boot(&self) -> Running {
        let qemu = self.switch_on();
        let serving = qemu.line("the hub serves", BOOT, |line| {
            assert!(
                !line.contains("GUEST FAILED"),
                "{}",
                qemu.lines().join("\n")
            );
            line.starts_with("SERVING ")
        });
        let ca = Command::new("base64")
            .arg("-d")
            .arg(
                self.dir
                    .write("ca.base64", serving["SERVING ".len()..].trim()),
            )
            .output();
        let ca = self.dir.write("hub-ca.crt", ca.expect("base64").stdout);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        Running {
            qemu,
            client: Client::new(address, &ca),
        }
    }
}

fn survives(fs: &'static str) {
    let cuts = match std::env::var_os("EDGE_HUB_TEST_LONG") {
        Some(_) => CUTS_LONG,
        None => CUTS,
    };
    let cluster = Cluster::start(&Setup {
        sans: format!("IP:{HOST}"),
        ..Setup::default()
    });
    let mut trial = Trial::start(&cluster, NAMESPACE, PACE);
    let device = Device::new(fs, &cluster, &trial.relay);

    for round in 0..=cuts {
        if round > 0 {
            trial.relay.refuse();
        }
        if round == NEW_CHIP {
            device.take_new_chip();
            trial.verdict.begin_anew();
        }
        if trial.rng.below(3) == 0 {
            let mut qemu = device.switch_on();
            trial.wait_any(BOOT_MS);
            qemu.kill();
            trial.verdict.starts_killed += 1;
        }
        let begin = Instant::now();
        let mut running = device.boot();
        println!("{fs}: it serves after {:?}", begin.elapsed());
        if round > 0 {
            trial.judge(round, &running.client);
            println!("{fs}: it has told all after {:?}", begin.elapsed());
        }
        if round == cuts {
            break;
        }
        trial.relay.pass();
        let readers = trial.readers(&running.client);
        device.keeps_all();
        trial.wait_any(ALIVE_MORE_MS);
        running.qemu.kill();
        readers.stop();
    }
    trial.finish(cuts);
}

#[test]
fn power_cuts_on_ubifs_cost_no_truth() {
    survives("ubifs");
}

/// tests/run leaves this out but for `--long`.
mod at_length {
    #[test]
    fn power_cuts_on_jffs2_cost_no_truth() {
        super::survives("jffs2");
    }
}
