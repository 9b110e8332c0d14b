//! Ports for listeners that may be closed and opened again during a test.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// First port, below the range of outgoing connections: one of those could take the port of a node that is down.
const FIRST: u64 = 20_000;
const COUNT: u64 = 12_000;

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// Returns a port that no process listens on, and that was not returned before.
pub fn free() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    loop {
        // random, because other test processes look for ports at the same time
        let random = RandomState::new().hash_one(given.len());
        let port = u16::try_from(FIRST + random % COUNT).unwrap();
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}
