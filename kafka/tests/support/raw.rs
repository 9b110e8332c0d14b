//! A produce request byte by byte, for records that regular clients do not write.

#![allow(clippy::unwrap_used, unreachable_pub, dead_code, reason = "a test that panics has failed")]

use std::io::{Read, Write};
use std::net::TcpStream;

/// Appends a batch of one record whose header has a null value. The protocol allows it; rskafka's reader does not.
pub fn produce_null_header(broker: &str, topic: &str) {
    produce(broker, topic, &batch(&null_header_record()));
}

fn null_header_record() -> Vec<u8> {
    let mut record = vec![0]; // attributes
    varint(&mut record, 0); // timestamp delta
    varint(&mut record, 0); // offset delta
    varint(&mut record, -1); // no key
    varint(&mut record, 5);
    record.extend(b"value");
    varint(&mut record, 1); // one header
    varint(&mut record, 4);
    record.extend(b"name");
    varint(&mut record, -1); // null
    let mut framed = vec![];
    varint(&mut framed, i64::try_from(record.len()).unwrap());
    framed.extend(record);
    framed
}

fn batch(record: &[u8]) -> Vec<u8> {
    let mut checked = vec![];
    checked.extend(0_i16.to_be_bytes()); // attributes
    checked.extend(0_i32.to_be_bytes()); // last offset delta
    checked.extend(0_i64.to_be_bytes()); // first timestamp
    checked.extend(0_i64.to_be_bytes()); // last timestamp
    checked.extend((-1_i64).to_be_bytes()); // producer ID
    checked.extend((-1_i16).to_be_bytes()); // producer epoch
    checked.extend((-1_i32).to_be_bytes()); // base sequence
    checked.extend(1_i32.to_be_bytes()); // one record
    checked.extend(record);
    let mut batch = vec![];
    batch.extend(0_i64.to_be_bytes()); // base offset
    batch.extend(i32::try_from(checked.len() + 9).unwrap().to_be_bytes());
    batch.extend(0_i32.to_be_bytes()); // leader epoch
    batch.push(2); // magic
    batch.extend(crc32c::crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

fn produce(broker: &str, topic: &str, records: &[u8]) {
    let mut request = vec![];
    request.extend(0_i16.to_be_bytes()); // produce
    request.extend(3_i16.to_be_bytes()); // API version
    request.extend(1_i32.to_be_bytes()); // correlation ID
    string(&mut request, "raw");
    request.extend((-1_i16).to_be_bytes()); // no transaction
    request.extend((-1_i16).to_be_bytes()); // all replicas
    request.extend(5000_i32.to_be_bytes()); // timeout
    request.extend(1_i32.to_be_bytes()); // one topic
    string(&mut request, topic);
    request.extend(1_i32.to_be_bytes()); // one partition
    request.extend(0_i32.to_be_bytes());
    request.extend(i32::try_from(records.len()).unwrap().to_be_bytes());
    request.extend(records);

    let mut connection = TcpStream::connect(broker).unwrap();
    connection.write_all(&i32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    connection.write_all(&request).unwrap();
    let mut length = [0; 4];
    connection.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    connection.read_exact(&mut answer).unwrap();
    // correlation, one topic, its name, one partition, its number, then the error
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[at..at + 2], [0, 0], "{answer:?}");
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    to.extend(text.as_bytes());
}

/// Appends a zigzag-encoded integer, seven bits per byte.
fn varint(to: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    loop {
        let seven = u8::try_from(rest & 0x7f).unwrap();
        rest >>= 7;
        if rest == 0 {
            to.push(seven);
            return;
        }
        to.push(seven | 0x80);
    }
}
