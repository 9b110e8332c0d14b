//! Memory that clients take, counted in bytes: for each connection, for each address, and for the node.
//!
//! Charging never fails, since what is charged is there already; what waits for room is the next read
//! ([`Account::poll_room`]). The node therefore exceeds its limit by one read of each thread at most. All counters are
//! atomics; a lock is taken only by who has to wait, and by who wakes them.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::outgoing::ToAddress;
use super::site;

/// A connection that holds no more than this may read even if its address has used its share; and from the last part of the
/// node's memory, if its address has not.
const SMALL_BYTES: usize = 128 << 10;
/// The part of the node's limit that only small connections may fill, of addresses within their shares: one of so many.
const RESERVE_PART: usize = 8;
/// One waiting connection is woken for so many bytes that are released.
const WAKE_BYTES: usize = 16 << 10;
/// The table of addresses is swept when it has grown by so many.
const SWEEP_EVERY: usize = 1024;

/// A limit, what is used of it, and who waits for room.
#[derive(Debug)]
struct Pool {
    limit: usize,
    used: AtomicUsize,
    waiting: AtomicUsize,
    /// Of the node's pool: connections that wait in any.
    blocked: AtomicUsize,
    queue: Mutex<VecDeque<Arc<Waiter>>>,
}

/// A connection that wants to read. It stands in one queue at a time.
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

/// What a connection and an address may take of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// One connection, in bytes.
    pub connection: usize,
    /// All connections of one address, in bytes.
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

/// What all connections of one address hold.
#[derive(Debug)]
struct OfAddress {
    incoming: Pool,
    outgoing: ToAddress,
}

#[derive(Debug, Default)]
struct Addresses {
    /// By [`site`].
    pools: HashMap<IpAddr, Weak<OfAddress>>,
    swept_at: usize,
}

impl Budget {
    /// A budget of so many bytes. A connection may take half of it, an address three quarters.
    pub fn new(bytes: usize) -> Self {
        let shares = Shares { connection: bytes / 2, address: bytes / 4 * 3 };
        Self(Arc::new(Node { all: Arc::new(Pool::new(bytes)), shares, addresses: Mutex::default() }))
    }

    /// An account for a connection from `address`.
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
            let pool = Arc::new(OfAddress { incoming, outgoing: ToAddress::default() });
            addresses.pools.insert(address, Arc::downgrade(&pool));
            pool
        });
        Account {
            own: Pool::new(self.0.shares.connection),
            address: of_address,
            all: Arc::clone(&self.0.all),
            waiter: Arc::default(),
        }
    }

    /// Bytes that are charged now.
    pub fn used(&self) -> usize {
        self.0.all.used()
    }

    /// Bytes that may be charged altogether.
    pub fn limit(&self) -> usize {
        self.0.all.limit
    }

    /// Connections that wait for room: of their own, of their address or of the node.
    pub fn waiting(&self) -> usize {
        self.0.all.blocked.load(Ordering::Relaxed)
    }

    /// What a connection and an address may take.
    pub fn shares(&self) -> Shares {
        self.0.shares
    }
}

/// What one connection holds of the budget.
#[derive(Debug)]
pub struct Account {
    own: Pool,
    address: Arc<OfAddress>,
    all: Arc<Pool>,
    waiter: Arc<Waiter>,
}

impl Account {
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
    }

    /// Bytes that are charged now.
    pub fn used(&self) -> usize {
        self.own.used()
    }

    /// Bytes that are charged to all connections of its address.
    pub fn used_by_address(&self) -> usize {
        self.address.incoming.used()
    }

    /// What is on its way to its address.
    pub(super) fn to_address(&self) -> &ToAddress {
        &self.address.outgoing
    }

    /// The connection waits for room from now on.
    pub(super) fn begins_to_wait(&self) {
        self.all.blocked.fetch_add(1, Ordering::Relaxed);
    }

    /// It does not any more.
    pub(super) fn waits_no_more(&self) {
        self.all.blocked.fetch_sub(1, Ordering::Relaxed);
    }

    /// The pool that has no room for what the connection would read next, if there is one.
    fn lacking(&self) -> Option<&Pool> {
        if self.own.used() >= self.own.limit {
            return Some(&self.own);
        }
        let is_small = self.own.used() <= SMALL_BYTES;
        let is_within_share = self.address.incoming.used() < self.address.incoming.limit;
        if !is_small && !is_within_share {
            return Some(&self.address.incoming);
        }
        // however many connections an address has: others find room
        let reserve = if is_small && is_within_share { 0 } else { self.all.limit / RESERVE_PART };
        (self.all.used() >= self.all.limit - reserve).then_some(&*self.all)
    }

    /// Ready when the connection may read more. Otherwise the task is woken when that may have changed.
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
            // room may have come between the look and the queue; nobody would wake us then
            if self.lacking().is_some() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Registers the task that reads, to be woken by [`wake`](Self::wake) as well.
    pub fn register(&self, cx: &Context<'_>) {
        self.waiter.waker.register(cx.waker());
    }

    /// Wakes the task that reads.
    pub fn wake(&self) {
        self.waiter.waker.wake();
    }
}

impl Budget {
    /// Lets those who wait look again: room of the reserve wakes whoever is first, and that may not be who may use it.
    pub fn nudge(&self) {
        let all = &self.0.all;
        if all.used() < all.limit {
            all.wake(all.waiting.load(Ordering::SeqCst));
        }
    }
}

/// Bytes of one connection, released when dropped.
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

    /// Charges more to the same connection.
    pub fn grow(&mut self, bytes: usize) {
        self.peer.account().charge(bytes);
        self.bytes += bytes;
    }

    /// Unites it with another charge of the same connection.
    pub fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Takes a part of it out.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { peer: Arc::clone(&self.peer), bytes }
    }

    /// How many.
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
        /// Whatever is charged and released: the sums agree, who is refused waits, and when everything is released everybody
        /// was woken.
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
