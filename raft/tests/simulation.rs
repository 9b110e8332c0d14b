//! Clusters of machines under virtual time: messages are lost, delayed and doubled, nodes are cut off, stall, run by slow clocks,
//! and die with what they had not synced. Raft's promises are checked at each step. A seed repeats a run.

#![allow(clippy::unwrap_used)]

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

/// Ticks are half a second. `RAFT_SEED` and `RAFT_RUNS` choose other runs.
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
