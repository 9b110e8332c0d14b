//! A node as a process: its settings, its log, its end.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::watch;

use super::{Client, NET, PATIENCE, within};

/// What a node is started with: a folder, which outlives the node, and the settings that differ from the defaults.
pub struct Setup {
    folder: Arc<TempDir>,
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
    port: u16,
}

/// How a command ended that was not meant to stay.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Setup {
    /// `orderer start` without any setting but the port, in an empty folder.
    pub fn bare() -> Self {
        let port = free_port();
        let setup = Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            arguments: vec!["start".to_owned()],
            variables: BTreeMap::new(),
            port,
        };
        // many nodes share a machine: these get any free port
        setup
            .set("GENERAL_LISTENPORT", port)
            .set("OPERATIONS_LISTENADDRESS", "127.0.0.1:0")
            .set("ADMIN_LISTENADDRESS", "127.0.0.1:0")
            // what is tested is the node, not how full this machine's disk is
            .set("FILELEDGER_LOWDISKBYTES", 0)
    }

    /// The fixtures' orderer, with the channel that this file of theirs is the genesis block of.
    pub fn of_block(file: &str) -> Self {
        Self::of_block_file(Path::new(NET).join(file))
    }

    /// The fixtures' orderer, with any first block.
    pub fn of_block_file(file: PathBuf) -> Self {
        let setup = Self::bare();
        let ledger = setup.folder().join("ledger");
        setup
            .set("GENERAL_BOOTSTRAPMETHOD", "file")
            .set("GENERAL_BOOTSTRAPFILE", file.display())
            .set("GENERAL_LOCALMSPDIR", orderer_folder().join("msp").display())
            .set("GENERAL_LOCALMSPID", "OrdererMSP")
            .set("FILELEDGER_LOCATION", ledger.display())
    }

    /// With the system channel `syschan`.
    pub fn system() -> Self {
        Self::of_block("SysSolo.block")
    }

    /// With the application channel `app` of Org1 and Org2.
    pub fn application() -> Self {
        Self::of_block("AppSolo.block")
    }

    /// Overrides a key, named as in a variable.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.variables.insert(format!("ORDERER_{key}"), value.to_string());
        self
    }

    /// Takes an override back.
    pub fn unset(mut self, key: &str) -> Self {
        self.variables.remove(&format!("ORDERER_{key}"));
        self
    }

    /// Sets a variable of another name.
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.insert(name.to_owned(), value.to_string());
        self
    }

    /// Another command line.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&a| a.to_owned()).collect();
        self
    }

    /// The same folder and settings, and this command line.
    pub fn again(&self, arguments: &[&str]) -> Self {
        let again = Self {
            folder: Arc::clone(&self.folder),
            arguments: self.arguments.clone(),
            variables: self.variables.clone(),
            port: self.port,
        };
        again.arguments(arguments)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The ledger of a channel.
    pub fn ledger_file(&self, channel: &str) -> PathBuf {
        self.folder().join("ledger/channels").join(channel).join("ledger.redb")
    }

    /// What an operator does before a node is started that died too often.
    pub fn forgive_unclean_starts(&self) {
        std::fs::remove_file(self.folder().join("ledger/unclean-starts")).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderer"));
        // nothing of the tester's own environment
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["ORDERER_", "FABRIC_", "CORE_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&*name);
            }
        }
        command
            .args(&self.arguments)
            .envs(&self.variables)
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the node and waits until it serves and the chain of every channel runs that could be opened.
    pub async fn start(&self) -> Node {
        let started = Instant::now();
        let mut node = self.spawn();
        let serving = node.line("Beginning to serve requests").await;
        node.served_after = started.elapsed();
        let channels: usize = value_of(&serving, "channels").parse().unwrap();
        node.lines("every chain runs", |lines| {
            let running = lines.iter().filter(|line| line.contains("chain is running")).count();
            let broken = lines.iter().filter(|line| line.contains("channel cannot be opened")).count();
            running + broken >= channels
        })
        .await;
        node
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&self) -> Node {
        let mut child = self.command().spawn().unwrap();
        let (log, lines) = watch::channel(Vec::new());
        keep_lines(child.stderr.take().unwrap(), log);
        let (output, _) = watch::channel(Vec::new());
        let printed = output.subscribe();
        keep_lines(child.stdout.take().unwrap(), output);
        Node {
            child,
            address: format!("127.0.0.1:{}", self.port),
            log: lines,
            printed,
            served_after: Duration::ZERO,
            _folder: Arc::clone(&self.folder),
        }
    }

    /// Runs a command that is to end by itself, at once.
    pub fn run(&self) -> Ended {
        self.run_with("")
    }

    /// The same, with something to read on its standard input.
    pub fn run_with(&self, input: &str) -> Ended {
        self.run_within(PATIENCE, input)
    }

    /// The same, of a command that takes its time.
    pub fn run_within(&self, limit: Duration, input: &str) -> Ended {
        let mut child = self.command().stdin(Stdio::piped()).spawn().unwrap();
        // who does not read it has ended
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stdout = std::thread::spawn(move || read_all(&mut out));
        let stderr = std::thread::spawn(move || read_all(&mut err));
        let status = wait_for_end(&mut child, limit);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let ended = Ended {
            code: status.and_then(|s| s.code()),
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        };
        assert!(status.is_some(), "the command did not end: {ended:?}");
        ended
    }
}

