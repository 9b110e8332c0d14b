//! Tests of rate limits on Broadcast: a client that sends too much is rejected and may retry, and no other client is
//! affected.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::time::{Duration, Instant};

use fabric_proto::common::{Envelope, Status};
use serde_json::{Value, json};
use world::http::Http;
use world::messages::transaction;
use world::metrics::Scrape;
use world::{Client, Setup, Step, TestIdentity, within};

/// Sends all envelopes at once on one stream, and returns the responses.
async fn answers(client: &Client, envelopes: Vec<Envelope>) -> Vec<(Status, String)> {
    let count = envelopes.len();
    let (requests, mut answers) = client.broadcasting().await.split();
    let requests = requests.unwrap();
    let sending = tokio::spawn(async move {
        for envelope in envelopes {
            requests.send(envelope).await.unwrap();
        }
        requests
    });
    let mut answered = Vec::new();
    while answered.len() < count {
        let answer = world::within("an answer", answers.message()).await.unwrap().expect("the stream stays open");
        answered.push((answer.status(), answer.info));
    }
    drop(sending.await.unwrap());
    answered
}

fn transactions(who: &TestIdentity, count: usize) -> Vec<Envelope> {
    (0..count).map(|number| transaction(who, "app", format!("transaction {number}"))).collect()
}

fn accepted(answers: &[(Status, String)]) -> usize {
    answers.iter().filter(|(status, _)| *status == Status::Success).count()
}

