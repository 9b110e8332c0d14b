//! A block as Fabric's block files have it: number, data hash, previous hash, entries, metadata; each length and count a
//! varint. It holds the same byte strings as the protobuf form, so that nothing that was hashed or signed is encoded again.

use bytes::{Buf as _, BufMut as _, Bytes};
use fabric_proto::common::{Block, BlockData, BlockHeader, BlockMetadata};
use orderer_core::block::{BlockError, EncodedBlock};
use prost::Message as _;
use prost::encoding::{decode_varint, encode_varint};

/// The reason why bytes are not a block.
pub(super) enum InvalidBlock {
    Layout(&'static str),
    Block(BlockError),
}

impl From<BlockError> for InvalidBlock {
    fn from(error: BlockError) -> Self {
        Self::Block(error)
    }
}

pub(super) fn decode(mut bytes: Bytes) -> Result<EncodedBlock, InvalidBlock> {
    let from = &mut bytes;
    let number = integer(from)?;
    let data_hash = string(from)?;
    let previous_hash = string(from)?;
    let data = strings(from)?;
    let metadata = strings(from)?;
    if from.has_remaining() {
        return Err(InvalidBlock::Layout("something follows its metadata"));
    }
    let block = Block {
        header: Some(BlockHeader { number, previous_hash, data_hash }),
        data: Some(BlockData { data }),
        metadata: Some(BlockMetadata { metadata }),
    };
    EncodedBlock::read_from(block.encoded_len(), |buffer| {
        // a BytesMut grows as needed: encoding into it cannot fail
        let _ = block.encode(buffer);
        Ok(())
    })
}

pub(super) fn encode(block: &EncodedBlock) -> Vec<u8> {
    let Block { header, data, metadata } = block.decode();
    let header = header.unwrap_or_default();
    // header and counts take less than what protobuf adds to the strings
    let mut out = Vec::with_capacity(block.size_bytes() + 16);
    encode_varint(header.number, &mut out);
    put_string(&mut out, &header.data_hash);
    put_string(&mut out, &header.previous_hash);
    for strings in [data.unwrap_or_default().data, metadata.unwrap_or_default().metadata] {
        encode_varint(strings.len() as u64, &mut out);
        for string in &strings {
            put_string(&mut out, string);
        }
    }
    out
}

fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    encode_varint(string.len() as u64, out);
    out.put_slice(string);
}

fn integer(from: &mut Bytes) -> Result<u64, InvalidBlock> {
    decode_varint(from).map_err(|_| InvalidBlock::Layout("a number in it is none"))
}

fn string(from: &mut Bytes) -> Result<Bytes, InvalidBlock> {
    let length = integer(from)?;
    match usize::try_from(length) {
        Ok(length) if length <= from.len() => Ok(from.split_to(length)),
        _ => Err(InvalidBlock::Layout("something in it is longer than the block")),
    }
}

fn strings(from: &mut Bytes) -> Result<Vec<Bytes>, InvalidBlock> {
    // not reserved: the count may be any number
    let mut strings = Vec::new();
    for _ in 0..integer(from)? {
        strings.push(string(from)?);
    }
    Ok(strings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orderer_core::block::data_hash;
    use proptest::prelude::*;

    fn strings() -> impl Strategy<Value = Vec<Bytes>> {
        let string = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        proptest::collection::vec(string, 0..8)
    }

    proptest! {
        #[test]
        fn a_block_comes_back_byte_for_byte(number: u64, previous: [u8; 32], data in strings()) {
            let hash = data_hash(data.iter().map(Bytes::as_ref));
            let header = BlockHeader {
                number,
                previous_hash: Bytes::copy_from_slice(&previous),
                data_hash: Bytes::copy_from_slice(&hash),
            };
            let metadata = Some(BlockMetadata { metadata: vec![Bytes::new(); 5] });
            let block = Block { header: Some(header), data: Some(BlockData { data }), metadata };
            let block = EncodedBlock::parse(&block.encode_to_vec()).expect("is a block");
            let again = decode(encode(&block).into()).ok().expect("is a block");
            prop_assert_eq!(again.block_bytes(), block.block_bytes());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(bytes.into());
        }
    }
}
