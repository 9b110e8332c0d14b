//! Large updates, and updates with many signatures.

use fabric_proto::Message as _;
use fabric_proto::common::{
    Config, ConfigGroup, ConfigPolicy, ConfigSignature, ConfigUpdate, ConfigUpdateEnvelope, HeaderType, MspPrincipal,
    OrganizationUnit,
};
use orderer_core::config::compute_update;
use orderer_core::crypto::sha256;
use orderer_core::types::ChannelId;
use orderer_verdicts::Case;

use super::chains::{DECOYS, among_decoys};
use super::elements::member_of;
use super::{case_of, members, msp_with, orderers};
use crate::certificate::{authority_name, member_name};
use crate::keys::{Kind, key};
use crate::network::{
    CHANNEL, Chain, Signer, anybody, channel, envelope, meta, n_of, organization, policy, set_anchors, signatures,
    signed_by, signed_update,
};
use crate::organization::{Authority, msp};
use crate::pem;

/// The encoding of an anchor peer: host `a`, port 7.
const ANCHOR: &str = "\n\u{5}\n\u{1}a\u{10}\u{7}";
/// The role of an administrator in a principal.
const ADMIN: i32 = 1;
/// Maximum number of bytes that all signatures of an update may cover together.
const HASHED_MAX: usize = 16 << 30;

/// Computes the update from `before` to `after`, and sets the versions in `after`.
fn update_to(before: &ConfigGroup, after: &mut ConfigGroup) -> ConfigUpdate {
    let config = |group: &ConfigGroup| Config { sequence: 0, channel_group: Some(group.clone()) };
    let computed =
        ChannelId::parse(CHANNEL).ok().and_then(|id| compute_update(&id, &config(before), &config(after)).ok());
    let update = computed.unwrap_or_default();
    if let Some(write) = &update.write_set {
        take_versions(write, before, after);
    }
    update
}

/// Takes the versions of written elements. Elements that the update only names keep theirs.
fn take_versions(write: &ConfigGroup, before: &ConfigGroup, after: &mut ConfigGroup) {
    after.version = write.version;
    for (name, policy) in &mut after.policies {
        policy.version = write.policies.get(name).or(before.policies.get(name)).map_or(0, |known| known.version);
    }
    for (name, group) in &mut after.groups {
        if let (Some(write), Some(before)) = (write.groups.get(name), before.groups.get(name)) {
            take_versions(write, before, group);
        }
    }
}

/// Returns a chain of one configuration and one update.
fn updated(
    name: &str,
    before: &ConfigGroup,
    update: &[u8],
    after: &ConfigGroup,
    signatures: Vec<ConfigSignature>,
) -> Case {
    let data = ConfigUpdateEnvelope { config_update: update.to_vec().into(), signatures };
    let mut chain = Chain::default();
    chain.push(before, None);
    chain.push(after, Some(envelope(HeaderType::ConfigUpdate, data.encode_to_vec())));
    case_of(name, chain)
}

/// An organization with this policy of its administrators, and as many administrators as fit.
struct Signing {
    root: Authority,
    members: Vec<Vec<u8>>,
}

impl Signing {
    fn of_size(size: usize) -> Self {
        let root = Authority::root("root", Kind::P256, 0);
        let own = key(Kind::P256, 1);
        let one = members(1, &root, own).concat().len();
        let members = members((size / (one + one / 3 + 300)).max(1), &root, own);
        Self { root, members }
    }

    fn organization(&self, admins: fabric_proto::common::Policy) -> ConfigGroup {
        organization(&msp_with(&self.root, &[]), admins)
    }

    fn sign(&self, update: &[u8]) -> Vec<ConfigSignature> {
        let signer = |der: &Vec<u8>| Signer::new("Org1MSP", pem::certificate(der), key(Kind::P256, 1)).sign(update);
        self.members.iter().map(signer).collect()
    }
}

fn application(root: &mut ConfigGroup) -> &mut ConfigGroup {
    root.groups.entry("Application".to_owned()).or_default()
}

fn org1(root: &mut ConfigGroup) -> &mut ConfigGroup {
    application(root).groups.entry("Org1".to_owned()).or_default()
}

