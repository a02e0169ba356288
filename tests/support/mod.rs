//! What the integration tests share: a real control plane, the hub, a link that can be cut, clients.
//!
//! Everything is started lazily, listens on ports of its own and is gone when the test process is, however that ends.

// Every test binary compiles the whole of this and uses its own part.
#![allow(dead_code)]

pub mod cluster;
pub mod http;
pub mod hub;
pub mod kubeconfig;
pub mod netns;
pub mod node;
pub mod program;
pub mod protobuf;
pub mod relay;
pub mod scripted;
pub mod signer;

use std::future::{Future, pending};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};

/// How often an observable condition is looked at while a test waits for it.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `look` gives something and returns it.
///
/// # Panics
/// With `what` when `within` is over first.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// Watches for all of `during` that `holds` stays true.
///
/// # Panics
/// With `what` as soon as it is not.
pub fn throughout(what: &str, during: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + during;
    while Instant::now() < end {
        assert!(holds(), "no longer so: {what}");
        std::thread::sleep(POLL * 10);
    }
}

/// The one thread that drives every relay and every test client of this process.
fn runtime() -> &'static Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(pending::<()>()));
        handle
    })
}

/// Runs `work` to its end while the shared thread moves the bytes.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(work)
}

/// A port that nobody listens on, below the range from which the kernel takes ports for outgoing connections, so that
/// it can be closed and opened again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 110) as u16 * 100;
    for _ in 0..11_000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 11_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("0.0.0.0", port)).is_ok()
        {
            return port;
        }
    }
    panic!("no free port");
}

/// A directory that goes away with this value.
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new directory. Its path is short, because sockets in it have at most 107 bytes of path.
    pub fn new(name: &str) -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("edge-hub-{name}-{}-{n}", std::process::id()));
        // A former process of the same id may have been killed.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        TempDir(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes `name` in it and returns the file's path.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, contents).expect("a file in the temporary directory");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Moves what a program is told of the time of day by the seconds in WRONG.
const WRONG_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t which, struct timespec *at) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, at);
    const char *wrong = getenv("WRONG");
    if (result == 0 && wrong && which == CLOCK_REALTIME) at->tv_sec += atoll(wrong);
    return result;
}
"#;

/// Builds a library that does that to the program that is started with it in `LD_PRELOAD`.
pub fn wrong_clock(dir: &TempDir) -> PathBuf {
    let source = dir.write("wrong.c", WRONG_CLOCK);
    let library = source.with_extension("so");
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "this test needs a C compiler"
    );
    library
}
