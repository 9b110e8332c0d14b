//! Tests which consenter a channel's configuration selects.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::ConfigValue;
use fabric_proto::etcdraft::{ConfigMetadata, Consenter, Options};
use fabric_proto::orderer::{ConsensusType, KafkaBrokers};
use orderer_core::block::EncodedBlock;
use orderer_core::config::{
    ChannelSnapshot, ConfigCache, ConsensusMapping, ConsenterKind, ConsentersError, EtcdraftMapping,
    UnsupportedConsensus, check_created, validate_consenters_change,
};
use orderer_core::identity::WorkLimit;
use orderer_core::own::{self, CertificateReplacement, ChannelNotServed, ClusterCertificate};
use orderer_core::types::ChannelId;

const NET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/net");

fn tls_certificate(orderer: &str) -> Bytes {
    let orderers = format!("{NET}/crypto/ordererOrganizations/example.com/orderers");
    std::fs::read(format!("{orderers}/{orderer}.example.com/tls/server.crt")).unwrap().into()
}

fn consenter(orderer: &str) -> Consenter {
    let certificate = tls_certificate(orderer);
    Consenter {
        host: format!("{orderer}.example.com"),
        port: 7050,
        client_tls_cert: certificate.clone(),
        server_tls_cert: certificate,
    }
}

fn metadata(consenters: Vec<Consenter>) -> ConfigMetadata {
    let options = Options {
        tick_interval: "500ms".to_owned(),
        election_tick: 10,
        heartbeat_tick: 1,
        max_inflight_blocks: 5,
        snapshot_interval_size: 0,
    };
    ConfigMetadata { consenters, options: Some(options) }
}

/// Returns the fixtures' channel with another consensus type.
fn snapshot(consensus_type: &str, metadata: &impl fabric_proto::Message, brokers: &[&str]) -> ChannelSnapshot {
    let block = std::fs::read(format!("{NET}/AppSolo.block")).unwrap();
    let catalog = Arc::<ConfigCache>::default();
    let solo = ChannelSnapshot::from_config_block(&EncodedBlock::parse(&block).unwrap().decode(), &catalog).unwrap();
    let mut config = solo.config();
    let orderer = config.channel_group.as_mut().unwrap().groups.get_mut("Orderer").unwrap();
    let mut set = |name: &str, value: Vec<u8>| {
        let value = ConfigValue { value: value.into(), mod_policy: "Admins".to_owned(), ..ConfigValue::default() };
        orderer.values.insert(name.to_owned(), value);
    };
    let consensus = ConsensusType {
        r#type: consensus_type.to_owned(),
        metadata: metadata.encode_to_vec().into(),
        ..ConsensusType::default()
    };
    set("ConsensusType", consensus.encode_to_vec());
    let brokers = brokers.iter().map(|&broker| broker.to_owned()).collect();
    set("KafkaBrokers", KafkaBrokers { brokers }.encode_to_vec());
    ChannelSnapshot::from_config(ChannelId::parse("app").unwrap(), config, &catalog).unwrap()
}

fn raft(consenters: Vec<Consenter>) -> ChannelSnapshot {
    snapshot("etcdraft", &metadata(consenters), &[])
}

fn serving(etcdraft: EtcdraftMapping, brokers: &[&str]) -> ConsensusMapping {
    ConsensusMapping { etcdraft, brokers: brokers.iter().map(|&broker| broker.to_owned()).collect() }
}

fn kafka(brokers: &[&str]) -> ConsenterKind {
    ConsenterKind::Kafka { brokers: brokers.iter().map(|&broker| broker.to_owned()).collect() }
}

#[test]
fn solo_and_kafka_are_what_they_say() {
    let serving = serving(EtcdraftMapping::Nothing, &["other:9092"]);
    assert_eq!(serving.engine(&snapshot("solo", &(), &[])), Ok(ConsenterKind::Solo));
    assert_eq!(serving.engine(&snapshot("kafka", &(), &["own:9092"])), Ok(kafka(&["own:9092"])));
}

#[test]
fn etcdraft_with_one_consenter_is_ordered_alone() {
    assert_eq!(serving(EtcdraftMapping::Solo, &[]).engine(&raft(vec![consenter("orderer")])), Ok(ConsenterKind::Solo));
    assert_eq!(
        ConsensusMapping::default().engine(&raft(vec![consenter("orderer")])),
        Ok(ConsenterKind::Raft),
        "unless it is told"
    );
}

