//! Snapshot files, `TERM-INDEX.snap`: a message with a CRC-32C and a serialized snapshot.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fabric_proto::raftpb::Snapshot;
use prost::Message;

use super::error::EtcdError;
use crate::sealed::sync_folder;

/// A snapshot holds one block, and Fabric's are 100 MB at most.
const FILE_MAX_BYTES: u64 = 512 << 20;

/// Package `snappb` of etcd.
#[derive(Clone, PartialEq, Message)]
struct Checked {
    #[prost(uint32, required, tag = "1")]
    crc: u32,
    #[prost(bytes = "bytes", optional, tag = "2")]
    data: Option<Bytes>,
}

/// Returns the newest snapshot whose file is whole, and the files that are not.
pub(super) fn newest(folder: &Path) -> Result<(Option<Snapshot>, Vec<PathBuf>), EtcdError> {
    let io = |path: &Path, action| {
        let path = path.to_owned();
        move |cause| EtcdError::Io { path, action, cause }
    };
    let mut names = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((None, Vec::new())),
        entries => entries.map_err(io(folder, "list"))?,
    };
    for entry in entries {
        let path = entry.map_err(io(folder, "list"))?.path();
        if path.extension().is_some_and(|extension| extension == "snap") {
            names.push(path);
        }
    }
    names.sort();
    let mut broken = Vec::new();
    while let Some(path) = names.pop() {
        if path.metadata().map_err(io(&path, "look at"))?.len() > FILE_MAX_BYTES {
            broken.push(path);
            continue;
        }
        let bytes = fs::read(&path).map_err(io(&path, "read"))?;
        match decode(bytes.into()) {
            Some(snapshot) => return Ok((Some(snapshot), broken)),
            None => broken.push(path),
        }
    }
    Ok((None, broken))
}

fn decode(bytes: Bytes) -> Option<Snapshot> {
    let Checked { crc, data } = Checked::decode(bytes).ok()?;
    let data = data.filter(|data| !data.is_empty() && crc != 0 && crc32c::crc32c(data) == crc)?;
    Snapshot::decode(data).ok()
}

/// Writes the file of a snapshot, durably.
pub(super) fn write(folder: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let data = Bytes::from(snapshot.encode_to_vec());
    let bytes = Checked { crc: crc32c::crc32c(&data), data: Some(data) }.encode_to_vec();
    let name = format!("{:016x}-{:016x}.snap", snapshot.metadata.term, snapshot.metadata.index);
    let mut file = fs::File::create_new(folder.join(name))?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    sync_folder(Some(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let data = Bytes::from(bytes.clone());
            let _ = decode(Checked { crc: crc32c::crc32c(&data), data: Some(data) }.encode_to_vec().into());
            let _ = decode(bytes.into());
        }
    }
}
