//! What one update of an object costs on flash: bytes that reach the device, beside those of a file for each object. And
//! what it takes to open a ring that has been written for weeks.
//!
//! The device is a loop device with ext4 on it, which counts what is written to it. The emulated device with UBIFS and
//! JFFS2 is `flash-guest`'s.

use crate::table::Table;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Updates of one measurement, of 300 objects: with each flushed by itself they go round the ring twice.
const UPDATES: u64 = 4800;
const IMAGE_BYTES: u64 = 256 << 20;

/// Each way of keeping: name, what `flash` calls it, updates per flush.
const WAYS: [(&str, &str, u64); 3] = [
    ("files", "files", 1),
    ("ring_1", "ring", 1),
    ("ring_16", "ring", 16),
];

/// Rings that are opened: name, MiB, objects of 2 KB in it.
const RINGS: [(&str, u64, u64); 2] = [("8mib", 8, 3000), ("32mib", 32, 10_000)];
/// In a ring as large as the last one, to know what is taken by all the rest.
const FEW_OBJECTS: u64 = 300;
/// So often; the least counts, since the machine does other things too.
const OPENINGS: usize = 3;

/// Counts what is handed to the kernel, and unless it is to be `quick`, what ext4 then writes; opens rings.
pub fn measure(dir: &Path, quick: bool, table: &mut Table) {
    for (name, how, per_flush) in WAYS {
        let work = folder(dir, name);
        flash(&["fill", how, &work]);
        let said = update(how, &work, per_flush);
        let bytes = number(&said, "bytes") / UPDATES as f64;
        table.add(&format!("flash_given_{name}"), bytes);
    }
    if !quick {
        for (name, how, per_flush) in WAYS {
            let found = Ext4::new(dir).map(|ext4| ext4.device_bytes(how, per_flush));
            match found {
                Ok(bytes) => table.add(&format!("flash_ext4_{name}"), bytes),
                Err(why) => table.fail(&format!("flash_ext4_{name}"), &why),
            }
        }
    }
    let mut held = 0.0;
    for (name, mib, objects) in RINGS {
        let (cpu_nanos, bytes) = open(&folder(dir, name), mib, objects);
        table.add(&format!("ring_open_{name}"), cpu_nanos / 1e6);
        table.add(&format!("ring_open_{name}_memory"), bytes / 1024.0);
        held = bytes;
    }
    let ([.., (_, mib, many)], few) = (RINGS, FEW_OBJECTS);
    let (_, bytes) = open(&folder(dir, "few"), mib, few);
    table.add("ring_object", (held - bytes) / (many - few) as f64);
}

/// Makes a ring and opens it: CPU time, and bytes of memory that it then holds.
fn open(work: &str, mib: u64, objects: u64) -> (f64, f64) {
    let mib = mib.to_string();
    flash(&["churn", work, &mib, &objects.to_string()]);
    let nanos = (0..OPENINGS).map(|_| number(&flash(&["open", work, &mib]), "cpu_nanos"));
    let nanos = nanos.fold(f64::INFINITY, f64::min);
    // glibc gives back what was only needed on the way.
    let mut frugal = Command::new(flash_path());
    frugal.args(["open", work, &mib]);
    for (name, bytes) in [
        ("MMAP_THRESHOLD", "4096"),
        ("TRIM_THRESHOLD", "4096"),
        ("TOP_PAD", "0"),
    ] {
        frugal.env(format!("MALLOC_{name}_"), bytes);
    }
    let said = run(&mut frugal).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        number(&said, "objects"),
        objects as f64,
        "objects in {work}"
    );
    (nanos, number(&said, "kib") * 1024.0)
}

/// A folder of its own.
fn folder(dir: &Path, name: &str) -> String {
    let folder = dir.join(format!("flash-{name}"));
    fs::create_dir_all(&folder).expect("a folder");
    folder.into_os_string().into_string().expect("a plain path")
}

fn update(how: &str, dir: &str, per_flush: u64) -> String {
    let (updates, per_flush) = (UPDATES.to_string(), per_flush.to_string());
    flash(&["update", how, dir, &updates, &per_flush])
}

/// The number that `flash` printed under this name.
fn number(said: &str, name: &str) -> f64 {
    let line = said.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|number| number.trim().parse().ok());
    number.unwrap_or_else(|| panic!("flash says no {name}: {said}"))
}

fn flash(words: &[&str]) -> String {
    run(Command::new(flash_path()).args(words)).unwrap_or_else(|e| panic!("{e}"))
}

fn flash_path() -> PathBuf {
    std::env::current_exe()
        .expect("a path")
        .with_file_name("flash")
}

/// An ext4 of 4 KiB blocks on a loop device of its own; taken away when dropped.
struct Ext4 {
    image: PathBuf,
    /// `/dev/loop0`; empty until there is one.
    device: String,
    /// Where it is mounted; empty until it is.
    at: PathBuf,
}

impl Ext4 {
    fn new(dir: &Path) -> Result<Ext4, String> {
        let mut ext4 = Ext4 {
            image: dir.join("ext4.img"),
            device: String::new(),
            at: PathBuf::new(),
        };
        ext4.mount(&dir.join("ext4")).map_err(|why| {
            format!("{why}. It needs root, e2fsprogs and a loop device: sudo modprobe loop; sudo -E tests/bench/run --only flash")
        })?;
        Ok(ext4)
    }

    fn mount(&mut self, at: &Path) -> Result<(), String> {
        let image = fs::File::create(&self.image).and_then(|file| file.set_len(IMAGE_BYTES));
        image.map_err(|e| format!("{}: {e}", self.image.display()))?;
        // Nothing is left to be initialised later, while it is measured.
        let now = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-b", "4096", "-E", now])
            .arg(&self.image))?;
        let device = run(Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&self.image))?;
        self.device = device.trim().to_owned();
        fs::create_dir_all(at).map_err(|e| format!("{}: {e}", at.display()))?;
        let options = "noatime,data=ordered";
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", options, &self.device])
            .arg(at))?;
        self.at = at.to_owned();
        Ok(())
    }

    /// What one update writes to the device, with the share of a sync at the end.
    fn device_bytes(&self, how: &str, per_flush: u64) -> f64 {
        let dir = self.at.to_str().expect("a plain path");
        flash(&["fill", how, dir]);
        let before = self.written();
        update(how, dir, per_flush);
        (self.written() - before) as f64 / UPDATES as f64
    }

    /// Bytes written to the device so far, all that was to be written among them.
    fn written(&self) -> u64 {
        run(Command::new("sync").arg("-f").arg(&self.at)).expect("a sync");
        let name = self.device.trim_start_matches("/dev/");
        let text = fs::read_to_string(format!("/sys/block/{name}/stat")).expect("its numbers");
        // Documentation/block/stat.rst: the seventh is sectors written, of 512 bytes whatever the device's are.
        let sectors = text
            .split_whitespace()
            .nth(6)
            .and_then(|n| n.parse::<u64>().ok());
        sectors.expect("sectors written") * 512
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        if !self.at.as_os_str().is_empty() {
            let _ = run(Command::new("umount").arg(&self.at));
        }
        if !self.device.is_empty() {
            let _ = run(Command::new("losetup").args(["--detach", &self.device]));
        }
        let _ = fs::remove_file(&self.image);
    }
}

/// What the program prints; or what went wrong, in one line.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output: Output = command.output().map_err(|e| format!("{name}: {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr)
                .trim()
                .replace('\n', "; ");
            Err(format!("{name}: {said}"))
        }
    }
}
