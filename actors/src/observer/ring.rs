//! The newest records of what happened. Threads write without waiting for each other or for readers; each record goes
//! behind the one before, so that writing costs little more than the memory takes: about 20 ns. A reader goes through all
//! of it, which takes two or three milliseconds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

/// Maximum number of retained records, which take 6 MiB.
pub(super) const RING_CAPACITY: usize = SEGMENTS * SEGMENT;
const SEGMENTS: usize = 48;
/// Number of records that memory is allocated for at a time, when they are written for the first time.
const SEGMENT: usize = 1 << 12;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventRecord {
    /// The kind of the record.
    pub(super) what: u8,
    /// The key of the channel.
    pub(super) channel: u32,
    /// The key of the envelope or block, in 64 bits.
    pub(super) key: u64,
    /// Time of the record, in the caller's unit.
    pub(super) at: u64,
    /// A number whose meaning depends on the kind.
    pub(super) number: u64,
}

/// A ring of the newest records, written and read without a lock.
#[derive(Debug)]
pub(super) struct EventRing {
    /// Number of records that were ever written.
    written: AtomicUsize,
    segments: [OnceLock<Box<[RingSlot]>>; SEGMENTS],
}

/// The slot of a record. Its head holds the lap round the ring on which it was written, so that a reader notices when it is
/// overwritten; [`BEING_WRITTEN`] while a thread writes it, and 0 before the first.
#[derive(Debug, Default)]
struct RingSlot {
    head: AtomicU64,
    key: AtomicU64,
    at: AtomicU64,
    number: AtomicU64,
}

/// The head of a place that a thread is writing; no record has an even one.
const BEING_WRITTEN: u64 = 2;

impl Default for EventRing {
    fn default() -> Self {
        Self { written: AtomicUsize::new(0), segments: std::array::from_fn(|_| OnceLock::new()) }
    }
}

impl EventRing {
    /// Writes records that belong together, one behind the other. A record is left out if another thread is in the middle of
    /// writing to its place, which takes a thread that was held up while the others went once round the ring.
    pub(super) fn write(&self, records: &[EventRecord]) {
        let first = self.written.fetch_add(records.len(), Ordering::Relaxed);
        for (offset, record) in records.iter().enumerate() {
            let index = first.wrapping_add(offset);
            let segment = self.segments[index / SEGMENT % SEGMENTS].get_or_init(new_segment);
            segment[index % SEGMENT].write(record, lap(index));
        }
    }

    /// Returns the retained records, the oldest first. Records that are overwritten meanwhile are left out.
    pub(super) fn read(&self) -> impl Iterator<Item = EventRecord> {
        let end = self.written.load(Ordering::Relaxed);
        (end.saturating_sub(RING_CAPACITY)..end)
            .filter_map(|index| self.segments[index / SEGMENT % SEGMENTS].get()?[index % SEGMENT].read(lap(index)))
    }
}

fn new_segment() -> Box<[RingSlot]> {
    (0..SEGMENT).map(|_| RingSlot::default()).collect()
}

/// Returns how often the ring was full before this record; after 2^23 laps it begins anew.
fn lap(index: usize) -> u64 {
    (index / RING_CAPACITY) as u64 & (u64::MAX >> 41)
}

impl EventRecord {
    /// Never 0.
    fn head(&self, lap: u64) -> u64 {
        u64::from(self.channel) << 32 | lap << 9 | u64::from(self.what) << 1 | 1
    }
}

impl RingSlot {
    fn write(&self, record: &EventRecord, lap: u64) {
        // Two threads that wrote to one place at a time would leave parts of both records under one head. The first access writes:
        // a page of the ring that is read before it is written costs two page faults, and interrupts all processors.
        if self.head.swap(BEING_WRITTEN, Ordering::Acquire) == BEING_WRITTEN {
            return;
        }
        // who sees any of the new parts sees this head, or a later one
        fence(Ordering::Release);
        self.key.store(record.key, Ordering::Relaxed);
        self.at.store(record.at, Ordering::Relaxed);
        self.number.store(record.number, Ordering::Relaxed);
        self.head.store(record.head(lap), Ordering::Release);
    }

    fn read(&self, lap: u64) -> Option<EventRecord> {
        let head = self.head.load(Ordering::Acquire);
        let [channel, what] = [head >> 32, head >> 1 & 0xff];
        let record = EventRecord {
            what: u8::try_from(what).ok()?,
            channel: u32::try_from(channel).ok()?,
            key: self.key.load(Ordering::Relaxed),
            at: self.at.load(Ordering::Relaxed),
            number: self.number.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        let is_whole = head == self.head.load(Ordering::Relaxed) && head == record.head(lap);
        is_whole.then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn record(number: u64) -> EventRecord {
        let (what, channel) = ((number % 251).try_into().unwrap(), (number % 65_521).try_into().unwrap());
        EventRecord { what, channel, key: !number, at: number * 3, number }
    }

    #[test]
    fn the_newest_are_remembered_in_their_order() {
        let ring = EventRing::default();
        assert_eq!(ring.read().count(), 0);
        let count = 2 * RING_CAPACITY as u64 + 5;
        for first in (0..count).step_by(7) {
            let together: Vec<EventRecord> = (first..count.min(first + 7)).map(record).collect();
            ring.write(&together);
        }
        let read: Vec<EventRecord> = ring.read().collect();
        assert_eq!(read.len(), RING_CAPACITY);
        assert!((count - RING_CAPACITY as u64..count).map(record).eq(read));
    }

    #[test]
    fn memory_is_taken_when_it_is_needed() {
        let ring = EventRing::default();
        ring.write(&[record(1)]);
        assert_eq!(ring.segments.iter().filter(|segment| segment.get().is_some()).count(), 1);
    }

    #[test]
    fn what_is_read_while_others_write_is_whole() {
        let (ring, done) = (EventRing::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let ring = &ring;
                    scope.spawn(move || {
                        for number in 0..2 * RING_CAPACITY as u64 {
                            ring.write(&[record(number * 3 + writer)]);
                        }
                    })
                })
                .collect();
            let reader = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    ring.read().for_each(|found| assert_eq!(found, record(found.number)));
                }
            });
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        // no place is left half written: whoever comes next writes to each
        for number in 0..RING_CAPACITY as u64 {
            ring.write(&[record(number)]);
        }
        assert_eq!(ring.read().count(), RING_CAPACITY);
    }

    #[test]
    fn a_place_has_one_writer_at_a_time() {
        let place = RingSlot::default();
        place.write(&record(1), 0);
        // a thread of the first lap is held up in the middle, and one of the next lap comes by
        place.head.store(BEING_WRITTEN, Ordering::Relaxed);
        place.key.store(7, Ordering::Relaxed);
        place.write(&record(2), 1);
        assert_eq!((place.read(0), place.read(1)), (None, None));
        assert_eq!(place.key.load(Ordering::Relaxed), 7, "it has left the place alone");
    }
}
