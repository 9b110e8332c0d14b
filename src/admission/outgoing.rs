//! Memory of blocks that are read for subscribers or on their way to them.
//!
//! A block counts from when it was read until its last byte was written to the last connection that it goes to: the
//! bytes that the transport is given own their share ([`Outgoing::frame`]), so it does not matter where they wait. A
//! block that many subscribers are sent is one buffer, and counts once for the node. Each connection is charged with
//! all that is on its way to it, and each address with all that is on its way to its connections, every block once.
//! What waits for capacity is the next read of a block, never the socket: a client could not acknowledge data
//! otherwise.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::now_ms;
use super::peer::Peer;

/// Divisor of the node's limit: the part that one connection may use.
const CONNECTION_PART: usize = 4;
/// Numerator and denominator of the part that all connections of one address may use.
const ADDRESS_PART: (usize, usize) = (3, 4);
/// Divisor of the whole and of an address' part: the last part is for connections to which nothing is on its way.
const RESERVE_PART: usize = 8;
/// Numerator and denominator of the part that is used when memory is short.
const SHORT: (usize, usize) = (1, 2);
/// Interval after which a waiting stream checks again at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Milliseconds after which a client that has not accepted what it was sent has stalled, beside those for its bytes.
const STALL_MS: u64 = 5_000;
/// Minimum rate: a client gets one more millisecond for each of these bytes. Accepting a little now and then does not help.
const LEAST_BYTES_A_MS: u64 = 256;

/// Data on its way to one connection.
#[derive(Debug, Default)]
pub(super) struct OutgoingToPeer {
    bytes: AtomicUsize,
    /// Start of the wait in milliseconds; accepted bytes move it on by the time that they may take.
    since: AtomicU64,
    freed: Notify,
}

impl OutgoingToPeer {
    fn add(&self, bytes: usize) {
        if self.bytes.fetch_add(bytes, Ordering::SeqCst) == 0 {
            self.since.store(now_ms(), Ordering::Relaxed);
        }
    }

    fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        let (now, allowed) = (now_ms(), bytes as u64 / LEAST_BYTES_A_MS);
        let moved = |since: u64| Some(since.saturating_add(allowed).min(now));
        let _ = self.since.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
        self.freed.notify_one();
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Returns since when the data is on its way, if that is too long.
    pub(super) fn stalled_since(&self, now: u64) -> Option<u64> {
        let (bytes, since) = (self.bytes() as u64, self.since.load(Ordering::Relaxed));
        (bytes > 0 && now.saturating_sub(since) >= STALL_MS + bytes / LEAST_BYTES_A_MS).then_some(since)
    }
}

/// Data on its way to all connections of one address.
#[derive(Debug, Default)]
pub(super) struct OutgoingToAddress(Arc<AddressInner>);

#[derive(Debug, Default)]
struct AddressInner {
    bytes: AtomicUsize,
    buffers: Mutex<HashMap<Key, Weak<SharedBuffer>>>,
}

/// A buffer that is on its way to one or more connections of an address.
#[derive(Debug)]
struct SharedBuffer {
    to: Arc<AddressInner>,
    buffer: Arc<Buffer>,
}

impl OutgoingToAddress {
    /// Counts a buffer until the last clone of the result is dropped.
    fn count(&self, buffer: Arc<Buffer>) -> Arc<SharedBuffer> {
        let new = |buffer: Arc<Buffer>| {
            self.0.bytes.fetch_add(buffer.bytes, Ordering::SeqCst);
            Arc::new(SharedBuffer { to: Arc::clone(&self.0), buffer })
        };
        let Some(key) = buffer.key else { return new(buffer) };
        let mut buffers = self.0.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = buffers.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let copied = new(buffer);
        buffers.insert(key, Arc::downgrade(&copied));
        copied
    }

    fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::SeqCst)
    }
}

impl Drop for SharedBuffer {
    fn drop(&mut self) {
        if let Some(key) = self.buffer.key {
            let mut buffers = self.to.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            // another thread may have added the same buffer by now
            if buffers.get(&key).is_some_and(|copied| copied.strong_count() == 0) {
                buffers.remove(&key);
            }
        }
        self.to.bytes.fetch_sub(self.buffer.bytes, Ordering::SeqCst);
    }
}

/// Address and length of a buffer.
type Key = (usize, usize);

/// The node's memory for outgoing blocks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outgoing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
    /// Buffers that are on their way, by address and length.
    buffers: Mutex<HashMap<Key, Weak<Buffer>>>,
}

