//! The files in which a Fabric orderer keeps a channel's Raft state beside its ledger: etcd's write-ahead log and snapshot
//! files. It is read, so that a node goes on under its own ID after it has changed its program, and written, so that it can go
//! back.
//!
//! The log is a series of segments, `SEQUENCE-INDEX.wal`. A segment is frames, each a little-endian length (the top byte says
//! how many bytes pad it to a multiple of eight) and a record with a CRC-32C over all data of all records up to it. A
//! segment is 64 MB long from the beginning: zeros stand behind the last record.

mod error;
mod frames;
mod reader;
mod snapshots;
mod writer;

pub use error::EtcdError;
pub use reader::{EtcdLog, EtcdTorn, read_etcd};
pub use writer::write_etcd;