/// An update with as many new elements as fit.
pub(super) fn elements(size: usize) -> Case {
    let signing = Signing::of_size(0);
    let before = channel("V2_0", orderers(), signing.organization(anybody()));
    let mut after = before.clone();
    for n in 0..size / 40 {
        org1(&mut after).policies.insert(format!("p{n}"), policy(anybody()));
    }
    let update = update_to(&before, &mut after).encode_to_vec();
    updated("update-elements", &before, &update, &after, signing.sign(&update))
}

/// Elements that each have their own mod_policy, which counts the Readers policies of as many organizations. None of
/// the many signers satisfies any of these policies except that of the last organization.
pub(super) fn mod_policies(size: usize) -> Case {
    let signing = Signing::of_size(size / 2);
    let nobody: Vec<_> = (0..8).map(|n| member_of(&format!("N{n}"), 0)).collect();
    let rules = (0..8).map(signed_by).collect();
    let mut other = signing.organization(anybody());
    other.policies.insert("Readers".to_owned(), policy(signatures(n_of(1, rules), nobody)));
    let mut before = channel("V2_0", orderers(), signing.organization(anybody()));
    for n in 0..size / 2 / other.encoded_len() {
        application(&mut before).groups.insert(format!("A{n}"), other.clone());
    }
    let changing =
        |name: &str, sub_policy: &str| ConfigPolicy { mod_policy: name.to_owned(), ..policy(meta(sub_policy, 0)) };
    let mut after = before.clone();
    for n in 0..size / 2 / 45 {
        let name = format!("p{n}");
        application(&mut before).policies.insert(name.clone(), changing(&name, "Readers"));
        application(&mut after).policies.insert(name.clone(), changing(&name, "Writers"));
    }
    let update = update_to(&before, &mut after).encode_to_vec();
    updated("update-mod-policies", &before, &update, &after, signing.sign(&update))
}

/// Returns an update that adds a policy of about `size` bytes to an organization, with the configurations before and
/// after it.
fn with_large_policy(size: usize, signing: &Signing) -> (ConfigGroup, Vec<u8>, ConfigGroup) {
    let before = channel("V2_0", orderers(), signing.organization(anybody()));
    let mut after = before.clone();
    let rule = n_of(0, vec![signed_by(0); size / 4]);
    org1(&mut after).policies.insert("p".to_owned(), policy(signatures(rule, vec![member_of("Org1MSP", 0)])));
    let update = update_to(&before, &mut after).encode_to_vec();
    (before, update, after)
}

/// One signer whose signatures are invalid except for the last one. The new policy takes half of the update.
pub(super) fn one_signer(size: usize) -> Case {
    let signing = Signing::of_size(0);
    let (before, update, after) = with_large_policy(size / 2, &signing);
    let good = signing.sign(&update).remove(0);
    let bad = ConfigSignature { signature: signing.sign(b"other").remove(0).signature, ..good.clone() };
    let mut all = vec![bad; size / 2 / good.encoded_len()];
    all.push(good);
    updated("update-one-signer", &before, &update, &after, all)
}

/// Signatures without a signer, as many as may be examined.
pub(super) fn nobody(size: usize) -> Case {
    let signing = Signing::of_size(0);
    let (before, update, after) = with_large_policy(size * 15 / 16, &signing);
    let count = (size / 32).min(HASHED_MAX / update.len() - 1);
    let mut all = vec![ConfigSignature::default(); count];
    all.push(signing.sign(&update).remove(0));
    updated("update-nobody", &before, &update, &after, all)
}

/// Many signers, under a policy with many rules of which only the last is satisfied.
pub(super) fn rules(size: usize) -> Case {
    let signing = Signing::of_size(size);
    let mut rules = vec![signed_by(0); size / 4];
    rules.push(signed_by(1));
    let principals = vec![member_of("Nobody", 0), member_of("Org1MSP", ADMIN)];
    signed_under("update-rules", &signing, signatures(n_of(1, rules), principals))
}

/// Many signers, under a policy that uses all of them again and again.
pub(super) fn used_up(size: usize) -> Case {
    let signing = Signing::of_size(size);
    let all = i32::try_from(signing.members.len()).unwrap_or(i32::MAX);
    let rule = n_of(all, vec![signed_by(0); size / 4]);
    signed_under("update-used-up", &signing, signatures(rule, vec![member_of("Org1MSP", ADMIN)]))
}

