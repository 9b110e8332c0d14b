//! A node as a process: its settings, its log and its end.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::watch;

use super::{Client, NET, TEST_TIMEOUT, within};

/// The directory and settings of a node. The directory outlives the node.
pub struct Setup {
    folder: Arc<TempDir>,
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
    port: u16,
}

/// The result of a command that ended by itself.
#[derive(Debug)]
pub struct ProcessOutput {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Setup {
    /// Returns `orderer start` with an empty directory and only the settings that a test machine needs.
    pub fn without_channels() -> Self {
        let port = free_port();
        let setup = Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            arguments: vec!["start".to_owned()],
            variables: BTreeMap::new(),
            port,
        };
        // many nodes share a machine, so these listen on any free port
        setup
            .set("GENERAL_LISTENPORT", port)
            .set("OPERATIONS_LISTENADDRESS", "127.0.0.1:0")
            .set("ADMIN_LISTENADDRESS", "127.0.0.1:0")
            // a test must not depend on how full the disk of the machine is
            .set("FILELEDGER_LOWDISKBYTES", 0)
    }

    /// Sets up the fixtures' orderer with a genesis block of the fixtures.
    pub fn with_genesis(file: &str) -> Self {
        Self::of_block_file(Path::new(NET).join(file))
    }

    /// Sets up the fixtures' orderer with any genesis block.
    pub fn of_block_file(file: PathBuf) -> Self {
        let setup = Self::without_channels();
        let ledger = setup.folder().join("ledger");
        setup
            .set("GENERAL_BOOTSTRAPMETHOD", "file")
            .set("GENERAL_BOOTSTRAPFILE", file.display())
            .set("GENERAL_LOCALMSPDIR", orderer_folder().join("msp").display())
            .set("GENERAL_LOCALMSPID", "OrdererMSP")
            .set("FILELEDGER_LOCATION", ledger.display())
    }

    /// Sets up the fixtures' orderer with the system channel `syschan`.
    pub fn system() -> Self {
        Self::with_genesis("SysSolo.block")
    }

    /// Sets up the fixtures' orderer with the application channel `app` of Org1 and Org2.
    pub fn application() -> Self {
        Self::with_genesis("AppSolo.block")
    }

    /// Overrides a setting by its environment variable, named without the prefix ORDERER_.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.variables.insert(format!("ORDERER_{key}"), value.to_string());
        self
    }

    /// Removes an override.
    pub fn unset(mut self, key: &str) -> Self {
        self.variables.remove(&format!("ORDERER_{key}"));
        self
    }

    /// Sets any environment variable.
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.insert(name.to_owned(), value.to_string());
        self
    }

    /// Replaces the command line.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&a| a.to_owned()).collect();
        self
    }

    /// Returns a setup with the same directory and settings, and another command line.
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

    /// Returns the path of a channel's ledger.
    pub fn ledger_file(&self, channel: &str) -> PathBuf {
        self.folder().join("ledger/channels").join(channel).join("ledger.redb")
    }

    /// Deletes the record of unclean starts, as an operator does before the start of a node that terminated too often.
    pub fn forgive_unclean_starts(&self) {
        std::fs::remove_file(self.folder().join("ledger/unclean-starts")).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderer"));
        // remove the tester's own settings from the environment
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

    /// Starts the node, and waits until it serves and until the chain of every channel that could be opened is running.
    pub async fn start(&self) -> Node {
        let mut node = self.spawn();
        let serving = node.line("Beginning to serve requests").await;
        let channels: usize = value_of(&serving, "channels").parse().unwrap();
        node.lines("every chain runs", |lines| {
            let running = lines.iter().filter(|line| line.contains("chain is running")).count();
            let broken = lines.iter().filter(|line| line.contains("failed to open channel")).count();
            running + broken >= channels
        })
        .await;
        node
    }

    /// Starts the process without waiting.
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
            _folder: Arc::clone(&self.folder),
        }
    }

    /// Runs a command to its end.
    pub fn run(&self) -> ProcessOutput {
        self.run_with("")
    }

    /// Runs a command to its end with this standard input.
    pub fn run_with(&self, input: &str) -> ProcessOutput {
        self.run_within(TEST_TIMEOUT, input)
    }

    /// Runs a command to its end within a time limit.
    pub fn run_within(&self, limit: Duration, input: &str) -> ProcessOutput {
        let mut child = self.command().stdin(Stdio::piped()).spawn().unwrap();
        // a command that does not read its input may have ended already
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stdout = std::thread::spawn(move || read_all(&mut out));
        let stderr = std::thread::spawn(move || read_all(&mut err));
        let status = wait_for_end(&mut child, limit);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let ended = ProcessOutput {
            code: status.and_then(|s| s.code()),
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        };
        assert!(status.is_some(), "the command did not end: {ended:?}");
        ended
    }
}

