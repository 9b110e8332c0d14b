//! Tests that Fabric's peers accept every kind of configuration that the node orders. Configurations that Fabric is
//! recorded to accept become config updates of one channel, which a v2.5 and a v3.1 peer process. A peer panics on a
//! configuration that it rejects, and again after each restart.
//!
//! `tests/run-long peers` runs the test. It needs the variables PEER_25 and PEER_31, the programs, and PEER_CONFIG, a
//! directory with Fabric's core.yaml. PEER_UPDATES sets the number of updates (default 200).

#![allow(
    clippy::unwrap_used,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::single_match_else,
    missing_docs
)]

use crate::world;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::Message;
use fabric_proto::common::{
    Block, Config, ConfigEnvelope, ConfigGroup, ConfigValue, Envelope, OrdererAddresses, Payload, Status,
};
use fabric_proto::msp::{FabricMspConfig, MspConfig};
use fabric_proto::orderer::ConsensusType;
use orderer_core::config::compute_update;
use orderer_core::types::ChannelId;
use orderer_verdicts::archive::unpack;
use orderer_verdicts::verdict::Outcome;
use orderer_verdicts::{Case, FabricVerdicts, Release};
use tempfile::TempDir;
use tokio::sync::watch;

use world::config_updates::{consenters, genesis_with, last_config, signed_update};
use world::tls;
use world::{Client, NET, Setup, TestIdentity, within};

const CHANNEL: &str = "app";
/// Time limit of a peer's log lines. A starting peer first opens databases, perhaps on a busy machine.
const PEER_PATIENCE: Duration = Duration::from_secs(90);

/// The parts of a configuration accepted by Fabric that can be added to the test's channel.
struct Graft {
    case: String,
    /// An organization of the case.
    organization: Option<(String, ConfigGroup)>,
    /// Policies of the case, which are added to the group Application.
    policies: ConfigGroup,
    /// Batch timeout, brokers and channel restrictions of the case.
    orderer_values: BTreeMap<String, ConfigValue>,
}

/// Returns the cases that both releases accept, alternating between families, so that any prefix has cases of all
/// kinds.
fn accepted_cases() -> Vec<Case> {
    let mut families = BTreeMap::<String, VecDeque<Case>>::new();
    for archive in ["configurations.tar.xz", "generated.tar.xz", "found.tar.xz"] {
        let files = unpack(&Path::new(NET).join("../verdicts").join(archive)).unwrap();
        let mut verdicts = FabricVerdicts::default();
        verdicts.add(Release::V2_5, &files["go25.tsv"]).unwrap();
        verdicts.add(Release::V3_1, &files["go31.tsv"]).unwrap();
        for (_, content) in files.iter().filter(|(name, _)| name.ends_with(".cases")) {
            for case in Case::read_all(content.clone()).unwrap() {
                let is_accepted = |release| {
                    verdicts.get(release, &case.name).is_some_and(|verdict| verdict.outcome == Outcome::Accepted)
                };
                if is_accepted(Release::V2_5) && is_accepted(Release::V3_1) {
                    families.entry(case.family().to_owned()).or_default().push_back(case);
                }
            }
        }
    }
    let mut cases = Vec::new();
    while !families.is_empty() {
        families.retain(|_, cases_left| {
            cases.extend(cases_left.pop_front());
            !cases_left.is_empty()
        });
    }
    cases
}

/// Returns the parts of a case's last configuration that can be added to the channel: one graft per organization.
fn grafts(case: &Case) -> Vec<Graft> {
    let Some(root) = case.blocks.last().and_then(config_in).and_then(|config| config.channel_group) else {
        return Vec::new();
    };
    let mut policies = ConfigGroup { policies: root.policies.clone(), ..ConfigGroup::default() };
    let mut organizations = Vec::new();
    for group in root.groups.values() {
        policies.policies.extend(group.policies.clone());
        organizations.extend(group.groups.clone());
    }
    let of_orderer = root.groups.get("Orderer").map(|orderer| &orderer.values);
    let orderer_values: BTreeMap<_, _> = of_orderer
        .into_iter()
        .flatten()
        .filter(|(name, _)| ["BatchTimeout", "KafkaBrokers", "ChannelRestrictions"].contains(&name.as_str()))
        // a later update has to be able to change the value
        .map(|(name, value)| (name.clone(), ConfigValue { mod_policy: "Admins".to_owned(), ..value.clone() }))
        .collect();
    let graft = |organization| Graft {
        case: case.name.clone(),
        organization,
        policies: policies.clone(),
        orderer_values: orderer_values.clone(),
    };
    let with_msp = organizations.into_iter().filter(|(_, group)| group.values.contains_key("MSP"));
    let with: Vec<Graft> = with_msp.map(|organization| graft(Some(organization))).collect();
    if with.is_empty() { vec![graft(None)] } else { with }
}

