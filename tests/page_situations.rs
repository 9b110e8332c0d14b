//! Tests in a real Chromium what the dashboard shows in situations that need an operator, and with the longest values.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use world::browser::Browser;
use world::messages::transaction;
use world::node::value_of;
use world::raft::members;
use world::{Node, Setup, TestIdentity, many_channels};

const WIDTHS: [(u32, bool, &str); 3] = [(1280, false, "light"), (800, false, "dark"), (390, true, "light")];

/// Reports what is wider than the window, or than the box that it is in. Headers of tables that phones do not show are
/// clipped on purpose.
const TOO_WIDE: &str = r"
const found = [];
const width = document.documentElement.scrollWidth;
if (width > innerWidth) found.push(`the page is ${width} wide`);
for (const one of document.querySelectorAll('main *, #silence *, #said, dialog *')) {
  if (one.clientWidth === 0 || one.closest('svg, pre, thead, input, .unseen') || getComputedStyle(one).display === 'inline') continue;
  if (one.scrollWidth > one.clientWidth + 1)
    found.push(`${one.tagName}.${one.className}: ${one.scrollWidth} in ${one.clientWidth}: ${one.innerText.slice(0, 60)}`);
}
return found;";

async fn page(node: &mut Node) -> String {
    let line = node.line("operations endpoint is open").await;
    format!("http://{}/debug/", value_of(&line, "address"))
}

fn text(part: &str) -> String {
    format!("document.querySelector('main').innerText.includes({})", json!(part))
}

