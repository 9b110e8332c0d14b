//! The order in which connections are closed when others need their places.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;

/// A connection that may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EvictionCandidate {
    pub(super) id: u64,
    pub(super) address: IpAddr,
    /// Milliseconds since the connection entered its phase, or since its last request if that is less.
    pub(super) age: u64,
}

/// Chooses the connections to close: repeatedly, the oldest of the address with the most candidates. Of addresses
/// with as many, the one whose next is the oldest, because the newest connection has not had its time.
pub(super) fn choose(candidates: Vec<EvictionCandidate>, count: usize) -> Vec<u64> {
    let mut by_address: HashMap<IpAddr, Vec<EvictionCandidate>> = HashMap::new();
    for candidate in candidates {
        by_address.entry(candidate.address).or_default().push(candidate);
    }
    for of_address in by_address.values_mut() {
        // the first to be closed is last
        of_address.sort_by_key(|c| (c.age, Reverse(c.id)));
    }
    let next = |ip: IpAddr, all: &[EvictionCandidate]| all.last().map(|c| (all.len(), c.age, ip));
    let mut busiest: BinaryHeap<_> = by_address.iter().filter_map(|(ip, all)| next(*ip, all)).collect();
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count
        && let Some((.., ip)) = busiest.pop()
        && let Some(of_address) = by_address.get_mut(&ip)
        && let Some(candidate) = of_address.pop()
    {
        chosen.push(candidate.id);
        busiest.extend(next(ip, of_address));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn of_addresses_with_as_many_connections_the_oldest_goes_first() {
        let of = |last: u8, age| EvictionCandidate { id: last.into(), address: address(last), age };
        assert_eq!(choose(vec![of(200, 3), of(1, 4000), of(100, 5000), of(250, 4)], 3), [100, 1, 250]);
    }

    proptest! {
        #[test]
        fn an_address_gives_more_only_if_it_has_more(
            owners in prop::collection::vec((0u8..6, 0u64..100), 0..60), count in 0usize..20,
        ) {
            let candidates: Vec<EvictionCandidate> = (0..).zip(&owners)
                .map(|(id, &(owner, age))| EvictionCandidate { id, address: address(owner), age })
                .collect();
            let chosen = choose(candidates.clone(), count);
            prop_assert_eq!(chosen.len(), count.min(candidates.len()));
            let left = |owner: u8| candidates.iter()
                .filter(|c| c.address == address(owner) && !chosen.contains(&c.id)).count();
            let gave = |owner: u8| candidates.iter()
                .filter(|c| c.address == address(owner) && chosen.contains(&c.id)).count();
            for (a, b) in (0..6).flat_map(|a| (0..6).map(move |b| (a, b))) {
                prop_assert!(gave(a) == 0 || left(a) + 1 >= left(b), "{} gave although {} has more", a, b);
            }
            // no connection that stays has less right than another of the same address that goes
            for stays in candidates.iter().filter(|c| !chosen.contains(&c.id)) {
                for goes in candidates.iter().filter(|c| chosen.contains(&c.id) && c.address == stays.address) {
                    prop_assert!(goes.age >= stays.age);
                }
            }
        }
    }
}
