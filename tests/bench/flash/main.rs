//! What is measured on flash: writes the objects of [`objects`] and their updates into a folder, and says how much it
//! handed to the kernel. What the device then wrote, the caller counts.
//!
//! `flash fill HOW DIR` writes all of them once, `flash update HOW DIR UPDATES PER_FLUSH` then changes them. HOW is
//! `files` or `ring`.

mod files;
mod objects;

use objects::{COUNT, Objects};
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// What was handed to the kernel.
#[derive(Clone, Copy, Default)]
pub struct Written {
    pub bytes: u64,
    pub syncs: u64,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(written) => {
            println!("bytes {}\nsyncs {}", written.bytes, written.syncs);
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("flash: {}: {e}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> io::Result<Written> {
    match *words {
        ["fill", "files", dir] => fill_files(Path::new(dir)),
        ["update", "files", dir, updates, _] => update_files(Path::new(dir), number(updates)?),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn fill_files(dir: &Path) -> io::Result<Written> {
    let (mut files, objects) = (files::Files::open(dir)?, Objects::new());
    (0..COUNT).try_for_each(|at| files.put(&objects, at))?;
    Ok(files.written())
}

/// There is no gathering here: each update is a file.
fn update_files(dir: &Path, updates: usize) -> io::Result<Written> {
    let (mut files, mut objects) = (files::Files::open(dir)?, Objects::new());
    for _ in 0..updates {
        let at = objects.update();
        files.put(&objects, at)?;
    }
    Ok(files.written())
}

fn number(word: &str) -> io::Result<usize> {
    word.parse()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
