//! Reads the messages of a Deliver stream one by one.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use fabric_proto::lenient::{Fields, Value};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tonic::Status;

use super::api::PullError;
use crate::client::describe;

/// Length of a gRPC message's prefix: the compression flag and the message's length.
const PREFIX_BYTES: usize = 5;
/// Maximum number of bytes in a response around its block.
const AROUND_BYTES: usize = 64;

/// Upper bound of a block's header, with which a block begins, and of a status.
const START_BYTES: usize = 1 << 10;

/// The body of a request: one message.
pub(super) struct SingleMessageBody(Option<Bytes>);

impl SingleMessageBody {
    pub(super) fn new(message: &[u8]) -> Self {
        let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
        frame.put_u8(0);
        // a request for blocks is small
        frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        frame.extend_from_slice(message);
        Self(Some(frame.freeze()))
    }
}

impl Body for SingleMessageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|message| Ok(Frame::data(message))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// The messages of a stream. Reads no further than to the end of the frame that the requested message ends in.
pub(super) struct Messages {
    body: Incoming,
    read: BytesMut,
    max_block_bytes: usize,
}

impl Messages {
    pub(super) fn new(body: Incoming, max_block_bytes: usize) -> Self {
        Self { body, read: BytesMut::new(), max_block_bytes }
    }

    /// Returns the next block. Dropping the future loses nothing.
    pub(super) async fn block(&mut self) -> Result<Bytes, PullError> {
        loop {
            if let Some(message) = take_message(&mut self.read, self.max_block_bytes)? {
                return block_of(&message, self.max_block_bytes);
            }
            self.more().await?;
        }
    }

    /// Returns the number of the first block plus one, as soon as that can be read.
    pub(super) async fn height(&mut self) -> Result<u64, PullError> {
        loop {
            if let Some(number) = number_at_start(&self.read, self.max_block_bytes)? {
                return Ok(number.saturating_add(1));
            }
            if self.read.len() > START_BYTES {
                return Err(PullError::Malformed("its block does not begin with a header"));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), PullError> {
        match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.read.extend_from_slice(&data),
                Err(frame) => return Err(of_trailers(frame.trailers_ref())),
            },
            Some(Err(error)) => return Err(PullError::Ended(describe(&error))),
            None => return Err(PullError::Ended("without a status".to_owned())),
        }
        Ok(())
    }
}

fn of_trailers(trailers: Option<&http::HeaderMap>) -> PullError {
    let status = trailers.and_then(Status::from_header_map);
    PullError::Ended(status.map_or_else(|| "without a status".to_owned(), |status| in_short(&status)))
}

/// Formats a gRPC status.
pub(super) fn in_short(status: &Status) -> String {
    let message: String = status.message().chars().take(300).collect();
    format!("{:?}: {message}", status.code())
}

/// Takes the first message, if it is complete. Rejects a length beyond the limit.
fn take_message(read: &mut BytesMut, max_block_bytes: usize) -> Result<Option<Bytes>, PullError> {
    let Some((prefix, _)) = read.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(PullError::Malformed("it is compressed"));
    }
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes > max_block_bytes.saturating_add(AROUND_BYTES) {
        return Err(PullError::TooLarge { bytes, max: max_block_bytes });
    }
    if read.len() < PREFIX_BYTES + bytes {
        return Ok(None);
    }
    read.advance(PREFIX_BYTES);
    Ok(Some(read.split_to(bytes).freeze()))
}

/// Returns the block in a `DeliverResponse`. (Go would merge several of them. No orderer sends that.)
fn block_of(message: &Bytes, max: usize) -> Result<Bytes, PullError> {
    let mut found = None;
    for field in Fields::new(message) {
        let field = field.map_err(|_| PullError::Malformed("it is no DeliverResponse"))?;
        let answer = match (field.number, field.value) {
            (1, Value::Varint(status)) => Err(status),
            (2, Value::Bytes(block)) => Ok(block),
            _ => continue,
        };
        if found.replace(answer).is_some() {
            return Err(PullError::Malformed("it has several answers"));
        }
    }
    match found {
        Some(Ok(block)) if block.len() > max => Err(PullError::TooLarge { bytes: block.len(), max }),
        Some(Ok(block)) => Ok(message.slice_ref(block)),
        Some(Err(status)) => Err(PullError::of_status(fabric_proto::lenient::int32(status))),
        None => Err(PullError::Malformed("it is neither a block nor a status")),
    }
}

