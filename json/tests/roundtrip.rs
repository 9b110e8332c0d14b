//! Tests that no information is lost: encoding the JSON gives the same bytes again.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use fabric_json::{DecodeOptions, Json, from_json, message_types, metadata_to_json, to_json};
use fabric_proto::Message as _;
use fabric_proto::common::Block;
use fabric_proto::orderer::KafkaMessage;
use flate2::read::GzDecoder;
use proptest::prelude::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn field<'a>(json: &'a Json, name: &str) -> &'a str {
    match json.get(name) {
        Some(Json::String(text)) => text,
        _ => panic!("no {name}"),
    }
}

/// Parses the text of the JSON, as a recipient does.
fn through_text(json: &Json) -> Json {
    let mut text = Vec::new();
    json.write_pretty(&mut text).unwrap();
    Json::parse(&text).unwrap()
}

fn check(kind: &str, bytes: &[u8]) -> Json {
    let json = to_json(kind, bytes, &DecodeOptions::default()).unwrap();
    assert!(from_json(kind, &through_text(&json)).unwrap() == bytes, "{kind} of {} bytes differs", bytes.len());
    json
}

/// Returns all blocks of a recorded chain.
fn golden(name: &str) -> Vec<Vec<u8>> {
    lines(name).iter().map(|line| base64(field(line, "block"))).collect()
}

fn lines(name: &str) -> Vec<Json> {
    let file = std::fs::File::open(fixtures().join("golden").join(name)).unwrap();
    BufReader::new(GzDecoder::new(file)).lines().map(|line| Json::parse(line.unwrap().as_bytes()).unwrap()).collect()
}

fn base64(text: &str) -> Vec<u8> {
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap()
}

const CHAINS: [&str; 8] = [
    "solo/mychan.blocks.jsonl.gz",
    "solo/syschan.blocks.jsonl.gz",
    "kafka/mychan.orderer-a.blocks.jsonl.gz",
    "kafka/mychan.orderer-b.blocks.jsonl.gz",
    "kafka/otherchan.orderer-a.blocks.jsonl.gz",
    "kafka/otherchan.orderer-b.blocks.jsonl.gz",
    "kafka/syschan.orderer-a.blocks.jsonl.gz",
    "kafka/syschan.orderer-b.blocks.jsonl.gz",
];

#[test]
fn every_recorded_block_is_the_same_again_and_unfolded_down_to_its_channel() {
    for chain in CHAINS {
        for block in golden(chain) {
            let json = check("common.Block", &block);
            let Some(Json::List(envelopes)) = json.get("data").and_then(|data| data.get("data")) else { panic!() };
            for envelope in envelopes {
                let header = envelope.get("payload").and_then(|p| p.get("header")?.get("channel_header"));
                assert!(matches!(header.and_then(|h| h.get("channel_id")), Some(Json::String(_))), "{chain}");
            }
        }
    }
}

#[test]
fn every_recorded_kafka_record_is_the_same_again() {
    for topic in ["mychan", "otherchan", "syschan"] {
        for line in lines(&format!("kafka/{topic}.topic.jsonl.gz")) {
            let record = base64(field(&line, "value"));
            // the recording has some malicious records
            let Ok(read) = KafkaMessage::decode(record.as_slice()) else { continue };
            if read.encode_to_vec() == record {
                check("orderer.KafkaMessage", &record);
            }
        }
    }
}

#[test]
fn genesis_blocks_and_creation_transactions_are_the_same_again() {
    for block in ["AppKafka", "AppSolo", "SysKafka", "SysSolo"] {
        check("common.Block", &std::fs::read(fixtures().join(format!("net/{block}.block"))).unwrap());
    }
    for transaction in ["net/mychan.tx", "net/otherchan.tx", "json/transaction.envelope"] {
        check("common.Envelope", &std::fs::read(fixtures().join(transaction)).unwrap());
    }
}

