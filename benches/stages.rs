//! Benchmark of each stage of processing an envelope: parse, hash, verify, evaluate policies, cut, assemble. The ledger
//! has its own benchmark for writing blocks to disk.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fabric_proto::Message as _;
use fabric_proto::common::{ChannelHeader, Config, Header, HeaderType, Payload, SignatureHeader};
use fabric_proto::msp::{FabricMspConfig, MspConfig};
use orderer_core::block::{BlockContents, EncodedBlock, assemble};
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::crypto::{PublicKey, Signer, SigningIdentity, SigningKey, sha256};
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::ordering::block_cutter::{BatchLimits, BlockCutter};
use orderer_core::policy::{SignedData, Signers};
use orderer_core::processing::{MessageOrigin, ValidationContext, validate_normal};
use orderer_core::types::{BlockNumber, ChannelId, UnixSeconds};
use orderer_localconfig::local_msp::read_signing_identity;
use rcgen::{KeyPair, PublicKeyData as _};

const NET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/net");
const AT: ValidationContext =
    ValidationContext { now: UnixSeconds(0), expiration_checks: true, judging: MessageOrigin::Client };

fn identity(member: &str, msp_id: &str) -> SigningIdentity {
    read_signing_identity(&Path::new(NET).join("crypto").join(member).join("msp"), msp_id).unwrap()
}

fn client() -> SigningIdentity {
    identity("peerOrganizations/org1.example.com/users/User1@org1.example.com", "Org1MSP")
}

fn snapshot() -> ChannelSnapshot {
    let block = EncodedBlock::parse(&fs::read(Path::new(NET).join("AppSolo.block")).unwrap()).unwrap();
    ChannelSnapshot::from_config_block(&block.decode(), &Arc::default()).unwrap()
}

/// Returns an envelope of a client with 1 KiB of data.
fn envelope(client: &SigningIdentity) -> SignedEnvelope {
    let channel_header = ChannelHeader {
        r#type: HeaderType::EndorserTransaction as i32,
        channel_id: "app".into(),
        ..ChannelHeader::default()
    };
    let signature_header = SignatureHeader { creator: client.creator().clone(), nonce: vec![1; 24].into() };
    let payload = Payload {
        header: Some(Header {
            channel_header: channel_header.encode_to_vec().into(),
            signature_header: signature_header.encode_to_vec().into(),
        }),
        data: vec![7; 1024].into(),
    };
    SignedEnvelope::sign(payload.encode_to_vec().into(), client).unwrap()
}

fn of_an_envelope(c: &mut Criterion) {
    let (client, snapshot) = (client(), snapshot());
    let envelope = envelope(&client);
    let raw = envelope.raw().clone();
    let mut group = c.benchmark_group("envelope of 1 KiB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("read", |b| {
        b.iter(|| ParsedEnvelope::parse(SignedEnvelope::parse(black_box(raw.clone())).unwrap()).unwrap());
    });
    group.bench_function("hash", |b| b.iter(|| sha256(&[black_box(&raw)])));
    let message = ParsedEnvelope::parse(envelope.clone()).unwrap();
    let datum = SignedData {
        message: envelope.payload().clone(),
        creator: client.creator().clone(),
        signature: envelope.signature().clone(),
    };
    group.bench_function("verify P-256", |b| {
        b.iter(|| Signers::verify(black_box(std::slice::from_ref(&datum)), snapshot.msps()));
    });
    let signers = Signers::verify(std::slice::from_ref(&datum), snapshot.msps());
    group.bench_function("policy Writers", |b| {
        b.iter(|| snapshot.policies().evaluate(black_box("/Channel/Writers"), &signers).unwrap());
    });
    group.bench_function("all filters", |b| b.iter(|| validate_normal(&snapshot, black_box(&message), AT).unwrap()));
    group.finish();
}

fn of_a_block(c: &mut Criterion) {
    let orderer = identity("ordererOrganizations/example.com/orderers/orderer.example.com", "OrdererMSP");
    let envelopes = vec![envelope(&client()); 10];
    let contents = || BlockContents {
        number: BlockNumber(7),
        previous_hash: &[9; 32],
        envelopes: &envelopes,
        last_config: BlockNumber(0),
        consenter_metadata: Bytes::new(),
    };
    let mut group = c.benchmark_group("block of ten");
    group.bench_function("assemble and sign", |b| {
        b.iter(|| assemble(black_box(contents()), &orderer, [3; 24]).unwrap());
    });
    let block = assemble(contents(), &orderer, [3; 24]).unwrap().block_bytes();
    group.bench_function("read back", |b| b.iter(|| EncodedBlock::parse(black_box(&block)).unwrap()));
    group.finish();

    let limits = BatchLimits { max_message_count: 10, preferred_max_bytes: 1 << 20 };
    c.bench_function("cutter, 1000 messages", |b| {
        b.iter_batched(
            BlockCutter::default,
            |mut cutter| (0..1000).for_each(|i| drop(black_box(cutter.ordered(i, 1300, limits)))),
            BatchSize::SmallInput,
        );
    });
}

/// Returns the configuration of the fixtures' application channel with this many organizations, each with its own name
/// and definition.
fn config_of(organizations: usize) -> Config {
    let mut config = snapshot().config();
    let application = config.channel_group.as_mut().unwrap().groups.get_mut("Application").unwrap();
    let model = application.groups["Org1MSP"].clone();
    application.groups = (0..organizations)
        .map(|number| {
            let (mut organization, name) = (model.clone(), format!("Org{number}MSP"));
            let value = organization.values.get_mut("MSP").unwrap();
            let mut msp = MspConfig::decode(value.value.clone()).unwrap();
            let mut definition = FabricMspConfig::decode(msp.config).unwrap();
            definition.name.clone_from(&name);
            msp.config = definition.encode_to_vec().into();
            value.value = msp.encode_to_vec().into();
            (name, organization)
        })
        .collect();
    config
}

fn of_a_configuration(c: &mut Criterion) {
    let config = config_of(10);
    let channel = ChannelId::parse("app").unwrap();
    let read =
        |catalog: &Arc<ConfigCache>| ChannelSnapshot::from_config(channel.clone(), config.clone(), catalog).unwrap();
    let mut group = c.benchmark_group("configuration of ten organizations");
    group.bench_function("the first channel", |b| b.iter(|| read(&Arc::default())));
    let catalog = Arc::default();
    let first = read(&catalog);
    group.bench_function("another channel like it", |b| b.iter(|| read(&catalog)));
    assert!(first.shares_with(&read(&catalog)));
    group.finish();
}

/// Measures one signature verification for each key type of members.
fn of_signatures(c: &mut Criterion) {
    let mut group = c.benchmark_group("signatures");
    group.throughput(Throughput::Elements(1));
    for (name, algorithm) in [("P-256", &rcgen::PKCS_ECDSA_P256_SHA256), ("Ed25519", &rcgen::PKCS_ED25519)] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let public = PublicKey::from_spki_der(&key.subject_public_key_info()).unwrap();
        let key = SigningKey::from_pem(key.serialize_pem().as_bytes()).unwrap();
        let message = vec![7; 1024];
        let signature = key.sign(&message).unwrap();
        group.bench_function(name, |b| {
            b.iter(|| assert!(public.verify(black_box(&message), black_box(&signature)).is_ok()));
        });
    }
    group.finish();
}

criterion_group!(benches, of_an_envelope, of_signatures, of_a_block, of_a_configuration);
criterion_main!(benches);