/// Returns the configuration in a config block, or `None` if it does not parse.
fn config_in(block: &Bytes) -> Option<Config> {
    let block = Block::decode(block.clone()).ok()?;
    let envelope = Envelope::decode(block.data?.data.first()?.clone()).ok()?;
    let payload = Payload::decode(envelope.payload).ok()?;
    ConfigEnvelope::decode(payload.data).ok()?.config
}

impl Graft {
    /// Returns an encoding by which equal grafts are recognized.
    fn bytes(&self) -> Vec<u8> {
        let mut all = self.policies.clone();
        all.values.clone_from(&self.orderer_values);
        all.groups.extend(self.organization.clone().map(|(_, group)| (String::new(), group)));
        all.encode_to_vec()
    }

    /// Returns the channel's `own` configuration with this graft. Added elements get names that are new in the
    /// `present` configuration, because a case may forbid any change of its elements.
    fn on(&self, own: &Config, present: &Config, number: usize) -> Config {
        let mut config = own.clone();
        let root = config.channel_group.as_mut().unwrap();
        let application = root.groups.get_mut("Application").unwrap();
        let taken = &present.channel_group.as_ref().unwrap().groups["Application"];
        let new = |name: &str, is_taken: bool| if is_taken { format!("{name}.{number}") } else { name.to_owned() };
        for (name, policy) in &self.policies.policies {
            application.policies.insert(new(name, taken.policies.contains_key(name)), policy.clone());
        }
        if let Some((name, group)) = &self.organization {
            let values = group.values.iter().filter(|(name, _)| ["MSP", "AnchorPeers"].contains(&name.as_str()));
            let mut values: BTreeMap<_, _> = values.map(|(name, value)| (name.clone(), value.clone())).collect();
            if let Some(msp) = values.get_mut("MSP")
                && let Some(definition) = renamed(&msp.value, number)
            {
                msp.value = definition;
            }
            let organization = ConfigGroup { values, groups: BTreeMap::new(), ..group.clone() };
            application.groups.insert(new(name, taken.groups.contains_key(name)), organization);
        }
        root.groups.get_mut("Orderer").unwrap().values.extend(self.orderer_values.clone());
        config
    }
}

/// Returns the definition of an MSP under a new name, because cases use the names of the channel's organizations.
/// Returns `None` if the definition is not encoded canonically.
fn renamed(definition: &Bytes, number: usize) -> Option<Bytes> {
    let mut outer = MspConfig::decode(definition.clone()).ok()?;
    let mut msp = FabricMspConfig::decode(outer.config.clone()).ok()?;
    if outer.encode_to_vec() != definition[..] || msp.encode_to_vec() != outer.config[..] {
        return None;
    }
    msp.name = format!("{}.{number}", msp.name);
    outer.config = msp.encode_to_vec().into();
    Some(outer.encode_to_vec().into())
}

/// A peer process. It is killed when the value is dropped.
struct Peer {
    program: PathBuf,
    organization: u8,
    folder: TempDir,
    address: String,
    running: Option<(Child, watch::Receiver<Vec<String>>)>,
}