#[test]
fn the_metadata_of_a_block_are_read() {
    let chain = golden("kafka/mychan.orderer-a.blocks.jsonl.gz");
    let block = Block::decode(chain[3].as_slice()).unwrap();
    let entries = block.metadata.as_ref().unwrap().metadata.iter().map(AsRef::as_ref);
    let json = metadata_to_json(entries, &DecodeOptions::default());
    let value = json.get("SIGNATURES").and_then(|it| it.get("value")).unwrap();
    assert!(matches!(value.get("last_config").and_then(|it| it.get("index")), Some(Json::String(_))), "{json:?}");
    let state = value.get("consenter_metadata").and_then(|it| it.get("value")).unwrap();
    assert!(matches!(state.get("last_offset_persisted"), Some(Json::String(_))), "{json:?}");
    let Some(Json::List(signatures)) = json.get("SIGNATURES").and_then(|it| it.get("signatures")) else { panic!() };
    let signer = signatures[0].get("signature_header").and_then(|header| header.get("creator"));
    assert_eq!(signer.map(|it| field(it, "mspid")), Some("OrdererMSP"));
}

#[test]
fn what_would_not_be_written_so_stays_base64() {
    // a map's entry without its value, an unknown field, a number with a redundant byte
    for value in [&[0x0a, 0x02, 0x0a, 0x00][..], &[0x78, 0x01], &[0x08, 0x81, 0x00]] {
        let json = Json::Object(vec![("type".to_owned(), Json::Number(1))]);
        let mut policy = from_json("common.Policy", &json).unwrap();
        policy.extend([0x12, u8::try_from(value.len()).unwrap()]);
        policy.extend(value);
        let json = check("common.Policy", &policy);
        assert!(matches!(json.get("value"), Some(Json::String(_))), "{json:?}");
    }
}

#[test]
fn the_outermost_message_is_read_even_if_it_is_written_unusually() {
    let json = to_json("common.LastConfig", &[0x08, 0x85, 0x00, 0x78, 0x01], &DecodeOptions::default()).unwrap();
    assert_eq!(json, Json::Object(vec![("index".to_owned(), Json::String("5".to_owned()))]));
}

