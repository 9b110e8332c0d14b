//! Sequences of blocks, valid and tampered with.

use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{
    Block, ConfigEnvelope, Envelope, HeaderType, Metadata, MetadataSignature, OrdererBlockMetadata, Payload,
};
use fabric_proto::lenient::{append_key, append_varint};
use orderer_core::block::{ChainTip, EncodedBlock};
use orderer_core::config::ChannelSnapshot;
use orderer_core::replication::{
    MAX_METADATA_SLOTS, MAX_SIGNATURES, SequenceError, SequenceVerifier, VerifiedBlock, read_block,
};

use crate::made_chain::{
    Made, batch_of, block, config_message, genesis, genesis_with, hash_of, last_config, put, rehash, relink, sign,
    signed, signed_by_admins, signed_by_nobody, transaction,
};

/// Blocks after the genesis block, as they are received.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) genesis: Block,
    pub(crate) blocks: Vec<Vec<u8>>,
}

#[derive(Default)]
pub(crate) struct Cases(pub(crate) Vec<Case>);

impl Cases {
    fn add(&mut self, name: &'static str, blocks: &[Block]) {
        self.raw(name, blocks.iter().map(Block::encode_to_vec).collect());
    }

    fn raw(&mut self, name: &'static str, blocks: Vec<Vec<u8>>) {
        assert!(self.0.iter().all(|case| case.name != name), "{name}");
        self.0.push(Case { name, genesis: genesis(), blocks });
    }

    /// Adds a case that changes the valid blocks.
    fn with(&mut self, name: &'static str, made: &Made, change: impl FnOnce(&mut Vec<Block>)) {
        let mut blocks = made.blocks.clone();
        change(&mut blocks);
        self.add(name, &blocks);
    }
}

pub(crate) fn all(made: &Made) -> Cases {
    let mut cases = Cases::default();
    cases.add("as they are", &made.blocks);
    cases.add("one block", &made.blocks[..1]);
    cases.add("the config block is the last", &made.blocks[..4]);
    contents(&mut cases, made);
    links(&mut cases, made);
    signatures(&mut cases, made);
    transactions(&mut cases, made);
    configurations(&mut cases, made);
    policies(&mut cases, made);
    cases
}

/// Adds cases with missing or changed parts of blocks.
fn contents(cases: &mut Cases, made: &Made) {
    let (orderer, last) = (&made.people.orderer, made.blocks.len() - 1);
    for (name, at) in [("data of the last block is changed", last), ("data of the first block is changed", 0)] {
        cases.with(name, made, |blocks| {
            blocks[at].data.as_mut().unwrap().data[0] =
                transaction(&made.people.client, HeaderType::EndorserTransaction, "another");
        });
    }
    for (name, at) in [
        ("data and data hash of the last block are changed", last),
        ("data and data hash of a block before are changed", 1),
        ("data and data hash of the config block are changed", 3),
    ] {
        cases.with(name, made, |blocks| {
            let more = transaction(&made.people.client, HeaderType::EndorserTransaction, "another");
            blocks[at].data.as_mut().unwrap().data[0] = more;
            rehash(&mut blocks[at]);
        });
    }
    cases.with("the last block is another one that is signed", made, |blocks| {
        let more = transaction(&made.people.client, HeaderType::EndorserTransaction, "another");
        blocks[last].data.as_mut().unwrap().data.push(more);
        rehash(&mut blocks[last]);
        sign(&mut blocks[last], 4, orderer);
    });
    cases.with("a transaction is missing", made, |blocks| {
        blocks[last].data.as_mut().unwrap().data.pop();
    });
    cases.with("no header", made, |blocks| blocks[1].header = None);
    cases.with("no data", made, |blocks| blocks[1].data = None);
    cases.with("no transactions", made, |blocks| {
        blocks[last].data.as_mut().unwrap().data.clear();
        rehash(&mut blocks[last]);
        sign(&mut blocks[last], 4, orderer);
    });
    cases.with("no metadata", made, |blocks| blocks[last].metadata = None);
    cases.with("no metadata in a block before", made, |blocks| blocks[1].metadata = None);
    cases.with("no metadata slots", made, |blocks| blocks[last].metadata.as_mut().unwrap().metadata.clear());
    cases.with("one metadata slot", made, |blocks| blocks[last].metadata.as_mut().unwrap().metadata.truncate(1));
    cases.with("garbage in the other metadata slots", made, |blocks| {
        blocks[last].metadata.as_mut().unwrap().metadata[2] = Bytes::from_static(&[0xff; 9]);
    });
    cases.with("more metadata slots than orderers make", made, |blocks| {
        blocks[last].metadata.as_mut().unwrap().metadata.resize(MAX_METADATA_SLOTS + 1, Bytes::new());
    });
    cases.with("as many metadata slots as are taken", made, |blocks| {
        blocks[last].metadata.as_mut().unwrap().metadata.resize(MAX_METADATA_SLOTS, Bytes::new());
    });
    let encoded = |change: fn(&mut Vec<u8>)| {
        let mut encoded: Vec<Vec<u8>> = made.blocks.iter().map(Block::encode_to_vec).collect();
        change(&mut encoded[5]);
        encoded
    };
    cases.raw("an unknown field in a block", encoded(|block| block.extend([0x7a, 3, 1, 2, 3])));
    cases.raw("a second header is merged with the first", encoded(|block| block.extend([0x0a, 2, 0x08, 6])));
    cases.raw("a second header with another number", encoded(|block| block.extend([0x0a, 2, 0x08, 7])));
    cases.raw("a second data section", encoded(|block| block.extend([0x12, 8, 0x0a, 6, 0x0a, 1, 1, 0x12, 1, 1])));
    cases.raw("an entry of no bytes in a second data section", encoded(|block| block.extend([0x12, 2, 0x0a, 0])));
    cases.raw("cut off", encoded(|block| block.truncate(block.len() - 1)));
    cases.raw("no block", encoded(|block| *block = b"not a block at all".to_vec()));
    cases.raw("empty", encoded(Vec::clear));
}

