//! Tests the dashboard in a real Chromium: it shows the data of the endpoints and updates live.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use world::browser::{Browser, keys};
use world::http::{Http, send};
use world::messages::{transaction, tx_id};
use world::node::value_of;
use world::{Node, Setup, TestIdentity, many_channels};

/// Returns the URL of a node's dashboard.
async fn page(node: &mut Node) -> String {
    let line = node.line("operations endpoint is open").await;
    format!("http://{}/debug/", value_of(&line, "address"))
}

/// Waits for the table row that begins with this text, and returns its cells as displayed.
async fn row(browser: &Browser, table: &str, first: &str) -> Vec<String> {
    let (table, first) = (json!(format!("table[aria-label='{table}'] tbody tr")), json!(first));
    let cells = format!(
        "[...document.querySelectorAll({table})]
         .map((row) => [...row.cells].map((cell) => cell.innerText.trim()))
         .find((cells) => cells[0] === {first})"
    );
    serde_json::from_value(browser.until(&cells).await).unwrap()
}

/// Returns the cell, as displayed, below this header in the table row that begins with this text.
async fn cell(browser: &Browser, table: &str, first: &str, header: &str) -> Value {
    let script = "const table = document.querySelector(`table[aria-label='${arguments[0]}']`);
        const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.innerText.trim() === arguments[2]);
        const row = [...table.tBodies[0].rows].find((row) => row.cells[0].innerText.trim() === arguments[1]);
        return row?.cells[at]?.innerText.trim()";
    browser.script(script, json!([table, first, header])).await
}