/// A running node. It is killed when the value is dropped.
pub struct Node {
    child: Child,
    pub address: String,
    log: watch::Receiver<Vec<String>>,
    printed: watch::Receiver<Vec<String>>,
    _folder: Arc<TempDir>,
}

impl Node {
    /// Waits until the log has a line that contains this text, and returns the first such line.
    pub async fn line(&mut self, text: &str) -> String {
        self.lines(text, |lines| lines.iter().any(|line| line.contains(text))).await;
        let found = self.log.borrow().iter().find(|line| line.contains(text)).cloned();
        found.unwrap()
    }

    /// Waits until the log lines satisfy a condition.
    pub async fn lines(&mut self, what: &str, enough: impl FnMut(&Vec<String>) -> bool) {
        // an error means that the log has ended, and so has the node
        let found = match tokio::time::timeout(TEST_TIMEOUT, self.log.wait_for(enough)).await {
            Ok(found) => found.is_ok(),
            Err(_) => false,
        };
        assert!(found, "never in the log: {what}\n{}", self.log());
    }

    /// Waits until the chain of a channel is running.
    pub async fn wait_for_chain(&mut self, channel: &str) {
        let name = format!("channel={channel} ");
        let what = format!("chain of {channel} runs");
        self.lines(&what, |lines| lines.iter().any(|l| l.contains("chain is running") && l.contains(&name))).await;
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.log.borrow().join("\n")
    }

    /// Waits until a line of standard output contains this text, and returns the output so far.
    pub async fn wait_for_stdout(&mut self, text: &str) -> String {
        let enough = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        let found = within(text, self.printed.wait_for(enough)).await.map(|lines| lines.join("\n"));
        found.unwrap()
    }

    /// Connects a client.
    pub async fn client(&self) -> Client {
        Client::connect(&self.address).await
    }

    /// Returns a field of the process's status in bytes: VmRSS (current memory) or VmHWM (peak memory).
    pub fn memory(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    /// Returns the processor time that the process has used, in the kernel and outside of it.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // the name of the program is in parentheses, and may contain spaces
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = [11, 12].map(|at: usize| fields[at].parse::<u64>().unwrap()).iter().sum();
        Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
    }

    /// Kills the process with SIGKILL, as a power failure would end it. Its port is free afterwards.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Returns the process ID.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, named without SIG.
    pub fn signal(&self, name: &str) {
        let id = self.child.id();
        assert!(Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status().unwrap().success());
    }

    /// Waits for the end of the process after [`terminate`](Self::terminate), for at most `limit`.
    pub async fn ended(mut self, limit: Duration) -> ExitStatus {
        let (status, node) =
            tokio::task::spawn_blocking(move || (wait_for_end(&mut self.child, limit), self)).await.unwrap();
        status.unwrap_or_else(|| panic!("did not end within {limit:?}\n{}", node.log()))
    }

    /// Waits until the process ends with exit code 0, and asserts that it has waited for no client longer than for what is
    /// in flight.
    pub async fn ended_at_once(mut self) {
        // the log ends with the process
        within("the node ends", async { while self.log.changed().await.is_ok() {} }).await;
        let log = self.log();
        assert!(!log.contains("some streams did not end in time"), "{log}");
        assert_eq!(self.ended(TEST_TIMEOUT).await.code(), Some(0), "{log}");
    }

    /// Sends SIGTERM and waits until the process ends with exit code 0.
    pub async fn stop(self) {
        self.terminate();
        assert_eq!(self.ended(TEST_TIMEOUT).await.code(), Some(0));
    }

    /// Asserts that no thread has panicked.
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

/// Returns the directory of the fixtures' orderer, with `msp` and `tls`.
pub fn orderer_folder() -> PathBuf {
    Path::new(NET).join("crypto/ordererOrganizations/example.com/orderers/orderer.example.com")
}

/// Returns the value of `key=value` in a log line.
pub fn value_of<'a>(line: &'a str, key: &str) -> &'a str {
    line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap()
}

/// Returns a free port below the range that the system assigns to outgoing connections, so that it stays free while a
/// node is down. Test processes that run at the same time start their search at different ports.
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
    // the output of a command may be a binary message
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
        // polling avoids another crate that waits for a process with a time limit
        std::thread::sleep(Duration::from_millis(2));
    }
}
