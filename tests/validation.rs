//! Measures the latency of one channel's clients while costly config updates of another channel are validated. The test
//! is short by default. `tests/run-long judging` makes it long with the variables `JUDGING_SIZE` (bytes of an update)
//! and `JUDGING_PAIRS`.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{
    Config, ConfigGroup, ConfigSignature, ConfigUpdate, ConfigUpdateEnvelope, ConfigValue, Envelope, SignatureHeader,
    Status,
};
use fabric_proto::msp::MspConfig;
use orderer_case_generator::large::costly_definition;
use orderer_case_generator::pem;
use tokio::sync::mpsc;
use world::config_updates::{last_config, same_version, signed_update, update_of};
use world::identities::{certificate_of, serialized};
use world::messages::{CONFIG_UPDATE, envelope, nonce, transaction};
use world::{Client, Node, Setup, Step, TestIdentity, many_channels, within};

/// Number of clients of the measured channel.
const CLIENTS: usize = 2;
/// Maximum latency of an envelope on the measured channel. On a slow machine the limit is half of the time that the
/// update takes, if that is longer.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Maximum time to validate an update. It can take some twenty seconds of CPU time, and on a busy machine it gets a
/// tenth of a processor.
const JUDGED_MAX: Duration = Duration::from_secs(3600);
/// Size of an honest envelope's data.
const HONEST_BYTES: usize = 1000;
/// Margin between the size of the largest update and the channel's limit, in bytes.
const ROOM: usize = 24 << 10;

fn wanted(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Sends envelopes one after the other until `stop` is set. Returns the latency of each.
async fn honest(client: Client, stop: Arc<AtomicBool>, begun: mpsc::Sender<()>) -> Vec<Duration> {
    let (user, mut took) = (TestIdentity::user(2), Vec::new());
    let mut stream = client.broadcasting().await;
    while !stop.load(Ordering::Relaxed) {
        let envelope = transaction(&user, "channel0", vec![7; HONEST_BYTES]);
        let began = Instant::now();
        stream.send(envelope).await;
        assert_eq!(stream.next().await, Step::Status(Status::Success, String::new()));
        took.push(began.elapsed());
        // only the first is received; later ones fail because the channel is full or closed
        let _ = begun.try_send(());
    }
    took
}

/// Measures the latencies of honest clients while another future runs.
async fn meanwhile<T>(node: &Node, other: impl Future<Output = T>) -> (Vec<Duration>, T) {
    let stop = Arc::<AtomicBool>::default();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (begun, mut first) = mpsc::channel(1);
        clients.push(tokio::spawn(honest(node.client().await, Arc::clone(&stop), begun)));
        within("the first answer", first.recv()).await;
    }
    let done = other.await;
    stop.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.unwrap());
    }
    took.sort_unstable();
    (took, done)
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// Broadcasts an update that takes long to validate. Returns the response and its latency.
async fn judged(client: &Client, update: Envelope) -> ((Status, String), Duration) {
    let (requests, mut answers) = client.broadcasting().await.split();
    let began = Instant::now();
    requests.unwrap().send(update).await.unwrap();
    let answer = tokio::time::timeout(JUDGED_MAX, answers.message()).await.expect("an answer").unwrap().unwrap();
    ((answer.status(), answer.info), began.elapsed())
}

/// An administrator of an organization replaces its definition, with a changed MSP ID. The node detects the change only
/// after it has validated the definition. Validated definitions are cached, so each has a different name.
struct Administrator {
    definition: fabric_proto::msp::FabricMspConfig,
    config: Config,
}

impl Administrator {
    async fn new(client: &Client, size: usize) -> Self {
        let config = last_config(client, &TestIdentity::user(1), "channel1").await;
        Self { definition: costly_definition(size - ROOM), config }
    }