/// A node that runs. Killed when dropped.
pub struct Node {
    child: Child,
    pub address: String,
    log: watch::Receiver<Vec<String>>,
    printed: watch::Receiver<Vec<String>>,
    /// From before the process was made to the log's line.
    pub served_after: Duration,
    _folder: Arc<TempDir>,
}

impl Node {
    /// Waits until the log has a line with this text; gives back the first.
    pub async fn line(&mut self, text: &str) -> String {
        self.lines(text, |lines| lines.iter().any(|line| line.contains(text))).await;
        let found = self.log.borrow().iter().find(|line| line.contains(text)).cloned();
        found.unwrap()
    }

    /// Waits until this is true of the log's lines.
    pub async fn lines(&mut self, what: &str, enough: impl FnMut(&Vec<String>) -> bool) {
        // an error: the log has ended, and so has the node
        let found = match tokio::time::timeout(PATIENCE, self.log.wait_for(enough)).await {
            Ok(found) => found.is_ok(),
            Err(_) => false,
        };
        assert!(found, "never in the log: {what}\n{}", self.log());
    }

    /// Waits until the chain of a channel that is just being made runs.
    pub async fn chain_runs(&mut self, channel: &str) {
        let name = format!("channel={channel} ");
        let what = format!("chain of {channel} runs");
        self.lines(&what, |lines| lines.iter().any(|l| l.contains("chain is running") && l.contains(&name))).await;
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.borrow().join("\n")
    }

    /// What was printed for people so far.
    pub async fn printed(&mut self, text: &str) -> String {
        let enough = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        let found = within(text, self.printed.wait_for(enough)).await.map(|lines| lines.join("\n"));
        found.unwrap()
    }

    /// A client on a connection of its own.
    pub async fn client(&self) -> Client {
        Client::connect(&self.address).await
    }

    /// A field of the process's status in bytes: VmRSS (memory now), VmHWM (the most it ever was).
    pub fn memory(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    /// Ends it as a power cut would. Its port is free then.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal, named without SIG.
    pub fn signal(&self, name: &str) {
        let id = self.child.id();
        assert!(Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status().unwrap().success());
    }

    /// Waits for it to end after [`terminate`](Self::terminate), for so long.
    pub async fn ended(mut self, limit: Duration) -> ExitStatus {
        let (status, node) =
            tokio::task::spawn_blocking(move || (wait_for_end(&mut self.child, limit), self)).await.unwrap();
        status.unwrap_or_else(|| panic!("did not end within {limit:?}\n{}", node.log()))
    }

    /// Asks it to end and waits for that.
    pub async fn stop(self) {
        self.terminate();
        assert_eq!(self.ended(PATIENCE).await.code(), Some(0));
    }

    /// That no thread of it has panicked.
    pub fn assert_no_panic(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the node on {}:\n{}", self.address, self.log());
        }
    }
}

/// Folder of the fixtures' orderer, with `msp` and `tls`.
pub fn orderer_folder() -> PathBuf {
    Path::new(NET).join("crypto/ordererOrganizations/example.com/orderers/orderer.example.com")
}

/// `value` of `key=value` in a line of the log.
pub fn value_of<'a>(line: &'a str, key: &str) -> &'a str {
    line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap()
}

/// A port below those that the system gives to outgoing connections, so that it stays free while a node is down. Tests
/// that run at the same time begin to look in different places.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1000).unwrap() * 10;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn keep_lines(from: impl Read + Send + 'static, to: watch::Sender<Vec<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            to.send_modify(|lines| lines.push(line));
        }
    });
}

fn read_all(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    // what a command writes may be a message
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait_for_end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > until {
            return None;
        }
        // the only way to wait for a process and a clock at once without one more crate
        std::thread::sleep(Duration::from_millis(2));
    }
}
