//! Chains of blocks to be validated, and the format of the files that contain them.
//!
//! A file is a sequence of records. A record is its length in bytes, then: the case's name and its description, each
//! after its length; the [`Release`] whose verdict applies, 25 or 31; the number of blocks; and the blocks, each after
//! its length. All numbers are varints, as in Protobuf.

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use prost::encoding::{decode_varint, encode_varint};

use crate::verdict::Release;

/// A chain of blocks from block 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// `family/name`. It is unique among the cases that are replayed together.
    pub name: String,
    /// Description of what is unusual.
    pub description: String,
    /// The release whose verdict applies.
    pub release: Release,
    /// Serialized blocks.
    pub blocks: Vec<Bytes>,
}

impl Case {
    /// Returns the part of the name before the slash.
    pub fn family(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// Returns the total size of the blocks in bytes.
    pub fn size_bytes(&self) -> usize {
        self.blocks.iter().map(Bytes::len).sum()
    }

    /// Reads all cases of a file.
    ///
    /// # Errors
    /// The bytes are not in the format.
    pub fn read_all(mut file: Bytes) -> anyhow::Result<Vec<Self>> {
        let mut cases = Vec::new();
        while file.has_remaining() {
            let mut record = take(&mut file).with_context(|| format!("case {}", cases.len()))?;
            let case = Self::read(&mut record).with_context(|| format!("case {}", cases.len()))?;
            cases.push(case);
        }
        Ok(cases)
    }

    fn read(record: &mut Bytes) -> anyhow::Result<Self> {
        // the tables of verdicts have one line per case
        let name = String::from_utf8_lossy(&take(record)?).replace(['\t', '\n', '\r', '\0'], " ");
        let description = String::from_utf8_lossy(&take(record)?).into_owned();
        let release = match decode_varint(record)? {
            25 => Release::V2_5,
            31 => Release::V3_1,
            number => anyhow::bail!("{name}: {number} is no release"),
        };
        let count = decode_varint(record)?;
        let blocks: Vec<Bytes> = (0..count).map(|_| take(record)).collect::<anyhow::Result<_>>()?;
        anyhow::ensure!(!record.has_remaining(), "{name}: bytes behind its last block");
        Ok(Self { name, description, release, blocks })
    }

    /// Appends the case to a file.
    pub fn write(&self, file: &mut Vec<u8>) {
        let mut record = Vec::with_capacity(self.size_bytes() + 256);
        put(&mut record, self.name.as_bytes());
        put(&mut record, self.description.as_bytes());
        encode_varint(self.release.number(), &mut record);
        encode_varint(self.blocks.len() as u64, &mut record);
        for block in &self.blocks {
            put(&mut record, block);
        }
        put(file, &record);
    }
}

fn put(buffer: &mut Vec<u8>, bytes: &[u8]) {
    encode_varint(bytes.len() as u64, buffer);
    buffer.extend_from_slice(bytes);
}

fn take(bytes: &mut Bytes) -> anyhow::Result<Bytes> {
    let length = usize::try_from(decode_varint(bytes)?)?;
    anyhow::ensure!(length <= bytes.len(), "{length} bytes are announced, {} are left", bytes.len());
    Ok(bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_what_was_written() {
        let case = |name: &str, release| Case {
            name: name.to_owned(),
            description: "two\nlines".to_owned(),
            release,
            blocks: vec![Bytes::from_static(b"block"), Bytes::new()],
        };
        let cases = vec![case("family/one", Release::V2_5), case("family/two", Release::V3_1)];
        let mut file = Vec::new();
        for case in &cases {
            case.write(&mut file);
        }
        assert_eq!(Case::read_all(file.clone().into()).unwrap(), cases);
        for cut in [1, 5, file.len() - 1] {
            assert!(Case::read_all(file[..cut].to_vec().into()).is_err(), "{cut}");
        }
    }
}
