//! Tests of the node's interfaces to its operators: notifications to a service manager, health probes, and the check of
//! a configuration before it is used.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use reqwest::Method;
use serde_json::json;
use world::http::{Http, send};
use world::node::{ProcessOutput, orderer_folder, value_of};
use world::notify_socket::NotifySocket;
use world::{NET, Setup, TEST_TIMEOUT};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_is_told_when_the_node_serves_reloads_lives_and_ends() {
    let setup = Setup::application();
    let socket = setup.folder().join("notify");
    let ear = NotifySocket::at(&socket);
    let setup = setup.variable("NOTIFY_SOCKET", socket.display()).variable("WATCHDOG_USEC", 400_000);
    let config = setup.folder().join("orderer.yaml");
    fs::write(&config, "General:\n  LogSpec: info\n").unwrap();
    let mut node = setup.start().await;
    ear.wait_for("READY=1");
    ear.wait_for("STATUS=1 of 1 channels running");
    for _ in 0..3 {
        ear.wait_for("WATCHDOG=1");
    }
    fs::write(&config, "General:\n  LogSpec: orderer.grpc=debug:info\n").unwrap();
    node.signal("HUP");
    assert!(ear.wait_for("RELOADING=1").contains("MONOTONIC_USEC="));
    ear.wait_for("READY=1");
    let operations = Http::of(&mut node, "operations").await;
    let spec = json!({"spec": "orderer.grpc=debug:info"});
    assert_eq!(operations.get("/logspec").await.json(), spec);

    // a configuration file with an error changes nothing
    fs::write(&config, "General:\n  LogSpec: loud\n").unwrap();
    node.signal("HUP");
    node.line("'loud' is not LEVEL").await;
    ear.wait_for("READY=1");
    assert_eq!(operations.get("/logspec").await.json(), spec);
    node.terminate();
    ear.wait_for("STOPPING=1");
    assert_eq!(node.ended(TEST_TIMEOUT).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_variable_goes_before_the_key_until_sighup() {
    let setup = Setup::application().variable("FABRIC_LOGGING_SPEC", "warn:orderer=info");
    fs::write(setup.folder().join("orderer.yaml"), "General:\n  LogSpec: info\n").unwrap();
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    assert_eq!(operations.get("/logspec").await.json(), json!({"spec": "warn:orderer=info"}));
    node.signal("HUP");
    node.line("General.LogSpec was reloaded").await;
    assert_eq!(operations.get("/logspec").await.json(), json!({"spec": "info"}));
    let set = operations.request(Method::PUT, "/logspec").body(r#"{"spec": "error"}"#);
    assert_eq!(send(set).await.status, 204);
    node.stop().await;
}

fn assert_well(ended: &ProcessOutput) {
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "OK\n", ""));
}

fn assert_ill(ended: &ProcessOutput, why: &str) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.starts_with("orderer: ") && ended.stderr.contains(why), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_says_by_its_exit_code_whether_the_node_is_well() {
    let setup = Setup::application();
    assert_ill(&setup.again(&["health", "--grpc"]).run(), "connect");
    let mut node = setup.start().await;
    let address = value_of(&node.line("operations endpoint is open").await, "address").to_owned();
    assert_well(&setup.again(&["health", "--address", &address]).run());
    assert_well(&setup.again(&["health", "--grpc"]).run());
    assert_ill(&setup.again(&["health"]).run(), "--address");
    assert_ill(&setup.again(&["health", "--address", &node.address]).run(), &node.address);
    node.stop().await;

    fs::write(setup.ledger_file("app"), "no ledger").unwrap();
    let mut node = setup.start().await;
    let address = value_of(&node.line("operations endpoint is open").await, "address").to_owned();
    assert_ill(&setup.again(&["health", "--address", &address]).run(), "channel app: ");
    node.stop().await;

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    assert_ill(&setup.again(&["health", "--address", &address, "--timeout", "1"]).run(), "no answer within 1s");
    for arguments in [&["health", "--address", "x:1", "--config", "y"][..], &["health", "--tls-ca", "x"]] {
        assert_eq!(setup.again(arguments).run().code, Some(2), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_whose_certificate_has_expired_is_not_well() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut expired = rcgen::CertificateParams::new(vec!["orderer".to_owned()]).unwrap();
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let (certificate, key_file) = (folder.path().join("expired.crt"), folder.path().join("key"));
    fs::write(&certificate, expired.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let setup = Setup::application()
        .set("GENERAL_TLS_ENABLED", true)
        .set("GENERAL_TLS_CERTIFICATE", certificate.display())
        .set("GENERAL_TLS_PRIVATEKEY", key_file.display());
    let mut node = setup.start().await;
    let address = value_of(&node.line("operations endpoint is open").await, "address").to_owned();
    assert_ill(&setup.again(&["health", "--address", &address]).run(), "expired.crt: it has expired");
    assert_ill(&setup.again(&["health", "--grpc"]).run(), "expired.crt: it has expired");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_knows_the_node_by_its_certificate() {
    let tls = orderer_folder().join("tls");
    let (certificate, key, ca) = (tls.join("server.crt"), tls.join("server.key"), tls.join("ca.crt"));
    let mut setup = Setup::application();
    for section in ["GENERAL", "OPERATIONS"] {
        setup = setup
            .set(&format!("{section}_TLS_ENABLED"), true)
            .set(&format!("{section}_TLS_CERTIFICATE"), certificate.display())
            .set(&format!("{section}_TLS_PRIVATEKEY"), key.display())
            .set(&format!("{section}_TLS_CLIENTAUTHREQUIRED"), true)
            .set(&format!("{section}_TLS_CLIENTROOTCAS"), ca.display());
    }
    let mut node = setup.start().await;
    let address = value_of(&node.line("operations endpoint is open").await, "address").to_owned();
    assert_well(&setup.again(&["health", "--grpc"]).run());
    let text = |path: &Path| path.display().to_string();
    let ask = |ca: &Path, name: &str| {
        let (ca, certificate, key) = (text(ca), text(&certificate), text(&key));
        let identity = ["--tls-cert", &certificate, "--tls-key", &key];
        let asked = ["health", "--address", &address, "--tls-ca", &ca, "--server-name", name];
        setup.again(&[&asked[..], &identity].concat()).run()
    };
    assert_well(&ask(&ca, "orderer.example.com"));
    assert_ill(&ask(&ca, "elsewhere.example.com"), "TLS");
    let other = Path::new(NET).join("crypto/peerOrganizations/org1.example.com/tlsca/tlsca.org1.example.com-cert.pem");
    assert_ill(&ask(&other, "orderer.example.com"), "TLS");
    let bare = ["health", "--address", &address, "--tls-ca", &text(&ca), "--server-name", "orderer.example.com"];
    assert_ill(&setup.again(&bare).run(), &address);
    // a certificate other than the configured one
    let other = orderer_folder().with_file_name("orderer2.example.com").join("tls");
    let mistaken = setup
        .again(&["health", "--grpc"])
        .set("GENERAL_TLS_CERTIFICATE", other.join("server.crt").display())
        .set("GENERAL_TLS_PRIVATEKEY", other.join("server.key").display());
    assert_ill(&mistaken.run(), "TLS");
    node.stop().await;
}

fn check(setup: &Setup) -> ProcessOutput {
    setup.again(&["config", "check"]).run()
}

#[test]
fn a_configuration_that_will_do_is_said_to() {
    let setup = Setup::application();
    let ended = check(&setup);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.stdout.lines().all(|line| line.starts_with("ok ")), "{}", ended.stdout);
    for part in
        ["is understood", "channel app, consensus type solo", "a member of channel app", "is made when the node"]
    {
        assert!(ended.stdout.contains(part), "'{part}' is not in {}", ended.stdout);
    }
    assert!(!setup.folder().join("ledger").exists(), "nothing was written");

    let printed = setup.again(&["config", "check", "--print"]).set("KAFKA_SASL_PASSWORD", "geheim").run().stdout;
    assert!(!printed.contains("geheim"), "{printed}");
    let line = |key: &str| printed.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("General.LocalMSPID: OrdererMSP ").ends_with("# ORDERER_GENERAL_LOCALMSPID"));
    assert!(line("General.ListenAddress: 127.0.0.1 ").contains("# (embedded orderer.yaml):"));
    assert!(line("Kafka.SASL.Password: (hidden) ").ends_with("# ORDERER_KAFKA_SASL_PASSWORD"));
}

#[test]
fn everything_that_is_wrong_with_a_configuration_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let text = |path: std::path::PathBuf| path.display().to_string();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut expired = rcgen::CertificateParams::new(vec!["orderer".to_owned()]).unwrap();
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let (expired, key) =
        (put("expired.crt", &expired.self_signed(&key).unwrap().pem()), put("key", &key.serialize_pem()));
    let tls = orderer_folder().join("tls");
    let (good, garbage) = (text(tls.join("server.crt")), put("garbage", "garbage"));
    let crashed = folder.path().join("crashed");
    fs::create_dir(&crashed).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    fs::write(crashed.join("unclean-starts"), format!("{now} crashed\n").repeat(5)).unwrap();
    let setup = Setup::application();
    let taken = TcpListener::bind(("127.0.0.1", setup.port())).unwrap();
    let own = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let secured = |section: &str, certificate: &str, key: &str| {
        let keys = [("ENABLED", "true"), ("CERTIFICATE", certificate), ("PRIVATEKEY", key)];
        keys.iter().map(|(k, v)| (format!("{section}_TLS_{k}"), (*v).to_owned())).collect::<Vec<_>>()
    };
    let table = [
        (own("GENERAL_LOCALMSPDIR", "nowhere"), "General.LocalMSPDir: no such folder"),
        (own("GENERAL_LOCALMSPID", "Org1MSP"), "no member of channel app"),
        (own("GENERAL_BOOTSTRAPFILE", &garbage), "garbage: "),
        (own("GENERAL_BOOTSTRAPFILE", "nowhere"), "nowhere: no such file"),
        (own("GENERAL_LOGSPEC", "loud"), "General.LogSpec: 'loud' is not LEVEL"),
        (own("FILELEDGER_LOCATION", &garbage), "garbage is no folder"),
        (own("FILELEDGER_LOCATION", "/proc/orderer"), "cannot write to /proc"),
        (own("FILELEDGER_LOCATION", &text(crashed)), "not starting: the node has crashed 5 times within 5 minutes"),
        (own("TRACING_ENDPOINT", "https://collector:4317"), "Tracing.RootCAs must list a file"),
        ([own("TRACING_ENDPOINT", "https://a:1"), own("TRACING_ROOTCAS", &garbage)].concat(), "Tracing.RootCAs"),
        (own("DEBUG_BROADCASTTRACEDIR", "/proc/traces"), "Debug.BroadcastTraceDir /proc/traces: cannot write to /proc"),
        (own("GENERAL_PROFILE_ENABLED", "perhaps"), "General.Profile.Enabled: 'perhaps' is not true or false"),
        (own("OPERATIONS_LISTENADDRESS", "nowhere:x"), "Operations.ListenAddress: 'nowhere:x'"),
        (secured("GENERAL", &good, &key), "it is not the key of the certificate"),
        (secured("GENERAL", &garbage, &key), "no certificate in PEM found"),
        (secured("OPERATIONS", &expired, &key), "expired.crt has expired"),
        (
            [own("KAFKA_TLS_ENABLED", "true"), own("KAFKA_TLS_ROOTCAS", &garbage)].concat(),
            "Kafka: trusted kafka certificates",
        ),
    ];
    let mut all = setup.again(&["config", "check", "--bind"]);
    for (variables, wanted) in &table {
        let mut one = setup.again(&["config", "check"]);
        for (key, value) in variables {
            one = one.set(key, value);
        }
        let ended = one.run();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""), "{wanted}: {ended:?}");
        let errors: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with("error ")).collect();
        assert!(matches!(errors[..], [only] if only.contains(wanted)), "'{wanted}' is not all of {}", ended.stdout);
    }
    for (variables, _) in [&table[1], &table[4], &table[5], &table[15], &table[16]] {
        for (key, value) in variables {
            all = all.set(key, value);
        }
    }
    let ended = all.variable("FABRIC_LOGGING_SPEC", "loud").run();
    let errors = ended.stdout.lines().filter(|line| line.starts_with("error ")).count();
    assert_eq!((ended.code, errors), (Some(1), 7), "{}", ended.stdout);
    assert!(ended.stdout.contains("General: listen on 127.0.0.1"), "{}", ended.stdout);
    drop(taken);
}