impl Peer {
    fn new(variable: &str, organization: u8) -> Self {
        let program = PathBuf::from(env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set")));
        Self {
            program,
            organization,
            folder: tempfile::tempdir().unwrap(),
            address: format!("127.0.0.1:{}", free_port()),
            running: None,
        }
    }

    fn command(&self, msp: &str, arguments: &[&str]) -> Command {
        let organization = self.organization;
        let domain = format!("org{organization}.example.com");
        let msp = format!("{NET}/crypto/peerOrganizations/{domain}/{msp}{domain}/msp");
        let tls = PathBuf::from(format!("{NET}/crypto/peerOrganizations/{domain}/peers/peer0.{domain}/tls"));
        let folder = self.folder.path().display();
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("FABRIC_CFG_PATH", env::var_os("PEER_CONFIG").expect("PEER_CONFIG is not set"))
            .env("CORE_PEER_ID", format!("peer0.{domain}"))
            .env("CORE_PEER_ADDRESS", &self.address)
            .env("CORE_PEER_LISTENADDRESS", &self.address)
            .env("CORE_PEER_CHAINCODELISTENADDRESS", "127.0.0.1:0")
            .env("CORE_PEER_GOSSIP_BOOTSTRAP", &self.address)
            .env("CORE_PEER_LOCALMSPID", format!("Org{organization}MSP"))
            .env("CORE_PEER_MSPCONFIGPATH", msp)
            .env("CORE_PEER_FILESYSTEMPATH", format!("{folder}/production"))
            .env("CORE_LEDGER_SNAPSHOTS_ROOTDIR", format!("{folder}/snapshots"))
            .env("CORE_PEER_TLS_ENABLED", "true")
            .env("CORE_PEER_TLS_CERT_FILE", tls.join("server.crt"))
            .env("CORE_PEER_TLS_KEY_FILE", tls.join("server.key"))
            .env("CORE_PEER_TLS_ROOTCERT_FILE", tls.join("ca.crt"))
            .env("CORE_OPERATIONS_LISTENADDRESS", "127.0.0.1:0")
            .stdin(Stdio::null());
        command
    }

    async fn start(&mut self) {
        let mut child = self
            .command("peers/peer0.", &["node", "start"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (log, lines) = watch::channel(Vec::new());
        let from = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                log.send_modify(|lines| lines.push(line));
            }
        });
        self.running = Some((child, lines));
        self.line("Started peer with ID").await;
    }

    /// Waits for a log line that contains this text.
    async fn line(&mut self, text: &str) {
        let (child, log) = self.running.as_mut().unwrap();
        let has_it = |lines: &Vec<String>| lines.iter().rev().any(|line| line.contains(text));
        let found = tokio::time::timeout(PEER_PATIENCE, log.wait_for(has_it)).await.is_ok_and(|found| found.is_ok());
        let ended = child.try_wait().unwrap();
        let newest = || log.borrow().iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n");
        assert!(found, "{}: never in the log: {text}; ended: {ended:?}\n{}", self.program.display(), newest());
    }