async fn assert_fits(browser: &Browser, view: &str) {
    for (width, phone, scheme) in WIDTHS {
        browser.size(width, 900, phone).await;
        browser.scheme(scheme).await;
        browser.until(&format!("innerWidth === {width}")).await;
        let found = browser.script(TOO_WIDE, json!([])).await;
        assert_eq!(found, json!([]), "{view} at {width}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_names_and_reasons_fit_every_width() {
    let long = format!("{}end", "a-very-long-name-of-a-consortium.".repeat(8))[..249].to_owned();
    let setup = many_channels::named(Setup::without_channels(), &["app".to_owned(), long.clone()]);
    let mut node = setup.start().await;
    let client = node.client().await;
    let stranger = TestIdentity::self_signed(&"u".repeat(60));
    client.broadcast(transaction(&stranger, &long, "of a stranger")).await;
    client.broadcast(transaction(&TestIdentity::user(1), &"c".repeat(249), "to no channel")).await;
    let (address, browser) = (page(&mut node).await, Browser::start().await);
    for view in [
        "channels",
        &format!("channels/{long}"),
        &format!("channels/{long}/config"),
        &format!("channels/{long}/blocks/0"),
        "channels/none",
        "refusals",
        "certificates",
        "actors",
        "settings",
        &format!("logs/{}", "c".repeat(249)),
        &format!("transaction/{long}"),
    ] {
        browser.open(&format!("{address}#/{view}")).await;
        browser.until("document.querySelector('main :is(.sheet, h1:not(.unseen))') !== null").await;
        assert_fits(&browser, view).await;
    }

    // a list shows the beginning and the end of a name, and its link the whole
    browser.open(&format!("{address}#/channels")).await;
    let link = "document.querySelector('.channels a[title^=a-very]')";
    browser.until(&format!("{link}.innerText.length < 64 && {link}.title.length === 249")).await;
    // paths break after their separators only: each part is one rectangle
    browser.open(&format!("{address}#/channels/app/config")).await;
    browser.size(800, 900, false).await;
    let lines = "(part) => { const range = document.createRange(); range.selectNode(part); return range.getClientRects().length; }";
    let parts = "[...document.querySelectorAll('.policies code')].flatMap((path) => [...path.childNodes].filter((one) => one.nodeType === 3))";
    browser.until(&format!("{parts}.length > 20 && {parts}.map({lines}).every((count) => count === 1)")).await;

    // of a long reason the beginning, until its row is opened
    browser.open(&format!("{address}#/refusals")).await;
    browser.size(390, 900, true).await;
    let beginning = "document.querySelector('main summary .few')";
    let lines = format!("{beginning}.clientHeight / parseFloat(getComputedStyle({beginning}).lineHeight)");
    browser.until(&format!("{lines} > 0 && {lines} < 3.5")).await;
    browser.click("main details:last-child summary").await;
    browser.until("document.querySelector('main details[open] dl') !== null").await;
    assert_fits(&browser, "an opened rejection").await;
    // the channel and the transaction that do not exist
    let errors = browser.console_errors().await;
    assert!(errors.iter().all(|error| error.contains("status of 404")), "{errors:?}");
    node.stop().await;
}

/// Opens a view with changes to the responses of the node, by their paths, and waits until the view is shown.
async fn open_changed(browser: &Browser, address: &str, view: &str, changes: &Value) {
    let source = format!(
        "const changes = {changes};
         const isPlain = (value) => typeof value === 'object' && value !== null;
         const merge = (base, change) => (Array.isArray(change) ? change.map((one, at) => merge(base?.[at], one))
           : !isPlain(change) ? change
             : Object.fromEntries([...Object.entries(base ?? {{}}), ...Object.entries(change).map(([name, value]) => [name, merge(base?.[name], value)])]));
         const real = window.fetch;
         window.fetch = async (path, options) => {{
           const response = await real(path, options);
           if (changes[path] === undefined) return response;
           return new Response(JSON.stringify(merge(await response.json(), changes[path])), {{ status: response.status }});
         }};"
    );
    let added = browser.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": source})).await;
    // another document than the one before, which a change of the fragment alone would keep
    browser.open("about:blank").await;
    browser.open(&format!("{address}#/{view}")).await;
    browser.command("Page.removeScriptToEvaluateOnNewDocument", json!({"identifier": added["identifier"]})).await;
    browser.until("document.querySelector('main :is(.sheet, .notice)') !== null").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_names_its_cause_and_action_and_fits_every_width() {
    let mut node = Setup::application().start().await;
    let (address, browser) = (page(&mut node).await, Browser::start().await);
    let brokers = (0..3).map(|at| format!("kafka{at}.supply-chain.example.com:9092")).collect::<Vec<_>>().join(", ");
    // one of the longest ages: 9 min and some seconds
    let ago_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() - 550_000;
    let retrying = json!({"state": "retrying", "level": "bad", "attempt": 17, "next_attempt_ms": 0, "engine": "kafka",
        "consensus_type": "kafka", "kafka_lag": 1200, "last_block_ms": ago_ms, "cause": format!("no broker of {brokers} can be reached")});
    let onboarding = json!({"state": "onboarding", "level": "busy", "next": 1204, "to": 88_000, "consents": true,
        "engine": "raft", "consensus_type": "etcdraft"});
    let following = json!({"state": "following", "level": "good", "engine": "raft", "consensus_type": "etcdraft"});
    let electing = json!({"state": "electing", "level": "bad", "engine": "raft", "consensus_type": "etcdraft",
        "raft": {"is_leader": false, "active_nodes": 0, "cluster_size": 3}});
    let topic = json!({"leader": null, "replicas": 3, "in_sync": 1, "least_in_sync": 2, "offsets": [100, 130_000],
        "forgets_after_hours": 168, "hours_left": 11.5, "stored": 128_000, "taken_in": 128_001, "end": 129_200, "lag": 1200,
        "trouble": "only 1 of 3 replicas is in sync, and the topic needs 2 to accept a record"});
    let disk = json!({"warnings": [{"level": "bad", "count": 1, "text": "the disk of the ledgers is nearly full: 512 MiB are free",
        "action": "free space there", "about": [format!("/var/{}/ledger", "a-directory/".repeat(12).trim_end_matches('/'))]}]});
    let with = |state: &Value, more: Value| {
        let mut all = state.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let list = |state: &Value| json!({"channels": {"channels": [state]}});
    let one = |state: &Value| json!({"channels/app": state, "channels": {"channels": [state]}});
    let space = json!({"disk": {"level": "bad", "free_bytes": 536_870_912, "size_bytes": 1_099_511_627_776_u64, "lasts_ms": 420_000}});
    let situations: [(&str, Value, &[&str], &[&str]); 8] = [
        (
            "channels",
            list(&retrying),
            &["has had no working Kafka cluster", "Check the brokers.", &brokers],
            &["No problems detected"],
        ),
        (
            "channels/app",
            one(&with(&retrying, json!({"kafka": topic}))),
            &["Only 1 of 3 replicas is in sync", "11 h 30 min", "2 needed"],
            &[],
        ),
        ("channels", list(&onboarding), &["Block 1,204 of 88,000 is next", "onboarding"], &["No problems detected"]),
        ("channels/app", one(&onboarding), &["the channel accepts envelopes"], &["Next block", "Pending"]),
        (
            "channels/app",
            one(&following),
            &["not a consenter of the channel", "rejects envelopes"],
            &["Next block", "Pending", "ordered with"],
        ),
        (
            "channels/app",
            one(&electing),
            &["more than half of the consenters", "Start the orderers that are down", "without a leader"],
            &["No problems detected"],
        ),
        (
            "channels",
            json!({"warnings": disk, "history": space}),
            &["nearly full: 512 MiB are free", "Free space there.", "full in 7 min at this rate", "a-directory/ledger"],
            &["No problems detected"],
        ),
        (
            "channels",
            list(
                &json!({"state": "awaitingkey", "level": "bad", "cause": "the token is away", "action": "insert the token"}),
            ),
            &["no key", "The token is away.", "Insert the token."],
            &["awaitingkey"],
        ),
    ];
    for (view, changes, said, unsaid) in &situations {
        open_changed(&browser, &address, view, changes).await;
        browser.size(1280, 900, false).await;
        for part in *said {
            // numbers and their units do not separate
            let shown = "document.querySelector('main').innerText.replaceAll('\\u00a0', ' ')";
            browser.until(&format!("{shown}.includes({})", json!(part))).await;
        }
        let main = browser.script("return document.querySelector('main').innerText", json!([])).await;
        for part in *unsaid {
            assert!(!main.as_str().unwrap().contains(part), "{part} in {changes}: {main}");
        }
        assert_fits(&browser, &format!("{view} with {changes}")).await;
    }
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consenters_that_are_gone_are_shown_with_what_to_do() {
    let (_setups, mut nodes) = members::<3>().start().await;
    let (address, browser) = (page(&mut nodes[0]).await, Browser::start().await);
    browser.open(&format!("{address}#/channels/app")).await;
    browser.until(&text("3 of 3")).await;
    nodes[1].kill();
    nodes[2].kill();
    browser.until(&text("This channel has had no Raft leader")).await;
    browser.until(&text("more than half of the consenters")).await;
    browser.click(".notice a[href='#/orderers']").await;
    browser.until(&text("failed attempts")).await;
    assert_fits(&browser, "orderers").await;
    // an address is readable beside the reason why it cannot be reached
    let addresses = "[...document.querySelectorAll('td.of-endpoint')]";
    browser.until(&format!("{addresses}.length === 2 && {addresses}.every((one) => one.clientWidth > 120)")).await;
    browser.open(&format!("{address}#/channels")).await;
    browser.until("document.querySelector('#health').innerText.includes('channel not ready')").await;
    nodes[0].assert_no_panic();
    nodes[0].kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_channel_offers_its_log_lines_and_no_restart_while_the_node_is_silent() {
    let setup = Setup::application();
    setup.start().await.stop().await;
    fs::write(setup.ledger_file("app"), "no ledger").unwrap();
    let mut node = setup.start().await;
    let (address, browser) = (page(&mut node).await, Browser::start().await);
    browser.open(&format!("{address}#/channels/app/config")).await;
    browser.until(&text("The channel cannot be opened")).await;
    browser.size(390, 844, true).await;
    browser.click("main a").await;
    browser.until(&text("This channel has failed")).await;
    browser.click("[data-restart]").await;
    assert_fits(&browser, "the question").await;
    browser.click("dialog button[value=yes]").await;
    // the reason stays inside the message
    browser.until("document.querySelector('#said').innerText.includes('Failed to restart app')").await;
    assert_fits(&browser, "the message").await;
    browser.click(".notice a[href='#/logs/app']").await;
    browser.until("document.querySelector(`[aria-label='Search log lines']`).value === 'app'").await;
    browser.until(&text("app")).await;
    browser.open(&format!("{address}#/channels/app")).await;
    browser.until("document.querySelector('[data-restart]:enabled') !== null").await;
    node.kill();
    browser.until("document.querySelector('[data-restart]:disabled') !== null").await;
    assert_fits(&browser, "a node that does not respond").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_page_leaves_its_connection_to_others() {
    let mut node = Setup::application().start().await;
    let (address, browser) = (page(&mut node).await, Browser::start().await);
    let recorded = "const sources = window.sources = [];
        window.EventSource = class extends EventSource { constructor(path) { super(path); sources.push(this); } };";
    browser.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": recorded})).await;
    browser.open(&address).await;
    let states = |states: &str| format!("JSON.stringify(sources.map((one) => one.readyState)) === '{states}'");
    browser.until(&states("[1]")).await;
    let show = "Object.defineProperty(document, 'hidden', { value: arguments[0], configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));";
    browser.script(show, json!([true])).await;
    browser.until(&states("[2]")).await;
    browser.script(show, json!([false])).await;
    browser.until(&states("[2,1]")).await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    node.stop().await;
}
