//! The page for people on call: what it shows is what the endpoints say, while it happens.
#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use reqwest::Method;
use world::Setup;
use world::http::{Http, send};

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

    // whatever a file names is there, under the same rules
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
        assert!(!content.contains("https://"), "{file} names another host");
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
    for nowhere in ["/debug/page/", "/debug/page/other.js", "/debug/page/../page.rs", "/debug/page/views%2Fchannels.js"]
    {
        let status = operations.get(nowhere).await.status;
        assert!(status == 404 || nowhere.contains("%2F") && status == 200, "{nowhere}: {status}");
    }
    assert_eq!(send(operations.request(Method::POST, "/debug/")).await.status, 405);

    // another site's page cannot have its reader's browser change anything
    let foreign = |method, path| operations.request(method, path).header("origin", "http://elsewhere.example");
    let restart = send(foreign(Method::POST, "/debug/channels/app/restart")).await;
    assert_eq!(restart.status, 403, "{restart:?}");
    assert_eq!(send(foreign(Method::PUT, "/logspec").body(r#"{"spec":"debug"}"#)).await.status, 403);
    assert_eq!(operations.get("/logspec").await.json()["spec"], "info");
    node.stop().await;
}