    fn update(&self, number: usize) -> Envelope {
        let definition =
            fabric_proto::msp::FabricMspConfig { name: format!("Renamed{number}"), ..self.definition.clone() };
        let application = &self.config.channel_group.as_ref().unwrap().groups["Application"];
        let organization = &application.groups["Org1MSP"];
        let old = &organization.values["MSP"];
        let value = MspConfig { r#type: 0, config: definition.encode_to_vec().into() }.encode_to_vec();
        let value = ConfigValue { version: old.version + 1, value: value.into(), ..old.clone() };
        let update = update_of(&self.config, "channel1", |read, write| {
            let around = |organization: ConfigGroup| ConfigGroup {
                groups: [("Org1MSP".to_owned(), organization)].into(),
                ..same_version(application)
            };
            read.groups.insert("Application".to_owned(), around(same_version(organization)));
            let changed = ConfigGroup { values: [("MSP".to_owned(), value)].into(), ..same_version(organization) };
            write.groups.insert("Application".to_owned(), around(changed));
        });
        let admin = TestIdentity::admin(1);
        signed_update(&admin, &[&admin], "channel1", &update)
    }
}

/// A member of an organization sends an update with as many forged signatures as fit. The node parses the certificate
/// of each, and finds that the CA has not signed it.
struct Member {
    config: Config,
    size: usize,
}

impl Member {
    fn update(&self, number: usize) -> Envelope {
        let root = self.config.channel_group.as_ref().unwrap();
        let old = &root.groups["Orderer"].values["BatchTimeout"];
        let update: ConfigUpdate = update_of(&self.config, "channel1", |read, write| {
            let orderer = same_version(&root.groups["Orderer"]);
            read.groups.insert("Orderer".to_owned(), orderer.clone());
            let value = ConfigValue { version: old.version + 1, ..old.clone() };
            write.groups.insert(
                "Orderer".to_owned(),
                ConfigGroup { values: [("BatchTimeout".to_owned(), value)].into(), ..orderer },
            );
        });
        let member = TestIdentity::user(1);
        let good = pem::der_of(&certificate_of(&member.creator)).unwrap();
        let forged = |serial: usize| {
            let mut der = good.clone();
            let end = der.len();
            // within the second integer of its signature
            der[end - 8..].copy_from_slice(&(((number as u64) << 32) | serial as u64 | 1).to_be_bytes());
            let creator = serialized("Org1MSP", pem::certificate(&der));
            let header = SignatureHeader { creator, nonce: nonce() }.encode_to_vec();
            ConfigSignature { signature_header: header.into(), signature: Bytes::from_static(&[0x30]) }
        };
        let one = forged(0).encoded_len() + 4;
        let signatures = (0..(self.size - ROOM) / one).map(|serial| forged(2 * serial)).collect();
        let config_update = update.encode_to_vec().into();
        envelope(&member, CONFIG_UPDATE, "channel1", ConfigUpdateEnvelope { config_update, signatures }.encode_to_vec())
    }
}

/// Measures alternately without and with updates, so that other load on the machine affects both.
async fn in_pairs(
    node: &Node,
    pairs: usize,
    who: &str,
    update: impl Fn(usize) -> Envelope,
    (refused, least): (&[&str], usize),
) {
    let sender = node.client().await;
    let (mut ratios, mut longest, mut quiet_time) = (Vec::new(), Duration::ZERO, Duration::from_millis(500));
    for pair in 0..pairs {
        let envelope = update(pair);
        let size = envelope.encoded_len() >> 10;
        let (quiet, ()) = meanwhile(node, tokio::time::sleep(quiet_time)).await;
        let (busy, ((status, info), took)) = meanwhile(node, judged(&sender, envelope)).await;
        // the update was validated up to its costly end, and the other channel ordered envelopes meanwhile
        assert_ne!(status, Status::Success);
        assert!(refused.iter().any(|text| info.contains(text)), "{status:?}: {info}");
        assert!(busy.len() >= least, "{} envelopes in {took:?}", busy.len());
        let wait_max = WAIT_MAX.max(took / 2);
        assert!(*busy.last().unwrap() < wait_max, "an envelope took {:?} of {took:?}", busy.last());
        let ratio = percentile(&busy, 99).as_secs_f64() / percentile(&quiet, 99).as_secs_f64();
        eprintln!(
            "{who}, {size} KiB judged in {took:.1?}: p50 {:.1?}, p99 {:.1?} of {}; without: p50 {:.1?}, p99 {:.1?} of {}; {ratio:.2}",
            percentile(&busy, 50),
            percentile(&busy, 99),
            busy.len(),
            percentile(&quiet, 50),
            percentile(&quiet, 99),
            quiet.len(),
        );
        ratios.push(ratio);
        longest = longest.max(took);
        quiet_time = took.max(quiet_time);
    }
    #[allow(clippy::cast_precision_loss, reason = "a few")]
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    eprintln!("{who}: p99 with and without in {pairs} pairs: {mean:.2}; an update took {longest:.1?} at most");
    node.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_hardly_feels_what_is_judged_for_another() {
    let (size, pairs) = (wanted("JUDGING_SIZE", 96 << 10), wanted("JUDGING_PAIRS", 2));
    let node = many_channels::channels(Setup::without_channels(), 2).start().await;
    let client = node.client().await;
    let administrator = Administrator::new(&client, size).await;
    let reasons = ["attempted to change MSP ID", "too much work to verify certificates"];
    in_pairs(&node, pairs, "an administrator", |number| administrator.update(number), (&reasons, 3 * CLIENTS)).await;
    let member = Member { config: administrator.config, size };
    let reasons = ["signature set did not satisfy policy", "sub-policies"];
    in_pairs(&node, pairs, "a member", |number| member.update(number), (&reasons, CLIENTS)).await;
}