/// Memory that is on its way to a client.
#[derive(Debug)]
struct Buffer {
    of: Arc<Inner>,
    key: Option<Key>,
    bytes: usize,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut buffers = self.of.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            // another buffer may be at the same address by now
            if buffers.get(&key).is_some_and(|buffer| buffer.strong_count() == 0) {
                buffers.remove(&key);
            }
        }
        self.of.used.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.of.waiting.load(Ordering::SeqCst) > 0 {
            self.of.freed.notify_one();
        }
    }
}

/// Memory that is held for a subscriber; released when dropped.
#[derive(Debug)]
pub struct Held {
    copied: Arc<SharedBuffer>,
    peer: Arc<Peer>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.peer.outgoing().remove(self.copied.buffer.bytes);
    }
}

/// Bytes that release their memory when the transport drops them.
struct ChargedBytes {
    _held: Held,
    bytes: Bytes,
}

impl AsRef<[u8]> for ChargedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Outgoing {
    /// Creates a budget of `bytes`. A connection may use a quarter of it, an address three quarters.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Inner {
            limit: bytes,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            buffers: Mutex::default(),
        }))
    }

    fn has_room(&self, peer: &Peer) -> bool {
        let (own, used, limit) = (peer.outgoing().bytes(), self.used(), self.0.limit);
        let of_address = peer.account().to_address().bytes();
        let reserve = limit / RESERVE_PART;
        // an address has a reserve, too, and leaves that of the whole to others
        let (whole, address) = if own == 0 {
            (limit, limit - reserve)
        } else {
            (limit - reserve, limit / ADDRESS_PART.1 * ADDRESS_PART.0)
        };
        own < limit / CONNECTION_PART && of_address < address && used < whole
    }

    /// Waits until another block may be read for a client.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time.
    pub async fn room(&self, peer: &Peer) {
        if self.has_room(peer) {
            return;
        }
        let _waiting = Waiting::new(&self.0.waiting);
        loop {
            let (freed, own_freed) = (self.0.freed.notified(), peer.outgoing().freed.notified());
            if self.has_room(peer) {
                return;
            }
            tokio::select! {
                () = freed => {}
                () = own_freed => {}
                // the stream that was woken may have had no use for the capacity
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Returns whether little memory is left, of all or of this client's part: nothing is read ahead then.
    pub fn is_short(&self, peer: &Peer) -> bool {
        self.is_short_for_all() || peer.outgoing().bytes() >= self.0.limit / CONNECTION_PART / 2
    }

    /// Returns whether little of the node's memory is left.
    pub(super) fn is_short_for_all(&self) -> bool {
        self.used() >= self.0.limit / SHORT.1 * SHORT.0
    }

    /// Reserves memory for data of which only the size is known.
    pub fn reserve(&self, peer: &Arc<Peer>, bytes: usize) -> Held {
        self.0.used.fetch_add(bytes, Ordering::SeqCst);
        self.held(Arc::new(Buffer { of: Arc::clone(&self.0), key: None, bytes }), peer)
    }

    /// Holds these bytes for a client.
    pub fn hold(&self, peer: &Arc<Peer>, bytes: &Bytes) -> Held {
        let key = (bytes.as_ptr().addr(), bytes.len());
        let mut buffers = self.0.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = buffers.get(&key).and_then(Weak::upgrade);
        let buffer = known.unwrap_or_else(|| {
            self.0.used.fetch_add(bytes.len(), Ordering::SeqCst);
            let buffer = Arc::new(Buffer { of: Arc::clone(&self.0), key: Some(key), bytes: bytes.len() });
            buffers.insert(key, Arc::downgrade(&buffer));
            buffer
        });
        drop(buffers);
        self.held(buffer, peer)
    }

    #[expect(clippy::unused_self, reason = "what is held is of this memory")]
    fn held(&self, buffer: Arc<Buffer>, peer: &Arc<Peer>) -> Held {
        peer.outgoing().add(buffer.bytes);
        Held { copied: peer.account().to_address().count(buffer), peer: Arc::clone(peer) }
    }

    /// Returns the same bytes, held until the last reference to them is dropped.
    pub fn frame(&self, peer: &Arc<Peer>, bytes: Bytes) -> Bytes {
        let held = self.hold(peer, &bytes);
        Bytes::from_owner(ChargedBytes { _held: held, bytes })
    }

    /// Returns the bytes that are on their way now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::SeqCst)
    }

    /// Returns the maximum number of bytes on their way.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Returns the number of streams that wait for capacity.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst)
    }
}