#[test]
fn json_that_does_not_fit_is_refused_with_its_place() {
    let refused =
        |kind: &str, text: &str| from_json(kind, &Json::parse(text.as_bytes()).unwrap()).unwrap_err().to_string();
    let block = r#"{"data": {"data": ["", {"payload": {"header": {"channel_header": {"type": "x"}}}}]}}"#;
    let where_and_why = "'x' is no whole number (at data.data[1].payload.header.channel_header.type)";
    assert_eq!(refused("common.Block", block), format!("no common.Block: {where_and_why}"));
    for (kind, text, why) in [
        ("common.Block", r#"{"headr": {}}"#, "common.Block has no field headr"),
        ("common.Block", r#"{"header": {"number": -1}}"#, "-1 is out of range (at header.number)"),
        ("common.Block", "[]", "an object expected for common.Block, not a list"),
        ("common.Envelope", r#"{"signature": "!"}"#, "no base64"),
        ("common.Payload", r#"{"data": {}}"#, "nothing says which message this is"),
        ("common.Payload", r#"{"data": "", "data": ""}"#, "this is given already (at data)"),
        ("common.MSPRole", r#"{"role": "BOSS"}"#, "common.MSPRole.MSPRoleType has no value BOSS"),
        ("common.ChannelHeader", r#"{"timestamp": "noon"}"#, "'noon' is no time"),
        ("orderer.SeekPosition", r#"{"newest": {}, "oldest": {}}"#, "given already (at oldest)"),
        ("common.Capabilities", r#"{"capabilities": {"A": {}, "A": {}}}"#, "'A' is there twice"),
        ("common.Nothing", "{}", "message of type common.Nothing unknown"),
    ] {
        let said = refused(kind, text);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn names_in_camel_case_and_numbers_in_either_form_are_taken() {
    let json = Json::parse(br#"{"channelId": "c", "type": "3", "epoch": 18446744073709551615, "txId": null}"#).unwrap();
    let bytes = from_json("common.ChannelHeader", &json).unwrap();
    let json = check("common.ChannelHeader", &bytes);
    assert_eq!(json.get("type"), Some(&Json::Number(3)));
    assert_eq!(field(&json, "epoch"), "18446744073709551615");
}

#[test]
fn too_many_values_stay_bytes() {
    // two bytes each, and an object of two members each
    let actions = [0x0a, 0x00].repeat(100_000);
    let payload = r#"{"header": {"channel_header": {"type": 3}}}"#;
    let mut payload = from_json("common.Payload", &Json::parse(payload.as_bytes()).unwrap()).unwrap();
    payload.push(0x12);
    prost::encoding::encode_varint(actions.len() as u64, &mut payload);
    payload.extend(&actions);
    let how = DecodeOptions { values_max: 10_000, ..DecodeOptions::default() };
    let json = to_json("common.Payload", &payload, &how).unwrap();
    assert!(matches!(json.get("data"), Some(Json::String(_))));
    assert!(from_json("common.Payload", &json).unwrap() == payload);
    assert!(matches!(
        to_json("common.Payload", &payload, &DecodeOptions::default()).unwrap().get("data"),
        Some(Json::Object(_))
    ));
}

#[test]
fn envelopes_in_envelopes_end_as_bytes() {
    let mut envelope = Vec::new();
    for _ in 0..200 {
        let data = Json::parse(br#"{"header": {"channel_header": {"type": 4}}}"#).unwrap();
        let mut payload = from_json("common.Payload", &data).unwrap();
        for (tag, to) in [(0x12, &mut payload), (0x0a, &mut Vec::new())] {
            let inner = std::mem::take(&mut envelope);
            to.push(tag);
            prost::encoding::encode_varint(inner.len() as u64, to);
            to.extend(inner);
            envelope.clone_from(to);
        }
    }
    check("common.Envelope", &envelope);
}

fn any_kind() -> impl Strategy<Value = String> {
    proptest::sample::select(message_types())
}

/// Generates real messages with a few bytes changed.
fn damaged() -> impl Strategy<Value = (String, Vec<u8>)> {
    let net = |name: &str| std::fs::read(fixtures().join(name)).unwrap();
    let real = vec![
        ("common.Block", golden("solo/syschan.blocks.jsonl.gz").swap_remove(1)),
        ("common.Block", golden("kafka/mychan.orderer-a.blocks.jsonl.gz").swap_remove(1)),
        ("common.Envelope", net("net/mychan.tx")),
        ("common.Envelope", net("json/transaction.envelope")),
    ];
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6);
    (proptest::sample::select(real), changes).prop_map(|((kind, mut bytes), changes)| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        (kind.to_owned(), bytes)
    })
}

fn survives(kind: &str, bytes: &[u8]) {
    let readable = DecodeOptions { exact: false, ..DecodeOptions::default() };
    if let Ok(json) = to_json(kind, bytes, &readable) {
        from_json(kind, &json).unwrap();
    }
    let Ok(json) = to_json(kind, bytes, &DecodeOptions::default()) else { return };
    let again = from_json(kind, &through_text(&json)).unwrap();
    // an encoding that was not kept for the outermost message is stable after one round trip
    let json_again = to_json(kind, &again, &DecodeOptions::default()).unwrap();
    assert_eq!(from_json(kind, &json_again).unwrap(), again);
    assert_eq!(json_again, json);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_shown_or_refused(kind in any_kind(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&kind, &bytes);
    }

    #[test]
    fn damaged_messages_are_shown_or_refused((kind, bytes) in damaged()) {
        survives(&kind, &bytes);
    }
}
