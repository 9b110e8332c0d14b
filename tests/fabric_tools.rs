//! Tests that the program does what Fabric's tools do, when it is started by their names or with them as its command:
//! the same flags, output and exit codes.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fabric_proto::Message as _;
use fabric_proto::common::{Config, ConfigUpdate};
use flate2::read::GzDecoder;
use orderer_core::identity::{Msp, MspVersion};
use orderer_localconfig::local_msp::read_definition;
use serde_json::Value;
use world::config_updates::{config_of, last_config};
use world::http::address;
use world::node::ProcessOutput;
use world::{NET, Setup, TestIdentity};

/// A directory with the fixtures' configtx.yaml, to which a profile is added.
struct Desk(Setup);

const PROFILES: &str = "
  Wider:
    <<: *Chan
    Consortium: Sample
    Orderer: {<<: *Ord, BatchTimeout: 3s}
    Application: {<<: *App, Organizations: [*Org1]}
  Foreign:
    <<: *Chan
    Consortium: Other
    Application: {<<: *App, Organizations: [*Org1]}
";

impl Desk {
    fn new() -> Self {
        let desk = Self(Setup::without_channels());
        let configtx = fs::read_to_string(Path::new(NET).join("configtx.yaml")).unwrap();
        let configtx = configtx.replace("crypto/", &format!("{NET}/crypto/"));
        fs::write(desk.file("configtx.yaml"), format!("{}{PROFILES}", configtx.trim_end())).unwrap();
        desk
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.folder().join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> ProcessOutput {
        self.0.again(arguments).run()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    fn fails(&self, arguments: &[&str], code: i32, part: &str) {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(part), "{arguments:?}: {ended:?}");
    }
}

fn recorded(name: &str) -> Value {
    let file = Path::new(NET).join("../tools").join(format!("{name}.json.gz"));
    let mut text = Vec::new();
    GzDecoder::new(fs::File::open(file).unwrap()).read_to_end(&mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Removes the time from a decoded envelope.
fn timeless(mut envelope: Value) -> Value {
    envelope["payload"]["header"]["channel_header"]["timestamp"] = Value::Null;
    envelope
}

/// Returns a decoded message with bytes that Fabric 2.5 shows as null instead of an empty text.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null() && value != "");
            Value::Object(members.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[test]
fn organizations_are_printed_as_configtxgen_prints_them() {
    let desk = Desk::new();
    for organization in ["OrdererOrg", "Org1MSP"] {
        let printed = desk.done(&["configtxgen", "-printOrg", organization]);
        assert_eq!(json(&printed), recorded(&format!("org-{organization}")), "{organization}");
    }
    desk.fails(&["configtxgen", "-printOrg", "Nobody"], 1, "organization Nobody not found");
}

#[test]
fn transactions_say_what_those_of_configtxgen_say() {
    let desk = Desk::new();
    let decoded = |file: &str| {
        let text = desk.done(&["configtxgen", "-inspectChannelCreateTx", desk.file(file).to_str().unwrap()]);
        without_nulls(timeless(json(&text)))
    };
    let within = ["configtxgen", "-profile", "Wider", "-channelCreateTxBaseProfile", "SysSolo", "-channelID", "wide"];
    assert_eq!(desk.done(&[&within[..], &["-outputCreateChannelTx=wide.tx"]].concat()), "");
    assert_eq!(decoded("wide.tx"), without_nulls(timeless(recorded("create-within"))));

    let anchors = ["configtxgen", "-profile", "AppChan", "-channelID", "mychan", "-outputAnchorPeersUpdate", "a/b.tx"];
    assert_eq!(desk.done(&[&anchors[..], &["-asOrg", "Org1MSP"]].concat()), "");
    assert_eq!(decoded("a/b.tx"), without_nulls(timeless(recorded("anchor-peers"))));

    desk.fails(&anchors, 1, "must specify an organization");
    desk.fails(&[&anchors[..], &["-asOrg", "Nobody"]].concat(), 1, "org with name 'Nobody' does not exist");
    let foreign = ["configtxgen", "-profile", "Foreign", "-channelCreateTxBaseProfile", "SysSolo", "-channelID", "x"];
    desk.fails(&[&foreign[..], &["-outputCreateChannelTx", "x.tx"]].concat(), 1, "no consortium Other");
    assert!(!desk.file("x.tx").exists());
}

#[test]
fn blocks_are_made_and_inspected() {
    let desk = Desk::new();
    let make = ["configtxgen", "-profile", "AppSolo", "-channelID", "app", "-outputBlock", "app.block"];
    assert_eq!(desk.done(&make), "");
    let printed = json(&desk.done(&["configtxgen", "-inspectBlock", "app.block"]));
    let known = json(&desk.done(&["configtxgen", "-inspectBlock", &format!("{NET}/AppSolo.block")]));
    let config = |block: &Value| block["data"]["data"][0]["payload"]["data"]["config"].clone();
    assert!(config(&known)["channel_group"]["groups"]["Application"].is_object());
    assert_eq!(config(&printed), config(&known));
    let translated =
        json(&desk.done(&["configtxlator", "proto_decode", "--type=common.Block", "--input", "app.block"]));
    assert_eq!(printed, translated);
}

#[test]
fn exit_codes_are_those_of_the_tools() {
    let desk = Desk::new();
    // what the tools of Fabric 2.5.16 and 3.1.5 return
    for (code, arguments) in [
        (0, &["configtxgen"][..]),
        (0, &["configtxgen", "-version"]),
        (0, &["configtxgen", "-help"]),
        (1, &["configtxgen", "-profile", "AppSolo", "-outputBlock", "z"]),
        (1, &["configtxgen", "-channelID", "a", "-outputBlock", "z"]),
        (1, &["configtxgen", "-inspectBlock", "none"]),
        (1, &["configtxgen", "-profile", "AppChan", "-channelID", "c", "-outputBlock", "z"]),
        (2, &["configtxgen", "-bogus"]),
        (0, &["configtxlator", "version"]),
        (0, &["configtxlator", "--help"]),
        (1, &["configtxlator", "proto_decode"]),
        (1, &["configtxlator", "proto_decode", "--type", "common.Blck", "--input", "configtx.yaml"]),
        (1, &["configtxlator", "proto_decode", "--type", "common.Block", "--input", "none"]),
        (1, &["configtxlator", "compute_update", "--channel_id", "x"]),
        (1, &["configtxlator", "bogus"]),
        (0, &["cryptogen", "version"]),
        (0, &["cryptogen", "showtemplate"]),
        (1, &["cryptogen", "generate", "--config", "none"]),
        (1, &["cryptogen", "bogus"]),
        (1, &["osnadmin", "channel", "list"]),
        (1, &["osnadmin", "channel", "list", "-o", "127.0.0.1:1"]),
        (1, &["osnadmin", "channel", "fetch", "-o", "x", "-c", "app", "-b", "first", "-f", "z"]),
        (1, &["osnadmin", "bogus"]),
    ] {
        let ended = desk.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
    }
    assert!(!desk.file("z").exists());
}

#[test]
fn the_programs_name_selects_the_tool() {
    let desk = Desk::new();
    for name in ["configtxgen", "configtxlator", "cryptogen"] {
        let link = desk.file(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_orderer"), &link).unwrap();
        let version = if name == "configtxgen" { "-version" } else { "version" };
        let ended = Command::new(link).arg(version).output().unwrap();
        let printed = String::from_utf8(ended.stdout).unwrap();
        assert!(ended.status.success() && printed.starts_with(&format!("{name}:\n Version: ")), "{printed}");
        assert_eq!(printed, desk.done(&[name, version]));
    }
}

/// Returns the paths of all files below a directory, with the time when each was changed.
fn files(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((
                    path.strip_prefix(folder).unwrap().to_owned(),
                    path.metadata().unwrap().modified().unwrap(),
                ));
            }
        }
    }
    found.sort();
    found
}

const ORGANIZATIONS: &str = "
OrdererOrgs:
  - {Name: O, Domain: example.com, EnableNodeOUs: true, Specs: [{Hostname: orderer}], Users: {Count: 3}}
PeerOrgs:
  - {Name: P, Domain: org1.example.com, EnableNodeOUs: false, Template: {Count: 1}, Users: {Count: 1},
     CA: {OrganizationalUnit: Unit, StreetAddress: Street, PostalCode: \"1\"}}
";

#[test]
fn certificates_are_generated_and_extended() {
    let desk = Desk::new();
    fs::write(desk.file("one.yaml"), ORGANIZATIONS).unwrap();
    let generate = ["cryptogen", "generate", "--config=one.yaml", "--output=out"];
    assert_eq!(desk.done(&generate), "org1.example.com\n");
    let before = files(&desk.file("out"));
    let has = |path: &str| desk.file("out").join(path).exists();
    assert!(has("ordererOrganizations/example.com/orderers/orderer.example.com/tls/server.crt"));
    assert!(has("peerOrganizations/org1.example.com/users/User1@org1.example.com/tls/client.key"));
    // administrators only: cryptogen creates no other users of orderers' organizations
    assert!(!has("ordererOrganizations/example.com/users/User1@example.com"));
    desk.fails(&generate, 1, "certificates are never written over");

    let more =
        ORGANIZATIONS.replace("Specs: [{Hostname: orderer}]", "Specs: [{Hostname: orderer}, {Hostname: second}]");
    let more = more.replace("Template: {Count: 1}, Users: {Count: 1}", "Template: {Count: 2}, Users: {Count: 2}");
    let new = "  - {Name: Q, Domain: org2.example.com, EnableNodeOUs: true, Template: {Count: 1}}\n";
    fs::write(desk.file("two.yaml"), format!("{more}{new}")).unwrap();
    assert_eq!(desk.done(&["cryptogen", "extend", "--config", "two.yaml", "--input", "out"]), "");
    let after = files(&desk.file("out"));
    assert!(before.iter().all(|file| after.contains(file)), "a file was changed");
    for folder in [
        "ordererOrganizations/example.com/orderers/second.example.com",
        "peerOrganizations/org1.example.com/peers/peer1.org1.example.com",
        "peerOrganizations/org1.example.com/users/User2@org1.example.com",
        "peerOrganizations/org2.example.com/peers/peer0.org2.example.com",
    ] {
        let folder = desk.file("out").join(folder);
        // the new member is one of the organization as it was before
        let organization = folder.parent().unwrap().parent().unwrap().join("msp");
        let definition = read_definition(&organization, "X").unwrap().config;
        let msp = Msp::from_config(&definition, MspVersion::LATEST).unwrap();
        let file = fs::read_dir(folder.join("msp/signcerts")).unwrap().next().unwrap().unwrap().path();
        let identity = msp.deserialize_identity(&fs::read(&file).unwrap().into()).unwrap();
        assert_eq!(identity.validity(), Ok(()), "{}", file.display());
        assert!(folder.join("tls/ca.crt").exists());
    }
    let admin = "peerOrganizations/org1.example.com/peers/peer1.org1.example.com/msp/admincerts";
    assert!(has(&format!("{admin}/Admin@org1.example.com-cert.pem")));

    // an authority whose key is another's
    let key = desk.file("out/peerOrganizations/org1.example.com/ca/priv_sk");
    fs::copy(desk.file("out/peerOrganizations/org1.example.com/tlsca/priv_sk"), key).unwrap();
    let again = ["cryptogen", "extend", "--config", "two.yaml", "--input", "out"];
    desk.fails(&again, 1, "the key is not that of the certificate");
}

#[test]
fn the_template_is_the_default() {
    let desk = Desk::new();
    fs::write(desk.file("template.yaml"), desk.done(&["cryptogen", "showtemplate"])).unwrap();
    assert_eq!(desk.done(&["cryptogen", "generate"]), "org1.example.com\norg2.example.com\n");
    desk.done(&["cryptogen", "generate", "--config", "template.yaml", "--output", "other"]);
    let names = |folder: &str| files(&desk.file(folder)).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(names("crypto-config"), names("other"));
}

/// The REST server as a process, which ends with this value.
struct Server(Child, String);

impl Server {
    fn start(desk: &Desk, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_orderer"))
            .args(["configtxlator", "start", "--port", "0"])
            .args(arguments)
            .current_dir(desk.0.folder())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("requests on ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        Self(child, format!("http://{address}"))
    }

    fn address(&self) -> &str {
        self.1.strip_prefix("http://").unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_rest_server_converts_and_computes() {
    let desk = Desk::new();
    let server = Server::start(&desk, &[]);
    assert!(server.address().starts_with("127.0.0.1:"), "{}", server.address());
    let client = reqwest::Client::new();
    let post = |path: &str, body: Vec<u8>| client.post(format!("{}{path}", server.1)).body(body).send();

    let block = fs::read(Path::new(NET).join("AppSolo.block")).unwrap();
    let decoded = post("/protolator/decode/common.Block", block.clone()).await.unwrap();
    assert_eq!(
        (decoded.status().as_u16(), decoded.headers()["content-type"].as_bytes()),
        (200, &b"application/json"[..])
    );
    let text = decoded.text().await.unwrap();
    let printed = desk.done(&["configtxgen", "-inspectBlock", &format!("{NET}/AppSolo.block")]);
    assert_eq!(text, printed);
    let encoded = post("/protolator/encode/common.Block", text.into_bytes()).await.unwrap();
    assert_eq!(encoded.status(), 200);
    assert_eq!(encoded.bytes().await.unwrap(), block);

    for (path, status) in [
        ("/protolator/decode/common.Blck", 404),
        ("/protolator/decode/common.Block", 400),
        ("/protolator/encode/common.Block", 400),
        ("/configtxlator/compute/update-from-configs", 400),
        ("/elsewhere", 404),
    ] {
        assert_eq!(post(path, b"not a message".to_vec()).await.unwrap().status(), status, "{path}");
    }
    let got = client.get(format!("{}/protolator/decode/common.Block", server.1)).send().await.unwrap();
    assert_eq!(got.status(), 405);
    let large = post("/protolator/decode/common.Block", vec![0; (32 << 20) + 1]).await;
    assert!(large.is_err() || large.unwrap().status() == 413);
}

#[tokio::test]
async fn the_rest_server_computes_what_the_command_computes() {
    let desk = Desk::new();
    let block = fabric_proto::common::Block::decode(fs::read(Path::new(NET).join("AppSolo.block")).unwrap().as_slice());
    let original = config_of(&block.unwrap());
    let mut updated = original.clone();
    updated.channel_group.as_mut().unwrap().groups.get_mut("Application").unwrap().groups.remove("Org2MSP").unwrap();
    fs::write(desk.file("before.pb"), original.encode_to_vec()).unwrap();
    fs::write(desk.file("after.pb"), updated.encode_to_vec()).unwrap();
    let files = ["--original", "before.pb", "--updated", "after.pb", "--output", "update.pb"];
    desk.done(&[&["configtxlator", "compute_update", "--channel_id", "app"], &files[..]].concat());
    let by_command = ConfigUpdate::decode(desk.bytes("update.pb").as_slice()).unwrap();
    assert_eq!(by_command.channel_id, "app");

    let server = Server::start(&desk, &["--CORS", "https://example.com"]);
    let form = |original: &Config, updated: &Config| {
        let part = |config: &Config| reqwest::multipart::Part::bytes(config.encode_to_vec()).file_name("config");
        reqwest::multipart::Form::new()
            .part("original", part(original))
            .part("updated", part(updated))
            .text("channel", "app")
    };
    let compute = |form| {
        let client = reqwest::Client::new();
        let request = client.post(format!("{}/configtxlator/compute/update-from-configs", server.1));
        request.header("origin", "https://example.com").multipart(form).send()
    };
    let computed = compute(form(&original, &updated)).await.unwrap();
    assert_eq!(computed.status(), 200);
    assert_eq!(computed.headers()["access-control-allow-origin"], "https://example.com");
    assert_eq!(ConfigUpdate::decode(computed.bytes().await.unwrap()).unwrap(), by_command);
    let refused = compute(form(&original, &original)).await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("no differences detected"));
}

#[test]
fn a_client_of_the_rest_server_that_sends_nothing_keeps_nobody_from_it() {
    let desk = Desk::new();
    let server = Server::start(&desk, &[]);
    let idle: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.write_all(b"GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    // the server closes the connection after the response
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn osnadmin_speaks_to_a_node() {
    let setup = Setup::application().set("CHANNELPARTICIPATION_ENABLED", true);
    let mut node = setup.start().await;
    let admin = address(&mut node, "admin").await;
    let run = |arguments: &[&str]| setup.again(&[&["osnadmin"], arguments].concat()).run();
    // the endpoint may be named before the command
    let listed = run(&["-o", &admin, "channel", "list"]);
    assert_eq!((listed.code, listed.stderr.as_str()), (Some(0), ""), "{listed:?}");
    assert!(listed.stdout.starts_with("Status: 200\n{\n\t\"systemChannel\": null,"), "{}", listed.stdout);
    let unknown = run(&["channel", "list", "-o", &admin, "-c", "nowhere"]);
    assert_eq!(unknown.code, Some(0), "the node responded: {unknown:?}");
    assert!(unknown.stdout.starts_with("Status: 404\n{\n\t\"error\": "), "{}", unknown.stdout);
    let fetched = run(&["channel", "fetch", "-o", &admin, "-c", "app", "-b", "0", "-f", "fetched.block"]);
    assert_eq!((fetched.code, fetched.stdout.as_str()), (Some(0), "Status: 200\n\n"), "{fetched:?}");
    let genesis = last_config(&node.client().await, &TestIdentity::user(1), "app").await;
    let fetched = fs::read(setup.folder().join("fetched.block")).unwrap();
    assert_eq!(fabric_proto::common::Block::decode(fetched.as_slice()).unwrap().header.unwrap().number, 0);
    assert_eq!(genesis.sequence, 0);
    let removed = run(&["channel", "remove", "-o", &admin, "-c", "app", "--no-status"]);
    assert_eq!((removed.code, removed.stdout.as_str()), (Some(0), "\n"), "{removed:?}");
    node.stop().await;
}
