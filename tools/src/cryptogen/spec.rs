//! The owners of certificates: from a crypto-config.yaml in cryptogen's form, or from a few numbers.

use std::collections::HashSet;
use std::path::Path;

use super::certificate_authority::{Algorithm, Subject};
use crate::yaml_document::{YamlDocument, YamlNode};

/// Maximum number of members of one organization; each takes four files and four signatures.
const MEMBERS_MAX: usize = 10_000;

const ORGANIZATION: &[&str] = &["Name", "Domain", "EnableNodeOUs", "CA", "Template", "Specs", "Users"];
const SPEC: &[&str] = &[
    "Hostname",
    "CommonName",
    "Country",
    "Province",
    "Locality",
    "OrganizationalUnit",
    "StreetAddress",
    "PostalCode",
    "SANS",
    "PublicKeyAlgorithm",
];

/// The errors in a file, a line for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SpecErrors(pub Vec<String>);

/// The organizations that get certificates.
#[derive(Clone, Debug, Default)]
pub struct Network {
    pub(super) orderer_organizations: Vec<Organization>,
    pub(super) peer_organizations: Vec<Organization>,
}

/// An organization. Its members are machines, an administrator, and users.
#[derive(Clone, Debug)]
pub struct Organization {
    pub(super) domain: String,
    pub(super) orders: bool,
    pub(super) node_ous: bool,
    /// Common name of the authority; that for TLS has `tls` in front.
    pub(super) ca: String,
    pub(super) subject: Subject,
    /// Kind of the authorities' keys.
    pub(super) algorithm: Algorithm,
    pub(super) nodes: Vec<Node>,
    pub(super) users: usize,
    pub(super) users_algorithm: Algorithm,
    pub(super) admin_algorithm: Algorithm,
}

/// A machine.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// Names by which TLS clients know it.
    pub(super) names: Vec<String>,
    pub(super) algorithm: Algorithm,
}

/// Parameters of a simple network.
#[derive(Clone, Debug)]
pub struct SimpleTopology {
    /// Domain of the orderers' organization; organizations of peers are `org1.` and so on below it.
    pub domain: String,
    /// Number of orderers: `orderer.`, `orderer2.` and so on.
    pub orderers: usize,
    /// Number of organizations with peers.
    pub organizations: usize,
    /// Number of peers of each: `peer0.` and so on.
    pub peers: usize,
    /// Number of users of each beside the administrator.
    pub users: usize,
    /// Names and addresses that every machine has beside its own.
    pub hosts: Vec<String>,
    /// Kind of all keys.
    pub algorithm: Algorithm,
}

impl Network {
    /// Iterates over the directories of the organizations.
    pub fn folders(&self) -> impl Iterator<Item = String> {
        self.organizations().map(|(path, _)| path)
    }

    /// Iterates over the organizations, each with the path of its directory.
    pub(super) fn organizations(&self) -> impl Iterator<Item = (String, &Organization)> {
        let orderers = self.orderer_organizations.iter().map(|o| (format!("ordererOrganizations/{}", o.domain), o));
        orderers.chain(self.peer_organizations.iter().map(|o| (format!("peerOrganizations/{}", o.domain), o)))
    }

    /// Iterates over the domains of the organizations with peers.
    pub fn peer_domains(&self) -> impl Iterator<Item = &str> {
        self.peer_organizations.iter().map(|organization| organization.domain.as_str())
    }

    /// Removes the users of orderers' organizations, which cryptogen does not create, except for the administrator.
    #[must_use]
    pub fn without_orderer_users(mut self) -> Self {
        self.orderer_organizations.iter_mut().for_each(|organization| organization.users = 0);
        self
    }

    /// Returns whether any member has an Ed25519 key.
    pub fn has_ed25519(&self) -> bool {
        self.orderer_organizations.iter().chain(&self.peer_organizations).any(|organization| {
            let nodes = organization.nodes.iter().map(|node| node.algorithm);
            let others = [organization.algorithm, organization.users_algorithm, organization.admin_algorithm];
            nodes.chain(others).any(|algorithm| algorithm == Algorithm::Ed25519)
        })
    }

