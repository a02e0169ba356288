//! What one update of an object costs on flash: bytes that reach the device, beside those of a file for each object.
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

/// Counts what is handed to the kernel, and unless it is to be `quick`, what ext4 then writes.
pub fn measure(dir: &Path, quick: bool, table: &mut Table) {
    for (name, how, per_flush) in WAYS {
        let work = dir.join(format!("flash-{name}"));
        fs::create_dir_all(&work).expect("a folder");
        let (bytes, _) = flash_updates(how, &work, per_flush);
        table.add(&format!("flash_given_{name}"), bytes);
    }
    if quick {
        return;
    }
    for (name, how, per_flush) in WAYS {
        let found = Ext4::new(dir).map(|ext4| ext4.device_bytes(how, per_flush));
        match found {
            Ok(bytes) => table.add(&format!("flash_ext4_{name}"), bytes),
            Err(why) => table.fail(&format!("flash_ext4_{name}"), &why),
        }
    }
}

/// The numbers that `flash-guest` printed: a name and a value in each line.
pub fn guest(found: &Path, table: &mut Table) {
    let text = fs::read_to_string(found).unwrap_or_default();
    for line in text.lines() {
        let number = line.split_once(' ');
        match number.and_then(|(name, value)| Some((name, value.parse().ok()?))) {
            Some((name, value)) => table.add(name, value),
            None => table.fail("guest", line),
        }
    }
    if text.is_empty() {
        table.fail(
            "guest",
            "it printed nothing; tests/bench/flash-guest says more",
        );
    }
}

/// Fills a store and changes what is in it; bytes handed to the kernel and syncs, for one update.
fn flash_updates(how: &str, dir: &Path, per_flush: u64) -> (f64, f64) {
    let dir = dir.to_str().expect("a plain path");
    flash(&["fill", how, dir]);
    let said = flash(&[
        "update",
        how,
        dir,
        &UPDATES.to_string(),
        &per_flush.to_string(),
    ]);
    let number = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|number| number.trim().parse::<f64>().ok());
        number.unwrap_or_else(|| panic!("flash says no {name}: {said}"))
    };
    (
        number("bytes") / UPDATES as f64,
        number("syncs") / UPDATES as f64,
    )
}

fn flash(words: &[&str]) -> String {
    let program = std::env::current_exe()
        .expect("a path")
        .with_file_name("flash");
    run(Command::new(program).args(words)).unwrap_or_else(|e| panic!("{e}"))
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
        flash(&[
            "update",
            how,
            dir,
            &UPDATES.to_string(),
            &per_flush.to_string(),
        ]);
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
