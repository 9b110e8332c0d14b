//! Cases that create a channel through the system channel.

use fabric_proto::Message as _;
use fabric_proto::common::{ConfigGroup, ConfigUpdate, Consortium, Envelope};

use super::{MYCHAN, Script};
use crate::world::config_updates::{creation, signed_update};
use crate::world::{Node, TestIdentity};

fn named(id: &str, admin: &TestIdentity, signers: &[&TestIdentity], change: impl FnOnce(&mut ConfigGroup)) -> Envelope {
    let mut update = ConfigUpdate { channel_id: id.to_owned(), ..creation("mychan.tx") };
    change(update.write_set.as_mut().unwrap());
    if update.write_set.as_ref().is_some_and(|set| !set.values.contains_key("Consortium")) {
        update.read_set.as_mut().unwrap().values.remove("Consortium");
    }
    signed_update(admin, signers, id, &update)
}

pub async fn create(script: &mut Script, node: &mut Node) {
    let (admin, user, other) = (script.cast.admin.clone(), script.cast.user.clone(), script.cast.orderer_admin.clone());
    let mychan = |signers: &[&TestIdentity]| named(MYCHAN, &admin, signers, |_| {});
    script.broadcast("create/unsigned", [mychan(&[])]).await;
    script.broadcast("create/signed by a client", [mychan(&[&user])]).await;
    script.broadcast("create/signed by another org's admin", [mychan(&[&other])]).await;

    let (longest, too_long) = ("x".repeat(249), "x".repeat(250));
    let names = ["", ".", "..", "A", "Upper", "1abc", "-abc", "a_b", "a b", "ch/an", &longest, &too_long];
    for name in names {
        let case = format!("create/name {:?} len {}", &name[..name.len().min(12)], name.len());
        script.broadcast(&case, [named(name, &admin, &[&admin], |_| {})]).await;
    }

    let chx = |change: fn(&mut ConfigGroup)| [named("chx", &admin, &[&admin], change)];
    let application = |set: &mut ConfigGroup| set.groups.remove("Application");
    let case = chx(|set| drop(set.values.remove("Consortium")));
    script.broadcast("create/no consortium", case).await;
    let case = chx(|set| {
        let nope = Consortium { name: "Nope".to_owned() }.encode_to_vec();
        set.values.get_mut("Consortium").unwrap().value = nope.into();
    });
    script.broadcast("create/unknown consortium", case).await;
    let case = [named("chx", &admin, &[&admin], |set| drop(application(set)))];
    script.broadcast("create/no application group", case).await;
    let case = chx(|set| set.groups.get_mut("Application").unwrap().version = 0);
    script.broadcast("create/application version 0", case).await;
    let case = chx(|set| {
        let members = &mut set.groups.get_mut("Application").unwrap().groups;
        members.insert("Other".to_owned(), ConfigGroup::default());
    });
    script.broadcast("create/org outside the consortium", case).await;
    let case = [signed_update(&admin, &[&admin], "other", &creation("mychan.tx"))];
    script.broadcast("create/header names another channel", case).await;

    script.broadcast("create/good", [mychan(&[&admin])]).await;
    node.wait_for_chain(MYCHAN).await;
    script.broadcast("create/again", [mychan(&[&admin])]).await;
}
