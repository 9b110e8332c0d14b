//! Tests of settings, from their text to their values.

use std::collections::BTreeMap;
use std::path::Path;

use orderer_actors::Durability;
use proptest::prelude::*;

use super::keys::{KEYS, Kind, ReloadEffect, Unset};
use super::load::{ConfigSource, Loaded, examine, load};
use super::sources::{EMBEDDED, flatten};
use super::{Bootstrap, DebugEndpoint};
use crate::yaml::{self, Value};

fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("msp")).expect("a folder");
    let file = folder.path().join("orderer.yaml");
    std::fs::write(&file, text).expect("a file");
    let variables = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    let origin = ConfigSource { file: Some(file), working_folder: folder.path().to_owned(), variables };
    load(origin).map_err(|mistakes| {
        let prefix = format!("{}/", folder.path().display());
        mistakes.iter().map(|m| m.to_string().replace(&prefix, "")).collect()
    })
}

#[test]
fn the_embedded_file_documents_every_key_with_its_default() {
    let written = flatten(EMBEDDED, Path::new("orderer.yaml")).expect("is YAML");
    for key in KEYS.iter().filter(|key| !matches!(key.effect, ReloadEffect::Ignored(_))) {
        let (value, _) = written.get(key.path).unwrap_or_else(|| panic!("{} is not in orderer.yaml", key.path));
        assert_eq!(yaml::shown(value), key.default, "{}", key.path);
    }
    let unknown: Vec<_> = written.keys().filter(|path| !KEYS.iter().any(|key| key.covers(path))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let text = "General:\n  ListenPrt: 7050\n  ListenPort: many\n  TLS:\n    Enabled: yes please\n  \
                Keepalive:\n    ServerInterval: soon\n  LocalMSPDir: nowhere\nSolo:\n  Durability: maybe\n";
    let mistakes = load_text(text, &[]).expect_err("must fail");
    expect_test::expect![[r"
        orderer.yaml:2: unknown key General.ListenPrt; did you mean General.ListenPort?
        orderer.yaml:3: General.ListenPort: 'many' is not a port from 1 to 65535
        orderer.yaml:5: General.TLS.Enabled: 'yes please' is not true or false
        orderer.yaml:7: General.Keepalive.ServerInterval: 'soon' is not a duration, such as 500ms or 1h30m
        orderer.yaml:10: Solo.Durability: 'maybe' is not one of: disk, memory
        orderer.yaml:8: General.LocalMSPDir: no such folder: nowhere"]]
    .assert_eq(&mistakes.join("\n"));
}

#[test]
fn a_missing_file_is_named_with_the_key_that_named_it() {
    let text = "Kafka: {TLS: {Enabled: true, RootCAs: ca.pem}}";
    assert_eq!(load_text(text, &[]).expect_err("must fail"), ["orderer.yaml: Kafka.TLS.RootCAs: no such file: ca.pem"]);
}

#[test]
fn variables_override_the_file() {
    let loaded = load_text(
        "General:\n  ListenPort: 1\n",
        &[("ORDERER_GENERAL_LISTENPORT", "7999"), ("ORDERER_SOLO_DURABILITY", "memory"), ("ORDERER_CA", "x")],
    );
    let loaded = loaded.expect("loads");
    assert_eq!(loaded.settings.listen.port(), 7999);
    assert_eq!(loaded.settings.durability, Durability::Memory);
    assert_eq!(loaded.notes.len(), 1);
    assert!(loaded.notes[0].is_warning && loaded.notes[0].text == "variable ORDERER_CA names no key");
    let mistakes = load_text("", &[("ORDERER_GENERAL_LISTENPORT", "x")]).expect_err("must fail");
    assert_eq!(mistakes, ["ORDERER_GENERAL_LISTENPORT: General.ListenPort: 'x' is not a port from 1 to 65535"]);
}

/// Fabric's own files, built from a table of their keys: versions, and the values of each key in them.
#[test]
fn the_files_that_fabric_ships_are_accepted_as_they_are() {
    let table = include_str!("../../../tests/fixtures/fabric-settings.tsv");
    let mut rows = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let versions = rows.next().expect("a head");
    let rows: Vec<_> = rows.collect();
    for (column, version) in versions.iter().enumerate().skip(1) {
        let mut root = Value::Mapping(yaml::Mapping::new());
        for row in rows.iter().filter(|row| row[column] != "-") {
            let mut at = &mut root;
            for name in row[0].split('.') {
                let section = at.as_mapping_mut().expect("a section");
                at = section.entry(name.into()).or_insert_with(|| Value::Mapping(yaml::Mapping::new()));
            }
            *at = yaml::read(row[column].as_bytes()).expect("YAML");
        }
        let text = yaml::write(&root).expect("YAML");
        let loaded = load_text(&text, &[]).unwrap_or_else(|mistakes| panic!("{version}: {mistakes:#?}"));
        assert_eq!(loaded.settings.listen.port(), 7050, "{version}");
        let bootstrap = match version.split('.').next() {
            Some("1") => Bootstrap::Provisional("SampleInsecureSolo".to_owned()),
            Some("2") => Bootstrap::File("genesisblock".into()),
            _ => Bootstrap::Nothing,
        };
        let found = match loaded.settings.bootstrap {
            Bootstrap::File(file) => Bootstrap::File(file.file_name().expect("a name").into()),
            other => other,
        };
        assert_eq!(found, bootstrap, "{version}");
    }
}

#[test]
fn the_first_channels_file_is_found_as_fabric_finds_it() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>, usize);
    let cases: [Case<'_>; 8] = [
        ("", &[], None, 0),
        ("BootstrapFile: a", &[], Some("a"), 0),
        ("BootstrapMethod: none, BootstrapFile: a", &[], None, 1),
        ("BootstrapMethod: file, BootstrapFile: ", &[], Some("genesisblock"), 0),
        ("GenesisMethod: file, GenesisFile: b", &[], Some("b"), 2),
        ("BootstrapMethod: file", &[("ORDERER_GENERAL_GENESISFILE", "c")], Some("c"), 1),
        ("BootstrapMethod: none, GenesisMethod: file", &[], None, 0),
        ("BootstrapMethod: file, BootstrapFile: a", &[("ORDERER_GENERAL_BOOTSTRAPMETHOD", "")], Some("a"), 0),
    ];
    for (general, variables, wanted, warnings) in cases {
        let loaded = load_text(&format!("General: {{{general}}}"), variables).expect("loads");
        let found = match &loaded.settings.bootstrap {
            Bootstrap::File(file) => file.file_name().and_then(|name| name.to_str()),
            _ => None,
        };
        assert_eq!(found, wanted, "{general}");
        assert_eq!(
            loaded.notes.iter().filter(|note| note.is_warning).count(),
            warnings,
            "{general}: {:?}",
            loaded.notes
        );
    }
}

#[test]
fn an_empty_variable_says_nothing_and_zero_means_the_default_where_it_does_in_fabric() {
    let names: Vec<String> = KEYS.iter().map(super::Key::variable).collect();
    let empty: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let text = "FileLedger: {Location: /somewhere}\nGeneral: {ListenPort: 7051}\n";
    let loaded = load_text(text, &empty).expect("loads");
    assert_eq!(loaded.settings.ledger_location, Path::new("/somewhere"));
    assert_eq!((loaded.settings.listen.port(), loaded.notes), (7051, Vec::new()));
    for key in KEYS.iter().filter(|key| key.unset == Unset::Zero) {
        let loaded = load_text("", &[(&key.variable(), "0")]).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let shown = loaded.effective.iter().find(|e| e.key == key.path).map(|e| (e.value.as_str(), e.source.as_str()));
        assert_eq!(shown, Some((key.default, "default")), "{}", key.path);
    }
}

#[test]
fn values_may_be_in_files_and_pem_inline() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "from the file\n").expect("a file");
    let file = file.to_str().expect("text");
    let sasl = "Kafka: {SASLPlain: {Enabled: true, User: u, Password: {File: FILE}}}".replace("FILE", file);
    let by_variable = [("ORDERER_KAFKA_SASLPLAIN_PASSWORD_FILE", file)];
    let cases: [(&str, &[(&str, &str)]); 2] =
        [(&sasl, &[]), ("Kafka: {SASLPlain: {Enabled: true, User: u}}", &by_variable)];
    for (text, variables) in cases {
        let loaded = load_text(text, variables).expect("loads");
        let Some(orderer_kafka::Sasl::Plain(credentials)) = loaded.settings.kafka.sasl else {
            panic!("no credentials")
        };
        assert_eq!(credentials.password, "from the file");
    }
    let inline = "Kafka:\n  TLS:\n    Enabled: true\n    RootCAs: |\n      -----BEGIN CERTIFICATE-----\n      AA==\n      -----END CERTIFICATE-----\n";
    let tls = load_text(inline, &[]).expect("loads").settings.kafka.tls.expect("TLS");
    assert!(tls.roots_pem.starts_with(b"-----BEGIN CERTIFICATE-----\nAA=="));
    let tls = load_text("Kafka: {TLS: {Enabled: true}}", &[("ORDERER_KAFKA_TLS_ROOTCAS_FILE", file)]);
    assert_eq!(tls.expect("loads").settings.kafka.tls.expect("TLS").roots_pem, b"from the file\n\n");
    for (text, said) in [
        ("Kafka: {SASLPlain: {Password: {File: }}}", "Kafka.SASLPlain.Password.File names no file"),
        ("Kafka: {SASLPlain: {Password: {hunter2: }}}", "Kafka.SASLPlain.Password is a value, not a section"),
    ] {
        let mistakes = load_text(text, &[]).expect_err("must fail");
        assert!(mistakes[0].ends_with(said), "{mistakes:?}");
    }
}

