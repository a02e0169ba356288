//! Where answers are kept and shown: the cache's folder on flash, the key to it, and the folder in memory. Nothing here
//! keeps the hub from starting: without them it keeps in memory, and a restart forgets.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Findings;
use super::files::{nearest_folder, probe};
use crate::certs::seal_key::{self, Outlook};
use crate::config::{Config, StoreKind};
use crate::hub::store::{INTERNAL, RING};
use crate::limits::RING_SEGMENTS_MAX;
use crate::sys::file::{is_in_memory, private_directory, space};

pub(super) fn check(findings: &mut Findings, config: &Config) {
    cache_dir(findings, config);
    if config.store == StoreKind::Ring {
        seal_key_file(findings, config);
    }
    run_dir(findings, &config.run_dir);
}

fn cache_dir(findings: &mut Findings, config: &Config) {
    let dir = &config.cache_dir;
    let harm = match config.store {
        StoreKind::Ring => "so answers are kept in memory, and a restart forgets them",
        StoreKind::Ram => "so nothing there leads to what is kept",
    };
    if !folder(findings, "cache_dir", dir, harm) || config.store != StoreKind::Ring {
        return;
    }
    private(findings, dir);
    room(findings, dir, config.cache_bytes_max as u64);
    if is_in_memory(&nearest_folder(dir)).unwrap_or(false) {
        findings.warn(format!(
            "cache_dir: {} is in memory, and a restart of the machine forgets what is there; name a place on flash",
            dir.display()
        ));
    }
}

/// Whether there is a folder that can be written, or can be made.
fn folder(findings: &mut Findings, key: &str, dir: &Path, harm: &str) -> bool {
    let there = nearest_folder(dir);
    if !there.is_dir() {
        findings.warn(format!(
            "{key}: {} is a file and no folder, {harm}; move it away, or name another",
            there.display()
        ));
        return false;
    }
    match probe(&there) {
        Ok(()) if there == *dir => findings.ok(format!("{key}: {} can be written", dir.display())),
        Ok(()) => findings.ok(format!("{key}: {} can be made", dir.display())),
        Err(error) => {
            let way_out = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run check as the user that runs the hub, or let that user write there"
                }
                io::ErrorKind::ReadOnlyFilesystem => "mount it writable, or name another place",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room",
                _ => "name another place",
            };
            findings.warn(format!(
                "{key}: nothing can be written in {} ({error}), {harm}; {way_out}",
                there.display()
            ));
            return false;
        }
    }
    true
}

/// Tokens and Secrets lie there, sealed; who may write there could put an old state in their place.
fn private(findings: &mut Findings, dir: &Path) {
    owned(findings, "cache_dir", dir, 0o022);
    for name in [INTERNAL, RING] {
        let path = dir.join(name);
        if fs::metadata(&path).is_ok_and(|meta| !meta.is_dir()) {
            findings.warn(format!(
                "cache_dir: {} is a file and no folder, so answers are kept in memory, and a restart forgets them; move it away",
                path.display()
            ));
        } else {
            owned(findings, "cache_dir", &path, 0o077);
        }
    }
}

/// Whether a folder, if it is there, is the hub's, and its mode has none of these bits.
fn owned(findings: &mut Findings, key: &str, path: &Path, forbidden: u32) {
    if let Err(error) = private_directory(path, forbidden) {
        findings.warn(format!("{key}: {error}"));
    }
}

/// The ring takes its whole size at once, and never more. What it has already counts as free: also that of a hub that
/// runs.
fn room(findings: &mut Findings, dir: &Path, wanted: u64) {
    let free = match space(&nearest_folder(dir)) {
        Ok(free) => free,
        Err(error) => {
            return findings.warn(format!(
                "cache_dir: how much room there is cannot be told: {error}"
            ));
        }
    };
    let taken = taken(&dir.join(RING));
    let missing = wanted.saturating_sub(free.saturating_add(taken));
    if missing > 0 {
        findings.warn(format!(
            "cache_dir: {wanted} bytes are wanted (`cache_max_bytes`) and {free} are free in {}, so less is kept or nothing; \
             make room, or ask for less",
            dir.display()
        ));
    } else {
        findings.ok(format!(
            "cache_dir: there is room for the {wanted} bytes of `cache_max_bytes`"
        ));
    }
}

/// Bytes on flash of the ring that is there.
fn taken(ring: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let Ok(entries) = fs::read_dir(ring) else {
        return 0;
    };
    let files = entries
        .take(usize::from(RING_SEGMENTS_MAX) + 2)
        .filter_map(Result::ok);
    let blocks = files.filter_map(|file| Some(file.metadata().ok()?.blocks()));
    blocks.fold(0, |sum, blocks| {
        sum.saturating_add(blocks.saturating_mul(BLOCK_BYTES))
    })
}

fn seal_key_file(findings: &mut Findings, config: &Config) {
    let configured = config.seal_key_file.as_deref();
    match seal_key::look(configured, &config.state_dir) {
        Ok(Outlook::Good) => findings.ok("seal_key_file: the key to the cache is good"),
        Ok(Outlook::ToBeMade) => findings.ok(format!(
            "seal_key_file: the hub makes a key in {}",
            config.state_dir.display()
        )),
        Ok(Outlook::ToBeMadeAnew) => findings.warn(
            "seal_key_file: a power cut has torn the hub's own key; it makes a new one, and what was kept before cannot be read",
        ),
        Err(error) if configured.is_some() => findings.warn(format!(
            "seal_key_file: {error}; as it is, answers are kept in memory, and a restart forgets them"
        )),
        Err(error) => findings.warn(format!("seal_key_file: {error}")),
    }
    if let Some(warning) = seal_key::beside_cache(config) {
        findings.warn(warning);
    }
}

fn run_dir(findings: &mut Findings, dir: &Path) {
    let harm = "so nobody can look at what is kept there";
    if !folder(findings, "run_dir", dir, harm) {
        return;
    }
    owned(findings, "run_dir", dir, 0o022);
    if !is_in_memory(&nearest_folder(dir)).unwrap_or(true) {
        findings.warn(format!(
            "run_dir: {} is not in memory, so flash is written each time that what is kept changes, every 10 s at most; \
             name a place on a tmpfs, such as /run/edge-hub",
            dir.display()
        ));
    }
}
