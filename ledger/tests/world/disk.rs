//! A simulated disk in memory with the two files of a ledger. It tracks what was synced, so that it can produce the
//! contents that may be left after a power failure.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use orderer_ledger::{Ledger, OpenError};
use redb::StorageBackend;

use super::{SMALL, channel, genesis};

/// Size of an atomic write in bytes: a write may be torn at a sector boundary.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Length(u64),
    Write(u64, Vec<u8>),
}

/// The contents of a file.
#[derive(Debug, Default)]
struct Content {
    /// The contents that a reader sees.
    live: Vec<u8>,
    /// The contents at the last sync.
    durable: Vec<u8>,
    /// The changes since the last sync.
    unsynced: Vec<Change>,
}

#[derive(Debug, Default)]
struct State {
    files: [Content; 2],
    /// Number of changes and syncs so far.
    operations: u64,
    /// The operation from which on all operations fail.
    fails_at: Option<(u64, io::ErrorKind)>,
    /// The sync with this index fails, and its data never becomes durable, although readers see it.
    loses_at: Option<u64>,
    syncs: u64,
    /// Writes beyond this offset fail, as on a full disk.
    capacity: Option<u64>,
}

/// A shared disk, which a test keeps after the ledger is closed.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

/// One file of the disk.
#[derive(Clone, Debug)]
pub struct DiskFile {
    disk: Disk,
    number: usize,
}

impl Disk {
    pub fn with_content(files: [Vec<u8>; 2]) -> Self {
        let files = files.map(|bytes| Content { durable: bytes.clone(), live: bytes, unsynced: vec![] });
        Self(Arc::new(Mutex::new(State { files, ..State::default() })))
    }

    pub fn database(&self) -> DiskFile {
        DiskFile { disk: self.clone(), number: 0 }
    }

    pub fn pending_log(&self) -> DiskFile {
        DiskFile { disk: self.clone(), number: 1 }
    }

    pub fn create(&self) -> Result<Ledger, OpenError> {
        let path = Path::new("simulated");
        Ledger::create_on(self.database(), self.pending_log(), path, &channel(), &genesis(), SMALL)
    }

    pub fn open(&self) -> Result<Ledger, OpenError> {
        Ledger::open_on(self.database(), self.pending_log(), Path::new("simulated"), &channel(), SMALL)
    }

    pub fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// Makes all operations fail from the operation with this index on.
    pub fn cut_at(&self, operation: u64) {
        self.0.lock().unwrap().fails_at = Some((operation, io::ErrorKind::Other));
    }

    /// Makes the sync with this index from now on fail. Its data is lost until it is written again, although readers
    /// see it: file systems behave like that when they mark pages as clean after a failed write.
    pub fn lose_at(&self, sync: u64) {
        let mut state = self.0.lock().unwrap();
        state.loses_at = Some(state.syncs + sync);
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.0.lock().unwrap().capacity = Some(bytes);
    }

    pub fn live(&self) -> [Vec<u8>; 2] {
        self.0.lock().unwrap().files.each_ref().map(|file| file.live.clone())
    }

    /// Returns a disk as it may be found after a power failure: everything synced, and any part of the later writes,
    /// complete or torn. `seed` selects the part; 0 is all of it, 1 nothing.
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.0.lock().unwrap();
        Self::with_content(state.files.each_ref().map(|file| file.after_power_cut(seed)))
    }
}

impl Content {
    fn after_power_cut(&self, seed: u64) -> Vec<u8> {
        let mut image = self.durable.clone();
        let mut random = seed;
        for change in &self.unsynced {
            match change {
                Change::Length(len) if seed != 1 => image.resize(usize::try_from(*len).unwrap(), 0),
                Change::Length(_) => {}
                Change::Write(offset, data) => {
                    for (i, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        // even seeds lose whole writes, odd ones sectors of them
                        let coin = if seed.is_multiple_of(2) { offset ^ seed } else { random };
                        let arrived = match seed {
                            0 => true,
                            1 => false,
                            _ => coin.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 1,
                        };
                        let at = usize::try_from(*offset).unwrap() + i * SECTOR_BYTES;
                        if arrived && at + sector.len() <= image.len() {
                            image[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        image
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        let index = self.operations;
        self.operations += 1;
        match self.fails_at {
            Some((at, kind)) if index >= at => Err(io::Error::new(kind, "the power is off")),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().files[self.number].live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        let from = state.files[self.number].live.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.operate()?;
        let file = &mut state.files[self.number];
        file.live.resize(usize::try_from(len).unwrap(), 0);
        file.unsynced.push(Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.operate()?;
        let sync = state.syncs;
        state.syncs += 1;
        let is_lost = state.loses_at == Some(sync);
        let Content { durable, unsynced, .. } = &mut state.files[self.number];
        for change in unsynced.drain(..) {
            match change {
                // the length belongs to the file, not to a page
                Change::Length(len) => durable.resize(usize::try_from(len).unwrap(), 0),
                Change::Write(..) if is_lost => {}
                Change::Write(offset, data) => {
                    let at = usize::try_from(offset).unwrap();
                    durable[at..at + data.len()].copy_from_slice(&data);
                }
            }
        }
        if is_lost { Err(io::Error::other("the disk did not take it")) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.operate()?;
        if state.capacity.is_some_and(|capacity| offset + data.len() as u64 > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let at = usize::try_from(offset).unwrap();
        let file = &mut state.files[self.number];
        let to = file.live.get_mut(at..at + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        to.copy_from_slice(data);
        file.unsynced.push(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}