/// Secrets are hidden as PEM, as a password, and under any key.
#[test]
fn no_secret_is_shown_whatever_key_it_stands_under() {
    const MARK: &str = "bWFya2VkIHNlY3JldA";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----\n");
    for key in KEYS {
        let is_secret = key.kind == super::Kind::Secret;
        let values = if is_secret { vec![pem.as_str(), MARK] } else { vec![pem.as_str()] };
        for value in values {
            for switches in [&[][..], &[("ORDERER_KAFKA_TLS_ENABLED", "true"), ("ORDERER_GENERAL_TLS_ENABLED", "true")]]
            {
                let variable = key.variable();
                let mut variables = switches.to_vec();
                variables.push((&variable, value));
                let said = match load_text("", &variables) {
                    Ok(loaded) => format!("{:?} {:?} {:?}", loaded.notes, loaded.effective, loaded.settings),
                    Err(mistakes) => mistakes.join("\n"),
                };
                assert!(!said.contains(MARK), "{}: {said}", key.path);
            }
        }
    }
}

#[test]
fn who_sees_what_the_node_holds_is_a_key_of_its_own() {
    let shown = |text| load_text(text, &[]).expect("loads").settings.http.debug;
    assert_eq!(shown(""), DebugEndpoint::Protected);
    assert_eq!(shown("Debug: {Endpoint: open}"), DebugEndpoint::Open);
    assert_eq!(shown("Debug: {Endpoint: off}"), DebugEndpoint::Off);
}