/// Counts one waiting stream until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Budget;

    fn peer_of(last: u8, budget: &Budget) -> Arc<Peer> {
        Arc::new(Peer::new(([10, 0, 0, last], 7).into(), budget))
    }

    fn peer(last: u8) -> Arc<Peer> {
        peer_of(last, &Budget::new(1 << 20))
    }

    #[test]
    fn a_block_for_many_counts_once_and_until_the_last_has_it() {
        let outgoing = Outgoing::new(1 << 20);
        let (one, other, block) = (peer(1), peer(2), Bytes::from(vec![7; 1000]));
        let ahead = outgoing.hold(&one, &block);
        let frames = [outgoing.frame(&one, block.clone()), outgoing.frame(&other, block.clone())];
        drop(ahead);
        assert_eq!((outgoing.used(), one.outgoing().bytes(), other.outgoing().bytes()), (1000, 1000, 1000));
        let [first, second] = frames;
        assert_eq!(first, block);
        let rest = first.slice(999..);
        drop(first);
        assert_eq!(one.outgoing().bytes(), 1000, "a byte of it is still to be written");
        drop((rest, second));
        assert_eq!((outgoing.used(), one.outgoing().bytes(), other.outgoing().bytes()), (0, 0, 0));
        assert!(outgoing.0.buffers.lock().unwrap().is_empty());
    }

    #[test]
    fn a_client_that_takes_nothing_has_its_part_and_others_have_theirs() {
        let outgoing = Outgoing::new(1000);
        let (one, other) = (peer(1), peer(2));
        let held: Vec<Held> = (0..3).map(|_| outgoing.reserve(&one, 100)).collect();
        assert!(!outgoing.has_room(&one) && outgoing.has_room(&other));
        let rest = outgoing.reserve(&peer(3), 600);
        assert!(outgoing.has_room(&other), "the reserve is for it");
        let little = outgoing.reserve(&other, 1);
        assert!(!outgoing.has_room(&other) && outgoing.is_short(&other));
        drop((held, rest, little));
        assert!(outgoing.has_room(&one) && !outgoing.is_short(&one));
    }

    #[test]
    fn an_address_with_many_connections_leaves_the_last_part_to_others() {
        let (outgoing, budget) = (Outgoing::new(8000), Budget::new(1 << 20));
        let many: Vec<Arc<Peer>> = (0..8).map(|_| peer_of(1, &budget)).collect();
        let mut held: Vec<Held> = many[..6].iter().map(|one| outgoing.reserve(one, 1000)).collect();
        assert!(!outgoing.has_room(&many[0]), "its address has three quarters");
        assert!(outgoing.has_room(&many[6]), "nothing is on its way to this one");
        held.push(outgoing.reserve(&many[6], 1000));
        assert!(!outgoing.has_room(&many[7]), "the rest is not for this address");
        let others = [peer_of(2, &budget), peer_of(2, &budget)];
        assert!(others.iter().all(|other| outgoing.has_room(other)));
        drop(held);
        assert_eq!(many[0].account().to_address().bytes(), 0);
        assert!(outgoing.has_room(&many[0]));
    }

    #[test]
    fn a_block_for_many_of_one_address_counts_once_for_it() {
        let (outgoing, budget, block) = (Outgoing::new(8000), Budget::new(1 << 20), Bytes::from(vec![7; 1500]));
        let many: Vec<Arc<Peer>> = (0..100).map(|_| peer_of(1, &budget)).collect();
        let frames: Vec<Bytes> = many.iter().map(|one| outgoing.frame(one, block.clone())).collect();
        assert_eq!((outgoing.used(), many[0].account().to_address().bytes()), (1500, 1500));
        assert!(outgoing.has_room(&many[0]));
        drop(frames);
        assert_eq!((outgoing.used(), many[0].account().to_address().bytes()), (0, 0));
        assert!(many[0].account().to_address().0.buffers.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_room_goes_on_when_something_was_taken() {
        let (outgoing, one) = (Outgoing::new(1000), peer(1));
        let held = outgoing.reserve(&one, 900);
        let waits = tokio::spawn({
            let (outgoing, one) = (outgoing.clone(), Arc::clone(&one));
            async move { outgoing.room(&one).await }
        });
        while outgoing.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        drop(held);
        waits.await.unwrap();
        assert_eq!(outgoing.waiting(), 0);
    }

    #[test]
    fn a_client_stalls_when_it_takes_nothing_for_long() {
        let to = OutgoingToPeer::default();
        assert_eq!(to.stalled_since(u64::MAX), None);
        to.add(640_000);
        let since = to.since.load(Ordering::Relaxed);
        assert_eq!(to.stalled_since(since + STALL_MS + 2_499), None, "it has two and a half seconds for them");
        assert_eq!(to.stalled_since(since + STALL_MS + 2_500), Some(since));
        to.remove(255);
        assert_eq!(to.stalled_since(since + STALL_MS + 2_500), Some(since), "a trickle is not enough");
    }
}
