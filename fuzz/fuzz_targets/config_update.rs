//! Fuzzes config updates of a channel whose policies need no signatures, and whole configurations.

#![no_main]

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{Config, ConfigGroup, ConfigUpdate};
use libfuzzer_sys::fuzz_target;
use orderer_core::config::{
    ChannelSnapshot, ProposedConfig, compute_update, validate_consenters_change, validate_migration,
};
use orderer_core::identity::WorkLimit;
use orderer_fuzz::{OPEN, SNAPSHOT, app, meaning, snapshot, unsigned};

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    let rest = Bytes::copy_from_slice(rest);
    match kind % 3 {
        0 => {
            let Ok(update) = ConfigUpdate::decode(rest) else { return };
            propose(&OPEN, &update);
            assert!(SNAPSHOT.propose(&unsigned(&update)).is_err(), "where policies hold, nobody's update is refused");
        }
        // merge the groups of a random tree into a real configuration, so that some results are valid configurations
        1 => {
            let Ok(random) = ConfigGroup::decode(rest) else { return };
            let mut config = OPEN.config();
            merge(config.channel_group.as_mut().expect("has one"), random);
            let Some(target) = snapshot(config) else { return };
            if let Ok(update) = compute_update(&app(), &OPEN.config(), &target.config()) {
                if let Some(next) = propose(&OPEN, &update) {
                    assert_eq!(
                        meaning(&next.channel_group()),
                        meaning(&target.channel_group()),
                        "it leads to its target"
                    );
                }
            }
        }
        _ => {
            let Ok(config) = Config::decode(rest) else { return };
            let _ = snapshot(config);
        }
    }
});

fn propose(current: &ChannelSnapshot, update: &ConfigUpdate) -> Option<ChannelSnapshot> {
    let before = current.config();
    let ProposedConfig { envelope, next } = current.propose(&unsigned(update)).ok()?;
    assert_eq!(current.config(), before, "the configuration in force stays");
    assert_eq!(next.sequence().0, current.sequence().0 + 1);
    let applied = current.apply(&envelope).expect("what is proposed can be applied");
    assert_eq!(applied.config(), next.config());
    let _ = (validate_migration(current, &next), validate_consenters_change(current, &next, WorkLimit::Bounded));
    Some(next)
}

fn merge(group: &mut ConfigGroup, random: ConfigGroup) {
    group.values.extend(random.values);
    group.policies.extend(random.policies);
    for (name, below) in random.groups {
        match group.groups.get_mut(&name) {
            Some(existing) => merge(existing, below),
            None => {
                group.groups.insert(name, below);
            }
        }
    }
}
