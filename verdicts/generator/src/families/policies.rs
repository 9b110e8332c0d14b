//! Cases with unusual policies, principals and capabilities.

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{CombinedPrincipal, MspPrincipal, OrganizationUnit, Policy, SignaturePolicy};
use fabric_proto::msp::{FabricCryptoConfig, SerializedIdentity};

use super::{chain_of, crew, level, one_of, orderers, role};
use crate::network::{
    Chain, LEVELS, Signer, anybody, capabilities, channel, meta, n_of, organization, policy, set_anchors, signatures,
    signed_by, signed_update,
};
use crate::pem;
use crate::rng::Rng;

/// Returns a random principal that may match the member.
fn principal(rng: &mut Rng, member: &[u8], depth: usize) -> MspPrincipal {
    let make = |principal_classification, principal: Vec<u8>| MspPrincipal {
        principal_classification,
        principal: principal.into(),
    };
    let id = *rng.pick(&["Org1MSP", "Org1MSP", "Org1MSP", "OrdererMSP", "", "NoMSP"]);
    match rng.below(10) {
        0..=2 => role(id, rng.below(7) as i32 - 1),
        3 => {
            let unit = OrganizationUnit {
                msp_identifier: id.to_owned(),
                organizational_unit_identifier: (*rng.pick(&["admin", "client", ""])).to_owned(),
                certifiers_identifier: Bytes::from(rng.bytes(32)),
            };
            make(1, unit.encode_to_vec())
        }
        4 => {
            let identity = SerializedIdentity { mspid: id.to_owned(), id_bytes: pem::certificate(member).into() };
            make(2, identity.encode_to_vec())
        }
        5 => make(3, rng.pick(&[vec![], vec![8, 0], vec![8, 1], vec![8, 2], vec![0xff]]).clone()),
        6 | 7 if depth < 4 => {
            let principals = (0..rng.below(4)).map(|_| principal(rng, member, depth + 1)).collect();
            make(4, CombinedPrincipal { principals }.encode_to_vec())
        }
        8 => {
            let kind = *rng.pick(&[0, 1, 2, 4, 5, -1]);
            let n = rng.below(5);
            make(kind, rng.bytes(n))
        }
        _ => role("Org1MSP", rng.below(2) as i32),
    }
}

