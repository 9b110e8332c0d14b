//! Large configurations. Each makes one part of the validation as costly as possible for its size.

mod chains;
mod elements;
mod lists;
mod updates;

use fabric_proto::common::ConfigGroup;
use fabric_proto::msp::FabricMspConfig;
use orderer_verdicts::{Case, Outcome};

use crate::certificate::member_name;
use crate::der;
use crate::keys::{Key, Kind};
use crate::network::{Chain, anybody, channel, organization};
use crate::organization::{Authority, msp};

/// The usual maximum size of a message by a channel's batch size, in bytes.
pub const SIZE: usize = 1 << 20;

/// The expected outcome of a case. A case that is rejected before the costly part shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Everything is validated and accepted.
    Accepted,
    /// The first block is rejected after the costly part, for a reason that contains this text.
    Refused(&'static str),
}

impl Expected {
    /// Returns whether a verdict with its reason is the expected one.
    pub fn is(self, outcome: Outcome, reason: &str) -> bool {
        match self {
            Self::Accepted => outcome == Outcome::Accepted,
            Self::Refused(because) => outcome == Outcome::Refused { block: 0 } && reason.contains(because),
        }
    }
}

/// A large configuration that has not been generated yet.
pub struct Large {
    /// Name of the costly part.
    pub name: String,
    /// The expected outcome.
    pub expected: Expected,
    /// Generates the case.
    pub make: Box<dyn Fn() -> Case>,
}

/// Returns all large configurations. The repeated part has about `size` bytes.
pub fn cases(size: usize) -> Vec<Large> {
    type Maker = fn(usize) -> ConfigGroup;
    type Updating = fn(usize) -> Case;
    let makers: [(&str, Maker); 16] = [
        ("ring", chains::ring),
        ("admins", chains::admins),
        ("units", chains::units),
        ("constraints", chains::constraints),
        ("names", chains::names),
        ("policies", chains::policies),
        ("extensions", chains::extensions),
        ("organizations", chains::organizations),
        ("lists", lists::of_one_issuer),
        ("entries", lists::entries),
        ("groups", elements::groups),
        ("implicit", elements::implicit),
        ("flat-policy", elements::flat_policy),
        ("deep-policy", elements::deep_policy),
        ("principals", elements::principals),
        ("lists-P256", |size| lists::of_many_issuers(Kind::P256, size)),
    ];
    let updates: [(&str, Updating); 10] = [
        ("signers", updates::many_signers),
        ("signers-decoys", updates::signers_with_decoys),
        ("update-elements", updates::elements),
        ("update-mod-policies", updates::mod_policies),
        ("update-one-signer", updates::one_signer),
        ("update-nobody", updates::nobody),
        ("update-rules", updates::rules),
        ("update-used-up", updates::used_up),
        ("update-principals", updates::many_principals),
        ("update-units", updates::units),
    ];
    let kinds = [
        Kind::P224,
        Kind::P256,
        Kind::P384,
        Kind::P521,
        Kind::Rsa1024,
        Kind::Rsa2048,
        Kind::Rsa4096,
        Kind::Rsa8192,
        Kind::Rsa16384,
        Kind::Ed25519,
    ];
    let of_kind = |name: String, make: fn(Kind, usize) -> ConfigGroup, kind| Large {
        name: name.clone(),
        expected: Expected::Accepted,
        make: Box::new(move || case(&name, &make(kind, size))),
    };
    let mut all: Vec<Large> = Vec::new();
    all.extend(kinds.map(|kind| of_kind(format!("decoys-{kind:?}"), chains::decoys, kind)));
    let many = [Kind::Rsa8192, Kind::Rsa16384, Kind::Ed25519];
    all.push(of_kind("demanded-policies".to_owned(), |_, size| chains::demanded_policies(size), Kind::P256));
    all.extend(many.map(|kind| of_kind(format!("lists-{kind:?}"), lists::of_many_issuers, kind)));
    all.extend(makers.map(|(name, make)| Large {
        name: name.to_owned(),
        expected: Expected::Accepted,
        make: Box::new(move || case(name, &make(size))),
    }));
    all.extend(updates.map(|(name, make)| Large {
        name: name.to_owned(),
        expected: Expected::Accepted,
        make: Box::new(move || make(size)),
    }));
    all.push(Large {
        name: "deep-groups".to_owned(),
        expected: Expected::Refused("disallowed channel group"),
        make: Box::new(move || elements::deep_groups(size)),
    });
    all
}

/// Returns the costliest definition of an organization of about this many bytes, for channels with any capabilities.
pub fn costly_definition(size: usize) -> FabricMspConfig {
    lists::definition(Kind::Rsa8192, size)
}

fn case_of(name: &str, chain: Chain) -> Case {
    Case {
        name: format!("large/{name}"),
        description: "as large as an update may be".to_owned(),
        release: chain.release(),
        blocks: chain.blocks,
    }
}

fn case(name: &str, root: &ConfigGroup) -> Case {
    let mut chain = Chain::default();
    chain.push(root, None);
    case_of(name, chain)
}

fn orderers() -> ConfigGroup {
    let root = Authority::root("orderers", Kind::P256, 7);
    organization(&msp("OrdererMSP", &[root.certificate.sign(root.key)], &[]), anybody())
}

fn with(config: &FabricMspConfig) -> ConfigGroup {
    channel("V2_0", orderers(), organization(config, anybody()))
}

/// Scales `whole`, which is given for [`SIZE`] bytes, to this size.
fn share(size: usize, whole: usize) -> usize {
    whole * size / SIZE
}

/// Generates as many certificates as fit in the size in PEM.
fn up_to_size(size: usize, mut next: impl FnMut(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    let (mut all, mut total) = (Vec::new(), 0);
    while total < size {
        let one = next(all.len());
        total += one.len() + one.len() / 3 + 80;
        all.push(one);
    }
    all
}

fn members(count: usize, root: &Authority, own: &Key) -> Vec<Vec<u8>> {
    let one = |n: usize| {
        let mut member = root.member("member", &["admin"], own);
        member.subject = member_name(&format!("member {n}"), &["admin"]);
        member.serial = der::integer(1000 + n as u64);
        member.sign(root.key)
    };
    (0..count).map(one).collect()
}

/// Returns Org1 with these CAs.
fn msp_with(root: &Authority, intermediates: &[Vec<u8>]) -> FabricMspConfig {
    msp("Org1MSP", &[root.certificate.sign(root.key)], intermediates)
}
