//! A benchmark's report is of what happened: its figures agree with each other, in every form.

#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use std::fs;

use serde_json::Value;
use world::Setup;
use world::node::Ended;

fn report(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Every envelope was sent, acknowledged and seen once, and the figures say so.
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
    let setup = Setup::bare();
    let arguments = "benchmark --envelopes 300 --warm-up 40 --runs 2 --streams 3 --window 8 --subscribers 2 --payload-bytes 100 \
                     --json --html report.html";
    let ended = setup.again(&arguments.split_whitespace().collect::<Vec<_>>()).run();
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
    assert_eq!(report["settings"]["payload_bytes"], 100);

    let page = fs::read_to_string(setup.folder().join("report.html")).unwrap();
    for ratio in report["pairs"][0]["acknowledged_per_second"].as_array().unwrap() {
        assert!(page.contains(&format!("<td>{:.3}</td>", number(ratio))), "{ratio}");
    }
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(!page.contains("http") && !page.contains("<script"), "nothing is loaded from anywhere");
    let left: Vec<_> = fs::read_dir(setup.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["report.html"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_at_an_address_is_measured_at_a_rate_beside_another() {
    let node = Setup::bare().arguments(&["start", "--dev", "net"]);
    let first = node.start().await;
    // another node with the same network, and a ledger of its own
    let second = Setup::bare()
        .set("FILELEDGER_LOCATION", node.folder().join("other").display())
        .set("GENERAL_BOOTSTRAPMETHOD", "file")
        .set("GENERAL_BOOTSTRAPFILE", node.folder().join("net/genesis/devchannel.block").display());
    let second = second.arguments(&["start", "--config", node.folder().join("net/orderer.yaml").to_str().unwrap()]);
    let second = second.start().await;
    let (rate, began) = (400.0, std::time::Instant::now());
    let arguments = "benchmark --dev net --envelopes 200 --warm-up 0 --runs 1 --rate 400 --json";
    let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
    arguments.extend(["--address", &first.address, "--against", &second.address]);
    let report = report(&node.again(&arguments).run());
    assert!(began.elapsed().as_secs_f64() > 2.0 * 199.0 / rate, "it was in a hurry");
    for subject in report["subjects"].as_array().unwrap() {
        let run = &subject["runs"][0];
        assert_eq!((&run["sent"], &run["ordered"]), (&Value::from(200), &Value::from(200)), "{run}");
        assert!(number(&run["acknowledged_per_second"]) <= rate * 1.01, "{run}");
        assert!(run["cpu_micros"].is_null(), "nobody said which process it is");
    }
    let refused =
        node.again(&["benchmark", "--dev", "net", "--address", &first.address, "-c", "other", "--runs=1"]).run();
    assert_eq!(refused.code, Some(1));
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    first.stop().await;
    second.stop().await;
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_measured() {
    for arguments in [&["--payload-bytes", "3"][..], &["--rate", "0"], &["--runs", "0"], &["--pid", "1"]] {
        let ended = Setup::bare().arguments(&[&["benchmark"], arguments].concat()).run();
        assert_eq!(ended.code, Some(2), "{arguments:?}");
    }
    let ended = Setup::bare().arguments(&["benchmark", "--against", "127.0.0.1:1"]).run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("--against needs a network"), "{}", ended.stderr);
    let ended = Setup::bare().arguments(&["benchmark", "--envelopes", "10000000", "--over", "grpc"]).run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("fit into the 1024 MiB"), "{}", ended.stderr);
}
