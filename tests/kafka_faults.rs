//! Three brokers and two orderers with repeated faults: the orderers keep one chain, and no acknowledged envelope is
//! lost.
//!
//! A run has ten faults; the variable FAULTS sets another number.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::broker;
use crate::kafka_support;
use crate::world;

use std::time::Duration;

use broker::{KAFKA_3, Plan};
use kafka_support::{Load, all_in_sync, check_chains, two_orderers, until_it_orders};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use world::seed;

/// Maximum time until Broadcast works again after a majority of the brokers is back. It is checked in a long run alone, because
/// the time depends on what else the machine does.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL of one broker. The other two continue.
    KillBroker(i32),
    /// SIGSTOP of one broker. Its connections stay open and silent.
    PauseBroker(i32),
    /// SIGKILL of two of three brokers. Nothing can be ordered until they are back.
    KillMajority(i32),
    KillOrderer(usize),
    PauseOrderer(usize),
}

/// Returns faults in random order. Each round has all kinds of faults.
fn faults(dice: &mut StdRng, count: usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    while faults.len() < count {
        let mut round: Vec<Fault> = (1..=3).flat_map(|id| [Fault::KillBroker(id), Fault::PauseBroker(id)]).collect();
        round.push(Fault::KillMajority(dice.random_range(1..=3)));
        round.extend((0..2).flat_map(|which| [Fault::KillOrderer(which), Fault::PauseOrderer(which)]));
        round.shuffle(dice);
        faults.extend(round);
    }
    faults.truncate(count);
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_the_chain_is_one_and_keeps_what_was_acknowledged() {
    let mut dice = StdRng::seed_from_u64(seed());
    let wanted = std::env::var("FAULTS").ok().and_then(|text| text.parse().ok());
    let (count, is_long) = (wanted.unwrap_or(10), wanted.is_some());
    // the controller fences a silent broker after three seconds instead of nine
    let plan = Plan::new(KAFKA_3).three().set("broker.session.timeout.ms=3000").set("broker.heartbeat.interval.ms=500");
    let brokers = plan.start();
    let setups = two_orderers(&brokers);
    let mut nodes = [setups[0].start().await, setups[1].start().await];
    let addresses = [nodes[0].address.clone(), nodes[1].address.clone()];
    let load = Load::on(&addresses, 2);
    for fault in faults(&mut dice, count) {
        match fault {
            Fault::KillBroker(id) => {
                brokers.kill(id);
                until_it_orders(&addresses[0]).await;
                brokers.restart(id);
            }
            Fault::PauseBroker(id) => {
                brokers.pause(id);
                until_it_orders(&addresses[1]).await;
                brokers.resume(id);
            }
            Fault::KillMajority(id) => {
                let other = id % 3 + 1;
                brokers.kill(id);
                brokers.kill(other);
                brokers.restart_all(&[id, other]);
            }
            Fault::KillOrderer(which) => {
                nodes[which].kill();
                nodes[which] = setups[which].spawn();
                setups[which].forgive_unclean_starts();
            }
            Fault::PauseOrderer(which) => {
                nodes[which].signal("STOP");
                until_it_orders(&addresses[1 - which]).await;
                nodes[which].signal("CONT");
            }
        }
        // wait until a restarted broker is in sync again; otherwise the next fault would leave too few in-sync replicas
        let brokers_back = all_in_sync(&brokers).await;
        eprintln!("{fault:?}: the brokers are whole after {brokers_back:?}");
        for address in &addresses {
            let back = until_it_orders(address).await;
            eprintln!("{fault:?}: {address} orders after {back:?}");
            assert!(back < BACK_WITHIN || !is_long, "{fault:?}: {address} orders after {back:?}");
        }
    }
    let (acknowledged, sent_again) = load.end().await;
    let twice = check_chains(&[&nodes[0], &nodes[1]], &acknowledged).await;
    eprintln!(
        "{} transactions acknowledged, {sent_again} sent again, {twice} more than once in the chain",
        acknowledged.len()
    );
    assert!(acknowledged.len() > 20, "there was load");
    for node in &nodes {
        node.assert_no_panic();
    }
}