#[test]
fn etcdraft_with_two_consenters_is_not_ordered_by_each_alone() {
    let two = raft(vec![consenter("orderer"), consenter("orderer2")]);
    let refused = serving(EtcdraftMapping::Solo, &[]).engine(&two).unwrap_err();
    assert_eq!(refused, UnsupportedConsensus::Several(2));
    assert!(refused.to_string().contains("set it to raft or kafka"), "{refused}");
    assert_eq!(serving(EtcdraftMapping::Kafka, &["k:9092"]).engine(&two), Ok(kafka(&["k:9092"])));
}

#[test]
fn etcdraft_as_raft_is_ordered_by_its_consenters_however_many() {
    let serving = serving(EtcdraftMapping::Raft, &["k:9092"]);
    for orderers in [&["orderer"][..], &["orderer", "orderer2"]] {
        let channel = raft(orderers.iter().map(|&orderer| consenter(orderer)).collect());
        assert_eq!(serving.engine(&channel), Ok(ConsenterKind::Raft));
        let other = [Bytes::from_static(b"another key")];
        assert_eq!(own::engine(&serving, &channel, &other), Ok(ConsenterKind::Raft), "its chain looks for the key");
        assert_eq!(own::engine(&serving, &channel, &[]), Err(ChannelNotServed::NoTls));
    }
    assert_eq!(serving.engine(&raft(vec![])), Err(UnsupportedConsensus::Consenters(ConsentersError::Empty)));
    assert_eq!(serving.engine(&snapshot("solo", &(), &[])), Ok(ConsenterKind::Solo));
}

#[test]
fn etcdraft_on_kafka_takes_the_brokers_of_the_settings_then_those_it_came_with() {
    let came_from_kafka = snapshot("etcdraft", &metadata(vec![consenter("orderer")]), &["own:9092"]);
    assert_eq!(serving(EtcdraftMapping::Kafka, &[]).engine(&came_from_kafka), Ok(kafka(&["own:9092"])));
    assert_eq!(serving(EtcdraftMapping::Kafka, &["k:9092"]).engine(&came_from_kafka), Ok(kafka(&["k:9092"])));
    assert_eq!(
        serving(EtcdraftMapping::Kafka, &[]).engine(&raft(vec![consenter("orderer")])),
        Err(UnsupportedConsensus::NoBrokers)
    );
}

#[test]
fn what_is_not_served_says_so() {
    assert_eq!(ConsensusMapping::default().engine(&snapshot("BFT", &(), &[])), Err(UnsupportedConsensus::Bft));
    assert_eq!(
        ConsensusMapping::default().engine(&snapshot("pbft", &(), &[])),
        Err(UnsupportedConsensus::Unknown("pbft".to_owned()))
    );
    assert_eq!(
        serving(EtcdraftMapping::Nothing, &[]).engine(&raft(vec![consenter("orderer")])),
        Err(UnsupportedConsensus::NotMapped)
    );
}

#[test]
fn no_channel_is_created_that_no_orderer_could_order() {
    for consensus_type in ["BFT", "pbft", "", "Solo"] {
        let refused = check_created(&snapshot(consensus_type, &(), &[]), WorkLimit::Bounded).unwrap_err();
        assert_eq!(refused.to_string(), format!("error retrieving consenter of type: {consensus_type}"));
    }
    assert_eq!(
        check_created(&snapshot("etcdraft", &metadata(vec![]), &[]), WorkLimit::Bounded),
        Err(ConsentersError::Empty)
    );
    for good in [raft(vec![consenter("orderer")]), snapshot("solo", &(), &[]), snapshot("kafka", &(), &["k:9092"])] {
        assert_eq!(check_created(&good, WorkLimit::Bounded), Ok(()));
    }
}

