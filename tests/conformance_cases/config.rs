//! Cases that configure the channel.

use bytes::Bytes;
use fabric_proto::Message;
use fabric_proto::common::{Capabilities, Capability, ConfigEnvelope, ConfigGroup, ConfigUpdate, ConfigValue};
use fabric_proto::orderer::{BatchSize, BatchTimeout, ConsensusType};

use super::{MYCHAN, Script};
use crate::world::TestIdentity;
use crate::world::config_updates::{last_config, same_version, signed_update, update_of};
use crate::world::messages::{CONFIG, CONFIG_UPDATE, envelope};

const MB: u32 = 1 << 20;

pub async fn update(script: &mut Script) {
    let (user, admin) = (script.cast.user.clone(), script.cast.admin.clone());
    let orderer_admin = script.cast.orderer_admin.clone();
    let client = script.client.clone();
    let config = last_config(&client, &admin, MYCHAN).await;
    let orderer = config.channel_group.as_ref().unwrap().groups["Orderer"].clone();

    // an update of one value of the Orderer group
    let value = |name: &str, bytes: Bytes, raise_by: u64| -> ConfigUpdate {
        update_of(&config, MYCHAN, |read, write| {
            let old = orderer.values.get(name);
            let value = ConfigValue {
                version: old.map_or(0, |old| old.version + raise_by),
                value: bytes,
                mod_policy: old.map_or("Admins", |old| &old.mod_policy).to_owned(),
            };
            let group = ConfigGroup { values: [(name.to_owned(), value)].into(), ..same_version(&orderer) };
            read.groups.insert("Orderer".to_owned(), same_version(&orderer));
            write.groups.insert("Orderer".to_owned(), group);
        })
    };
    let batch = |max_message_count, absolute_max_bytes, preferred_max_bytes, raise_by| {
        let size = BatchSize { max_message_count, absolute_max_bytes, preferred_max_bytes };
        value("BatchSize", bytes(&size), raise_by)
    };
    let good = || batch(20, 10 * MB, 2 * MB, 1);
    let by_orderer: &[&TestIdentity] = &[&orderer_admin];

    let mut send = async |case: &str, update: ConfigUpdate, signers: &[&TestIdentity]| {
        let request = signed_update(&admin, signers, MYCHAN, &update);
        script.broadcast(&format!("config/{case}"), [request]).await;
    };
    send("garbage", update_of(&config, MYCHAN, |_, _| {}), &[&admin]).await;
    script.broadcast("config/garbage data", [envelope(&admin, CONFIG_UPDATE, MYCHAN, "garbage")]).await;
    let mut send = async |case: &str, update: ConfigUpdate, signers: &[&TestIdentity]| {
        let request = signed_update(&admin, signers, MYCHAN, &update);
        script.broadcast(&format!("config/{case}"), [request]).await;
    };
    send("unsigned", good(), &[]).await;
    send("signed by org1's admin", good(), &[&admin]).await;
    send("signed by a client of org1", good(), &[&user]).await;
    send("version skips one", batch(20, 10 * MB, 2 * MB, 2), by_orderer).await;
    send("version not raised", batch(20, 10 * MB, 2 * MB, 0), by_orderer).await;
    send("zero message count", batch(0, 10 * MB, 2 * MB, 1), by_orderer).await;
    send("zero absolute bytes", batch(20, 0, 2 * MB, 1), by_orderer).await;
    send("preferred over absolute", batch(20, MB, 2 * MB, 1), by_orderer).await;
    send("wrong channel inside", ConfigUpdate { channel_id: "other".to_owned(), ..good() }, by_orderer).await;
    for (case, timeout) in [("garbage", "soon"), ("negative", "-1s"), ("zero", "0s")] {
        let timeout = BatchTimeout { timeout: timeout.to_owned() };
        send(&format!("timeout {case}"), value("BatchTimeout", bytes(&timeout), 1), by_orderer).await;
    }
    for (case, name) in [("to kafka", "kafka"), ("unknown", "dice")] {
        let consensus = ConsensusType { r#type: name.to_owned(), ..ConsensusType::default() };
        send(&format!("consensus type {case}"), value("ConsensusType", bytes(&consensus), 1), by_orderer).await;
    }
    let unknown = Capabilities { capabilities: [("V99_0".to_owned(), Capability {})].into() };
    send("capability not known", value("Capabilities", bytes(&unknown), 1), by_orderer).await;
    let extra = value("Extra", "x".into(), 1);
    send("new value in the orderer group without raising it", extra, by_orderer).await;
    send("good", good(), by_orderer).await;
    // the update is in force when its block exists
    client.block(&admin, MYCHAN, 5).await;
    send("same again", good(), by_orderer).await;
    let wrapped = ConfigEnvelope { config: Some(config.clone()), last_update: None };
    script.broadcast("config/wrapped as CONFIG", [envelope(&admin, CONFIG, MYCHAN, bytes(&wrapped))]).await;
    // wait until the block with the only message of the system channel is cut
    client.block(&orderer_admin, "syschan", 3).await;
}

fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}
