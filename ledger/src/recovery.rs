//! Reads a ledger whose database rejects all work.
//!
//! After any failed read or write redb answers everything with "previous I/O error", reads too, because its memory and
//! the file may differ. A channel whose disk is full must still be readable, so the file is opened a second time: redb
//! recovers it as after a crash, but what it writes while doing so stays in memory. The file itself stays as it is,
//! for the real recovery when the ledger is opened again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{Database, StorageBackend};

use crate::database::{DatabaseHandle, Reader};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::read::last_number;

/// Recovery writes little: a header and a few pages. This keeps it off the node's memory.
const PAGE_CACHE_BYTES: usize = 4 << 20;

/// The ledger's file as it would be found after a crash. Takes as long as a repair: a second a GiB.
pub(crate) fn open(ledger: &Ledger) -> Result<DatabaseHandle, String> {
    tracing::warn!(channel = %ledger.channel(), path = %ledger.path().display(),
        "the database rejects requests after a failure; reading its file directly");
    let opened = DatabaseHandle::writable(ledger.path(), || {
        let overlay = CopyOnWriteFile::new(ledger).map_err(redb::StorageError::from)?;
        let db = Database::builder().set_cache_size(PAGE_CACHE_BYTES).create_with_backend(overlay)?;
        let found = last_number(Reader::Writable(&db))?;
        let needed = ledger.last_block().number();
        if found < Some(needed) {
            return Err(LedgerError::Layout(format!("block {needed} is not in the file any more")));
        }
        Ok(db)
    });
    opened.map_err(|fault| format!("cannot read around the failed database: {}", fault.chain()))
}

const PAGE_BYTES: u64 = 4096;
type Page = Box<[u8; 4096]>;

/// A file that is read, under pages that were written.
#[derive(Debug)]
struct CopyOnWriteFile {
    file: File,
    file_len: u64,
    written: Mutex<DirtyPages>,
}

#[derive(Debug, Default)]
struct DirtyPages {
    len: u64,
    pages: HashMap<u64, Page>,
}

impl CopyOnWriteFile {
    fn new(ledger: &Ledger) -> io::Result<Self> {
        let file = File::open(ledger.path())?;
        let len = file.metadata()?.len();
        Ok(Self { file, file_len: len, written: Mutex::new(DirtyPages { len, pages: HashMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, DirtyPages> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the file; what lies behind its end is zero.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let available = usize::try_from(self.file_len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (inside, behind) = out.split_at_mut(available);
        behind.fill(0);
        self.file.read_exact_at(inside, offset)
    }
}

/// The pages that `length` bytes from `offset` touch: number, place within the page, place within the bytes, length.
fn pages(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        // below 4096: fits
        let within = usize::try_from(at % PAGE_BYTES).unwrap_or_default();
        let count = usize::min(4096 - within, length - done);
        let piece = (at / PAGE_BYTES, within, done, count);
        done += count;
        Some(piece)
    })
}

impl StorageBackend for CopyOnWriteFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset + out.len() as u64 > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = out.len();
        if pages(offset, length).all(|(number, ..)| !written.pages.contains_key(&number)) {
            drop(written);
            return self.read_file(offset, out);
        }
        for (number, within, done, count) in pages(offset, length) {
            let out = &mut out[done..done + count];
            match written.pages.get(&number) {
                Some(page) => out.copy_from_slice(&page[within..within + count]),
                None => self.read_file(offset + done as u64, out)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written().len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (number, within, done, count) in pages(offset, data.len()) {
            let page = match written.pages.entry(number) {
                Entry::Occupied(page) => page.into_mut(),
                Entry::Vacant(place) => {
                    let mut page = Page::new([0; 4096]);
                    self.read_file(number * PAGE_BYTES, &mut page[..])?;
                    place.insert(page)
                }
            };
            page[within..within + count].copy_from_slice(&data[done..done + count]);
        }
        Ok(())
    }
}