#[test]
fn consenters_are_checked_as_fabric_does() {
    let refused =
        |metadata: &ConfigMetadata| match ConsensusMapping::default().engine(&snapshot("etcdraft", metadata, &[])) {
            Err(UnsupportedConsensus::Consenters(error)) => error,
            other => panic!("{other:?}"),
        };
    let good = metadata(vec![consenter("orderer")]);
    let options = |change: fn(&mut Options)| {
        let mut changed = good.clone();
        change(changed.options.as_mut().unwrap());
        changed
    };
    assert_eq!(refused(&ConfigMetadata { options: None, ..good.clone() }), ConsentersError::NoOptions);
    assert_eq!(refused(&metadata(vec![])), ConsentersError::Empty);
    let zero = refused(&options(|o| o.max_inflight_blocks = 0));
    assert_eq!(zero, ConsentersError::ZeroOption { heartbeat: 1, election: 10, inflight: 0 });
    let slow = refused(&options(|o| o.heartbeat_tick = 10));
    assert_eq!(slow, ConsentersError::ElectionTick { election: 10, heartbeat: 10 });
    for interval in ["", "0s", "soon"] {
        let mut changed = good.clone();
        interval.clone_into(&mut changed.options.as_mut().unwrap().tick_interval);
        assert_eq!(refused(&changed), ConsentersError::TickInterval(interval.to_owned()));
    }
    let garbled = Consenter { server_tls_cert: "no PEM".into(), ..consenter("orderer") };
    assert!(matches!(refused(&metadata(vec![garbled])), ConsentersError::Certificate { side: "server", .. }));
    let of_a_peer = std::fs::read(format!("{NET}/../pki/client-and-peer.pem")).unwrap();
    let stranger = Consenter { client_tls_cert: of_a_peer.into(), ..consenter("orderer") };
    let refused_stranger = refused(&metadata(vec![stranger]));
    let text = refused_stranger.to_string();
    assert!(text.contains("was not issued by a TLS certificate authority"), "{text}");
    let begins =
        "consenter orderer.example.com:7050 has invalid certificate: verifying tls client cert with serial number ";
    assert!(text.starts_with(begins) && text.contains(": x509: certificate signed by unknown authority"), "{text}");
    let twice = Consenter { host: "elsewhere".to_owned(), ..consenter("orderer") };
    assert!(matches!(
        refused(&metadata(vec![consenter("orderer"), twice])),
        ConsentersError::Duplicate { host, .. } if host == "elsewhere"
    ));
}

#[test]
fn consenters_change_one_at_a_time() {
    let (one, two) = (raft(vec![consenter("orderer")]), raft(vec![consenter("orderer"), consenter("orderer2")]));
    let other = raft(vec![consenter("orderer2")]);
    for (from, to) in [(&one, &two), (&two, &one), (&one, &other), (&one, &one)] {
        validate_consenters_change(from, to, WorkLimit::Bounded).unwrap();
    }
    let none = snapshot("solo", &(), &[]);
    validate_consenters_change(&none, &two, WorkLimit::Bounded).unwrap();
    let from_nobody = raft(vec![]);
    assert_eq!(
        validate_consenters_change(&from_nobody, &two, WorkLimit::Bounded),
        Err(ConsentersError::ManyChanges { added: 2, removed: 0 })
    );
}

#[test]
fn a_new_certificate_waits_while_a_channel_names_the_old_one() {
    let key = |orderer| {
        let pem = tls_certificate(orderer);
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        own::public_key_of(&pem.contents).unwrap()
    };
    let (old, new) = (key("orderer"), key("orderer2"));
    let names = |orderers: &[&str]| raft(orderers.iter().map(|orderer| consenter(orderer)).collect());
    let judge = |channels: &[&ChannelSnapshot], which| {
        let judged = CertificateReplacement::of(channels.iter().copied(), which, &old, &new);
        (judged.is_allowed(), judged.need_old.len(), judged.need_new.len())
    };
    let (both, old_only, new_only) = (names(&["orderer", "orderer2"]), names(&["orderer"]), names(&["orderer2"]));
    let (server, client) = (ClusterCertificate::Server, ClusterCertificate::Client);
    assert_eq!(judge(&[], server), (true, 0, 0), "a node without channels");
    assert_eq!(judge(&[&old_only], server), (false, 1, 0));
    assert_eq!(judge(&[&new_only, &old_only], server), (false, 1, 1), "half of the channels name it");
    assert_eq!(judge(&[&both, &new_only], server), (false, 1, 1), "the old one is added to, not replaced");
    assert_eq!(judge(&[&new_only, &new_only], server), (true, 0, 2));
    assert_eq!(judge(&[&names(&[])], server), (true, 0, 0), "this node is no consenter");
    // client and server certificates are named separately
    let mut half = consenter("orderer");
    half.client_tls_cert = tls_certificate("orderer2");
    let half = raft(vec![half]);
    assert_eq!((judge(&[&half], client), judge(&[&half], server)), ((true, 0, 1), (false, 1, 0)));
    let same = CertificateReplacement::of([&old_only], server, &old, &old);
    assert!(same.is_allowed(), "renewed with its key");
}
