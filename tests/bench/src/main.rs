//! Measures the hub and checks its budgets. `tests/bench/run` builds both and calls this.
//!
//! `edge-hub-bench HUB BUDGETS [--quick] [--only GROUP] [--cross TARGET_DIR] [--found FILE] [--record WHEN ON]`

mod client;
mod flash;
mod memory;
mod moments;
mod process;
mod table;
mod tls;
mod upstream;
mod work;

use process::Bench;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use table::Table;

/// What cross/build builds for.
const CROSS: [&str; 3] = [
    "armv7-unknown-linux-musleabihf",
    "aarch64-unknown-linux-musl",
    "x86_64-unknown-linux-musl",
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if let [serve, port, papers] = &words[..]
        && serve == "serve"
    {
        runtime.block_on(upstream::serve(
            port.parse().expect("a port"),
            Path::new(papers),
        ));
        return ExitCode::SUCCESS;
    }
    match runtime.block_on(measure(&words)) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn measure(words: &[String]) -> bool {
    let after = |flag: &str, n: usize| {
        words
            .iter()
            .position(|w| w == flag)
            .and_then(|at| words.get(at + n))
            .cloned()
    };
    let quick = words.iter().any(|w| w == "--quick");
    let only = after("--only", 1);
    let wanted = |group: &str| only.as_deref().is_none_or(|o| o == group);
    let budgets = PathBuf::from(&words[1]);
    let bench = Bench {
        dir: std::env::temp_dir().join(format!("edge-hub-bench-{}", std::process::id())),
        hub: (&words[0]).into(),
    };
    std::fs::create_dir_all(&bench.dir).expect("a folder");
    tls::make_papers(&bench.dir);
    let mut table = Table::read(&budgets);
    if wanted("size") {
        table.add(
            "dist_size",
            std::fs::metadata(&bench.hub).expect("the hub").len() as f64,
        );
    }
    if let Some(dir) = after("--cross", 1) {
        for target in CROSS {
            let program = Path::new(&dir).join(target).join("dist/edge-hub");
            let name = format!("size_{}", target.split('-').next().expect("a word"));
            match std::fs::metadata(&program) {
                Ok(file) => table.add(&name, file.len() as f64),
                Err(e) => table.fail(&name, &format!("{}: {e}", program.display())),
            }
        }
        let x86_64 = Path::new(&dir).join(CROSS[2]).join("dist/edge-hub");
        if wanted("memory") && x86_64.exists() {
            let bench = Bench {
                dir: bench.dir.clone(),
                hub: x86_64,
            };
            memory::measure_shipped(&bench, &mut table).await;
        }
    }
    if wanted("memory") {
        memory::measure(&bench, &mut table).await;
    }
    if wanted("instructions") {
        work::instructions(&bench, &mut table).await;
    }
    if wanted("guesses") {
        work::guesses(&bench, &mut table).await;
    }
    if wanted("flash") {
        flash::measure(&bench.dir, quick, &mut table);
    }
    if let Some(found) = after("--found", 1) {
        table.add_all(Path::new(&found));
    }
    if !quick && wanted("moments") {
        moments::cuts(&bench, &mut table).await;
        moments::starts(&bench, &mut table).await;
    }
    if !quick && wanted("latency") {
        moments::latency(&bench, &mut table).await;
    }
    if !quick && wanted("cpu") {
        work::cpu(&bench, &mut table).await;
    }
    if let (Some(when), Some(on)) = (after("--record", 1), after("--record", 2)) {
        table.record(&budgets, when, on);
    }
    let passed = table.passed();
    if passed {
        let _ = std::fs::remove_dir_all(&bench.dir);
    } else {
        println!("logs: {}", bench.dir.display());
    }
    passed
}
