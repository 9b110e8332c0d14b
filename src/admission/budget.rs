//! Memory that clients occupy, counted in bytes: for each connection, for each address, and for the node.
//!
//! Charging never fails, because the charged bytes are there already; what waits for capacity is the next read
//! ([`Account::poll_room`]). The node therefore exceeds its limit by at most one read of each thread. All counters
//! are atomics; a lock is taken only by a connection that has to wait, and to wake those that do.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::outgoing::OutgoingToAddress;
use super::site;

/// A connection that holds no more bytes than this may read even if its address has used its share, and may use the
/// last part of the node's memory if its address has not.
const SMALL_BYTES: usize = 128 << 10;
/// Divisor of the node's limit: the part that only small connections may fill, of addresses within their shares.
const RESERVE_PART: usize = 8;
/// One waiting connection is woken for each of these bytes that are released.
const WAKE_BYTES: usize = 16 << 10;
/// Divisor of the node's limit: the part that a favoured connection may hold whatever others hold.
const FAVOURED_PART: usize = 16;
/// The table of addresses is swept when it has grown by this number of entries.
const SWEEP_EVERY: usize = 1024;

/// A limit, the bytes used of it, and the connections that wait for capacity.
#[derive(Debug)]
struct Pool {
    limit: usize,
    used: AtomicUsize,
    waiting: AtomicUsize,
    /// Connections that wait in any pool; counted in the node's pool only.
    blocked: AtomicUsize,
    queue: Mutex<VecDeque<Arc<Waiter>>>,
}

/// A connection that wants to read. It is in one queue at a time.
#[derive(Debug, Default)]
struct Waiter {
    waker: AtomicWaker,
    queued: AtomicBool,
}

