//! Drives Chromium through the WebDriver protocol. The tests send the few JSON requests themselves, because the crates
//! that implement WebDriver enable features of serde_json that change the order of the keys that the program itself
//! writes.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{TEST_TIMEOUT, within};

/// The key that identifies an element reference in the WebDriver protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one page. The browser is ended when the value is dropped.
pub struct Browser {
    driver: Child,
    client: Client,
    session: String,
    _profile: TempDir,
}

/// WebDriver codes of keys that produce no character.
pub mod keys {
    pub const TAB: &str = "\u{e004}";
    pub const ENTER: &str = "\u{e007}";
    pub const ESCAPE: &str = "\u{e00c}";
}

impl Browser {
    pub async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed (Debian's chromium-driver; tests/run-all does it)");
        let lines = BufReader::new(driver.stdout.take().unwrap());
        let (said, heard) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut said = Some(said);
            for line in lines.lines().map_while(Result::ok) {
                let port = line
                    .split("started successfully on port ")
                    .nth(1)
                    .and_then(|rest| rest.trim_end_matches('.').parse::<u16>().ok());
                if let (Some(port), Some(said)) = (port, said.take_if(|_| port.is_some())) {
                    let _ = said.send(port);
                }
            }
        });
        let port = within("chromedriver says its port", heard).await.expect("chromedriver goes on");
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let limit = u64::try_from(TEST_TIMEOUT.as_millis()).unwrap();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "timeouts": {"script": limit, "pageLoad": limit},
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let mut browser = Self {
            driver,
            client: Client::new(),
            session: format!("http://127.0.0.1:{port}/session"),
            _profile: profile,
        };
        let session = browser.ask(Method::POST, "", wanted).await;
        browser.session = format!("{}/{}", browser.session, session["sessionId"].as_str().unwrap());
        browser
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.session));
        if method == Method::POST {
            request = request.json(&body);
        }
        let response = within("the driver answers", request.send()).await.unwrap();
        let status = response.status();
        let answer: Value = within("the driver answers in full", response.json()).await.unwrap();
        assert!(status.is_success(), "{method} {path}: {answer}");
        answer["value"].clone()
    }

    pub async fn open(&self, address: &str) {
        self.ask(Method::POST, "/url", json!({"url": address})).await;
    }

    /// Runs a script in the page and returns its result. The script reads `arguments`.
    pub async fn script(&self, script: &str, arguments: Value) -> Value {
        self.ask(Method::POST, "/execute/sync", json!({"script": script, "args": arguments})).await
    }

    /// Waits until a JavaScript expression is true in the page, and returns its value.
    pub async fn until(&self, expression: &str) -> Value {
        // the page itself polls every 20 ms; it answers null when the time is over
        let script = format!(
            "const done = arguments[0]; const end = performance.now() + {};
             const look = () => {{
               let found = null; try {{ found = {expression}; }} catch {{ /* not yet there */ }}
               if (found || performance.now() > end) done(found || null); else setTimeout(look, 20);
             }}; look();",
            TEST_TIMEOUT.as_millis() / 2
        );
        let found = self.ask(Method::POST, "/execute/async", json!({"script": script, "args": []})).await;
        if found.is_null() {
            let text = self.script("return document.body.innerText", json!([])).await;
            panic!("never so: {expression}\n{}\n{:#?}", text.as_str().unwrap_or_default(), self.console_errors().await);
        }
        found
    }

    /// Presses keys one after the other. The element that has the focus receives them.
    pub async fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})])
            .collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.ask(Method::POST, "/actions", actions).await;
    }

    /// Clicks on the first element that matches a selector.
    pub async fn click(&self, selector: &str) {
        let element = self.ask(Method::POST, "/element", json!({"using": "css selector", "value": selector})).await;
        let id = element[ELEMENT].as_str().unwrap();
        self.ask(Method::POST, &format!("/element/{id}/click"), json!({})).await;
    }

    /// Sends a command of the Chrome DevTools Protocol.
    pub async fn command(&self, command: &str, parameters: Value) -> Value {
        self.ask(Method::POST, "/goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    /// Sets the size of the viewport, and whether it emulates a phone.
    pub async fn size(&self, width: u32, height: u32, phone: bool) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Emulates the preferred color scheme, `light` or `dark`.
    pub async fn scheme(&self, scheme: &str) {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.command("Emulation.setEmulatedMedia", media).await;
    }

    /// Returns the size of a screenshot of the page (PNG, in base64). The screenshot of an empty page has a few
    /// thousand characters.
    pub async fn picture_size(&self) -> usize {
        let picture = self.ask(Method::GET, "/screenshot", Value::Null).await;
        picture.as_str().unwrap().len()
    }

    /// Returns the warnings and errors that the console has logged since the last call.
    pub async fn console_errors(&self) -> Vec<String> {
        let lines = self.ask(Method::POST, "/se/log", json!({"type": "browser"})).await;
        let all = lines.as_array().unwrap().iter();
        let bad = all.filter(|line| ["SEVERE", "WARNING"].contains(&line["level"].as_str().unwrap()));
        bad.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // the browser ends with its session, not with its driver
        if let Some((host, path)) = self.session.strip_prefix("http://").and_then(|rest| rest.split_once('/')) {
            let _ = end_session(host, path);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Ends the WebDriver session by a blocking request, because `drop` cannot await.
fn end_session(host: &str, path: &str) -> io::Result<()> {
    let mut connection = TcpStream::connect(host)?;
    connection.set_read_timeout(Some(TEST_TIMEOUT))?;
    write!(connection, "DELETE /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    connection.read(&mut [0; 1024]).map(|_| ())
}