/// Files, keys and commands that the systemd unit, the Debian package and the container image name must exist.
#[test]
fn packages_name_what_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let manifest = read("Cargo.toml");
    let package = manifest.split("[package.metadata.deb]").nth(1).unwrap();
    let assets: Vec<&str> =
        package.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next()).collect();
    assert!(assets.len() > 8, "{assets:?}");
    for asset in assets.into_iter().filter(|asset| !asset.starts_with("target/") && !asset.contains('*')) {
        assert!(root.join(asset).is_file(), "{asset}");
    }
    for script in ["debian/postinst", "debian/prerm", "debian/postrm", "build-deb"] {
        let path = root.join("packaging").join(script);
        let shell = if script == "build-deb" { "bash" } else { "sh" };
        assert!(std::process::Command::new(shell).arg("-n").arg(path).status().unwrap().success(), "{script}");
    }
    // the check reports variables that have no meaning
    let mut setup = Setup::application().again(&["config", "check"]);
    let (defaults, image) = (read("packaging/debian/orderer.default"), read("packaging/Dockerfile"));
    let of_image = image.lines().filter_map(|line| line.strip_prefix("ENV "));
    // this variable names a directory in the image
    let of_image = of_image.filter(|line| !line.starts_with("FABRIC_CFG_PATH="));
    for line in defaults.lines().filter(|line| !line.starts_with('#')).chain(of_image) {
        let (name, value) = line.split_once('=').unwrap();
        setup = setup.variable(name, value);
    }
    let checked = setup.run();
    assert!(!checked.stdout.contains("names no key"), "{}", checked.stdout);
    assert!(checked.stdout.contains("FileLedger.Location /var/lib/orderer"), "{}", checked.stdout);
    assert!(image.contains(r#"CMD ["/usr/local/bin/orderer", "health", "--alive"]"#));
    let unit = read("packaging/systemd/orderer.service");
    for line in ["Type=notify", "WatchdogSec=30s", "ExecStart=/usr/bin/orderer start", "StateDirectory=orderer"] {
        assert!(unit.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn shells_and_manuals_know_every_command() {
    let setup = Setup::without_channels();
    for shell in ["bash", "zsh", "fish"] {
        let ended = setup.again(&["completions", shell]).run();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for part in ["orderer", "health", "check", "log-format"] {
            assert!(ended.stdout.contains(part), "{shell} does not know {part}");
        }
    }
    assert_eq!(setup.again(&["completions", "abacus"]).run().code, Some(2));
    assert_eq!(setup.again(&["man", "--dir", "pages/man1"]).run().code, Some(0));
    for page in ["orderer.1", "orderer-start.1", "orderer-health.1", "orderer-config-check.1", "orderer-kafka-check.1"]
    {
        let text = fs::read_to_string(setup.folder().join("pages/man1").join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    fs::write(setup.folder().join("file"), "").unwrap();
    let ended = setup.again(&["man", "--dir", "file"]).run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("orderer: file: "), "{}", ended.stderr);
}
