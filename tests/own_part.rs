//! Tests how a node treats channels that it may not order, or may no longer order.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::fabric_ledger;
use crate::world;

use fabric_proto::Message as _;
use fabric_proto::common::{Config, ConfigGroup, ConfigUpdate, ConfigValue, OrdererAddresses, Policy, Status};
use fabric_proto::common::{MspPrincipal, MspRole, SignaturePolicy, SignaturePolicyEnvelope, signature_policy};
use reqwest::Method;
use serde_json::{Value, json};
use world::config_updates::{
    create_channel, creation, genesis_with, last_config, last_config_number, same_version, signed_update, update_of,
};
use world::http::{Http, send};
use world::messages::transaction;
use world::{Node, Setup, TestIdentity, within};

/// `LOST` becomes a channel whose policy rejects this node's blocks. `KEPT` stays one that accepts them.
const LOST: &str = "mychan";
const KEPT: &str = "otherchan";

/// Returns a policy by which a member of this organization has to sign.
fn signed_by(msp_id: &str) -> SignaturePolicyEnvelope {
    let role = MspRole { msp_identifier: msp_id.to_owned(), role: 0 };
    let principal = MspPrincipal { principal_classification: 0, principal: role.encode_to_vec().into() };
    let of = |kind| SignaturePolicy { r#type: Some(kind) };
    let one = of(signature_policy::Type::SignedBy(0));
    let rule = of(signature_policy::Type::NOutOf(signature_policy::NOutOf { n: 1, rules: vec![one] }));
    SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities: vec![principal] }
}