async fn ordered(client: &Client, user: &TestIdentity) -> usize {
    client.chain(user, "app").await[1..].iter().map(|block| block.data.as_ref().unwrap().data.len()).sum()
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|one| one["name"].as_str().unwrap().contains(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_over_its_rate_is_refused_on_a_stream_that_stays_open_and_others_are_not() {
    let setup = Setup::application().set("GENERAL_THROTTLING_CLIENTRATE", 20).set("METRICS_PROVIDER", "prometheus");
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let client = node.client().await;
    let (greedy, modest) = (TestIdentity::user(1), TestIdentity::user(2));

    let began = Instant::now();
    let refused_and_not = answers(&client, transactions(&greedy, 200)).await;
    let beside = answers(&client, transactions(&modest, 20)).await;
    let most = 20.0 + 20.0 * began.elapsed().as_secs_f64();
    let taken = accepted(&refused_and_not);
    #[expect(clippy::cast_precision_loss, reason = "some hundred")]
    let within_rate = taken as f64 <= most;
    assert!(taken >= 20 && within_rate, "{taken} of at most {most}");
    assert_eq!(accepted(&beside), 20, "{beside:?}");
    let (status, info) = refused_and_not.iter().find(|(status, _)| *status != Status::Success).unwrap();
    assert_eq!(*status, Status::ServiceUnavailable);
    for part in ["client '", "User1@org1.example.com", "more than the 20.0 envelopes a second", "try again in "] {
        assert!(info.contains(part), "{info}");
    }
    // an acknowledged envelope may be on disk but not yet in a block
    let all_are_ordered = async {
        while ordered(&client, &modest).await < taken + 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("what was acknowledged is in the chain", all_are_ordered).await;
    assert_eq!(ordered(&client, &modest).await, taken + 20, "and nothing else is");

    let limits = operations.get("/debug/limits").await.json();
    assert_eq!((&limits["limits"]["client_rate"], &limits["limits"]["rate"]), (&json!(20), &Value::Null));
    let shown = named(&limits["clients"], "User1@org1");
    assert_eq!((&shown["accepted"], &shown["refused"]), (&json!(taken), &json!(200 - taken)), "{limits}");
    assert_eq!((&shown["organization"], &shown["allowed_per_second"]), (&json!("Org1MSP"), &json!(20.0)));
    assert!(shown["refused_at_ms"].as_u64().unwrap() > 0);
    assert_eq!(named(&limits["clients"], "User1@org2")["refused"], json!(0));
    assert_eq!(named(&limits["organizations"], "Org1MSP")["allowed_per_second"], Value::Null);

    let scrape = Scrape::of(&operations).await;
    #[expect(clippy::cast_precision_loss, reason = "some hundred")]
    let refused = (200 - taken) as f64;
    let counted = scrape.value(r#"orderer_over_limit{organization="Org1MSP",whose="client"}"#);
    assert!((counted - refused).abs() < 0.5, "{counted}, not {refused}");
    assert!((scrape.value(r#"orderer_active_senders{whose="client"}"#) - 2.0).abs() < 0.5);
    let refusals = operations.get("/debug/refusals").await.json();
    assert_eq!(refusals["by_status"]["SERVICE_UNAVAILABLE"], json!(200 - taken), "each is counted");
    let told = refusals["refusals"].as_array().unwrap().len();
    assert!((1..20).contains(&told), "one a second is told in full, not {told}");
    node.line("sends more than").await;
    assert_eq!(node.log().matches("sends more than").count(), 1, "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_signed_badly_in_anothers_name_costs_the_other_nothing() {
    let setup = Setup::application().set("GENERAL_THROTTLING_ORGANIZATIONRATE", 5);
    let node = setup.start().await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    for envelope in transactions(&user, 20) {
        let forged = Envelope { signature: transaction(&user, "app", "other bytes").signature, ..envelope };
        assert_eq!(client.broadcast(forged).await.0, Status::Forbidden);
    }
    let answers = answers(&client, transactions(&user, 10)).await;
    assert!(accepted(&answers) >= 5, "{answers:?}");
    let refused = answers.iter().find(|(status, _)| *status != Status::Success).map(|(_, info)| info.as_str());
    assert!(
        refused.is_none_or(|info| info.starts_with("organization 'Org1MSP' sends more than the 5.0")),
        "{answers:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_for_all_is_shared_by_those_who_are_active_and_updates_of_a_configuration_count_too() {
    let setup =
        Setup::application().set("GENERAL_THROTTLING_RATE", 8).set("GENERAL_THROTTLING_INACTIVITYTIMEOUT", "1h");
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let client = node.client().await;
    client.order(transactions(&TestIdentity::user(2), 1)).await;
    assert!(accepted(&answers(&client, transactions(&TestIdentity::user(1), 30)).await) >= 4);
    let limits = operations.get("/debug/limits").await.json();
    for list in ["clients", "organizations"] {
        for sender in limits[list].as_array().unwrap() {
            assert_eq!((&sender["active"], &sender["allowed_per_second"]), (&json!(true), &json!(4.0)), "{limits}");
        }
    }

    // the rate limit applies to an administrator's update as well
    let admin = TestIdentity::admin(1);
    let config = world::config_updates::last_config(&client, &admin, "app").await;
    let update = world::config_updates::batch_size_update(&config, "app", 7);
    let mut refused = None;
    for _ in 0..20 {
        // use up the organization's rate, with the update right behind; capacity may be available again before the update is
        // read, so this is repeated
        let mut envelopes = transactions(&TestIdentity::user(1), 30);
        let signers = [&TestIdentity::orderer_admin()];
        envelopes.push(world::config_updates::signed_update(&admin, &signers, "app", &update));
        if let Some((Status::ServiceUnavailable, info)) = answers(&client, envelopes).await.pop() {
            refused = Some(info);
            break;
        }
    }
    assert!(refused.unwrap().contains("envelopes a second"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rates_senders_are_shown_and_nobody_is_refused() {
    let setup = Setup::application();
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let client = node.client().await;
    let mut stream = client.broadcasting().await;
    for envelope in transactions(&TestIdentity::user(1), 300) {
        stream.send(envelope).await;
        assert_eq!(stream.next().await, Step::Status(Status::Success, String::new()));
    }
    let limits = operations.get("/debug/limits").await.json();
    let shown = named(&limits["clients"], "User1@org1");
    assert_eq!(
        (&shown["accepted"], &shown["refused"], &shown["allowed_per_second"]),
        (&json!(300), &json!(0), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_creates_a_channel_is_charged() {
    let mut node = Setup::system().start().await;
    let operations = Http::of(&mut node, "operations").await;
    let client = node.client().await;
    world::config_updates::create_channel(&mut node, &client, "mychan.tx").await;
    let limits = operations.get("/debug/limits").await.json();
    assert_eq!(named(&limits["clients"], "Admin@org1")["accepted"], json!(1), "{limits}");
}