#[test]
fn addresses_may_be_in_brackets_and_clients_may_be_known_by_their_channels_alone() {
    let loaded = load_text("General: {ListenAddress: \"[::1]\"}", &[]).expect("loads");
    assert_eq!(loaded.settings.listen.to_string(), "[::1]:7050");
    let tls =
        "General: {TLS: {Enabled: true, ClientAuthRequired: 1, Certificate: orderer.yaml, PrivateKey: orderer.yaml}}";
    assert!(load_text(tls, &[]).is_ok());
}

#[test]
fn the_configuration_in_force_names_its_sources_and_hides_secrets() {
    let loaded = load_text(
        "General:\n  ListenPort: 1\nKafka:\n  SASLPlain: {User: u, Password: secret}\n  Brokers: [a:1, b:2]\n",
        &[("ORDERER_SOLO_DURABILITY", "memory"), ("ORDERER_KAFKA_SASL_PASSWORD", "secret")],
    );
    let effective = loaded.expect("loads").effective;
    let shown = |key: &str| {
        let found = effective.iter().find(|e| e.key == key).unwrap_or_else(|| panic!("{key}"));
        (found.value.as_str(), found.source.rsplit('/').next().unwrap_or_default())
    };
    assert_eq!(shown("General.ListenPort"), ("1", "orderer.yaml:2"));
    assert_eq!(shown("General.ListenAddress"), ("127.0.0.1", "default"));
    assert_eq!(shown("Solo.Durability"), ("memory", "ORDERER_SOLO_DURABILITY"));
    assert_eq!(shown("Kafka.Brokers"), ("[a:1, b:2]", "orderer.yaml:5"));
    assert_eq!(shown("Kafka.SASL.Password"), ("(hidden)", "ORDERER_KAFKA_SASL_PASSWORD"));
    assert_eq!(shown("Kafka.SASLPlain.Password").0, "(hidden)");
    assert!(!format!("{effective:?}").contains("secret"));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = load_text(&text, &[]);
    }
}