/// Many signers, under a policy with many principals of which only the last matches.
pub(super) fn many_principals(size: usize) -> Case {
    let signing = Signing::of_size(size);
    let mut principals: Vec<_> = (0..size / 48).map(|n| unit_of(&format!("u{n}"), &[])).collect();
    principals.push(member_of("Org1MSP", ADMIN));
    let rules = (0..principals.len()).map(|n| signed_by(i32::try_from(n).unwrap_or_default())).collect();
    signed_under("update-principals", &signing, signatures(n_of(1, rules), principals))
}

fn unit_of(name: &str, certifiers: &[u8]) -> MspPrincipal {
    let unit = OrganizationUnit {
        msp_identifier: "Org1MSP".to_owned(),
        organizational_unit_identifier: name.to_owned(),
        certifiers_identifier: certifiers.to_vec().into(),
    };
    MspPrincipal { principal_classification: 1, principal: unit.encode_to_vec().into() }
}

/// A signer with as many organizational units as fit, under a policy that requires as many others before one of these.
pub(super) fn units(size: usize) -> Case {
    let mut signing = Signing::of_size(0);
    let certifiers = sha256(&[&signing.root.certificate.sign(signing.root.key)]);
    let mut names: Vec<_> = (0..size / 20).map(|n| format!("o{n}")).collect();
    names.push("admin".to_owned());
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut member = signing.root.member("member", &[], key(Kind::P256, 1));
    member.subject = member_name("member", &names);
    signing.members = vec![member.sign(signing.root.key)];
    let mut principals: Vec<_> = (0..size / 90).map(|n| unit_of(&format!("u{n}"), &certifiers)).collect();
    principals.push(unit_of("admin", &certifiers));
    let rules = (0..principals.len()).map(|n| signed_by(i32::try_from(n).unwrap_or_default())).collect();
    signed_under("update-units", &signing, signatures(n_of(1, rules), principals))
}

fn signed_under(name: &str, signing: &Signing, admins: fabric_proto::common::Policy) -> Case {
    let before = channel("V2_0", orderers(), signing.organization(admins));
    let (update, after) = set_anchors(&before, ANCHOR);
    let update = update.encode_to_vec();
    updated(name, &before, &update, &after, signing.sign(&update))
}

/// A small update with as many signatures as fit, under a policy that needs all of them. The CA of the signers is among
/// decoys.
pub(super) fn signers_with_decoys(size: usize) -> Case {
    let root = Authority::root("root", Kind::P384, 0);
    let (real, intermediates) = among_decoys(&root, Kind::P384, DECOYS);
    let mut issuer = real;
    issuer.certificate.subject = authority_name("inner");
    signed_by_many(size, "signers-decoys", &root, &issuer, &intermediates)
}

/// A small update with as many signatures as fit, under a policy that needs all of them.
pub(super) fn many_signers(size: usize) -> Case {
    let root = Authority::root("root", Kind::P384, 0);
    signed_by_many(size, "signers", &root, &root, &[])
}

fn signed_by_many(size: usize, name: &str, root: &Authority, issuer: &Authority, intermediates: &[Vec<u8>]) -> Case {
    let own = key(Kind::P384, 1);
    let one = members(1, issuer, own).concat().len();
    let all = members(size / (one + one / 3 + 300), issuer, own);
    let config = msp("Org1MSP", &[root.certificate.sign(root.key)], intermediates);
    let needed = i32::try_from(all.len()).unwrap_or(i32::MAX);
    let rule = n_of(needed, vec![signed_by(0); all.len()]);
    let before =
        channel("V2_0", orderers(), organization(&config, signatures(rule, vec![member_of("Org1MSP", ADMIN)])));
    let mut chain = Chain::default();
    chain.push(&before, None);
    let (update, after) = set_anchors(&before, ANCHOR);
    let signers: Vec<_> = all.iter().map(|der| Signer::new("Org1MSP", pem::certificate(der), own)).collect();
    chain.push(&after, Some(signed_update(&update.encode_to_vec(), &signers)));
    case_of(name, chain)
}