/// Returns the number of the block in the first message, which may be incomplete; `None` if too little of it is
/// there.
fn number_at_start(read: &[u8], max: usize) -> Result<Option<u64>, PullError> {
    const NO_RESPONSE: PullError = PullError::Malformed("it is no DeliverResponse");
    let Some((prefix, rest)) = read.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    if prefix[0] != 0 {
        return Err(PullError::Malformed("it is compressed"));
    }
    let message = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if message > max.saturating_add(AROUND_BYTES) {
        return Err(PullError::TooLarge { bytes: message, max });
    }
    if let Some(whole) = rest.get(..message)
        && message <= START_BYTES
    {
        let block = block_of(&Bytes::copy_from_slice(whole), START_BYTES)?;
        let header = Fields::new(&block).flatten().find_map(|field| match (field.number, field.value) {
            (1, Value::Bytes(header)) => Some(header),
            _ => None,
        });
        return header.ok_or(NO_RESPONSE).map(|header| Some(number_of(header)));
    }
    if message <= START_BYTES {
        return Ok(None);
    }
    // a block in a response, a header in the block: each a key and a length
    let mut rest = rest;
    for key in [0x12, 0x0a] {
        let Some((&first, behind)) = rest.split_first() else { return Ok(None) };
        if first != key {
            return Err(PullError::Malformed("its block does not begin with a header"));
        }
        rest = behind;
        if key == 0x12 && !skip_varint(&mut rest) {
            return Ok(None);
        }
    }
    let mut length = rest;
    if !skip_varint(&mut length) {
        return Ok(None);
    }
    // a header is two hashes and a number: its length has one byte or two
    let header = match *rest {
        [low, ..] if low < 0x80 => length.get(..usize::from(low)),
        [low, high, ..] if high < 0x80 => length.get(..usize::from(low & 0x7f) | usize::from(high) << 7),
        _ => return Err(PullError::Malformed("its block does not begin with a header")),
    };
    Ok(header.map(number_of))
}

/// Skips a varint. Returns whether it was complete.
fn skip_varint(bytes: &mut &[u8]) -> bool {
    match bytes.iter().position(|byte| byte & 0x80 == 0) {
        Some(last) => {
            *bytes = &bytes[last + 1..];
            true
        }
        None => false,
    }
}

