//! Tests that no output contains a secret, whatever setting holds it.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use orderer_localconfig::settings::{KEYS, Kind};
use world::http::Http;
use world::{Node, Setup};

const MARK: &str = "bWFya2VkIHNlY3JldA";

fn pem() -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----\n")
}

/// Asserts that the marker is found where it is not secret, so that the other tests could find it.
#[test]
fn what_is_no_secret_is_found() {
    let setup = Setup::application().set("GENERAL_LOCALMSPID", MARK).set("METRICS_STATSD_PREFIX", MARK);
    let checked = setup.again(&["config", "check", "--print"]).run();
    let shown = |key: &str| checked.stdout.lines().any(|line| line.contains(key) && line.contains(MARK));
    assert!(shown("General.LocalMSPID") && shown("Metrics.Statsd.Prefix"), "{checked:?}");
}

#[test]
fn no_check_of_a_configuration_shows_a_secret() {
    let setup = Setup::application().set("KAFKA_TLS_ENABLED", true).set("KAFKA_SASL_ENABLED", true);
    for key in KEYS {
        let name = key.variable().replace("ORDERER_", "");
        let values = if key.kind == Kind::Secret { vec![pem(), MARK.to_owned()] } else { vec![pem()] };
        for value in values {
            let checked = setup.again(&["config", "check", "--print"]).set(&name, value).run();
            let said = format!("{}{}", checked.stdout, checked.stderr);
            assert!(!said.is_empty() && !said.contains(MARK), "{name}: {said}");
        }
    }
}

#[test]
fn no_start_that_fails_shows_a_secret() {
    // every start fails because the bootstrap file does not exist
    let setup = Setup::application().set("KAFKA_TLS_ENABLED", true).set("GENERAL_BOOTSTRAPFILE", "nowhere");
    let setup = setup.variable("FABRIC_LOGGING_SPEC", "debug");
    for key in KEYS {
        let name = key.variable().replace("ORDERER_", "");
        let setup = setup.again(&["start"]).set("GENERAL_BOOTSTRAPMETHOD", "file").set(&name, pem());
        // this value replaces the bootstrap method, so an invalid port makes the start fail instead of the missing file
        let setup = if name == "GENERAL_BOOTSTRAPMETHOD" { setup.set("GENERAL_LISTENPORT", "x") } else { setup };
        let ended = setup.run();
        assert_eq!(ended.code, Some(1), "{name}: {ended:?}");
        assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(MARK), "{name}: {ended:?}");
    }
    let help = setup.again(&["start", "--help"]).set("KAFKA_SASLPLAIN_PASSWORD", MARK).run();
    assert!(help.code == Some(0) && !help.stdout.contains(MARK), "{help:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    std::fs::write(&file, pem()).unwrap();
    let setup = Setup::application().set("GENERAL_TLS_ENABLED", true);
    let both = setup.set("GENERAL_TLS_PRIVATEKEY", file.display()).set("GENERAL_TLS_CERTIFICATE", file.display());
    let ended = both.run();
    assert!(ended.code == Some(1) && !ended.stderr.contains(MARK), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_running_node_shows_a_secret() {
    let setup = Setup::application()
        .variable("FABRIC_LOGGING_SPEC", "debug")
        .set("KAFKA_SASL_ENABLED", true)
        .set("KAFKA_SASL_USER", "user")
        .set("KAFKA_SASL_PASSWORD", MARK)
        .set("KAFKA_SASLPLAIN_PASSWORD", MARK)
        .set("KAFKA_TLS_PRIVATEKEY", pem())
        .set("METRICS_PROVIDER", "prometheus");
    let mut node: Node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    for path in
        ["/debug/config", "/debug/logs", "/debug/warnings", "/debug/certificates", "/debug/", "/logspec", "/metrics"]
    {
        let answer = operations.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(MARK), "{path}");
    }
    let shown = String::from_utf8_lossy(&operations.get("/debug/config").await.body).into_owned();
    assert!(shown.contains("Kafka.SASL.Password"), "{shown}");
    assert!(!node.log().contains(MARK), "{}", node.log());
    node.stop().await;
}