/// Adds cases with changed numbers and hashes of headers.
fn links(cases: &mut Cases, made: &Made) {
    let orderer = &made.people.orderer;
    cases.with("a block is missing", made, |blocks| drop(blocks.remove(1)));
    cases.with("the first block is missing", made, |blocks| drop(blocks.remove(0)));
    cases.with("a block is there twice", made, |blocks| blocks.insert(1, blocks[0].clone()));
    cases.with("two blocks are swapped", made, |blocks| blocks.swap(1, 2));
    cases.with("another number", made, |blocks| {
        blocks[5].header.as_mut().unwrap().number = 7;
        sign(&mut blocks[5], 4, orderer);
    });
    cases.with("another previous hash", made, |blocks| {
        blocks[5].header.as_mut().unwrap().previous_hash = vec![1; 32].into();
        sign(&mut blocks[5], 4, orderer);
    });
    cases.with("no previous hash", made, |blocks| {
        blocks[5].header.as_mut().unwrap().previous_hash = Bytes::new();
        sign(&mut blocks[5], 4, orderer);
    });
    cases.with("a fork: the first block follows another one", made, |blocks| {
        blocks[0].header.as_mut().unwrap().previous_hash = vec![1; 32].into();
        sign(&mut blocks[0], 0, orderer);
        relink(blocks, 1, last_config, orderer);
    });
    cases.with("the highest number", made, |blocks| {
        blocks[5].header.as_mut().unwrap().number = u64::MAX;
        sign(&mut blocks[5], 4, orderer);
    });
    for (name, at, index) in [("last config index is too low", 5, 0), ("last config index is too high", 2, 2)] {
        cases.with(name, made, |blocks| sign(&mut blocks[at], index, orderer));
    }
}

