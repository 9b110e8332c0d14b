//! Checks that bytes from another orderer have the form of an orderer's block, as far as that needs no configuration.

use bytes::Bytes;
use fabric_proto::common::{Block, ChannelHeader, Envelope, HeaderType, Payload};
use fabric_proto::lenient::{self, Fields, Value, append_key, append_varint};
use prost::Message as _;

use crate::block::{BlockError, EncodedBlock};
use crate::types::BlockNumber;

/// Maximum number of metadata slots of a block; orderers make five.
pub const MAX_METADATA_SLOTS: usize = 16;
/// Maximum number of signatures of a block. An orderer of type etcdraft makes one; those of type BFT make a quorum's.
pub const MAX_SIGNATURES: usize = 256;
/// Minimum size of a transaction in bytes: payload and signature need a key, a length and a byte each.
const TRANSACTION_MIN_BYTES: usize = 6;

/// Bytes are not a block that this node accepts from another orderer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockFormatError {
    /// The bytes are not a `Block`, its data hash is wrong, or its metadata does not parse.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The bytes are not a well-formed message.
    #[error("error unmarshalling Block: {0}")]
    Malformed(#[from] lenient::Malformed),
    /// A part is missing: header, data, metadata or signatures.
    #[error("{0}")]
    Missing(&'static str),
    /// The block has too many metadata slots.
    #[error("block has more than {MAX_METADATA_SLOTS} metadata slots")]
    Slots,
    /// The block has too many signatures.
    #[error("block has more than {MAX_SIGNATURES} signatures")]
    Signatures,
    /// A transaction does not have the form in which a client sends it.
    #[error("block {number} has malformed transactions: transaction {index} {problem}")]
    Transaction {
        /// Number of the block.
        number: BlockNumber,
        /// Index of the transaction.
        index: usize,
        /// Description of the error.
        problem: &'static str,
    },
    /// The type of the first transaction cannot be determined.
    #[error("block {number}: its first transaction cannot be read: {problem}")]
    First {
        /// Number of the block.
        number: BlockNumber,
        /// Description of the error.
        problem: String,
    },
    /// A CONFIG transaction is not alone in its block.
    #[error("block {number} has {transactions} transactions, and the first of them is a CONFIG transaction")]
    ConfigAmongOthers {
        /// Number of the block.
        number: BlockNumber,
        /// Number of transactions.
        transactions: usize,
    },
}

/// Parses a block from another orderer. Drops unknown fields of the block, as Fabric does when it writes a block, and keeps the
/// bytes of transactions. Uses at most a few times the memory of the bytes.
///
/// # Errors
/// The bytes are not a block in the form in which orderers make them.
pub fn read_block(bytes: &Bytes) -> Result<EncodedBlock, BlockFormatError> {
    check_counts(bytes)?;
    let block: Block = lenient::decode(bytes.clone()).map_err(BlockError::Block)?;
    let header = block.header.as_ref().ok_or(BlockFormatError::Missing("block header is nil"))?;
    let number = BlockNumber(header.number);
    let transactions = &block.data.as_ref().ok_or(BlockFormatError::Missing("block data is nil"))?.data[..];
    if block.metadata.as_ref().is_none_or(|metadata| metadata.metadata.is_empty()) {
        return Err(BlockFormatError::Missing("block metadata is empty"));
    }
    let first = transactions.first().ok_or(BlockFormatError::Missing("empty block"))?;
    let kind = kind_of(first).map_err(|problem| BlockFormatError::First { number, problem });
    match kind {
        Ok(Some(HeaderType::Config)) if transactions.len() > 1 => {
            return Err(BlockFormatError::ConfigAmongOthers { number, transactions: transactions.len() });
        }
        Ok(Some(HeaderType::Config)) => {}
        _ => {
            for (index, transaction) in transactions.iter().enumerate() {
                check_well_formed(transaction).map_err(|problem| BlockFormatError::Transaction {
                    number,
                    index,
                    problem,
                })?;
            }
            kind?;
        }
    }
    EncodedBlock::read_from(block.encoded_len(), |buffer| {
        // a BytesMut grows as needed: encoding into it cannot fail
        let _ = block.encode(buffer);
        Ok::<(), BlockFormatError>(())
    })
}

/// Returns the type of a transaction; `None` if the type's number is unknown.
fn kind_of(transaction: &Bytes) -> Result<Option<HeaderType>, String> {
    let envelope: Envelope = lenient::decode(transaction.clone()).map_err(|error| error.to_string())?;
    let payload: Payload = lenient::decode(envelope.payload).map_err(|error| error.to_string())?;
    let header = payload.header.ok_or("nil header in payload")?;
    let header: ChannelHeader = lenient::decode(header.channel_header).map_err(|error| error.to_string())?;
    Ok(HeaderType::try_from(header.r#type).ok())
}

/// Checks that a transaction has both parts, and that encoding it again gives the same bytes. Otherwise bytes could be added to
/// it that change the data hash but no signature.
fn check_well_formed(transaction: &[u8]) -> Result<(), &'static str> {
    let (mut payload, mut signature): (&[u8], &[u8]) = (&[], &[]);
    let mut unknown = Vec::new();
    for field in Fields::new(transaction) {
        let field = field.map_err(|_| "is invalid")?;
        match (field.number, field.value) {
            (1, Value::Bytes(bytes)) => payload = bytes,
            (2, Value::Bytes(bytes)) => signature = bytes,
            _ => field.append_to(&mut unknown),
        }
    }
    if payload.is_empty() {
        return Err("has no payload");
    }
    if signature.is_empty() {
        return Err("has no signature");
    }
    let mut expected = Vec::with_capacity(transaction.len());
    for (number, part) in [(1, payload), (2, signature)] {
        append_key(&mut expected, number, 2);
        append_varint(&mut expected, part.len() as u64);
        expected.extend_from_slice(part);
    }
    expected.extend_from_slice(&unknown);
    if expected == transaction { Ok(()) } else { Err("does not match its raw form") }
}

/// Rejects a block whose decoding would need much more memory than its size.
fn check_counts(block: &[u8]) -> Result<(), BlockFormatError> {
    let mut slots = 0;
    for field in Fields::new(block) {
        let field = field?;
        match (field.number, field.value) {
            (2, Value::Bytes(data)) => {
                for entry in bytes_fields(data, 1) {
                    if entry?.len() < TRANSACTION_MIN_BYTES {
                        return Err(BlockFormatError::Missing(
                            "a transaction of the block has no payload or no signature",
                        ));
                    }
                }
            }
            (3, Value::Bytes(metadata)) => {
                for slot in bytes_fields(metadata, 1) {
                    slots += 1;
                    if slots > MAX_METADATA_SLOTS {
                        return Err(BlockFormatError::Slots);
                    }
                    // slots that are not metadata are rejected when they are decoded
                    if bytes_fields(slot?, 2).take_while(Result::is_ok).count() > MAX_SIGNATURES {
                        return Err(BlockFormatError::Signatures);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Iterates over the length-delimited fields with this number.
fn bytes_fields(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], lenient::Malformed>> {
    Fields::new(message).filter_map(move |field| match field {
        Ok(field) => match field.value {
            Value::Bytes(bytes) if field.number == number => Some(Ok(bytes)),
            _ => None,
        },
        Err(malformed) => Some(Err(malformed)),
    })
}
