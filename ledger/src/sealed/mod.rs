//! The common format of the files beside the database: rows that begin at a page, sealed with a key that only their ledger
//! knows.
//!
//! A row says its sequence and its length in a header that has a seal of its own, so that a reader can tell a row that was
//! torn while it was written (nothing follows it) from one that was damaged afterwards (later rows are whole).

mod file;
mod record;

pub(crate) use file::{LogFile, SealedFile, backend, sync_folder};
pub(crate) use record::{HEADER_BYTES, PAGE_BYTES, PAGE_LENGTH, SEAL_BYTES, SealKey, encode};
#[cfg(test)]
pub(crate) use record::{RecordHeader, open};