/// Adds cases with changed signatures.
fn signatures(cases: &mut Cases, made: &Made) {
    let people = &made.people;
    let unsigned = |block: &mut Block| {
        let value = signed(block, 0, &people.orderer).value;
        put(block, &Metadata { value, signatures: Vec::new() });
    };
    cases.with("the last block is not signed", made, |blocks| unsigned(&mut blocks[5]));
    cases.with("the config block is not signed", made, |blocks| unsigned(&mut blocks[3]));
    cases.with("a block before is not signed", made, |blocks| unsigned(&mut blocks[1]));
    cases.with("a block before is signed by a client", made, |blocks| sign(&mut blocks[1], 0, &people.client));
    cases.with("the last block is signed by a client", made, |blocks| sign(&mut blocks[5], 4, &people.client));
    cases.with("the config block is signed by a client", made, |blocks| sign(&mut blocks[3], 4, &people.client));
    cases.with("each block is signed by another orderer", made, |blocks| {
        for block in blocks {
            sign(block, last_config(block.header.as_ref().unwrap().number), &people.other_orderer);
        }
    });
    cases.with("signed by an administrator", made, |blocks| sign(&mut blocks[5], 4, &people.orderer_admin));
    let change = |name, cases: &mut Cases, change: &dyn Fn(&mut Metadata)| {
        cases.with(name, made, |blocks| {
            let mut metadata = signed(&blocks[5], 4, &people.orderer);
            change(&mut metadata);
            put(&mut blocks[5], &metadata);
        });
    };
    change("a signature over another value", cases, &|metadata| {
        let mut value = OrdererBlockMetadata::decode(metadata.value.clone()).unwrap();
        value.consenter_metadata = Bytes::from_static(b"another");
        metadata.value = value.encode_to_vec().into();
    });
    change("the signature of another one", cases, &|metadata| {
        metadata.signatures[0].signature = signed(&made.blocks[4], 4, &people.orderer).signatures[0].signature.clone();
    });
    change("the signature with another one's certificate", cases, &|metadata| {
        metadata.signatures[0].signature_header =
            signed(&made.blocks[5], 4, &people.other_orderer).signatures[0].signature_header.clone();
    });
    change("a signature of no bytes", cases, &|metadata| metadata.signatures[0].signature = Bytes::new());
    change("a signature that is cut off", cases, &|metadata| {
        let signature = &mut metadata.signatures[0].signature;
        signature.truncate(signature.len() - 1);
    });
    change("a signature header that cannot be read", cases, &|metadata| {
        metadata.signatures[0].signature_header = Bytes::from_static(&[0xff; 7]);
    });
    change("a second signature header that cannot be read", cases, &|metadata| {
        let signature_header = Bytes::from_static(&[0xff; 7]);
        metadata.signatures.push(MetadataSignature { signature_header, ..MetadataSignature::default() });
    });
    change("a signature without a header", cases, &|metadata| {
        metadata.signatures[0].signature_header = Bytes::new();
    });
    change("a signature with an identifier in place of a header", cases, &|metadata| {
        metadata.signatures[0].signature_header = Bytes::new();
        metadata.signatures[0].identifier_header = Bytes::from_static(&[8, 1]);
    });
    change("a bad signature before a good one", cases, &|metadata| {
        let other = signed(&made.blocks[4], 4, &people.other_orderer).signatures.remove(0);
        metadata.signatures.insert(0, other);
    });
    change("several good signatures", cases, &|metadata| {
        metadata.signatures.extend(signed(&made.blocks[5], 4, &people.other_orderer).signatures);
    });
    change("as many signatures as are taken", cases, &|metadata| {
        metadata.signatures.resize(MAX_SIGNATURES, metadata.signatures[0].clone());
    });
    change("more signatures than orderers make", cases, &|metadata| {
        metadata.signatures.resize(MAX_SIGNATURES + 1, metadata.signatures[0].clone());
    });
    cases.with("the first metadata slot is garbage", made, |blocks| {
        blocks[5].metadata.as_mut().unwrap().metadata[0] = Bytes::from_static(&[0xff; 9]);
    });
    cases.with("the first metadata slot is empty", made, |blocks| {
        blocks[5].metadata.as_mut().unwrap().metadata[0] = Bytes::new();
    });
    cases.with("the signatures are in another slot", made, |blocks| {
        blocks[5].metadata.as_mut().unwrap().metadata.swap(0, 2);
    });
}