fn rule(rng: &mut Rng, identities: usize, depth: usize) -> SignaturePolicy {
    match rng.below(8) {
        0 if rng.percent(10) => SignaturePolicy { r#type: None },
        0..=2 if depth < 5 => {
            let rules: Vec<_> = (0..rng.below(4)).map(|_| rule(rng, identities, depth + 1)).collect();
            let n = *rng.pick(&[0, 1, 1, 1, 2, 3, -1, i32::MAX, rules.len() as i32]);
            n_of(n, rules)
        }
        3 if rng.percent(10) => signed_by(*rng.pick(&[-1, identities as i32, i32::MAX, i32::MIN])),
        _ => signed_by(rng.below(identities) as i32),
    }
}

/// Policies over unusual principals.
pub(super) fn principals(rng: &mut Rng, chain: &mut Chain) -> String {
    let level = level(rng);
    let (config, members) = crew(rng);
    let identities: Vec<_> = (0..=rng.below(3)).map(|_| principal(rng, &members[0].0, 0)).collect();
    let rule = rule(rng, identities.len(), 0);
    let signers: Vec<_> = members.iter().map(|(der, key)| Signer::new("Org1MSP", pem::certificate(der), key)).collect();
    let described = format!("{level}, {} identities, {} signers", identities.len(), signers.len());
    chain_of(chain, level, &config, signatures(rule, identities), &signers);
    described
}

/// Policies of all types at any place of the tree, and unusual names of policies.
pub(super) fn policies(rng: &mut Rng, chain: &mut Chain) -> String {
    const NAMES: [&str; 9] = [
        "Admins",
        "",
        "/Channel",
        "/Channel/Admins",
        "/Channel/Application/Org1/Admins",
        "Org1/Admins",
        "None",
        "/",
        "/Channel/",
    ];
    let level = level(rng);
    let (config, members) = crew(rng);
    let mut root = channel(level, orderers(), organization(&config, one_of(role("Org1MSP", 0))));
    let mut what = Vec::new();
    for _ in 0..=rng.below(3) {
        let mut group = &mut root;
        for step in [&["Application", "Orderer"][..], &["Org1", "OrdererOrg"]] {
            if rng.percent(70) {
                let name = *rng.pick(step);
                if group.groups.contains_key(name)
                    && let Some(below) = group.groups.get_mut(name)
                {
                    group = below;
                    continue;
                }
            }
            break;
        }
        let odd = match rng.below(6) {
            0 => meta(rng.pick::<&str>(&["Admins", "None", "", "Readers"]), rng.below(5) as i32 - 1),
            1 => Policy { r#type: *rng.pick(&[0, 2, 4, -1]), ..anybody() },
            2 => {
                let n = rng.below(6);
                Policy { r#type: *rng.pick(&[1, 3]), value: rng.bytes(n).into() }
            }
            3 => {
                let identities = vec![principal(rng, &members[0].0, 0)];
                signatures(rule(rng, 1, 0), identities)
            }
            4 => {
                let deep = (0..rng.below(120)).fold(signed_by(0), |rule, _| n_of(1, vec![rule]));
                signatures(deep, vec![role("Org1MSP", 0)])
            }
            _ => one_of(role("Org1MSP", 0)),
        };
        let name = *rng.pick(&["Admins", "Readers", "Writers", "Odd", "BlockValidation"]);
        what.push(format!("{name} of type {}", odd.r#type));
        let mut element = policy(odd);
        if rng.percent(4) {
            element.policy = None;
        }
        group.policies.insert(name.to_owned(), element);
        if rng.percent(30) {
            let modified_by = *rng.pick(&NAMES);
            what.push(format!("mod_policy {modified_by:?}"));
            modified_by.clone_into(&mut group.mod_policy);
        }
    }
    chain.push(&root, None);
    let signers: Vec<_> = members.iter().map(|(der, key)| Signer::new("Org1MSP", pem::certificate(der), key)).collect();
    let (update, result) = set_anchors(&root, "");
    chain.push(&result, Some(signed_update(&update.encode_to_vec(), &signers)));
    if rng.percent(40) {
        let (update, last) = set_anchors(&result, "\n\0");
        chain.push(&last, Some(signed_update(&update.encode_to_vec(), &signers)));
    }
    format!("{level}: {}", what.join(", "))
}

/// Capabilities of all groups, hash families, and identifiers.
pub(super) fn capability_sets(rng: &mut Rng, chain: &mut Chain) -> String {
    const NAMES: [&str; 14] = [
        "V1_1", "V1_2", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V2_5", "V3_0", "V1_4_4", "v1_1", "", "V9", "V3_1", "V2_1",
    ];
    let level = *rng.pick(&LEVELS);
    let (mut config, members) = crew(rng);
    let mut what = String::new();
    if rng.percent(30) {
        let crypto = FabricCryptoConfig {
            signature_hash_family: (*rng.pick(&["SHA2", "SHA3", "", "MD5", "sha2"])).to_owned(),
            identity_identifier_hash_function: (*rng.pick(&["SHA256", "SHA384", "SHA3_256", "SHA3_384", "", "SHA512"]))
                .to_owned(),
        };
        what = format!("{crypto:?} ");
        config.crypto_config = Some(crypto);
    }
    let mut root = channel(level, orderers(), organization(&config, one_of(role("Org1MSP", 0))));
    for group in ["", "Orderer", "Application"] {
        if rng.percent(50) {
            let names: Vec<&str> = (0..rng.below(3)).map(|_| *rng.pick(&NAMES)).collect();
            what += &format!("{group}: {names:?} ");
            let group = if group.is_empty() { Some(&mut root) } else { root.groups.get_mut(group) };
            if let Some(group) = group {
                group.values.insert("Capabilities".to_owned(), capabilities(&names));
            }
        }
    }
    chain.push(&root, None);
    let signers: Vec<_> = members.iter().map(|(der, key)| Signer::new("Org1MSP", pem::certificate(der), key)).collect();
    let (update, result) = set_anchors(&root, "");
    chain.push(&result, Some(signed_update(&update.encode_to_vec(), &signers)));
    format!("{level}: {what}")
}