fn number_of(header: &[u8]) -> u64 {
    let numbers = Fields::new(header).flatten().filter_map(|field| match (field.number, field.value) {
        (1, Value::Varint(number)) => Some(number),
        _ => None,
    });
    numbers.last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fabric_proto::Message as _;
    use fabric_proto::common::{self, Block, BlockHeader};
    use fabric_proto::orderer::{DeliverResponse, deliver_response::Type};
    use proptest::prelude::*;

    fn response(answer: Type) -> Bytes {
        DeliverResponse { r#type: Some(answer) }.encode_to_vec().into()
    }

    fn numbered(number: u64) -> Block {
        Block { header: Some(BlockHeader { number, ..BlockHeader::default() }), ..Block::default() }
    }

    #[test]
    fn a_response_is_a_block_or_says_why_not() {
        let block = numbered(7);
        let message = response(Type::Block(block.clone()));
        assert_eq!(block_of(&message, 100), Ok(block.encode_to_vec().into()));
        assert_eq!(block_of(&message, 3), Err(PullError::TooLarge { bytes: 4, max: 3 }));
        for (status, error) in [
            (common::Status::Forbidden, "forbidden pulling the channel"),
            (common::Status::ServiceUnavailable, "service unavailable"),
            (common::Status::NotFound, "faulty node, received status NOT_FOUND"),
            (common::Status::Success, "faulty node, received status SUCCESS"),
        ] {
            let refused = block_of(&response(Type::Status(status as i32)), 100).unwrap_err();
            assert_eq!(refused.to_string(), error);
        }
        for (bytes, problem) in [
            ([&message[..], &message].concat(), "it has several answers"),
            ([&message[..], &[8, 200, 1]].concat(), "it has several answers"),
            (vec![], "it is neither a block nor a status"),
            (vec![0x12, 5, 1], "it is no DeliverResponse"),
            (vec![0x1a, 0], "it is neither a block nor a status"),
        ] {
            assert_eq!(block_of(&bytes.into(), 100), Err(PullError::Malformed(problem)));
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut read = BytesMut::from(&[0, 0xff, 0xff, 0xff, 0xff, 1][..]);
        let too_large = PullError::TooLarge { bytes: u32::MAX as usize, max: 100 };
        assert_eq!(take_message(&mut read, 100), Err(too_large));
        let mut read = BytesMut::from(&[1, 0, 0, 0, 0][..]);
        assert_eq!(take_message(&mut read, 100), Err(PullError::Malformed("it is compressed")));
    }

    #[test]
    fn a_height_is_read_from_the_start_of_a_block() {
        let framed = |message: &[u8]| {
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            [&[0][..], &length, message].concat()
        };
        for (number, bytes) in [(0, 0), (7, 0), (300, 5_000_000), (u64::MAX, 5000)] {
            let mut block = numbered(number);
            let header = block.header.as_mut().unwrap();
            (header.previous_hash, header.data_hash) = (vec![1; 32].into(), vec![2; 32].into());
            block.data = Some(common::BlockData { data: vec![vec![3; bytes].into()] });
            let sent = framed(&response(Type::Block(block)));
            let needed = (0..sent.len()).find(|end| number_at_start(&sent[..*end], 100 << 20).unwrap().is_some());
            assert!(needed.unwrap_or(sent.len()) < 200, "{needed:?}");
            assert_eq!(number_at_start(&sent, 100 << 20), Ok(Some(number)));
        }
        let status = framed(&response(Type::Status(common::Status::Forbidden as i32)));
        assert_eq!(number_at_start(&status, 100 << 20), Err(PullError::Forbidden));
        assert_eq!(number_at_start(&status[..5], 100 << 20), Ok(None));
        let no_header =
            Block { data: Some(common::BlockData { data: vec![vec![3; 5000].into()] }), ..Block::default() };
        let sent = framed(&response(Type::Block(no_header)));
        assert!(number_at_start(&sent, 100 << 20).is_err());
    }

    proptest! {
        #[test]
        fn messages_are_found_wherever_they_are_cut(numbers in proptest::collection::vec(any::<u64>(), 0..8), cut in 1usize..40) {
            let mut sent = Vec::new();
            for number in &numbers {
                let message = response(Type::Block(numbered(*number)));
                sent.push(0);
                sent.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
                sent.extend_from_slice(&message);
            }
            let (mut read, mut found) = (BytesMut::new(), Vec::new());
            for part in sent.chunks(cut) {
                read.extend_from_slice(part);
                while let Some(message) = take_message(&mut read, 100).unwrap() {
                    let block = Block::decode(block_of(&message, 100).unwrap()).unwrap();
                    found.push(block.header.unwrap().number);
                }
            }
            prop_assert_eq!(found, numbers);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut read = BytesMut::from(&bytes[..]);
            while let Ok(Some(message)) = take_message(&mut read, 100) {
                let _ = block_of(&message, 100);
            }
            let _ = number_at_start(&bytes, 100 << 20);
            let _ = number_at_start(&[&[0, 0, 0xff, 0, 0, 0x12, 0x80, 1, 0x0a][..], &bytes].concat(), 100 << 20);
            let _ = block_of(&bytes.into(), 100);
        }
    }
}
