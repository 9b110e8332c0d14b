//! Encodes a `StepRequest` for gRPC, without copying its content.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// Size in bytes below which a message is copied into one piece.
const SMALL_BYTES: usize = 8 << 10;
/// Length of a gRPC message's prefix: the compression flag and the message's length.
const PREFIX_BYTES: usize = 5;

/// Status with which an orderer, Fabric's too, ends the stream of a client that is not a consenter of the channel.
pub(crate) const NOT_AUTHORIZED: &str = "certificate extracted from TLS connection isn't authorized";

/// Pieces of bytes that are sent one after the other.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl Pieces {
    /// Encodes a `ConsensusRequest`.
    pub(crate) fn consensus(channel: &str, payload: Bytes, metadata: Bytes) -> Self {
        let length = length_of_bytes(channel.as_bytes()) + length_of_bytes(&payload) + length_of_bytes(&metadata);
        let mut message = Message::begin(1, length);
        message.put_bytes(1, Bytes::copy_from_slice(channel.as_bytes()));
        message.put_bytes(2, payload);
        message.put_bytes(3, metadata);
        message.end()
    }

    /// Encodes a `SubmitRequest`.
    pub(crate) fn submit(channel: &str, last_validation_seq: u64, envelope: Bytes) -> Self {
        let sequence = if last_validation_seq == 0 { 0 } else { 1 + encoded_len_varint(last_validation_seq) };
        let length = length_of_bytes(channel.as_bytes()) + sequence + length_of_bytes(&envelope);
        let mut message = Message::begin(2, length);
        message.put_bytes(1, Bytes::copy_from_slice(channel.as_bytes()));
        message.put_number(2, last_validation_seq);
        message.put_bytes(3, envelope);
        message.end()
    }

    /// Appends the pieces of another message.
    pub(crate) fn append(&mut self, mut more: Self) {
        self.remaining += more.remaining;
        self.pieces.append(&mut more.pieces);
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.remaining += piece.len();
            self.pieces.push_back(piece);
        }
    }
}

/// Returns the length of a field with its key and length; 0 for no bytes.
fn length_of_bytes(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { 1 + encoded_len_varint(bytes.len() as u64) + bytes.len() }
}

/// A message that is being encoded: small fields are collected in one piece.
struct Message {
    small: BytesMut,
    pieces: Pieces,
}

impl Message {
    /// Begins a message with `length` bytes in the field `number` of the request.
    fn begin(number: u32, length: usize) -> Self {
        let whole = 1 + encoded_len_varint(length as u64) + length;
        let mut small = BytesMut::with_capacity(PREFIX_BYTES + whole.min(SMALL_BYTES));
        small.put_u8(0);
        // a message beyond the range of its length would have been rejected long before
        small.put_u32(u32::try_from(whole).unwrap_or(u32::MAX));
        encode_key(number, WireType::LengthDelimited, &mut small);
        encode_varint(length as u64, &mut small);
        Self { small, pieces: Pieces::default() }
    }

    fn put_number(&mut self, number: u32, value: u64) {
        if value != 0 {
            encode_key(number, WireType::Varint, &mut self.small);
            encode_varint(value, &mut self.small);
        }
    }

    fn put_bytes(&mut self, number: u32, value: Bytes) {
        if value.is_empty() {
            return;
        }
        encode_key(number, WireType::LengthDelimited, &mut self.small);
        encode_varint(value.len() as u64, &mut self.small);
        if value.len() <= SMALL_BYTES {
            self.small.extend_from_slice(&value);
        } else {
            self.pieces.push(self.small.split().freeze());
            self.pieces.push(value);
        }
    }

    fn end(mut self) -> Pieces {
        self.pieces.push(self.small.freeze());
        self.pieces
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece[..])
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while let Some(front) = self.pieces.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fabric_proto::Message as _;
    use fabric_proto::orderer::step_request::Payload;
    use fabric_proto::orderer::{ConsensusRequest, StepRequest, SubmitRequest};
    use proptest::prelude::*;

    /// Encodes with the generated code.
    fn expected(payload: Payload) -> Vec<u8> {
        let message = StepRequest { payload: Some(payload) }.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, &message].concat()
    }

    fn read(mut pieces: Pieces) -> Vec<u8> {
        let length = pieces.remaining();
        let mut bytes = vec![0; length];
        // in steps that end within pieces
        for part in bytes.chunks_mut(777) {
            pieces.copy_to_slice(part);
        }
        assert_eq!((pieces.remaining(), pieces.chunk()), (0, &[][..]));
        bytes
    }

    proptest! {
        #[test]
        fn a_request_is_written_as_the_generated_code_writes_it(
            channel in "[a-z.]{0,12}",
            body in prop_oneof![Just(0usize), 0usize..300, 8000usize..9000, Just(300_000)],
            more in prop_oneof![Just(0usize), 0usize..100, Just(20_000)],
            sequence in prop_oneof![Just(0u64), any::<u64>()],
        ) {
            let (payload, metadata) = (Bytes::from(vec![7; body]), Bytes::from(vec![9; more]));
            let consensus = ConsensusRequest { channel: channel.clone(), payload: payload.clone(), metadata: metadata.clone() };
            prop_assert_eq!(
                read(Pieces::consensus(&channel, payload.clone(), metadata)),
                expected(Payload::ConsensusRequest(consensus))
            );
            let submit = SubmitRequest { channel: channel.clone(), last_validation_seq: sequence, payload: payload.clone() };
            prop_assert_eq!(
                read(Pieces::submit(&channel, sequence, payload)),
                expected(Payload::SubmitRequest(submit))
            );
        }
    }

    #[test]
    fn large_payloads_are_not_copied() {
        let payload = Bytes::from(vec![7; 100_000]);
        let pieces = Pieces::consensus("ch", payload.clone(), Bytes::from_static(b"m"));
        assert_eq!(pieces.pieces.len(), 3);
        assert_eq!(pieces.pieces[1].as_ptr(), payload.as_ptr());
    }
}