    /// Creates a network from a few parameters.
    pub fn simple(simple: &SimpleTopology) -> Result<Self, SpecErrors> {
        let node = |domain: &str, host: String| {
            let name = format!("{host}.{domain}");
            let names = [name.clone(), host].into_iter().chain(simple.hosts.iter().cloned()).collect();
            Node { name, names, algorithm: simple.algorithm }
        };
        let organization = |domain: String, orders: bool, hosts: Vec<String>| Organization {
            nodes: hosts.into_iter().map(|host| node(&domain, host)).collect(),
            ca: format!("ca.{domain}"),
            subject: Subject { organization: Some(domain.clone()), ..subject_default() },
            orders,
            node_ous: true,
            algorithm: simple.algorithm,
            users: if orders { 0 } else { simple.users },
            users_algorithm: simple.algorithm,
            admin_algorithm: simple.algorithm,
            domain,
        };
        if [simple.orderers, simple.organizations, simple.peers, simple.users].iter().any(|&n| n > MEMBERS_MAX) {
            return Err(SpecErrors(vec![format!("more than {MEMBERS_MAX} of a kind are not made")]));
        }
        if !is_name(&simple.domain) {
            return Err(SpecErrors(vec![format!("'{}' is not a domain", simple.domain)]));
        }
        let orderer = |number: usize| if number == 1 { "orderer".to_owned() } else { format!("orderer{number}") };
        let orderers = organization(simple.domain.clone(), true, (1..=simple.orderers).map(orderer).collect());
        let peers = |number| {
            let hosts = (0..simple.peers).map(|peer| format!("peer{peer}")).collect();
            organization(format!("org{number}.{}", simple.domain), false, hosts)
        };
        Ok(Self {
            orderer_organizations: if simple.orderers == 0 { Vec::new() } else { vec![orderers] },
            peer_organizations: (1..=simple.organizations).map(peers).collect(),
        })
    }

    /// Reads a file; `algorithm` is for keys whose kind it does not set.
    pub fn load(file: &Path, algorithm: Algorithm) -> Result<Self, SpecErrors> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| SpecErrors(vec![format!("{}: cannot be read: {error}", file.display())]))?;
        Self::parse(&text, &file.display().to_string(), algorithm)
    }

    /// Parses the text of a file, whose name is for errors.
    pub fn parse(text: &str, name: &str, algorithm: Algorithm) -> Result<Self, SpecErrors> {
        let line = |problem: String| format!("{name}: {problem}");
        let one = |problem: String| SpecErrors(vec![line(problem)]);
        let document = YamlDocument::parse(text).map_err(|error| one(format!("is not YAML: {error}")))?;
        let network = Self::read(&document, algorithm);
        let mistakes = document.mistakes();
        if mistakes.is_empty() {
            Ok(network)
        } else {
            Err(SpecErrors(mistakes.into_iter().map(|m| line(format!("{}: {}", m.key, m.problem))).collect()))
        }
    }

    fn read(document: &YamlDocument, algorithm: Algorithm) -> Self {
        let root = document.root();
        root.expect_only(&["OrdererOrgs", "PeerOrgs"]);
        let read = |section: &str, orders| -> Vec<Organization> {
            let mut domains = HashSet::new();
            let place = root.field(section);
            let organizations = place.items().into_iter().map(|place| {
                let name = place.field("Name").text();
                let path = place.path().to_owned();
                let place = place.at_path(if name.is_empty() { path } else { format!("{section}[{name}]") });
                let organization = Organization::read(&place, orders, algorithm);
                if !domains.insert(organization.domain.clone()) {
                    place.field("Domain").report_error(format!("'{}' is there twice", organization.domain));
                }
                organization
            });
            organizations.collect()
        };
        let (orderer_organizations, peer_organizations) = (read("OrdererOrgs", true), read("PeerOrgs", false));
        if orderer_organizations.is_empty() && peer_organizations.is_empty() {
            document.report_error("OrdererOrgs, PeerOrgs", "there is no organization in either");
        }
        Self { orderer_organizations, peer_organizations }
    }
}

impl Organization {
    fn read(place: &YamlNode<'_>, orders: bool, default: Algorithm) -> Self {
        place.expect_only(ORGANIZATION);
        let domain = place.field("Domain").text();
        if !is_name(&domain) {
            place.field("Domain").report_error(format!("'{domain}' is not a domain"));
        }
        let template = place.field("Template");
        template.expect_only(&["Count", "Start", "Hostname", "SANS", "PublicKeyAlgorithm"]);
        let users = place.field("Users");
        users.expect_only(&["Count", "PublicKeyAlgorithm"]);
        let mut nodes: Vec<Node> =
            place.field("Specs").items().iter().map(|spec| Node::read_spec(spec, &domain, default)).collect();
        nodes.extend(Node::read_template(&template, &domain, orders, default));
        let mut names = HashSet::new();
        for node in &nodes {
            if !names.insert(&node.name) {
                place.report_error(format!("{} is there twice, in Specs and Template", node.name));
            }
        }
        let ca = place.field("CA");
        ca.expect_only(SPEC);
        let host = Some(ca.field("Hostname").text()).filter(|name| !name.is_empty()).unwrap_or("ca".to_owned());
        let or = |name, otherwise: &str| {
            let text = ca.field(name).text();
            if text.is_empty() { otherwise.to_owned() } else { text }
        };
        let usual = subject_default();
        let unit = ca.field("OrganizationalUnit").text();
        Self {
            orders,
            node_ous: place.field("EnableNodeOUs").flag(),
            ca: common_name(&ca, &host, &domain),
            subject: Subject {
                country: or("Country", &usual.country),
                province: or("Province", &usual.province),
                locality: or("Locality", &usual.locality),
                organization: Some(domain.clone()),
                units: Some(unit).into_iter().filter(|unit| !unit.is_empty()).collect(),
                street_address: ca.field("StreetAddress").text(),
                postal_code: ca.field("PostalCode").text(),
            },
            algorithm: algorithm(&ca, default),
            nodes,
            users: count(&users.field("Count")),
            users_algorithm: algorithm(&users, default),
            admin_algorithm: default,
            domain,
        }
    }
}