/// Adds cases with transactions that no client can have sent.
fn transactions(cases: &mut Cases, made: &Made) {
    let people = &made.people;
    let good = transaction(&people.client, HeaderType::EndorserTransaction, "good");
    let parts = Envelope::decode(good.clone()).unwrap();
    let field = |number: u32, bytes: &[u8]| {
        let mut out = Vec::new();
        append_key(&mut out, number, 2);
        append_varint(&mut out, bytes.len() as u64);
        out.extend_from_slice(bytes);
        out
    };
    let (payload, signature) = (field(1, &parts.payload), field(2, &parts.signature));
    // the length of the payload takes two bytes; encode it in three
    let mut longer = payload.clone();
    longer[2] |= 0x80;
    longer.insert(3, 0);
    let unknown = [0x7a, 3, 1, 2, 3];
    let ill = [
        ("a transaction without a signature", payload.clone()),
        ("a transaction with a signature of no bytes", [&payload[..], &[0x12, 0]].concat()),
        ("a transaction without a payload", signature.clone()),
        ("a transaction with a payload of no bytes", [&[0x0a, 0], &signature[..]].concat()),
        ("a transaction of no bytes", Vec::new()),
        ("a transaction that cannot be read", [&good[..], &[0xff]].concat()),
        ("a transaction with an unknown field behind", [&good[..], &unknown].concat()),
        ("a transaction with an unknown field in front", [&unknown, &good[..]].concat()),
        ("a transaction with its signature in front", [&signature[..], &payload].concat()),
        ("a transaction with two signatures", [&good[..], &signature].concat()),
        ("a transaction with a longer length", [&longer[..], &signature].concat()),
        ("a transaction with a payload of another type behind", [&good[..], &[0x08, 5]].concat()),
        ("a transaction with a payload of another type in front", [&[0x08, 5], &good[..]].concat()),
        ("an unknown field with a longer key", [&good[..], &[0xfa, 0x80, 0, 3, 1, 2, 3]].concat()),
    ];
    let block_of = |name, cases: &mut Cases, entries: Vec<Bytes>| {
        let mut next = block(1, &hash_of(&made.genesis), entries);
        sign(&mut next, 0, &people.orderer);
        cases.add(name, &[next]);
    };
    for (name, entry) in ill {
        block_of(name, cases, vec![good.clone(), entry.into()]);
    }
    let first = |payload: Payload| {
        let envelope = Envelope { payload: payload.encode_to_vec().into(), signature: Bytes::from_static(b"s") };
        Bytes::from(envelope.encode_to_vec())
    };
    let header = Payload::decode(parts.payload.clone()).unwrap().header;
    block_of("the first transaction has no header", cases, vec![first(Payload { header: None, data: "x".into() })]);
    let mut without = header.clone().unwrap();
    without.channel_header = Bytes::new();
    block_of(
        "the first transaction has no channel header",
        cases,
        vec![first(Payload { header: Some(without), data: "x".into() })],
    );
    let mut garbage = header.unwrap();
    garbage.channel_header = Bytes::from_static(&[0xff; 5]);
    let garbage = first(Payload { header: Some(garbage), data: "x".into() });
    block_of("the first transaction has an unreadable channel header", cases, vec![garbage.clone()]);
    block_of("the second transaction has an unreadable channel header", cases, vec![good.clone(), garbage]);
    let payload = Envelope { payload: Bytes::from_static(&[0xff; 5]), signature: Bytes::from_static(b"s") };
    let payload = Bytes::from(payload.encode_to_vec());
    block_of("the first transaction has an unreadable payload", cases, vec![payload.clone()]);
    block_of("the second transaction has an unreadable payload", cases, vec![good.clone(), payload]);
    let created = transaction(&people.orderer, HeaderType::OrdererTransaction, "no channel");
    block_of("a transaction that creates a channel", cases, vec![created.clone()]);
    block_of(
        "one that creates a channel, with an unknown field",
        cases,
        vec![[&created[..], &unknown].concat().into()],
    );
    let mut unsigned = Envelope::decode(created).unwrap();
    unsigned.signature = Bytes::new();
    block_of("one that creates a channel and is not signed", cases, vec![unsigned.encode_to_vec().into()]);
}

/// Adds cases with changed configurations, and with blocks verified by them.
fn configurations(cases: &mut Cases, made: &Made) {
    let people = &made.people;
    let with = |name, cases: &mut Cases, made: &Made, change: &dyn Fn(&mut Vec<Bytes>)| {
        cases.with(name, made, |blocks| {
            change(&mut blocks[3].data.as_mut().unwrap().data);
            rehash(&mut blocks[3]);
            sign(&mut blocks[3], 4, &people.orderer);
            relink(blocks, 4, last_config, &people.orderer);
        });
    };
    let more = transaction(&people.client, HeaderType::EndorserTransaction, "beside it");
    with("a config transaction is not alone", cases, made, &|data| data.push(more.clone()));
    cases.with("a config transaction is not alone, and counts for nothing", made, |blocks| {
        blocks[3].data.as_mut().unwrap().data.push(more.clone());
        rehash(&mut blocks[3]);
        sign(&mut blocks[3], 0, &people.orderer);
        relink(blocks, 4, |_| 0, &people.orderer);
    });
    // no orderer treats this as a configuration
    cases.with("a config transaction comes behind another one", made, |blocks| {
        blocks[3].data.as_mut().unwrap().data.insert(0, more.clone());
        rehash(&mut blocks[3]);
        sign(&mut blocks[3], 0, &people.orderer);
        relink(blocks, 4, |_| 0, &people.orderer);
    });
    with("a config transaction with an unknown field", cases, made, &|data| {
        data[0] = [&data[0][..], &[0x7a, 3, 1, 2, 3]].concat().into();
    });
    with("a config transaction that is not signed", cases, made, &|data| {
        let mut envelope = Envelope::decode(data[0].clone()).unwrap();
        envelope.signature = Bytes::new();
        data[0] = envelope.encode_to_vec().into();
    });
    with("a config transaction without a configuration", cases, made, &|data| {
        data[0] = transaction(&people.orderer, HeaderType::Config, "\u{1}");
    });
    with("a config transaction of no data", cases, made, &|data| {
        data[0] = transaction(&people.orderer, HeaderType::Config, "");
    });
    // an update for another configuration
    let other = Made::new(batch_of(77));
    let wrong_result = {
        let of = |entry: &Bytes| {
            let payload = Payload::decode(Envelope::decode(entry.clone()).unwrap().payload).unwrap();
            (payload.clone(), ConfigEnvelope::decode(payload.data).unwrap())
        };
        let (mut payload, mut mine) = of(&made.blocks[3].data.as_ref().unwrap().data[0]);
        mine.last_update = of(&other.blocks[3].data.as_ref().unwrap().data[0]).1.last_update;
        payload.data = mine.encode_to_vec().into();
        let envelope = Envelope { payload: payload.encode_to_vec().into(), signature: Bytes::from_static(b"s") };
        Bytes::from(envelope.encode_to_vec())
    };
    with("a configuration that is not its update's", cases, made, &|data| data[0] = wrong_result.clone());
    cases.with("a configuration is there twice", made, |blocks| {
        let twice = blocks[3].data.clone();
        blocks[5].data = twice;
        rehash(&mut blocks[5]);
        sign(&mut blocks[5], 6, &people.orderer);
    });
    // two configurations, each following from the one before it
    cases.with("two configurations", made, |blocks| {
        let mut sequence = start(&made.genesis);
        let mut snapshot = None;
        for block in &blocks[..4] {
            snapshot = take(&mut sequence, &block.encode_to_vec()).unwrap().snapshot;
        }
        blocks[4].data.as_mut().unwrap().data = vec![config_message(people, &snapshot.unwrap(), batch_of(99))];
        rehash(&mut blocks[4]);
        sign(&mut blocks[4], 5, &people.orderer);
        relink(blocks, 5, |_| 5, &people.orderer);
    });
}

