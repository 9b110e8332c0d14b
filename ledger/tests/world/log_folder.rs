//! A simulated directory in memory that tracks what was synced, for logs that are rewritten under another name.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use orderer_ledger::raft_log::LogDirectory;
use redb::StorageBackend;

const SECTOR_BYTES: usize = 512;

#[derive(Debug)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

#[derive(Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Arc<Mutex<Content>>>,
    operations: u64,
    fails_at: Option<u64>,
    capacity: Option<usize>,
    loses_next_sync: bool,
}

/// The part of the unsynced writes that is left after a power failure.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// All of the writes.
    Nothing,
    /// This many of the first bytes of the last write.
    Prefix(usize),
    /// Some sectors, selected by this seed.
    Sectors(u64),
}

/// A shared directory, which a test keeps after the log is closed.
#[derive(Clone, Debug, Default)]
pub struct MemoryFolder(Arc<Mutex<State>>);

#[derive(Debug)]
struct MemoryFile {
    folder: MemoryFolder,
    content: Arc<Mutex<Content>>,
}

impl MemoryFolder {
    pub fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// Makes all operations fail from the operation with this index on.
    pub fn fail_at(&self, operation: u64) {
        self.0.lock().unwrap().fails_at = Some(operation);
    }

    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().unwrap().capacity = bytes;
    }

    /// Makes the next sync fail. Readers see its data, but a power failure loses it.
    pub fn lose_next_sync(&self) {
        self.0.lock().unwrap().loses_next_sync = true;
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.0.lock().unwrap().files[name].lock().unwrap().live.clone()
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let content = Content { durable: bytes.clone(), live: bytes, unsynced: vec![] };
        self.0.lock().unwrap().files.insert(name.to_owned(), Arc::new(Mutex::new(content)));
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().files.keys().cloned().collect()
    }

    pub fn after_power_cut(&self, cut: Cut) -> Self {
        let after = Self::default();
        for (name, content) in &self.0.lock().unwrap().files {
            after.put(name, content.lock().unwrap().after_power_cut(cut));
        }
        after
    }
}

impl Content {
    fn after_power_cut(&self, cut: Cut) -> Vec<u8> {
        let mut image = self.durable.clone();
        let mut random = if let Cut::Sectors(seed) = cut { seed } else { 0 };
        for change in &self.unsynced {
            match (change, cut) {
                (Change::Length(length), _) => image.resize(*length, 0),
                (Change::Write(at, data), Cut::Nothing) => image[*at..at + data.len()].copy_from_slice(data),
                (Change::Write(at, data), Cut::Prefix(bytes)) => {
                    let bytes = bytes.min(data.len());
                    image[*at..at + bytes].copy_from_slice(&data[..bytes]);
                }
                (Change::Write(at, data), Cut::Sectors(_)) => {
                    for (i, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let at = at + i * SECTOR_BYTES;
                        if random >> 63 == 1 {
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
        if self.fails_at.is_some_and(|at| index >= at) { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }
}

impl MemoryFile {
    fn operate(&self) -> io::Result<()> {
        self.folder.0.lock().unwrap().operate()
    }
}

impl LogDirectory for MemoryFolder {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let content = self.0.lock().unwrap().files.get(name).cloned();
        Ok(content.map(|content| Box::new(MemoryFile { folder: self.clone(), content }) as Box<dyn StorageBackend>))
    }

    fn make(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.0.lock().unwrap().operate()?;
        self.put(name, vec![]);
        Ok(self.open(name)?.expect("was put"))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        let content = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().files.remove(name);
        Ok(())
    }
}

impl StorageBackend for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.content.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(content.live.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.operate()?;
        let mut content = self.content.lock().unwrap();
        let len = usize::try_from(len).unwrap();
        content.live.resize(len, 0);
        content.unsynced.push(Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.operate()?;
        let is_lost = std::mem::take(&mut self.folder.0.lock().unwrap().loses_next_sync);
        let mut content = self.content.lock().unwrap();
        let Content { durable, unsynced, .. } = &mut *content;
        for change in unsynced.drain(..) {
            match change {
                Change::Length(len) => durable.resize(len, 0),
                Change::Write(..) if is_lost => {}
                Change::Write(at, data) => durable[at..at + data.len()].copy_from_slice(&data),
            }
        }
        if is_lost { Err(io::Error::other("the disk did not take it")) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.operate()?;
        let at = usize::try_from(offset).unwrap();
        let capacity = self.folder.0.lock().unwrap().capacity;
        if capacity.is_some_and(|capacity| at + data.len() > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut content = self.content.lock().unwrap();
        content.live.get_mut(at..at + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        content.unsynced.push(Change::Write(at, data.to_vec()));
        Ok(())
    }
}