#[test]
fn what_is_secret_is_not_printed_for_debugging_either() {
    const MARK: &str = "bWFya2VkIHNlY3JldA";
    let folder = tempfile::tempdir().expect("a folder");
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, "").expect("a file");
    std::fs::create_dir(folder.path().join("msp")).expect("a folder");
    let roots = roots.display().to_string();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----\n");
    let address = format!("https://me:{MARK}@host:1");
    let mut printed_whole = 0;
    for key in KEYS {
        let plain = if key.kind == Kind::Secret { MARK } else { &*address };
        for value in [&*pem, plain] {
            let tls = key.path.starts_with("Kafka.TLS").to_string();
            let more = [
                ("KAFKA_TLS_ENABLED", &*tls),
                ("KAFKA_SASLPLAIN_ENABLED", "true"),
                ("KAFKA_SASLPLAIN_USER", "me"),
                ("KAFKA_SASLPLAIN_PASSWORD", "x"),
                ("TRACING_ROOTCAS", &*roots),
            ];
            let mut variables: BTreeMap<String, String> =
                more.into_iter().map(|(name, value)| (format!("ORDERER_{name}"), value.to_owned())).collect();
            variables.insert(key.variable(), value.to_owned());
            variables.insert("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), format!("authorization={MARK}"));
            let origin = ConfigSource { file: None, working_folder: folder.path().to_owned(), variables };
            let examined = examine(&origin);
            let loaded = load(origin.clone());
            if key.kind == Kind::Secret {
                assert!(loaded.is_ok(), "{loaded:?}");
            }
            let mut all = vec![format!("{origin:?}"), format!("{examined:#?}"), format!("{loaded:?}")];
            let is_for_secrets =
                key.kind == Kind::Secret || ["Kafka.TLS", "Tracing."].iter().any(|of| key.path.starts_with(of));
            if let (Ok(Loaded { settings, .. }), true) = (loaded, is_for_secrets) {
                printed_whole += 1;
                all.push(format!("{:?} {:?}", settings.kafka, settings.tracing));
            }
            for printed in all {
                assert!(!printed.contains(MARK), "{}: {printed}", key.path);
            }
        }
    }
    assert!(printed_whole > 0, "no settings were printed");
}
