//! Simulates clusters of machines in virtual time. Messages are lost, delayed and duplicated; nodes are disconnected,
//! stall, run with slow clocks, and crash with unsynced writes. Raft's guarantees are checked at each step. A run is
//! repeatable from its seed.

#![allow(clippy::unwrap_used)]

#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/promises.rs"]
mod promises;
#[path = "simulation/world.rs"]
mod world;

use world::World;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A tick is half a second. `RAFT_SEED` and `RAFT_RUNS` select other runs.
#[test]
fn clusters_keep_rafts_promises() {
    let (first, runs) = (number("RAFT_SEED", 1), number("RAFT_RUNS", 12));
    let mut total = world::Counts::default();
    for seed in first..first + runs {
        let mut world = World::new(seed);
        for _ in 0..2 {
            world.suffer();
            world.heal();
        }
        total.add(&world.counts());
        if runs > 200 && seed.is_multiple_of(200) {
            println!("{seed}: {total}");
        }
    }
    println!("{total}");
    assert!(total.is_eventful(runs), "the runs are eventful");
}
