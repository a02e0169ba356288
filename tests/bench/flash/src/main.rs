//! What is measured on flash: writes the objects of [`objects`] and their updates into a folder, and says how much it
//! handed to the kernel. What the device then wrote, the caller counts.
//!
//! - `flash fill HOW DIR` writes the objects of a node once, `flash update HOW DIR UPDATES PER_FLUSH` then changes them.
//!   HOW is `files` or `ring`.
//! - `flash churn DIR MIB OBJECTS` makes a ring of so many small objects and writes it round twice. `flash open DIR MIB`
//!   opens it and says what that took.

mod files;
mod objects;
mod ring;

use files::Files;
use objects::{NODE, NODE_COUNT, Objects, SMALL};
use ring::Ring;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// What a hub takes by default.
const RING_BYTES_MAX: u64 = 8 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(found) => {
            print!("{found}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("flash: {}: {e}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// Does it, and says what was found: a name and a number in each line.
fn run(words: &[&str]) -> io::Result<String> {
    match *words {
        ["churn", dir, mib, objects] => churn(Path::new(dir), number(mib)? << 20, number(objects)?),
        ["open", dir, mib] => open(Path::new(dir), number(mib)? << 20),
        _ => {
            let before = given_bytes()?;
            let syncs = write(words)?;
            Ok(format!(
                "bytes {}\nsyncs {syncs}\n",
                given_bytes()? - before
            ))
        }
    }
}

/// Writes as it is told, and says how often it synced.
fn write(words: &[&str]) -> io::Result<u64> {
    let mut objects = Objects::new(NODE, NODE_COUNT);
    match *words {
        ["fill", "files", dir] => {
            let mut files = Files::open(Path::new(dir))?;
            (0..NODE_COUNT).try_for_each(|at| files.put(&objects, at))?;
            Ok(files.syncs)
        }
        ["fill", "ring", dir] => {
            let mut ring = Ring::open(Path::new(dir), RING_BYTES_MAX)?;
            ring.fill(&objects)?;
            Ok(ring.syncs())
        }
        ["update", "files", dir, updates, _] => {
            let mut files = Files::open(Path::new(dir))?;
            for _ in 0..number(updates)? {
                let at = objects.update();
                files.put(&objects, at)?;
            }
            Ok(files.syncs)
        }
        ["update", "ring", dir, updates, per_flush] => {
            let mut ring = Ring::open(Path::new(dir), RING_BYTES_MAX)?;
            let per_flush = number(per_flush)?.max(1);
            for done in 1..=number(updates)? {
                let at = objects.update();
                ring.put(&objects, at)?;
                if done.is_multiple_of(per_flush) {
                    ring.flush()?;
                }
            }
            ring.flush()?;
            Ok(ring.syncs())
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A ring in which every segment has been written, as after weeks.
fn churn(dir: &Path, bytes_max: u64, count: u64) -> io::Result<String> {
    let mut objects = Objects::new(SMALL, count as usize);
    let mut ring = Ring::open(dir, bytes_max)?;
    ring.fill(&objects)?;
    while ring.written() < 2 * bytes_max {
        let at = objects.update();
        ring.put(&objects, at)?;
    }
    ring.flush()?;
    Ok(format!("objects {}\n", ring.count()))
}

fn open(dir: &Path, bytes_max: u64) -> io::Result<String> {
    let (cpu, memory) = (cpu_nanos()?, anonymous_kib()?);
    let ring = Ring::open(dir, bytes_max)?;
    let (cpu, memory) = (cpu_nanos()? - cpu, anonymous_kib()? - memory);
    Ok(format!(
        "objects {}\ncpu_nanos {cpu}\nkib {memory}\n",
        ring.count()
    ))
}

fn number(word: &str) -> io::Result<u64> {
    word.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Bytes that this process gave to write, pwrite and their like so far.
fn given_bytes() -> io::Result<u64> {
    of_this_process("io", "wchar:")
}

/// Memory that is this process's own, no file's.
fn anonymous_kib() -> io::Result<u64> {
    of_this_process("smaps_rollup", "Pss_Anon:")
}

/// Time on a CPU.
fn cpu_nanos() -> io::Result<u64> {
    of_this_process("schedstat", "")
}

/// The first number behind `name` in a file of /proc/self.
fn of_this_process(file: &str, name: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/{file}"))?;
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    let number = found.and_then(|found| found.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("/proc/self/{file} has no {name}")))
}
