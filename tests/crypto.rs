//! Tests that `orderer crypto` creates what cryptogen creates, that networks start from it, and that it is marked as
//! for development only.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use orderer_core::identity::{Msp, MspVersion};
use world::messages::transaction;
use world::{NET, Setup, TestIdentity};
use x509_parser::prelude::{FromDer as _, GeneralName, Pem, X509Certificate};

/// Returns the paths of all files below a directory.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found
}

/// Runs `orderer crypto` in a new directory.
fn made(arguments: &[&str]) -> (Setup, PathBuf) {
    let setup = Setup::without_channels().arguments(&[&["crypto", "--output", "crypto"], arguments].concat());
    let ended = setup.run();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.contains("For development only"), "{}", ended.stdout);
    let folder = setup.folder().join("crypto");
    (setup, folder)
}

/// Returns the subject, issuer and DNS names of the certificate in a file.
fn certificate(file: PathBuf) -> (String, String, Vec<String>) {
    let pem = fs::read(file).unwrap();
    let pem = Pem::iter_from_buffer(&pem).next().unwrap().unwrap();
    let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
    let names = certificate.subject_alternative_name().unwrap();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(octets) => octets.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        _ => String::new(),
    };
    let names = names.map_or_else(Vec::new, |names| names.value.general_names.iter().map(name).collect());
    (certificate.subject().to_string(), certificate.issuer().to_string(), names)
}

#[test]
fn the_fixtures_file_makes_the_files_that_cryptogen_made_of_it() {
    let (_setup, folder) = made(&["--config", &format!("{NET}/crypto-config.yaml")]);
    let mut ours = files(&folder);
    assert!(ours.remove("README.txt"));
    assert_eq!(ours, files(&Path::new(NET).join("crypto")));
    let orderer = folder.join("ordererOrganizations/example.com/orderers/orderer.example.com");
    let (subject, issuer, names) = certificate(orderer.join("tls/server.crt"));
    let theirs = Path::new(NET).join("crypto/ordererOrganizations/example.com/orderers/orderer.example.com");
    let (their_subject, _, their_names) = certificate(theirs.join("tls/server.crt"));
    assert_eq!((subject, names), (their_subject, their_names));
    assert!(issuer.contains("OU=For development only") && issuer.contains("CN=tlsca.example.com"), "{issuer}");
    let sign = "msp/signcerts/orderer.example.com-cert.pem";
    assert_eq!(certificate(orderer.join(sign)).0, certificate(theirs.join(sign)).0);
}

#[test]
fn a_folder_may_be_named_with_a_slash_at_its_end() {
    let setup = Setup::without_channels().arguments(&["crypto", "--output", "a/crypto/", "--users", "0"]);
    let ended = setup.run();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    let names = fs::read_dir(setup.folder().join("a")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["crypto"]);
}

#[test]
fn keys_are_for_their_owners_eyes_and_nothing_is_written_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let (setup, folder) = made(&[]);
    for file in files(&folder).iter().filter(|file| ["_sk", ".key"].iter().any(|end| file.ends_with(end))) {
        assert_eq!(fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    assert!(fs::read_to_string(folder.join("README.txt")).unwrap().contains("for development only"));
    let before = files(&folder);
    let ended = setup.run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("orderer: crypto exists: certificates are never written over"), "{ended:?}");
    assert_eq!(files(&folder), before);
}

