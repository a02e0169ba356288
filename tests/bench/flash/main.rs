//! What is measured on flash: writes the objects of [`objects`] and their updates into a folder, and says how much it
//! handed to the kernel. What the device then wrote, the caller counts.
//!
//! `flash fill HOW DIR` writes all of them once, `flash update HOW DIR UPDATES PER_FLUSH` then changes them. HOW is
//! `files` or `ring`.

mod files;
mod objects;
mod ring;

use files::Files;
use objects::{COUNT, Objects};
use ring::Ring;
use std::io;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let before = given_bytes();
    let done = run(&words);
    let after = given_bytes();
    match (done, before, after) {
        (Ok(syncs), Ok(before), Ok(after)) => {
            println!("bytes {}\nsyncs {syncs}", after - before);
            ExitCode::SUCCESS
        }
        (Err(e), ..) | (_, Err(e), _) | (_, _, Err(e)) => {
            eprintln!("flash: {}: {e}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// Does it, and says how often it synced.
fn run(words: &[&str]) -> io::Result<u64> {
    let mut objects = Objects::new();
    match *words {
        ["fill", "files", dir] => {
            let mut files = Files::open(Path::new(dir))?;
            (0..COUNT).try_for_each(|at| files.put(&objects, at))?;
            Ok(files.syncs)
        }
        ["fill", "ring", dir] => {
            let mut ring = Ring::open(Path::new(dir))?;
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
            let mut ring = Ring::open(Path::new(dir))?;
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

fn number(word: &str) -> io::Result<u64> {
    word.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Bytes that this process gave to write, pwrite and their like so far.
fn given_bytes() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar:"));
    let bytes = line.and_then(|bytes| bytes.trim().parse().ok());
    bytes.ok_or_else(|| io::Error::other("/proc/self/io has no wchar"))
}