fn text(first: &str) -> String {
    format!("document.querySelector('main').innerText.includes({})", json!(first))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_part_of_the_program_and_lets_nothing_in() {
    let mut node = Setup::application().start().await;
    let operations = Http::of(&mut node, "operations").await;
    let index = operations.get("/debug/").await;
    assert_eq!((index.status, index.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = index.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!((index.header("x-content-type-options"), index.header("cache-control")), ("nosniff", "no-cache"));
    let moved = operations.get("/debug").await;
    assert_eq!((moved.status, moved.header("location")), (308, "/debug/"));
    let root = operations.get("/").await;
    assert_eq!((root.status, root.header("location")), (307, "/debug/"));

    // every imported file exists, and has the same content security policy
    let mut wanted = vec!["page/app.js".to_owned(), "page/style.css".to_owned(), "page/icon.svg".to_owned()];
    let mut seen = Vec::new();
    while let Some(file) = wanted.pop() {
        if seen.contains(&file) {
            continue;
        }
        let got = operations.get(&format!("/debug/{file}")).await;
        assert_eq!(got.status, 200, "{file}");
        assert_eq!(got.header("content-security-policy"), policy);
        let content = String::from_utf8(got.body.to_vec()).unwrap();
        let hosts = content.replace("http://www.w3.org/2000/svg", "");
        assert!(!hosts.contains("https://") && !hosts.contains("http://"), "{file} names another host");
        let folder = file.rsplit_once('/').unwrap().0;
        let imports = content.lines().filter(|line| line.starts_with("import "));
        for import in imports.filter_map(|line| line.split("from '").nth(1)?.split_once('\'')) {
            let (mut base, mut name) = (folder, import.0);
            while let Some(rest) = name.strip_prefix("../") {
                (base, name) = (base.rsplit_once('/').unwrap().0, rest);
            }
            wanted.push(format!("{base}/{}", name.trim_start_matches("./")));
        }
        seen.push(file);
    }
    assert!(seen.len() > 20, "{seen:?}");

    let tag = index.header("etag");
    let again = send(operations.request(Method::GET, "/debug/").header("if-none-match", tag)).await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag));
    let other = send(operations.request(Method::GET, "/debug/").header("if-none-match", "\"other\"")).await;
    assert_eq!(other.status, 200);
    for nowhere in
        ["/debug/page/", "/debug/page/other.js", "/debug/page/%2e%2e%2fpage.rs", "/debug/page/..%2f..%2fmod.rs"]
    {
        assert_eq!(operations.get(nowhere).await.status, 404, "{nowhere}");
    }
    assert_eq!(send(operations.request(Method::POST, "/debug/")).await.status, 405);

    // a page of another site cannot change anything through its reader's browser
    let foreign = |method, path| operations.request(method, path).header("origin", "http://elsewhere.example");
    let restart = send(foreign(Method::POST, "/debug/channels/app/restart")).await;
    assert_eq!(restart.status, 403, "{restart:?}");
    assert_eq!(send(foreign(Method::PUT, "/logspec").body(r#"{"spec":"debug"}"#)).await.status, 403);
    // nor with DNS rebinding; a client that is not a browser may reach the node by any name
    let by_name = |method, path| operations.request(method, path).header("host", "rebound.example:8443");
    let rebound = |method, path| by_name(method, path).header("origin", "http://rebound.example:8443");
    let restart = send(rebound(Method::POST, "/debug/channels/app/restart")).await;
    assert_eq!(restart.status, 403, "{restart:?}");
    assert!(restart.error().contains("as localhost"), "{restart:?}");
    assert_eq!(send(rebound(Method::PUT, "/logspec").body(r#"{"spec":"debug"}"#)).await.status, 403);
    assert_eq!(operations.get("/logspec").await.json()["spec"], "info");
    assert_eq!(send(by_name(Method::GET, "/healthz")).await.status, 200);
    assert_eq!(send(by_name(Method::PUT, "/logspec").body(r#"{"spec":"warn"}"#)).await.status, 204);
    node.stop().await;
}

async fn limits_are_shown(browser: &Browser, address: &str, operations: &Http) {
    browser.open(&format!("{address}#/limits")).await;
    browser.until(&text("No rate limits are set")).await;
    let organization = operations.get("/debug/limits").await.json()["organizations"][0].clone();
    // no column for a limit, because none is set
    let shown = row(browser, "Organizations", "Org1MSP").await;
    assert_eq!((&shown[2], &shown[3]), (&organization["accepted"].to_string(), &"–".to_owned()), "{shown:?}");
    let memory = operations.get("/debug/limits").await.json()["memory"].clone();
    browser.until(&text("for the process")).await;
    for figure in [
        "Received from clients",
        "Being sent to clients",
        "Block cache",
        "Connections of clients",
        "Connections of operators",
    ] {
        browser.until(&text(figure)).await;
    }
    let client = &memory["connections"].as_array().unwrap().iter().find(|one| one["kind"] == "clients").unwrap();
    let shown = row(browser, "Memory", &format!("{} clients", client["peer"].as_str().unwrap())).await;
    assert_eq!(client["phase"], "known");
    assert_eq!((shown[1].as_str(), &shown[2]), ("authenticated", &client["streams"].to_string()));
}

async fn certificates_are_shown(browser: &Browser, address: &str, operations: &Http) {
    browser.open(&format!("{address}#/certificates")).await;
    let certificates = operations.get("/debug/certificates").await.json()["certificates"].as_array().unwrap().clone();
    let place = certificates[0]["where"].as_str().unwrap();
    browser.until(&text(place.rsplit('/').next().unwrap())).await;
    let distinct: BTreeSet<_> = certificates.iter().map(|one| one["fingerprint"].as_str().unwrap()).collect();
    let rows = browser.script("return document.querySelectorAll('main tbody tr').length", json!([])).await;
    assert_eq!(rows, json!(distinct.len()), "one row for each certificate");
}

/// Checks that the view of block 1 shows its metadata and the creator of its envelope.
async fn block_is_shown(browser: &Browser, address: &str, operations: &Http) {
    browser.open(&format!("{address}#/channels/app/blocks/1")).await;
    browser.until("document.querySelector('[aria-label=Metadata]').innerText.includes('satisfied')").await;
    let block = operations.get("/debug/channels/app/blocks/1").await.json();
    let metadata = &block["metadata"];
    assert_eq!(metadata["validation"]["satisfied"], true, "{metadata}");
    browser.until(&text(metadata["signers"][0]["msp_id"].as_str().unwrap())).await;
    for field in ["subject", "issuer", "msp_id"] {
        browser.until(&text(block["envelopes"][0]["creator"][field].as_str().unwrap())).await;
    }
}

/// Checks that the figures of a loaded node leave room for the name of a channel, and that no column covers another.
async fn names_have_room(browser: &Browser) {
    for (width, phone) in [(390, true), (800, false), (1280, false)] {
        browser.size(width, 900, phone).await;
        let name = "document.querySelector('.channels td.of-name').clientWidth";
        browser.until(&format!("innerWidth === {width} && {name} >= 100")).await;
        let cells = "[...document.querySelectorAll('.channels :is(th, td)')]";
        browser.until(&format!("{cells}.every((cell) => cell.scrollWidth <= cell.clientWidth + 1)")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_is_what_the_endpoints_say_while_it_happens() {
    let mut node = Setup::application().set("METRICS_PROVIDER", "prometheus").start().await;
    let (client, user, peer) = (node.client().await, TestIdentity::user(1), TestIdentity::peer(1));
    let first = transaction(&user, "app", "the first");
    let id = tx_id(&first);
    client.order([first]).await;
    client.block(&user, "app", 1).await;
    let (_, refused) =
        client.broadcast(transaction(&TestIdentity::self_signed("client"), "app", "of a stranger")).await;
    let mut subscriber = client
        .deliver(&peer, "app", world::messages::seek_info(world::messages::oldest(), world::messages::newest()))
        .await;
    let _ = subscriber.next().await;
    let operations = Http::of(&mut node, "operations").await;
    let json_of = async |path: &str| operations.get(path).await.json();

    let (address, browser) = (page(&mut node).await, Browser::start().await);
    browser.open(&address).await;
    browser.until("document.querySelector('#health').innerText.includes('1 channel is running')").await;
    browser.until("document.querySelector('#live').innerText === 'live'").await;
    browser.until(&text("No problems detected.")).await;
    let said = &json_of("/debug/channels").await["channels"][0];
    // wide enough for every column
    browser.size(1440, 900, false).await;
    for (header, expected) in [
        ("State", json!("running")),
        ("Height", json!(said["height"].to_string())),
        ("Config", json!(said["config_sequence"].to_string())),
        ("Subscribers", json!(said["subscribers"].to_string())),
        // no channel consumes a topic
        ("Kafka lag", Value::Null),
    ] {
        assert_eq!(cell(&browser, "Channels", "app", header).await, expected, "{header}");
    }
    let head = browser.script("return document.querySelector('header').innerText", json!([])).await;
    assert!(head.as_str().unwrap().contains(concat!("version ", env!("CARGO_PKG_VERSION"))), "{head}");

    // the page shows a new block without a reload
    client.order([transaction(&user, "app", "the second")]).await;
    browser.until("document.querySelector('.channels td.of-height').innerText === '3'").await;
    // the history has its first sample some seconds after the start
    browser.until("document.querySelector('.channels .spark') !== null").await;
    browser.until(&text("Disk free")).await;
    names_have_room(&browser).await;

    browser.press("j").await;
    browser.press(keys::ENTER).await;
    browser.until("location.hash === '#/channels/app'").await;
    for chart in ["Envelopes per second", "Latency p99", "Rejections per second"] {
        let drawn = "[...chart.querySelectorAll('path')].some((path) => path.getAttribute('d') !== '')";
        let charts = "[...document.querySelectorAll('.chart')]";
        browser.until(&format!("{charts}.some((chart) => chart.innerText.includes('{chart}') && {drawn})")).await;
    }
    let history = json_of("/debug/channels/app/history").await;
    let ordered: f64 = history["envelopes_per_second"].as_array().unwrap().iter().filter_map(Value::as_f64).sum();
    assert!(ordered > 0.0 && history["retained"] == true, "{history}");
    let newest = &json_of("/debug/channels/app").await["blocks"][0];
    assert_eq!(row(&browser, "Latest blocks", "2").await[2], newest["envelopes"].to_string());
    let hash = newest["hash"].as_str().unwrap();
    browser.until(&text(&hash[..16])).await;
    browser.open(&format!("{address}#/channels/app/config")).await;
    browser.until(&text("Batch timeout")).await;
    for policy in json_of("/debug/channels/app").await["policies"].as_array().unwrap() {
        browser.until(&text(policy["path"].as_str().unwrap())).await;
    }

    browser.click("[aria-label='Search the configuration']").await;
    browser.press("max_message_count").await;
    browser.until(&text("BatchSize/value/max_message_count = ")).await;
    browser.press(keys::ESCAPE).await;

    block_is_shown(&browser, &address, &operations).await;
    browser.until(&text(&id)).await;
    browser.press("p").await;
    browser.until("document.querySelector('h1').innerText.includes('block 0')").await;
    browser.until(&text("max_message_count")).await;

    browser.open(&format!("{address}#/transaction/{id}")).await;
    browser.until(&text("Block written")).await;
    browser.open(&format!("{address}#/refusals")).await;
    browser.until(&text(&refused)).await;
    browser.click("main details summary").await;
    browser.until(&text("not satisfied")).await;
    browser.open(&format!("{address}#/streams")).await;
    browser.until(&text("peer0.org1.example.com")).await;
    limits_are_shown(&browser, &address, &operations).await;
    certificates_are_shown(&browser, &address, &operations).await;
    browser.open(&format!("{address}#/settings")).await;
    browser.until(&text("ORDERER_GENERAL_LOCALMSPID")).await;
    browser.open(&format!("{address}#/actors")).await;
    browser.until(&text("registrar")).await;
    browser.click(".keys").await;
    browser.until("document.querySelector('dialog').innerText.includes('1 … 9')").await;
    browser.press(keys::ESCAPE).await;

    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    // the console logs an error for each response 404
    let unknown = operations.get("/debug/tx/unknown").await.error();
    browser.open(&format!("{address}#/transaction/unknown")).await;
    browser.until(&text(&unknown[1..])).await;
    node.assert_no_panic();
    node.kill();
    browser.until("document.querySelector('#silence').innerText.includes('has not responded since')").await;
    browser.script("location.hash = '#/channels'", json!([])).await;
    browser.until("document.querySelector('table.channels') !== null").await;
    let main = browser.script("return document.querySelector('main').innerText", json!([])).await;
    assert!(!main.as_str().unwrap().contains("No problems detected"), "nothing is known about the node now: {main}");
    // nothing was loaded of this view, so no data has an age
    browser.script("location.hash = '#/certificates'", json!([])).await;
    browser.until(&text("This view is shown when the node responds.")).await;
    browser.until("!document.querySelector('#silence').innerText.includes('data below')").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_levels_are_changed_on_the_page() {
    let mut node = Setup::application().start().await;
    let (address, browser) = (page(&mut node).await, Browser::start().await);
    let operations = Http::of(&mut node, "operations").await;
    browser.open(&format!("{address}#/logs")).await;
    browser.until("document.querySelector('#spec').innerText === 'info'").await;
    browser.until(&text("chain is running")).await;
    browser.click("[aria-label='Level of all loggers'] button:nth-child(1)").await;
    browser.until("document.querySelector('#spec').innerText === 'debug'").await;
    assert_eq!(operations.get("/logspec").await.json()["spec"], "debug");
    browser.click("[aria-label='Log spec']").await;
    browser.press(&format!("orderer.grpc=warn:error{}", keys::ENTER)).await;
    browser.until("document.querySelector('#spec').innerText === 'orderer.grpc=warn:error'").await;
    assert_eq!(operations.get("/logspec").await.json()["spec"], "orderer.grpc=warn:error");
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_channel_is_found_and_started_again_by_keys_alone() {
    let setup = Setup::application();
    setup.start().await.stop().await;
    let ledger = setup.ledger_file("app");
    let aside = ledger.with_extension("aside");
    fs::rename(&ledger, &aside).unwrap();
    fs::write(&ledger, "no ledger").unwrap();

    let mut node = setup.start().await;
    let (address, browser) = (page(&mut node).await, Browser::start().await);
    browser.open(&address).await;
    browser.until("document.querySelector('#health').innerText.includes('1 of 1 channel needs attention')").await;
    browser.until("document.querySelector('main .notice.bad').innerText.includes('not a ledger')").await;
    let color = browser.script("return getComputedStyle(document.querySelector('#health')).color", json!([])).await;
    assert_eq!(color, json!("rgb(187, 42, 38)"));
    assert_eq!(cell(&browser, "Channels", "app", "State").await, "failed");

    fs::rename(&aside, &ledger).unwrap();
    // navigate to the button by keyboard, and then cancel
    for _ in 0..20 {
        browser.press(keys::TAB).await;
        let on = browser.script("return document.activeElement.dataset.restart ?? ''", json!([])).await;
        if on == json!("app") {
            break;
        }
    }
    let outline = browser.script("return getComputedStyle(document.activeElement).outlineStyle", json!([])).await;
    assert_eq!(outline, json!("solid"), "where the focus is can be seen");
    browser.press(keys::ENTER).await;
    browser.until("document.querySelector('dialog').open").await;
    browser.press(keys::ESCAPE).await;
    browser.until("!document.querySelector('dialog').open").await;
    assert_eq!(cell(&browser, "Channels", "app", "State").await, "failed");
    browser.press("r").await;
    browser.until("document.querySelector('dialog').open").await;
    browser.press(&format!("{}{}", keys::TAB, keys::ENTER)).await;
    browser.until("document.querySelector('#health').innerText.includes('1 channel is running')").await;
    node.wait_for_chain("app").await;
    browser.until(&text("No problems detected.")).await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_channels_are_at_hand_on_every_screen() {
    const CHANNELS: usize = 200;
    let setup = Setup::without_channels();
    let setup = many_channels::channels(setup, CHANNELS);
    let mut node = setup.start().await;
    let (address, browser) = (page(&mut node).await, Browser::start().await);
    browser.open(&address).await;
    browser.until(&format!("document.querySelectorAll('main tbody tr').length === {CHANNELS}")).await;
    browser.until("document.querySelector('#health').innerText.includes('all 200 channels are running')").await;
    browser.press("/").await;
    browser.press("channel19").await;
    browser.until("document.querySelectorAll('main tbody tr').length === 11").await;
    browser.press(keys::ESCAPE).await;

    let all = [
        ["channels", "channels/channel7", "actors", "channels/channel7/blocks/0", "channels/channel7/config"],
        ["streams", "refusals", "transaction", "certificates", "logs"],
        ["settings", "limits", "no-such-view", "channels/none", "transaction/none"],
    ]
    .concat();
    for (width, height, phone, scheme, ground, views) in [
        (1280, 900, false, "light", "rgb(247, 247, 245)", &all[..3]),
        (800, 900, false, "light", "rgb(247, 247, 245)", &all[..3]),
        (390, 844, true, "dark", "rgb(18, 19, 22)", &all[..11]),
    ] {
        browser.size(width, height, phone).await;
        browser.scheme(scheme).await;
        for view in views {
            browser.open(&format!("{address}#/{view}")).await;
            browser.until("document.querySelector('main .sheet') !== null").await;
            let script = "return [document.documentElement.scrollWidth - innerWidth,
                getComputedStyle(document.body).backgroundColor]";
            let seen = browser.script(script, Value::Array(Vec::new())).await;
            assert!(seen[0].as_i64().unwrap() <= 0, "{view} is too wide at {width}: {seen}");
            assert_eq!(seen[1], json!(ground), "{view}");
            // the row of views can be wider than a phone, and a column can be narrower than its content
            let tab = "document.querySelector('#views [aria-current]').getBoundingClientRect()";
            browser.until(&format!("{tab}.left >= 0 && {tab}.right <= innerWidth")).await;
            let cells = "[...document.querySelectorAll('.channels :is(th, td)')]";
            browser.until(&format!("{cells}.every((cell) => cell.scrollWidth <= cell.clientWidth)")).await;
            let size = browser.picture_size().await;
            assert!(size > 15_000, "{view} in {scheme} at {width} is blank: {size}");
        }
    }
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    node.stop().await;
}
