//! Tests in a real Chromium that every view of the dashboard can be read and operated: on each width, with long values,
//! in both colour schemes. Uses axe-core in addition to its own checks where npm can fetch it.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use world::browser::Browser;
use world::http::Http;
use world::messages::{transaction, tx_id};
use world::node::value_of;
use world::{Setup, TestIdentity};

/// Reports violations of rules that need no library: headings, names of controls, headers of tables, links that differ
/// from text by colour only, and content that is wider than the window or squeezed to a few characters a line.
const OWN_CHECKS: &str = r"
const found = [];
const all = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.getClientRects().length > 0);
const headings = [...document.querySelectorAll('main :is(h1, h2, h3, h4)')].map((one) => Number(one.tagName[1]));
if (headings.filter((level) => level === 1).length !== 1) found.push(`headings of level 1: ${headings}`);
headings.forEach((level, at) => at > 0 && level > headings[at - 1] + 1 && found.push(`skipped heading level: ${headings}`));
for (const one of document.querySelectorAll('th')) if (one.textContent.trim() === '') found.push('empty table header');
for (const one of document.querySelectorAll('table')) if (one.tHead === null) found.push('table without header');
for (const one of document.querySelectorAll('input, select, textarea'))
  if (!one.ariaLabel && (one.labels ?? []).length === 0) found.push(`field without name: ${one.outerHTML}`);
for (const one of document.querySelectorAll('button, a'))
  if ((one.ariaLabel ?? one.textContent).trim() === '') found.push(`control without name: ${one.outerHTML}`);
for (const one of all('main a:not(.button)'))
  if (!getComputedStyle(one).textDecorationLine.includes('underline')) found.push(`link without underline: ${one.textContent}`);
const width = document.documentElement.scrollWidth;
if (width > innerWidth) found.push(`the page is ${width} wide`);
for (const one of all('main :is(td, dd)')) {
  const [text, cell] = [one.innerText.trim(), one.getBoundingClientRect().width];
  if (text.length > 16 && cell < 80 && !one.matches('.channels td')) found.push(`${cell} pixels for ${text}`);
}
return found;";

/// One version, because another one may have rules that this page was not made for.
const AXE: &str = "axe-core@4.14.1";

/// Returns the source of axe-core, if npm can fetch it.
fn axe(folder: &Path) -> Option<String> {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(folder).stderr(Stdio::null()).output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let archive = run("npm", &["pack", AXE, "--silent", "--fetch-retries=0", "--fetch-timeout=20000"])?;
    run("tar", &["xzf", archive.lines().last()?.trim()])?;
    std::fs::read_to_string(folder.join("package/axe.min.js")).ok()
}

/// Returns the violations that axe-core finds in the page.
async fn axe_violations(browser: &Browser, axe: &str) -> Vec<String> {
    browser.script(axe, json!([])).await;
    let script = "window.violations = null;
        axe.run(document).then(({ violations }) => {
          window.violations = violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(' '))}`);
        }, (error) => { window.violations = [String(error)]; });";
    browser.script(script, json!([])).await;
    browser.until("Array.isArray(window.violations)").await;
    serde_json::from_value(browser.script("return window.violations", json!([])).await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_view_can_be_read_and_operated() {
    let long = format!("/var/lib/{}/{}.crt", "a-long-name-of-a-directory".repeat(4), "certificate".repeat(6));
    let mut node = Setup::application().set("KAFKA_TLS_CERTIFICATE", &long).start().await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    let first = transaction(&user, "app", "the first");
    let id = tx_id(&first);
    client.order([first]).await;
    let stranger = TestIdentity::self_signed(&"stranger-with-a-long-name".repeat(6));
    for number in 0..3 {
        client.broadcast(transaction(&stranger, "app", format!("rejected {number}"))).await;
    }
    let operations = Http::of(&mut node, "operations").await;
    let line = node.line("operations endpoint is open").await;
    let address = format!("http://{}/debug/", value_of(&line, "address"));
    let browser = Browser::start().await;
    browser.open(&address).await;
    // the first sample of the history, so that the charts have content
    browser.until("document.querySelector('.channels .spark') !== null").await;

    let folder = tempfile::tempdir().unwrap();
    let axe = axe(folder.path());
    if axe.is_none() {
        eprintln!("npm cannot fetch axe-core: only the test's own checks run");
    }
    let timeline = format!("transaction/{id}");
    let views = [
        "channels",
        "channels/app",
        "channels/app/config",
        "channels/app/blocks/newest",
        "actors",
        "streams",
        "limits",
        "refusals",
        &timeline,
        "certificates",
        "logs",
        "settings",
        "no-such-view",
    ];
    let mut found = Vec::new();
    for (width, phone, scheme) in [(1280, false, "light"), (800, false, "light"), (390, true, "dark")] {
        browser.size(width, 900, phone).await;
        browser.scheme(scheme).await;
        for view in views {
            browser.open(&format!("{address}#/{view}")).await;
            browser.until("document.querySelector('main :is(.sheet, h1:not(.unseen))') !== null").await;
            // rows with more content show all of it
            browser
                .script("document.querySelectorAll('main details').forEach((one) => { one.open = true; })", json!([]))
                .await;
            browser.until("[...document.querySelectorAll('main details')].every((one) => one.open)").await;
            let own: Vec<String> = serde_json::from_value(browser.script(OWN_CHECKS, json!([])).await).unwrap();
            let more = match &axe {
                Some(axe) => axe_violations(&browser, axe).await,
                None => Vec::new(),
            };
            found.extend(own.into_iter().chain(more).map(|text| format!("{view} at {width}: {text}")));
        }
    }
    assert_eq!(found, Vec::<String>::new());

    // equal rejections are one row, with their number
    browser.open(&format!("{address}#/refusals")).await;
    browser.until("document.querySelectorAll('main details').length === 1").await;
    browser.until("document.querySelector('main summary').innerText.includes('× 3')").await;
    let refused = operations.get("/debug/refusals").await.json();
    assert_eq!(refused["total"], 3, "{refused}");
    browser.open(&format!("{address}#/no-such-view")).await;
    browser.until("document.querySelector('main').innerText.includes('has no view no-such-view')").await;
    let zone = "/ (UTC|GMT[+-][0-9:]+|[A-Z]{3,5})$/";
    browser.open(&format!("{address}#/channels/app/blocks/newest")).await;
    browser.until(&format!("{zone}.test(document.querySelector('main dd').innerText)")).await;
    // the copy button of the first hash
    browser.script("Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) => { window.copied = text; } } })", json!([])).await;
    browser.click("main button.copy").await;
    let block = operations.get("/debug/channels/app/blocks/newest").await.json();
    browser.until(&format!("window.copied === {}", block["hash"])).await;
    assert_eq!(browser.console_errors().await, Vec::<Value>::new());
    node.stop().await;
}
