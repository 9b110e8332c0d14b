//! Tests that the figures of a benchmark report agree with each other and with what happened, in every output format.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use world::node::ProcessOutput;
use world::{Setup, TEST_TIMEOUT, within};

/// Time limit of a benchmark. After each run the benchmark verifies signatures for 0.25 s of CPU time, which can take 5
/// s on a busy machine.
const MEASURED_WITHIN: Duration = Duration::from_secs(180);

/// Runs `benchmark` with these arguments.
fn benchmark(setup: &Setup, words: &str, more: &[&str]) -> ProcessOutput {
    let words = ["benchmark"].into_iter().chain(words.split_whitespace()).chain(more.iter().copied());
    setup.again(&words.collect::<Vec<_>>()).run_within(MEASURED_WITHIN, "")
}

/// Asserts that the command failed with one line on stderr and no output.
fn assert_refused(ended: &ProcessOutput, parts: &[&str]) {
    assert_eq!((ended.code, ended.stderr.lines().count(), &*ended.stdout), (Some(1), 1, ""), "{ended:?}");
    assert!(parts.iter().all(|part| ended.stderr.contains(part)), "{parts:?} not in: {}", ended.stderr);
}

fn names_in(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn report(ended: &ProcessOutput) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Asserts that every envelope was sent, acknowledged and received once, and that the figures say so.
fn assert_consistent(run: &Value, sent: u64) {
    assert_eq!((&run["sent"], &run["ordered"]), (&Value::from(sent), &Value::from(sent)), "{run}");
    let answers: u64 = run["answers"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(answers + run["unanswered"].as_u64().unwrap(), sent);
    assert_eq!((&run["answers"]["SUCCESS"], &run["twice"]), (&Value::from(sent), &Value::from(0)));
    for latency in ["to_answer_ms", "to_block_ms"] {
        let latency = &run[latency];
        assert_eq!(latency["count"], sent);
        let all = ["p50", "p90", "p95", "p99", "p99.9", "max"].map(|name| number(&latency[name]));
        assert!(all.is_sorted() && all[0] > 0.0, "{latency}");
        assert!(number(&latency["mean"]) <= all[5]);
    }
    assert!(number(&run["to_block_ms"]["max"]) >= number(&run["to_answer_ms"]["p50"]), "blocks come behind answers");
    let per_second = number(&run["acknowledged_per_second"]) * number(&run["seconds"]);
    assert!((per_second - number(&run["sent"])).abs() < 1.0, "{run}");
    let ratio = number(&run["cpu_micros"]) / number(&run["verification_micros"]);
    assert!((ratio - number(&run["cpu_in_verifications"])).abs() < 0.01, "{run}");
}

#[test]
fn own_nodes_are_measured_in_turn_and_the_report_agrees_with_itself() {
    let setup = Setup::without_channels();
    let words = "--envelopes 300 --warm-up 40 --runs 2 --streams 3 --window 8 --subscribers 2 --payload-bytes 100 --json \
                 --html report.html --folder .";
    let ended = benchmark(&setup, words, &[]);
    assert_eq!(ended.stderr, "", "no bar where there is no terminal");
    let report = report(&ended);
    let subjects = report["subjects"].as_array().unwrap();
    assert_eq!(subjects.iter().map(|s| s["name"].as_str().unwrap()).collect::<Vec<_>>(), ["in-process", "grpc"]);
    for subject in subjects {
        let runs = subject["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        for run in runs {
            assert_consistent(run, 300);
        }
    }
    let ratio = number(&subjects[0]["runs"][1]["acknowledged_per_second"])
        / number(&subjects[1]["runs"][1]["acknowledged_per_second"]);
    assert!((ratio - number(&report["pairs"][0]["acknowledged_per_second"][1])).abs() < 0.001);
    assert_eq!(
        (&report["settings"]["payload_bytes"], &report["settings"]["signatures"]),
        (&100.into(), &"ECDSA P-256".into())
    );

    let page = fs::read_to_string(setup.folder().join("report.html")).unwrap();
    for ratio in report["pairs"][0]["acknowledged_per_second"].as_array().unwrap() {
        assert!(page.contains(&format!("<td>{:.3}</td>", number(ratio))), "{ratio}");
    }
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(!page.contains("http") && !page.contains("<script"), "nothing is loaded from anywhere");
    assert_eq!(names_in(setup.folder()), ["report.html"], "ledgers are removed");
}

#[test]
fn many_channels_are_measured_together() {
    let setup = Setup::without_channels();
    let words =
        "--channels 3 --envelopes 60 --warm-up 10 --runs 2 --streams 4 --subscribers 2 --folder . --html page.html";
    let measured = benchmark(&setup, words, &["--json"]);
    let report = report(&measured);
    assert_eq!(
        (&report["settings"]["channels"], &report["settings"]["channel"]),
        (&Value::from(3), &"devchannel".into())
    );
    for subject in report["subjects"].as_array().unwrap() {
        let runs = subject["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        for run in runs {
            assert_consistent(run, 60);
            assert!(run["blocks"].as_u64().unwrap() >= 3, "each channel has its own blocks: {run}");
        }
    }
    assert!(fs::read_to_string(setup.folder().join("page.html")).unwrap().contains(", 3 channels, 4 streams,"));
    let text = benchmark(&setup, words, &["--over", "grpc", "--dev", "net"]).stdout;
    for part in [", 3 channels, 4 streams,", "120 SUCCESS, of 120 sent, 120 seen in blocks\n"] {
        assert!(text.contains(part), "{text}");
    }
    fs::remove_file(setup.folder().join("net/configtx.yaml")).unwrap();
    assert_refused(&benchmark(&setup, words, &["--dev", "net"]), &["make a genesis block", "configtx.yaml"]);
}

#[test]
fn channels_are_not_created_at_addresses() {
    let setup = Setup::without_channels();
    let refused = ["--channels is about nodes of its own"];
    assert_refused(&benchmark(&setup, "--channels 2 --dev net --address 127.0.0.1:1", &[]), &refused);
    assert_refused(&benchmark(&setup, "--channels 2 --dev net --against 127.0.0.1:1", &[]), &refused);
    assert_eq!(names_in(setup.folder()), [""; 0], "nothing is created for it");
    for count in ["0", "1001"] {
        assert_eq!(benchmark(&setup, "--channels", &[count]).code, Some(2), "{count}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_interrupted_removes_its_ledger_too() {
    let setup = Setup::without_channels();
    let words = "benchmark --folder . --over grpc --envelopes 4000 --rate 20 --warm-up 0 --runs 1";
    let mut running = setup.again(&words.split_whitespace().collect::<Vec<_>>()).spawn();
    let ledger = || {
        let [folder] = &names_in(setup.folder())[..] else { return None };
        Some(setup.folder().join(folder).join("grpc/channels/devchannel/ledger.redb")).filter(|ledger| ledger.exists())
    };
    let there = async {
        while ledger().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("a ledger in the folder", there).await;
    running.terminate();
    running.line("ended by SIGTERM").await;
    assert_eq!(running.ended(TEST_TIMEOUT).await.code(), Some(1));
    assert_eq!(names_in(setup.folder()), [""; 0]);
}

#[test]
fn ed25519_identities_are_measured_by_their_own_verification() {
    let setup = Setup::without_channels();
    let words = "--algorithm ed25519 --envelopes 200 --warm-up 0 --runs 1 --payload-bytes 100";
    let report = report(&benchmark(&setup, words, &["--json", "--html", "report.html"]));
    for subject in report["subjects"].as_array().unwrap() {
        assert_consistent(&subject["runs"][0], 200);
    }
    assert_eq!(report["settings"]["signatures"], "Ed25519");
    let verifications = "over the time of one Ed25519 signature verification alone";
    let measured = report["measured"].as_array().unwrap();
    assert!(measured.iter().any(|line| line.as_str().unwrap().contains(verifications)), "{measured:?}");
    let page = fs::read_to_string(setup.folder().join("report.html")).unwrap();
    let text = benchmark(&setup, words, &["--over", "in-process"]).stdout;
    for form in [page, text] {
        assert!(form.contains("(100 payload, Ed25519)") && form.contains(verifications), "{form}");
    }
}

/// If the benchmark started its own nodes before it checked its arguments, they would report errors in the network's
/// configuration first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_loads_that_will_not_do_are_refused_before_a_node_is_started() {
    let older = Setup::without_channels().arguments(&["start", "--dev", "net"]);
    let node = older.start().await;
    assert_refused(
        &benchmark(&older, "--dev net --algorithm ed25519", &[]),
        &["--algorithm ed25519: the network in net has ECDSA P-256", "name a folder for a new one"],
    );
    let beside = ["--address", &node.address];
    assert_refused(
        &benchmark(&older, "--dev net --algorithm ed25519", &beside),
        &["--algorithm ed25519: the identity has ECDSA P-256", "sign as another"],
    );

    let too_many = "--dev newer --algorithm ed25519 --envelopes 10000000";
    let fits = &["fit into the 1024 MiB"];
    assert_refused(&benchmark(&older, too_many, &[]), fits);
    fs::write(older.folder().join("newer/orderer.yaml"), "General: {ListenPort: many}").unwrap();
    assert_refused(&benchmark(&older, too_many, &[]), fits);
    let newer = "--dev newer --algorithm ed25519 --envelopes 10 --runs 1";
    let told = ["FORBIDDEN", "an identity with an Ed25519 key counts from channel capability V3_0 on"];
    assert_refused(&benchmark(&older, newer, &["--against", &node.address]), &told);
    let as_another =
        "--msp-dir newer/crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp --msp-id Org1MSP";
    assert_refused(&benchmark(&older, as_another, &["-c", "devchannel", "--address", &node.address]), &told);
    assert_refused(&benchmark(&older, newer, &["--over", "in-process"]), &["ListenPort"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_at_an_address_is_measured_at_a_rate_beside_another() {
    let node = Setup::without_channels().arguments(&["start", "--dev", "net"]);
    let first = node.start().await;
    // another node of the same network with its own ledger
    let second = Setup::without_channels()
        .set("FILELEDGER_LOCATION", node.folder().join("other").display())
        .set("GENERAL_BOOTSTRAPMETHOD", "file")
        .set("GENERAL_BOOTSTRAPFILE", node.folder().join("net/genesis/devchannel.block").display());
    let second = second.arguments(&["start", "--config", node.folder().join("net/orderer.yaml").to_str().unwrap()]);
    let second = second.start().await;
    let (rate, began) = (400.0, std::time::Instant::now());
    let addresses = ["--address", &first.address, "--against", &second.address];
    let words = "--dev net --envelopes 200 --warm-up 0 --runs 1 --rate 400 --json";
    let report = report(&benchmark(&node, words, &addresses));
    assert!(began.elapsed().as_secs_f64() > 2.0 * 199.0 / rate, "it was in a hurry");
    for subject in report["subjects"].as_array().unwrap() {
        let run = &subject["runs"][0];
        assert_eq!((&run["sent"], &run["ordered"]), (&Value::from(200), &Value::from(200)), "{run}");
        assert!(number(&run["acknowledged_per_second"]) <= rate * 1.01, "{run}");
        assert!(run["cpu_micros"].is_null(), "nobody said which process it is");
    }
    let refused = benchmark(&node, "--dev net -c other", &["--address", &first.address]);
    assert_refused(&refused, &["a request for a block of channel other ends with NOT_FOUND"]);
    first.stop().await;
    second.stop().await;
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_measured() {
    for arguments in [&["--payload-bytes", "3"][..], &["--rate", "0"], &["--runs", "0"], &["--pid", "1"]] {
        let ended = Setup::without_channels().arguments(&[&["benchmark"], arguments].concat()).run();
        assert_eq!(ended.code, Some(2), "{arguments:?}");
    }
    assert_refused(
        &benchmark(&Setup::without_channels(), "--against 127.0.0.1:1", &[]),
        &["--against needs a network"],
    );
}

#[test]
fn a_profile_shows_where_an_own_node_spends_its_time() {
    let setup = Setup::without_channels();
    let words = "--over grpc --envelopes 300 --runs 1 --warm-up 50 --json --profile-seconds 1 --profile";
    let report = report(&benchmark(&setup, words, &["flames.svg"]));
    assert!(number(&report["subjects"][0]["runs"][0]["allocations"]) > 1.0, "{report}");
    let picture = fs::read_to_string(setup.folder().join("flames.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains("<title>all ("), "{picture}");
    benchmark(&setup, words, &["for-pprof"]);
    let profile = fs::read(setup.folder().join("for-pprof")).unwrap();
    assert!(profile.starts_with(b"\x1f\x8b"), "gzip");
    let refused = benchmark(&setup, "--over in-process --profile x", &[]);
    assert_refused(&refused, &["--over leaves it out"]);
}
