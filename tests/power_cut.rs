//! The ring on a flash that is cut off, rots and fails. EDGE_HUB_TEST_SEED=N runs one seed again.

#[path = "power_cut/flash.rs"]
mod flash;
#[path = "power_cut/model.rs"]
mod model;
#[path = "power_cut/month.rs"]
mod month;
#[path = "power_cut/rng.rs"]
mod rng;
#[path = "power_cut/work.rs"]
mod work;

use flash::Fault;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use work::{Plan, Sum, World};

/// Runs seeds on all processors until `enough`. A seed that fails is told.
fn seeds(
    what: &str,
    enough: impl Fn(&Sum, u64) -> bool + Sync,
    run: impl Fn(u64) -> Sum + Sync,
) -> Sum {
    let only: Option<u64> = std::env::var("EDGE_HUB_TEST_SEED")
        .ok()
        .map(|seed| seed.parse().expect("EDGE_HUB_TEST_SEED is a number"));
    if let Some(seed) = only {
        let sum = run(seed);
        println!("{what}: {sum:?}");
        return sum;
    }
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if failed.load(Ordering::Relaxed) || enough(&sum.lock().unwrap(), seed) {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(one) => sum.lock().unwrap().add(&one),
                Err(_) => {
                    failed.store(true, Ordering::Relaxed);
                    eprintln!("{what}: EDGE_HUB_TEST_SEED={seed} fails");
                }
            }
        }
    };
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| {
            scope.spawn(worker);
        });
    });
    assert!(!failed.into_inner(), "{what}: a seed failed, see above");
    let sum = sum.into_inner().unwrap();
    println!(
        "{what}: {} seeds, {sum:?}, {:.1?}",
        next.into_inner(),
        started.elapsed()
    );
    sum
}

#[test]
fn a_cut_at_any_call_leaves_what_was_told() {
    let enough = match std::env::var_os("EDGE_HUB_TEST_LONG") {
        Some(_) => 1_000_000,
        None => 200_000,
    };
    let plan = Plan {
        steps: 1500,
        cuts_one_in: 1,
        has_ends: true,
        is_healthy: true,
    };
    let sum = seeds(
        "power cuts",
        |sum, _| sum.cuts >= enough,
        |seed| {
            let mut world = World::new(seed, plan.clone());
            world.run();
            world.sum
        },
    );
    assert!(sum.reclaimed > 0);
}

#[test]
fn rot_leaves_fewer_answers_and_never_a_wrong_one() {
    let plan = Plan {
        steps: 25,
        cuts_one_in: 0,
        has_ends: false,
        is_healthy: true,
    };
    let enough = match std::env::var_os("EDGE_HUB_TEST_LONG") {
        Some(_) => 20_000,
        None => 1_000,
    };
    seeds(
        "rot",
        |sum, _| sum.cuts >= enough,
        |seed| {
            let mut world = World::new(seed, plan.clone());
            for _ in 0..20 {
                world.run();
                world.rot();
            }
            world.sum
        },
    );
}

#[test]
fn a_fault_at_any_call_stops_the_writing_and_loses_nothing() {
    let plan = Plan {
        steps: 150,
        cuts_one_in: 0,
        has_ends: false,
        is_healthy: false,
    };
    seeds(
        "faults",
        |_, seed| seed >= Fault::ALL.len() as u64,
        |seed| {
            let fault = Fault::ALL[seed as usize];
            let mut sum = Sum::default();
            for n in 0.. {
                let mut world = World::new(3, plan.clone());
                if !world.fail(fault, n) {
                    break;
                }
                sum.add(&world.sum);
            }
            sum
        },
    );
}

#[test]
fn a_fault_while_it_starts_loses_nothing() {
    let plan = Plan {
        steps: 400,
        cuts_one_in: 0,
        has_ends: false,
        is_healthy: true,
    };
    seeds(
        "faults at the start",
        |_, seed| seed >= 12,
        |seed| {
            let mut world = World::new(seed, plan.clone());
            world.run();
            for fault in Fault::ALL {
                let came = (0..).take_while(|n| world.fail_start(fault, *n)).count();
                world.sum.cuts += came as u64;
            }
            world.sum
        },
    );
}

#[test]
fn the_ring_answers_like_a_map() {
    let plan = Plan {
        steps: 1500,
        cuts_one_in: 0,
        has_ends: false,
        is_healthy: true,
    };
    let sum = seeds(
        "without cuts",
        |_, seed| seed >= 40,
        |seed| {
            let mut world = World::new(seed, plan.clone());
            world.run();
            world.sum
        },
    );
    assert!(
        sum.reclaimed > 0 && sum.evicted > 0 && sum.frozen > 0,
        "{sum:?}"
    );
}
