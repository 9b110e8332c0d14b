//! The first page of the file: its channel and consenter, and the key of its rows.

use bytes::{Buf, BufMut};
use orderer_core::crypto::sha256;

use super::error::RaftLogError;
use crate::sealed::{PAGE_BYTES, PAGE_LENGTH, SEAL_BYTES, SealKey, SealedFile};

const MAGIC: &[u8; 16] = b"orderer raft log";
/// Version of the file's format.
const FORMAT: u32 = 1;

/// The contents of the first page.
pub(super) struct Head {
    pub(super) channel: String,
    pub(super) node: u64,
    /// Its key, which differs for each file, so that it is not known outside.
    pub(super) key: SealKey,
}

/// The reason why a first page cannot be used.
enum NoHead {
    Foreign,
    Newer(u32),
    Damaged,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(PAGE_LENGTH);
        page.put_slice(MAGIC);
        page.put_u32(FORMAT);
        page.put_u64(self.node);
        page.put_slice(&self.key.0);
        // a channel's name has 249 characters at most
        page.put_u16(u16::try_from(self.channel.len()).unwrap_or(u16::MAX));
        page.put_slice(self.channel.as_bytes());
        let seal = sha256(&[&page]);
        page.put_slice(&seal);
        page.resize(PAGE_LENGTH, 0);
        page
    }

    /// Reads the first page of the log of this name.
    pub(super) fn read(file: &SealedFile, name: &str) -> Result<Self, RaftLogError> {
        let damaged =
            |problem: &str| RaftLogError::Damaged { name: name.to_owned(), at: 0, problem: problem.to_owned() };
        if file.length() < PAGE_BYTES {
            return Err(RaftLogError::Foreign { name: name.to_owned() });
        }
        let mut page = vec![0; PAGE_LENGTH];
        let read = file.read(0, &mut page);
        read.map_err(|cause| RaftLogError::Io { name: name.to_owned(), action: "read", cause })?;
        Self::decode(&page).map_err(|problem| match problem {
            NoHead::Foreign => RaftLogError::Foreign { name: name.to_owned() },
            NoHead::Newer(found) => RaftLogError::Newer { name: name.to_owned(), found, known: FORMAT },
            NoHead::Damaged => damaged("the first page was changed"),
        })
    }

    fn decode(page: &[u8]) -> Result<Self, NoHead> {
        let Some(mut rest) = page.strip_prefix(MAGIC) else { return Err(NoHead::Foreign) };
        let format = rest.try_get_u32().map_err(|_| NoHead::Damaged)?;
        if format > FORMAT {
            return Err(NoHead::Newer(format));
        }
        let node = rest.try_get_u64().map_err(|_| NoHead::Damaged)?;
        let (key, mut rest) = rest.split_first_chunk::<SEAL_BYTES>().ok_or(NoHead::Damaged)?;
        let length = usize::from(rest.try_get_u16().map_err(|_| NoHead::Damaged)?);
        let (channel, rest) = rest.split_at_checked(length).ok_or(NoHead::Damaged)?;
        let sealed = page.len() - rest.len();
        if rest.get(..SEAL_BYTES) != Some(&sha256(&[&page[..sealed]])[..]) {
            return Err(NoHead::Damaged);
        }
        let channel = String::from_utf8(channel.to_vec()).map_err(|_| NoHead::Damaged)?;
        Ok(Self { channel, node, key: SealKey(*key) })
    }
}