impl Pool {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            blocked: AtomicUsize::new(0),
            queue: Mutex::default(),
        }
    }

    fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    fn charge(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::SeqCst);
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 && self.used() < self.limit {
            self.wake(bytes / WAKE_BYTES + 1);
        }
    }

    fn wake(&self, count: usize) {
        for _ in 0..count {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(next) = next else { return };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            next.queued.store(false, Ordering::SeqCst);
            next.waker.wake();
        }
    }

    fn enqueue(&self, waiter: &Arc<Waiter>) {
        if !waiter.queued.swap(true, Ordering::SeqCst) {
            self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(Arc::clone(waiter));
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The parts of a budget that a connection and an address may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Limit of one connection, in bytes.
    pub connection: usize,
    /// Limit of all connections of one address, in bytes.
    pub address: usize,
}

/// The node's memory for clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Node>);

#[derive(Debug)]
struct Node {
    all: Arc<Pool>,
    shares: Shares,
    addresses: Mutex<Addresses>,
}

/// Memory that all connections of one address hold.
#[derive(Debug)]
struct AddressUsage {
    incoming: Pool,
    outgoing: OutgoingToAddress,
}

#[derive(Debug, Default)]
struct Addresses {
    /// By [`site`].
    pools: HashMap<IpAddr, Weak<AddressUsage>>,
    swept_at: usize,
}

impl Budget {
    /// Creates a budget of `bytes`. A connection may use half of it, an address three quarters.
    pub fn new(bytes: usize) -> Self {
        let shares = Shares { connection: bytes / 2, address: bytes / 4 * 3 };
        Self(Arc::new(Node { all: Arc::new(Pool::new(bytes)), shares, addresses: Mutex::default() }))
    }

    /// Opens an account for a connection from `address`.
    pub fn account(&self, address: IpAddr) -> Account {
        let address = site(address);
        let mut addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.pools.len() >= addresses.swept_at + SWEEP_EVERY {
            addresses.pools.retain(|_, pool| pool.strong_count() > 0);
            addresses.swept_at = addresses.pools.len();
        }
        let known = addresses.pools.get(&address).and_then(Weak::upgrade);
        let of_address = known.unwrap_or_else(|| {
            let incoming = Pool::new(self.0.shares.address);
            let pool = Arc::new(AddressUsage { incoming, outgoing: OutgoingToAddress::default() });
            addresses.pools.insert(address, Arc::downgrade(&pool));
            pool
        });
        Account {
            own: Pool::new(self.0.shares.connection),
            address: of_address,
            all: Arc::clone(&self.0.all),
            waiter: Arc::default(),
            is_favoured: AtomicBool::new(false),
        }
    }

    /// Returns the bytes that are charged now.
    pub fn used(&self) -> usize {
        self.0.all.used()
    }

    /// Returns the maximum number of bytes that may be charged.
    pub fn limit(&self) -> usize {
        self.0.all.limit
    }

    /// Returns the number of connections that wait for capacity: of their own, of their address or of the node.
    pub fn waiting(&self) -> usize {
        self.0.all.blocked.load(Ordering::Relaxed)
    }

    /// Returns the parts that a connection and an address may use.
    pub fn shares(&self) -> Shares {
        self.0.shares
    }
}

/// The part of the budget that one connection holds.
#[derive(Debug)]
pub struct Account {
    own: Pool,
    address: Arc<AddressUsage>,
    all: Arc<Pool>,
    waiter: Arc<Waiter>,
    is_favoured: AtomicBool,
}

impl Account {
    /// Guarantees the connection a part of the node's memory from now on, although others have used all of it, or its
    /// address all of its share. Only few connections may be favoured.
    pub fn favour(&self) {
        self.is_favoured.store(true, Ordering::SeqCst);
        self.waiter.waker.wake();
    }

    /// Returns whether the connection is favoured.
    pub fn is_favoured(&self) -> bool {
        self.is_favoured.load(Ordering::SeqCst)
    }

    /// Charges bytes that have arrived.
    pub fn charge(&self, bytes: usize) {
        self.own.charge(bytes);
        self.address.incoming.charge(bytes);
        self.all.charge(bytes);
    }

    /// Releases bytes that were charged.
    pub fn release(&self, bytes: usize) {
        self.own.release(bytes);
        self.address.incoming.release(bytes);
        self.all.release(bytes);
        // it may continue although the pool that it waits for has no capacity yet
        if self.is_favoured() && self.waiter.queued.load(Ordering::SeqCst) {
            self.waiter.waker.wake();
        }
    }

    /// Returns the bytes that are charged now.
    pub fn used(&self) -> usize {
        self.own.used()
    }

    /// Returns the bytes that are charged to all connections of its address.
    pub fn used_by_address(&self) -> usize {
        self.address.incoming.used()
    }

    /// Returns what is on its way to its address.
    pub(super) fn to_address(&self) -> &OutgoingToAddress {
        &self.address.outgoing
    }

    /// Records that the connection waits for capacity from now on.
    pub(super) fn begins_to_wait(&self) {
        self.all.blocked.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the connection no longer waits.
    pub(super) fn waits_no_more(&self) {
        self.all.blocked.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the pool that has no capacity for the connection's next read, if there is one.
    fn lacking(&self) -> Option<&Pool> {
        if self.own.used() >= self.own.limit {
            return Some(&self.own);
        }
        if self.is_favoured() && self.own.used() < self.all.limit / FAVOURED_PART {
            return None;
        }
        let is_small = self.own.used() <= SMALL_BYTES;
        let is_within_share = self.address.incoming.used() < self.address.incoming.limit;
        if !is_small && !is_within_share {
            return Some(&self.address.incoming);
        }
        // however many connections an address has: others find capacity
        let reserve = if is_small && is_within_share { 0 } else { self.all.limit / RESERVE_PART };
        (self.all.used() >= self.all.limit - reserve).then_some(&*self.all)
    }

    /// Polls for capacity to read more. If there is none, the task is woken when that may have changed.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.lacking().is_none() {
            return Poll::Ready(());
        }
        self.waiter.waker.register(cx.waker());
        while let Some(pool) = self.lacking() {
            if self.waiter.queued.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
            pool.enqueue(&self.waiter);
            // capacity may have come between the check and the queue; nothing would wake the task then
            if self.lacking().is_some() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Registers the reading task, to be woken by [`wake`](Self::wake) as well.
    pub fn register(&self, cx: &Context<'_>) {
        self.waiter.waker.register(cx.waker());
    }

    /// Wakes the reading task.
    pub fn wake(&self) {
        self.waiter.waker.wake();
    }
}

impl Budget {
    /// Wakes waiting connections to check again: capacity of the reserve wakes the first in the queue, which may not
    /// be allowed to use it.
    pub fn nudge(&self) {
        let all = &self.0.all;
        if all.used() < all.limit {
            all.wake(all.waiting.load(Ordering::SeqCst));
        }
    }
}

/// Bytes charged to one connection, released when dropped.
#[derive(Debug)]
pub struct Charge {
    peer: Arc<super::Peer>,
    bytes: usize,
}

impl Charge {
    /// Takes over bytes that are charged to the peer's account already.
    pub(super) fn taking_over(peer: &Arc<super::Peer>, bytes: usize) -> Self {
        Self { peer: Arc::clone(peer), bytes }
    }

    /// Charges more bytes to the same connection.
    pub fn grow(&mut self, bytes: usize) {
        self.peer.account().charge(bytes);
        self.bytes += bytes;
    }

    /// Merges another charge of the same connection into this one.
    pub fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Splits a part off this charge.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { peer: Arc::clone(&self.peer), bytes }
    }

    /// Returns the number of charged bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.peer.account().release(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;
    use std::task::{Wake, Waker};

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn poll(account: &Account, woken: &Arc<Woken>) -> bool {
        let waker = Waker::from(Arc::clone(woken));
        account.poll_room(&mut Context::from_waker(&waker)).is_ready()
    }

    #[test]
    fn a_connection_that_has_used_its_share_waits_until_it_releases_some_of_it() {
        let (budget, woken) = (Budget::new(4 << 20), Arc::<Woken>::default());
        let (greedy, other) = (budget.account(address(1)), budget.account(address(2)));
        greedy.charge(2 << 20);
        assert!(!poll(&greedy, &woken));
        assert!(poll(&other, &Arc::default()));
        greedy.release(1);
        assert!(woken.0.load(Ordering::SeqCst) && poll(&greedy, &woken));
    }

    #[test]
    fn who_is_favoured_finds_room_among_those_who_have_taken_all() {
        let (budget, woken) = (Budget::new(16 << 20), Arc::<Woken>::default());
        let (greedy, member) = (budget.account(address(1)), budget.account(address(1)));
        greedy.charge(16 << 20);
        assert!(!poll(&member, &woken));
        member.favour();
        assert!(woken.0.load(Ordering::SeqCst) && poll(&member, &Arc::default()));
        member.charge(1 << 20);
        let again = Arc::<Woken>::default();
        assert!(!poll(&member, &again), "a part, and no more");
        member.release(1);
        assert!(again.0.load(Ordering::SeqCst) && poll(&member, &Arc::default()), "although others hold all");
    }

    #[test]
    fn an_address_that_has_used_its_share_leaves_the_rest_to_others_and_to_its_small_connections() {
        let budget = Budget::new(16 << 20);
        let of_one = [budget.account(address(1)), budget.account(address(1)), budget.account(address(1))];
        of_one[0].charge(6 << 20);
        of_one[1].charge(6 << 20);
        let woken = Arc::<Woken>::default();
        assert!(!poll(&of_one[0], &woken) && !poll(&of_one[1], &woken));
        assert!(poll(&of_one[2], &woken), "it holds nothing");
        of_one[2].charge(SMALL_BYTES + 1);
        assert!(!poll(&of_one[2], &woken));
        assert!(poll(&budget.account(address(2)), &woken));
    }

    #[test]
    fn many_small_connections_of_one_address_leave_the_reserve_to_others() {
        let budget = Budget::new(16 << 20);
        let of_one: Vec<Account> = (0..200).map(|_| budget.account(address(1))).collect();
        let admitted = of_one.iter().filter(|account| {
            poll(account, &Arc::default()) && {
                account.charge(SMALL_BYTES);
                true
            }
        });
        assert_eq!(admitted.count(), (14 << 20) / SMALL_BYTES);
        assert!(poll(&budget.account(address(2)), &Arc::default()));
        assert!(!poll(&budget.account(address(1)), &Arc::default()));
    }

    #[test]
    fn the_reserve_is_for_small_connections() {
        let budget = Budget::new(16 << 20);
        let accounts: Vec<Account> = (1..=15).map(|last| budget.account(address(last))).collect();
        accounts[..14].iter().for_each(|account| account.charge(1 << 20));
        let woken = Arc::<Woken>::default();
        assert!(!poll(&accounts[0], &woken), "seven of eight parts are used");
        assert!(poll(&accounts[14], &woken));
        accounts[0].charge(2 << 20);
        assert!(!poll(&accounts[14], &woken), "nothing is left");
        assert_eq!(budget.0.all.waiting.load(Ordering::SeqCst), 2);
    }

    proptest! {
        /// Whatever is charged and released: the sums agree, a connection without capacity waits, and when everything
        /// is released every waiting one was woken.
        #[test]
        fn sums_agree_and_nobody_is_forgotten(
            steps in prop::collection::vec((0usize..8, any::<bool>(), 0usize..(3 << 20)), 1..200),
        ) {
            let budget = Budget::new(8 << 20);
            let accounts: Vec<Account> = (0u8..8).map(|n| budget.account(address(n / 3))).collect();
            let woken: Vec<Arc<Woken>> = (0..8).map(|_| Arc::default()).collect();
            let (mut held, mut waits) = ([0usize; 8], [false; 8]);
            for (who, arrives, bytes) in steps {
                if arrives {
                    woken[who].0.store(false, Ordering::SeqCst);
                    let admitted = poll(&accounts[who], &woken[who]);
                    waits[who] = !admitted;
                    prop_assert!(held[who] < budget.shares().connection || !admitted);
                    prop_assert!(held.iter().sum::<usize>() < budget.limit() || !admitted);
                    if admitted {
                        accounts[who].charge(bytes);
                        held[who] += bytes;
                    }
                } else {
                    let bytes = bytes.min(held[who]);
                    accounts[who].release(bytes);
                    held[who] -= bytes;
                }
                prop_assert_eq!(budget.used(), held.iter().sum::<usize>());
                prop_assert_eq!(accounts[who].used(), held[who]);
            }
            for (account, held) in accounts.iter().zip(&mut held) {
                account.release(std::mem::take(held));
            }
            budget.nudge();
            for who in 0..8 {
                prop_assert!(!waits[who] || woken[who].0.load(Ordering::SeqCst), "{} still waits", who);
                prop_assert!(poll(&accounts[who], &woken[who]));
            }
        }
    }
}