#[test]
fn all_members_are_what_their_units_say_with_either_kind_of_key() {
    for algorithm in ["ecdsa", "ed25519"] {
        let (_setup, folder) = made(&["--algorithm", algorithm]);
        for (organization, id) in
            [("ordererOrganizations/example.com", "OrdererMSP"), ("peerOrganizations/org1.example.com", "Org1MSP")]
        {
            let folder = folder.join(organization);
            let definition = orderer_localconfig::local_msp::read_definition(&folder.join("msp"), id).unwrap();
            let msp = Msp::from_config(&definition.config, MspVersion::LATEST).unwrap();
            for file in files(&folder).iter().filter(|file| file.contains("/msp/signcerts/")) {
                let identity = msp.deserialize_identity(&fs::read(folder.join(file)).unwrap().into()).unwrap();
                assert_eq!(identity.validity(), Ok(()), "{file}");
                let own = folder.join(file).parent().unwrap().parent().unwrap().to_owned();
                orderer_localconfig::local_msp::read_signing_identity(&own, id).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_of_either_kind_of_key_or_without_units_works() {
    let without_units = "\
OrdererOrgs: [{Name: Orderer, Domain: example.com, Specs: [{Hostname: orderer}]}]
PeerOrgs: [{Name: Org1, Domain: org1.example.com, Template: {Count: 1}, Users: {Count: 1}}]
";
    for (kind, capability) in [("ecdsa", "V2_0"), ("ed25519", "V3_0"), ("no units", "V2_0")] {
        let setup = Setup::without_channels();
        fs::write(setup.folder().join("crypto-config.yaml"), without_units).unwrap();
        let arguments: &[&str] = match kind {
            "no units" => &["--config", "crypto-config.yaml"],
            kind => &["--algorithm", kind],
        };
        let crypto = setup.again(&[&["crypto", "--output", "crypto"], arguments].concat()).run();
        assert_eq!(crypto.code, Some(0), "{crypto:?}");
        let member = if kind == "no units" { "member" } else { "client" };
        let configtx = fs::read_to_string(Path::new(NET).join("configtx.yaml")).unwrap();
        let configtx = configtx
            .replace("Channel: &CC {V2_0: true}", &format!("Channel: &CC {{{capability}: true}}"))
            .replace("  Addresses: [\"127.0.0.1:7050\"]\n", "")
            .replace("'Org1MSP.client'", &format!("'Org1MSP.{member}'"))
            .replace(", *Org2", "");
        fs::write(setup.folder().join("configtx.yaml"), configtx).unwrap();
        let arguments = ["genesis", "--profile", "AppSolo", "--channelID", "ch", "--outputBlock", "b"];
        let genesis = setup.again(&arguments).run();
        assert_eq!(genesis.code, Some(0), "{genesis:?}");
        let msp = setup.folder().join("crypto/ordererOrganizations/example.com/orderers/orderer.example.com/msp");
        let node =
            Setup::of_block_file(setup.folder().join("b")).set("GENERAL_LOCALMSPDIR", msp.display()).start().await;
        let user = setup.folder().join("crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp");
        let user = TestIdentity::from_msp(&user, "Org1MSP");
        let client = node.client().await;
        client.order([transaction(&user, "ch", kind)]).await;
        client.block(&user, "ch", 1).await;
        node.stop().await;
    }
}

#[test]
fn templates_are_filled_in_and_what_is_wrong_is_said_at_once() {
    let good = "\
PeerOrgs:
  - Name: Org1
    Domain: org1.net
    EnableNodeOUs: true
    CA: {Hostname: root, Country: CH, OrganizationalUnit: Trust, PostalCode: 8000}
    Specs:
      - {Hostname: foo, CommonName: foo27.net, SANS: ['bar.{{.Domain}}', '{{ .Hostname }}.org6.net', 172.16.10.31]}
    Template: {Count: 2, Start: 5, Hostname: 'p{{.Index}}-{{.Prefix}}', SANS: ['{{.CommonName}}.alt']}
    Users: {Count: 2}
";
    let setup = Setup::without_channels().arguments(&["crypto", "--config", "c.yaml", "--output", "out"]);
    fs::write(setup.folder().join("c.yaml"), good).unwrap();
    assert_eq!(setup.run().code, Some(0));
    let organization = setup.folder().join("out/peerOrganizations/org1.net");
    let peers: BTreeSet<_> =
        fs::read_dir(organization.join("peers")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(peers.iter().eq(["foo27.net", "p5-peer.org1.net", "p6-peer.org1.net"]), "{peers:?}");
    let (_, issuer, names) = certificate(organization.join("peers/foo27.net/tls/server.crt"));
    assert_eq!(names, ["foo27.net", "foo", "bar.org1.net", "foo.org6.net", "172.16.10.31"]);
    for part in ["C=CH", "OU=Trust", "OU=For development only", "CN=tlsroot.org1.net"] {
        assert!(issuer.contains(part), "{issuer}");
    }
    let (subject, ..) = certificate(organization.join("users/User2@org1.net/msp/signcerts/User2@org1.net-cert.pem"));
    assert!(subject.contains("OU=Trust") && subject.contains("OU=client"), "{subject}");

    let bad = "\
OrdererOrgs:
  - Name: O
    Domain: ../up
    Specs: [{Hostname: a, SANS: ['{{.Domian}}']}, {Host: b}]
    Template: {Count: many}
PeerOrgs:
  - {Name: P, Domain: p.net, Specs: [{Hostname: a}, {Hostname: a}], Users: {Count: 1, PublicKeyAlgorithm: rsa}}
";
    let setup = Setup::without_channels().arguments(&["crypto", "--config", "c.yaml", "--output", "out"]);
    fs::write(setup.folder().join("c.yaml"), bad).unwrap();
    let ended = setup.run();
    let wanted = [
        "OrdererOrgs[O].Domain: '../up' is not a domain",
        "OrdererOrgs[O].Specs[0].SANS[0]: '{{.Domian}}': only {{.Hostname}}, {{.Domain}}, {{.CommonName}} can be",
        "OrdererOrgs[O].Specs[1].Host: unknown key; did you mean Hostname?",
        "OrdererOrgs[O].Specs[1].Hostname: is missing",
        "OrdererOrgs[O].Template.Count: 'many' is not a number",
        "PeerOrgs[P]: a.p.net is there twice",
        "PeerOrgs[P].Users.PublicKeyAlgorithm: 'rsa' is not one of ecdsa, ed25519",
    ];
    assert_eq!(ended.code, Some(1));
    for wanted in wanted {
        let line = format!("orderer: c.yaml: {wanted}");
        assert!(ended.stderr.lines().any(|said| said.starts_with(&line)), "{wanted}\n{}", ended.stderr);
    }
    assert!(!setup.folder().join("out").exists());
}