/// Returns an update after which only Org1 may sign blocks.
fn another_policy(config: &Config) -> ConfigUpdate {
    let orderer = &config.channel_group.as_ref().unwrap().groups["Orderer"];
    update_of(config, LOST, |read, write| {
        read.groups.insert("Orderer".to_owned(), same_version(orderer));
        let mut policy = orderer.policies["BlockValidation"].clone();
        policy.version += 1;
        policy.policy = Some(Policy { r#type: 1, value: signed_by("Org1MSP").encode_to_vec().into() });
        let mut changed = same_version(orderer);
        changed.policies.insert("BlockValidation".to_owned(), policy);
        write.groups.insert("Orderer".to_owned(), changed);
    })
}

/// Returns an update after which Org1 is the only orderer organization.
fn another_organization(config: &Config) -> ConfigUpdate {
    let root = config.channel_group.as_ref().unwrap();
    let orderer = &root.groups["Orderer"];
    let mut successor =
        root.groups["Application"].groups.iter().find(|(name, _)| name.contains("Org1")).unwrap().1.clone();
    successor.values.retain(|key, _| key == "MSP");
    successor.policies.retain(|key, _| ["Admins", "Readers", "Writers"].contains(&key.as_str()));
    let unchanged = |group: &ConfigGroup| {
        let values = group
            .values
            .iter()
            .map(|(key, value)| (key.clone(), ConfigValue { version: value.version, ..ConfigValue::default() }));
        let policies = group.policies.iter().map(|(key, policy)| {
            (key.clone(), fabric_proto::common::ConfigPolicy { version: policy.version, ..Default::default() })
        });
        ConfigGroup { values: values.collect(), policies: policies.collect(), ..same_version(group) }
    };
    update_of(config, LOST, |read, write| {
        // unchanged elements are in both sets, because an element only in the write set counts as written
        read.groups.insert("Orderer".to_owned(), unchanged(orderer));
        let changed = ConfigGroup {
            version: orderer.version + 1,
            mod_policy: orderer.mod_policy.clone(),
            groups: [("Successor".to_owned(), successor)].into(),
            ..unchanged(orderer)
        };
        write.groups.insert("Orderer".to_owned(), changed);
    })
}

/// Returns the reason that the health check gives for a channel, which must be the only failed check.
async fn unhealthy(node: &mut Node, channel: &str) -> String {
    let operations = Http::of(node, "operations").await;
    let health = operations.get("/healthz").await;
    let checks = health.json()["failed_checks"].clone();
    assert_eq!((health.status, checks.as_array().map(Vec::len)), (503, Some(1)), "{checks}");
    assert_eq!(checks[0]["component"], json!(format!("channel {channel}")));
    checks[0]["reason"].as_str().unwrap().to_owned()
}

async fn check_locked_out(update: impl Fn(&Config) -> ConfigUpdate) {
    let setup = Setup::system();
    let (user, admin, orderer_admin) = (TestIdentity::user(1), TestIdentity::admin(1), TestIdentity::orderer_admin());
    let mut node = setup.start().await;
    let client = node.client().await;
    for channel in [LOST, KEPT] {
        create_channel(&mut node, &client, &format!("{channel}.tx")).await;
        client.order([transaction(&user, channel, "before")]).await;
        client.block(&user, channel, 1).await;
    }
    let update = update(&last_config(&client, &admin, LOST).await);
    let answer = client.broadcast(signed_update(&admin, &[&orderer_admin], LOST, &update)).await;
    assert_eq!(answer, (Status::Success, String::new()));

    let line = node.line("channel has failed").await;
    for part in ["channel=mychan", "do not satisfy BlockValidation of channel mychan", "OrdererMSP"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // the block with the update satisfies the policy before it, and is the last one
    let last = client.newest_block(&user, LOST).await;
    assert_eq!((last.header.as_ref().unwrap().number, last_config_number(&last)), (2, 2));
    let (status, told) = client.broadcast(transaction(&user, LOST, "after")).await;
    assert_eq!(status, Status::ServiceUnavailable, "{told}");
    assert!(told.contains("do not satisfy BlockValidation"), "{told}");
    assert!(unhealthy(&mut node, LOST).await.contains("do not satisfy BlockValidation of channel mychan"));
    client.order([transaction(&user, KEPT, "after")]).await;
    client.block(&user, KEPT, 2).await;

    // a restart of the chain or of the node does not change that
    let operations = Http::of(&mut node, "operations").await;
    let restarted = send(operations.request(Method::POST, "/debug/channels/mychan/restart")).await;
    assert_eq!(restarted.status, 202, "{restarted:?}");
    let (status, told) = client.broadcast(transaction(&user, LOST, "after a restart")).await;
    assert_eq!(status, Status::ServiceUnavailable, "{told}");
    node.stop().await;
    let verified = setup.again(&["ledger", "verify"]).run();
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let checked = setup.again(&["config", "check"]).run();
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stdout.contains("do not satisfy BlockValidation of channel mychan"), "{}", checked.stdout);
    assert!(!checked.stdout.contains("of channel otherchan"), "{}", checked.stdout);

    let mut node = setup.spawn();
    node.line("channel has failed").await;
    node.wait_for_chain(KEPT).await;
    let client = node.client().await;
    client.order([transaction(&user, KEPT, "after")]).await;
    client.block(&user, KEPT, 3).await;
    assert_eq!(client.chain(&user, LOST).await.len(), 3);
    assert!(unhealthy(&mut node, LOST).await.contains("OrdererMSP"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_locks_this_node_out_fails_its_channel_alone() {
    check_locked_out(another_policy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_removes_this_nodes_organization_fails_its_channel_alone() {
    check_locked_out(another_organization).await;
}

fn addresses(addresses: &[&str]) -> bytes::Bytes {
    let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    OrdererAddresses { addresses }.encode_to_vec().into()
}

/// Returns the text and the action of the only warning about the channel `app`.
async fn warning(operations: &Http) -> (String, Value) {
    let warnings = operations.get("/debug/warnings").await.json()["warnings"].clone();
    let all = warnings.as_array().unwrap();
    let of_channel: Vec<_> = all.iter().filter(|one| one["about"] == json!(["app"])).collect();
    assert_eq!(of_channel.len(), 1, "{warnings}");
    (of_channel[0]["text"].as_str().unwrap().to_owned(), of_channel[0]["action"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_solo_channel_that_names_several_orderers_is_warned_about_from_the_update_on() {
    const TEXT: &str = "each of them that serves it makes a chain of its own";
    let setup = Setup::application();
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let (client, user, admin, orderer_admin) =
        (node.client().await, TestIdentity::user(1), TestIdentity::admin(1), TestIdentity::orderer_admin());
    assert_eq!(operations.get("/debug/warnings").await.json()["warnings"], json!([]));
    assert!(!node.log().contains(TEXT));
    let checked = setup.again(&["config", "check"]).run();
    assert!(!checked.stdout.contains(TEXT), "{}", checked.stdout);

    let config = last_config(&client, &user, "app").await;
    let root = config.channel_group.as_ref().unwrap();
    let mut value = root.values["OrdererAddresses"].clone();
    value.version += 1;
    value.value = addresses(&["127.0.0.1:7050", "127.0.0.1:8050"]);
    let update = update_of(&config, "app", |_, write| {
        write.values.insert("OrdererAddresses".to_owned(), value);
    });
    let answer =
        client.broadcast(signed_update(&admin, &[&admin, &TestIdentity::admin(2), &orderer_admin], "app", &update));
    assert_eq!(answer.await, (Status::Success, String::new()));
    let line = node.line(TEXT).await;
    for part in ["WARN", "channel=app", "127.0.0.1:7050, 127.0.0.1:8050"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let (text, action) = warning(&operations).await;
    assert_eq!(text, "1 channel is of type solo, and its configuration names several orderers");
    assert!(action.as_str().unwrap().contains("let one orderer serve it"), "{action}");
    node.stop().await;

    let checked = setup.again(&["config", "check"]).run();
    assert!(checked.stdout.contains(TEXT), "{}", checked.stdout);
    let mut node = setup.start().await;
    node.line(TEXT).await;
    node.stop().await;
}

/// The default ledger directory is that of Fabric's orderer.
#[test]
fn the_default_place_of_ledgers_is_fabrics() {
    let printed = Setup::without_channels().arguments(&["config", "check", "--print"]).run();
    assert!(printed.stdout.contains("/var/hyperledger/production/orderer"), "{}", printed.stdout);
}

#[test]
fn a_fabric_orderers_ledgers_are_refused_by_name_until_they_are_imported() {
    let setup = Setup::without_channels();
    let location = fabric_ledger::unpack(setup.folder());
    let genesis = setup.folder().join("genesis.block");
    std::fs::write(&genesis, genesis_with(|_| {})).unwrap();
    let setup = setup
        .set("GENERAL_LOCALMSPDIR", world::node::orderer_folder().join("msp").display())
        .set("GENERAL_LOCALMSPID", "OrdererMSP")
        .set("GENERAL_BOOTSTRAPMETHOD", "file")
        .set("GENERAL_BOOTSTRAPFILE", genesis.display())
        .set("FILELEDGER_LOCATION", location.display());
    let refused = setup.run();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let command = format!("orderer ledger import --from-fabric {}", location.display());
    for part in ["FileLedger.Location", "mychan, otherchan, syschan", &command] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    let channels = std::fs::read_dir(location.join("channels")).map_or(0, Iterator::count);
    assert_eq!(channels, 0, "no chain begins anew");
    let checked = setup.again(&["config", "check"]).run();
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stdout.contains(&command), "{}", checked.stdout);

    // the proposed command resolves the finding
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let imported = setup.again(&words).run();
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let checked = setup.again(&["config", "check"]).run();
    assert!(!checked.stdout.contains("--from-fabric"), "{}", checked.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_whose_creation_failed_can_be_created_without_a_restart() {
    // the creation is valid and the ledger is created, but the block with the creation is not written
    let setup = Setup::system().variable("FAILPOINTS", "registrar/syschan/block-writer:Commit=1*error");
    let mut node = setup.start().await;
    let (client, admin) = (node.client().await, TestIdentity::admin(1));
    let request = || signed_update(&admin, &[&admin], LOST, &creation("mychan.tx"));
    let (status, told) = client.broadcast(request()).await;
    assert_eq!(status, Status::ServiceUnavailable, "{told}");
    node.line("channel was not created; removing its ledger").await;
    assert!(!setup.ledger_file(LOST).exists());
    let again = async {
        loop {
            let answer = client.broadcast(request()).await;
            if answer.0 != Status::ServiceUnavailable {
                return answer;
            }
        }
    };
    assert_eq!(within("the system channel's chain is back", again).await, (Status::Success, String::new()));
    node.wait_for_chain(LOST).await;
    client.order([transaction(&TestIdentity::user(1), LOST, "first")]).await;
    node.stop().await;
}