/// Adds cases with config blocks that change the required signers.
fn policies(cases: &mut Cases, made: &Made) {
    let people = &made.people;
    // blocks after the config block need no signature
    let laxer = Made::new(signed_by_nobody);
    let unsigned_at = |block: &mut Block, last_config: u64| {
        let value = signed(block, last_config, &people.orderer).value;
        put(block, &Metadata { value, signatures: Vec::new() });
    };
    cases.with("no signatures are needed", &laxer, |blocks| {
        blocks[4..].iter_mut().for_each(|block| unsigned_at(block, 4));
    });
    let genesis = genesis_with(signed_by_nobody);
    let never = Made::behind(genesis.clone(), batch_of(50));
    for (name, is_there) in
        [("no signature was ever needed", true), ("no signature was ever needed, no metadata", false)]
    {
        let mut blocks = never.blocks[..2].to_vec();
        unsigned_at(&mut blocks[1], 0);
        if !is_there {
            blocks[1].metadata = None;
        }
        let blocks = blocks.iter().map(Block::encode_to_vec).collect();
        cases.0.push(Case { name, genesis: genesis.clone(), blocks });
    }
    cases.with("no signatures are needed, and one has an unreadable header", &laxer, |blocks| {
        let mut metadata = signed(&blocks[5], 4, &people.orderer);
        metadata.signatures[0].signature_header = Bytes::from_static(&[0xff; 7]);
        put(&mut blocks[5], &metadata);
    });
    // blocks after the config block must be signed by an administrator
    let stricter = Made::new(signed_by_admins);
    cases.add("the orderer may not sign behind the config block", &stricter.blocks);
    cases.add("the orderer may still sign the config block", &stricter.blocks[..4]);
    let admin = &stricter.people.orderer_admin;
    cases.with("an administrator signs behind the config block", &stricter, |blocks| {
        sign(&mut blocks[4], 4, admin);
        sign(&mut blocks[5], 4, admin);
    });
    cases.with("the orderer signs the last but one behind the config block", &stricter, |blocks| {
        sign(&mut blocks[5], 4, admin);
    });
}

/// Returns the sequence after the genesis block.
pub(crate) fn start(genesis: &Block) -> SequenceVerifier {
    let snapshot = ChannelSnapshot::from_config_block(genesis, &Arc::default()).unwrap();
    SequenceVerifier::after(ChainTip::of(&EncodedBlock::parse(&genesis.encode_to_vec()).unwrap(), snapshot))
}

pub(crate) fn take(sequence: &mut SequenceVerifier, block: &[u8]) -> Result<VerifiedBlock, SequenceError> {
    sequence.verify_next(read_block(&Bytes::copy_from_slice(block))?)
}