impl Node {
    fn read_spec(spec: &YamlNode<'_>, domain: &str, default: Algorithm) -> Self {
        spec.expect_only(SPEC);
        let host = spec.field("Hostname").text();
        if host.is_empty() {
            spec.field("Hostname").report_error("is missing");
        }
        Self::new(spec, &host, domain, default)
    }

    fn read_template(template: &YamlNode<'_>, domain: &str, orders: bool, default: Algorithm) -> Vec<Self> {
        let start: usize = template.field("Start").number().unwrap_or_default();
        let place = template.field("Hostname");
        let pattern = Some(place.text()).filter(|t| !t.is_empty()).unwrap_or("{{.Prefix}}{{.Index}}".to_owned());
        let node = |number: usize| {
            let index = start.saturating_add(number).to_string();
            let prefix = if orders { "orderer" } else { "peer" };
            let values = [("Prefix", prefix), ("Index", &index), ("Domain", domain)];
            let host = filled(&place, &pattern, &values);
            Self::new(template, &host, domain, default)
        };
        (0..count(&template.field("Count"))).map(node).collect()
    }

    fn new(place: &YamlNode<'_>, host: &str, domain: &str, default: Algorithm) -> Self {
        let name = common_name(place, host, domain);
        let values = [("Hostname", host), ("Domain", domain), ("CommonName", &name)];
        let also = place.field("SANS").items();
        let also = also.iter().map(|place| filled(place, &place.text(), &values));
        let names = [name.clone(), host.to_owned()].into_iter().chain(also).collect();
        Self { names, algorithm: algorithm(place, default), name }
    }
}

/// Returns the common name of a spec, by default built from host and domain.
fn common_name(place: &YamlNode<'_>, host: &str, domain: &str) -> String {
    // a template has no name of its own
    let place = place.field("CommonName");
    let pattern = Some(place.text()).filter(|t| !t.is_empty()).unwrap_or("{{.Hostname}}.{{.Domain}}".to_owned());
    let name = filled(&place, &pattern, &[("Hostname", host), ("Domain", domain)]);
    if !is_name(&name) {
        place.report_error(format!("'{name}' is not a name"));
    }
    name
}

/// Fills the placeholders `{{.Name}}` in a text.
fn filled(place: &YamlNode<'_>, pattern: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        if let Some((_, value)) = values.iter().find(|(known, _)| name.trim().strip_prefix('.') == Some(*known)) {
            filled.push_str(value);
        } else {
            let known: Vec<String> = values.iter().map(|(known, _)| format!("{{{{.{known}}}}}")).collect();
            place.report_error(format!("'{pattern}': only {} can be filled in", known.join(", ")));
        }
        rest = after;
    }
    filled + rest
}

fn count(place: &YamlNode<'_>) -> usize {
    let count = place.number().unwrap_or_default();
    if count > MEMBERS_MAX {
        place.report_error(format!("more than {MEMBERS_MAX} are not made"));
        return 0;
    }
    count
}

fn algorithm(place: &YamlNode<'_>, default: Algorithm) -> Algorithm {
    let place = place.field("PublicKeyAlgorithm");
    match place.text().as_str() {
        "" => default,
        "ecdsa" => Algorithm::Ecdsa,
        "ed25519" => Algorithm::Ed25519,
        other => {
            place.report_error(format!("'{other}' is not one of ecdsa, ed25519"));
            default
        }
    }
}

/// Returns whether the text can be the name of a directory or a file.
fn is_name(text: &str) -> bool {
    let sign = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= 200 && !text.starts_with('.') && text.bytes().all(sign)
}

/// Returns cryptogen's default subject.
fn subject_default() -> Subject {
    Subject {
        country: "US".to_owned(),
        province: "California".to_owned(),
        locality: "San Francisco".to_owned(),
        ..Subject::default()
    }
}