    fn stop(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Runs a command of `peer` as administrator and returns its output.
    fn ask(&self, arguments: &[&str]) -> String {
        let ended = self.command("users/Admin@", arguments).output().unwrap();
        let text = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        assert!(ended.status.success(), "{}: {arguments:?}: {text}", self.program.display());
        text
    }

    /// Returns the number of blocks that the peer has committed.
    fn height(&self) -> u64 {
        let answer = self.ask(&["channel", "getinfo", "-c", CHANNEL]);
        let height = answer.split_once("\"height\":").unwrap().1;
        height[..height.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap()
    }

    /// Returns the number of panics in the peer's log.
    fn panics(&self) -> usize {
        let (_, log) = self.running.as_ref().unwrap();
        log.borrow().iter().filter(|line| line.starts_with("panic:") || line.contains("goroutine 1 [")).count()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns the genesis block of the channel, whose orderer listens on this port. Its type is etcdraft, because a v3.1
/// peer pulls no blocks of channels of the types solo and kafka.
fn genesis(port: u16) -> Vec<u8> {
    let addresses = OrdererAddresses { addresses: vec![format!("127.0.0.1:{port}")] }.encode_to_vec();
    genesis_with(|root| {
        root.values.get_mut("OrdererAddresses").unwrap().value = addresses.clone().into();
        let consensus = ConsensusType {
            r#type: "etcdraft".to_owned(),
            metadata: consenters(&["orderer.example.com"]).encode_to_vec().into(),
            ..ConsensusType::default()
        };
        let orderer = root.groups.get_mut("Orderer").unwrap();
        orderer.values.get_mut("ConsensusType").unwrap().value = consensus.encode_to_vec().into();
        for organization in orderer.groups.values_mut() {
            organization.values.get_mut("Endpoints").unwrap().value = addresses.clone().into();
        }
        for organization in root.groups.get_mut("Application").unwrap().groups.values_mut() {
            organization.values.remove("AnchorPeers");
        }
    })
}

/// Sends the update from the present to the next configuration.
async fn update(client: &Client, present: &Config, next: &Config) -> Result<(), String> {
    let channel = ChannelId::parse(CHANNEL).unwrap();
    let update = compute_update(&channel, present, next).map_err(|e| e.to_string())?;
    let (org1, org2, orderer) = (TestIdentity::admin(1), TestIdentity::admin(2), TestIdentity::orderer_admin());
    let signed = signed_update(&org1, &[&org1, &org2, &orderer], CHANNEL, &update);
    match client.broadcast(signed).await {
        (Status::Success, _) => Ok(()),
        (status, info) => Err(format!("{status:?}: {info}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Fabric's peers: tests/run-long peers"]
async fn peers_survive_what_fabric_accepts() {
    let wanted: usize = env::var("PEER_UPDATES").map_or(200, |text| text.parse().unwrap());
    let setup = Setup::application();
    let file = setup.folder().join("genesis.block");
    fs::write(&file, genesis(setup.port())).unwrap();
    let setup = setup.set("GENERAL_BOOTSTRAPFILE", file.display()).set("CONSENSUS_SERVE_ETCDRAFT", "solo");
    let setup = tls::secured(setup);
    let node = setup.start().await;
    let (client, admin) = (tls::client(&node).await, TestIdentity::admin(1));
    let own = last_config(&client, &admin, CHANNEL).await;
    let mut peers = [Peer::new("PEER_25", 1), Peer::new("PEER_31", 2)];
    for peer in &mut peers {
        peer.start().await;
        peer.ask(&["channel", "join", "-b", file.to_str().unwrap()]);
    }

    let cases = tokio::task::spawn_blocking(accepted_cases).await.unwrap();
    let (began, accepted) = (Instant::now(), cases.len());
    let (mut ordered, mut refused, mut alike) = (0, BTreeMap::<String, String>::new(), 0);
    let (mut families, mut seen) = (BTreeSet::new(), HashSet::new());
    let mut present = own.clone();
    for graft in cases.iter().flat_map(grafts) {
        if ordered == wanted {
            break;
        }
        if !seen.insert(graft.bytes()) {
            alike += 1;
            continue;
        }
        match update(&client, &present, &graft.on(&own, &present, ordered)).await {
            Err(reason) => drop(refused.insert(graft.case, reason)),
            Ok(()) => {
                ordered += 1;
                families.insert(graft.case.split('/').next().unwrap_or_default().to_owned());
                println!("block {ordered}: {}", graft.case);
                for peer in &mut peers {
                    peer.line(&format!("[{CHANNEL}] Committed block [{ordered}] ")).await;
                }
                present = within("the configuration", last_config(&client, &admin, CHANNEL)).await;
            }
        }
    }
    let took = began.elapsed();
    for (case, reason) in &refused {
        println!("not ordered: {case}: {}", reason.chars().take(300).collect::<String>());
    }
    for peer in &mut peers {
        assert_eq!((peer.height(), peer.panics()), (ordered as u64 + 1, 0));
        // a restarted peer reads the last configuration again
        peer.stop();
        peer.start().await;
        let height = peer.height();
        println!("{}: {height} blocks, {} panics, also after a restart", peer.program.display(), peer.panics());
        assert_eq!((height, peer.panics()), (ordered as u64 + 1, 0));
    }
    node.assert_no_panic();
    let (families, refused) = (families.len(), refused.len());
    println!(
        "{accepted} cases accepted by both releases; {ordered} updates of {families} families ordered in {took:.1?}, {alike} like others, {refused} refused by the node"
    );
    assert_eq!(ordered, wanted, "so many updates were ordered");
}
