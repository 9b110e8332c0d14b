//! Families of cases.

mod certificates;
mod policies;
mod updates;

use fabric_proto::Message as _;
use fabric_proto::common::{ConfigGroup, MspPrincipal, MspRole, Policy};
use fabric_proto::msp::FabricMspConfig;
use orderer_verdicts::Case;

use crate::keys::{EACH, Key, Kind, key};
use crate::network::{
    Chain, LEVELS, Signer, anybody, channel, n_of, organization, set_anchors, signatures, signed_by, signed_update,
};
use crate::organization::{Authority, msp};
use crate::rng::Rng;
use certificates::{authority, der_mutants, graph, lists, member, pems, units};
use policies::{capability_sets, policies, principals};
use updates::{signers, wire_mutants};

type Make = fn(&mut Rng, &mut Chain) -> String;

/// The families: the name, and the function that generates a case.
pub const FAMILIES: [(&str, Make); 12] = [
    ("g-authority", authority),
    ("g-member", member),
    ("g-graph", graph),
    ("g-crl", lists),
    ("g-pem", pems),
    ("g-der", der_mutants),
    ("g-ous", units),
    ("g-principal", principals),
    ("g-policy", policies),
    ("g-capabilities", capability_sets),
    ("g-signers", signers),
    ("g-wire", wire_mutants),
];

/// Generates the case `index` of a seed.
pub fn generate(seed: u64, index: u64) -> Case {
    let mut rng = Rng::new(seed, index);
    let (family, make) = FAMILIES[(index % FAMILIES.len() as u64) as usize];
    let mut chain = Chain::default();
    let description = make(&mut rng, &mut chain);
    let release = chain.release();
    Case { name: format!("{family}/{seed}-{index}"), description, release, blocks: chain.blocks }
}

fn level(rng: &mut Rng) -> &'static str {
    if rng.percent(50) { "V1_4_3" } else { *rng.pick(&LEVELS) }
}

fn curve(rng: &mut Rng) -> Kind {
    if rng.percent(75) { Kind::P256 } else { *rng.pick(&Kind::ALL) }
}

/// Returns a regular orderer organization.
fn orderers() -> ConfigGroup {
    let root = Authority::root("orderers", Kind::P256, 7);
    organization(&msp("OrdererMSP", &[root.certificate.sign(root.key)], &[]), anybody())
}

fn role(id: &str, role: i32) -> MspPrincipal {
    let role = MspRole { msp_identifier: id.to_owned(), role };
    MspPrincipal { principal_classification: 0, principal: role.encode_to_vec().into() }
}

/// Returns a policy that a signer with this principal satisfies.
fn one_of(principal: MspPrincipal) -> Policy {
    signatures(n_of(1, vec![signed_by(0)]), vec![principal])
}

/// Appends the genesis block with this organization, and an update that `signers` sign.
fn chain_of(chain: &mut Chain, level: &str, msp: &FabricMspConfig, admins: Policy, signers: &[Signer<'_>]) {
    let root = channel(level, orderers(), organization(msp, admins));
    chain.push(&root, None);
    if !signers.is_empty() {
        let (update, result) = set_anchors(&root, "");
        chain.push(&result, Some(signed_update(&update.encode_to_vec(), signers)));
    }
}

/// Returns the members of an organization with a regular CA.
fn crew(rng: &mut Rng) -> (FabricMspConfig, Vec<(Vec<u8>, &'static Key)>) {
    let root = Authority::root("root", Kind::P256, 0);
    let mut members = Vec::new();
    for number in 0..=rng.below(4) {
        let kind = if rng.percent(80) { Kind::P256 } else { *rng.pick(&Kind::ALL) };
        let own = key(kind, (1 + number) % EACH);
        let unit = *rng.pick(&["admin", "client", "peer", "orderer", "admin"]);
        members.push((root.member(&format!("member{number}"), &[unit], own).sign(root.key), own));
    }
    (msp("Org1MSP", &[root.certificate.sign(root.key)], &[]), members)
}
