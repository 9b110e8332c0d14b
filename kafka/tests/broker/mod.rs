//! Real Kafka brokers for tests: one or three nodes as child processes on free ports, in a temporary directory, killed
//! on drop.
//!
//! A node can be killed, paused, resumed and restarted. It counts as started when its log says so; nothing here sleeps.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, reason = "a test that panics has failed")]

mod certificates;
mod ports;
mod process;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use certificates::Certificates;
#[allow(unused_imports, reason = "each test file uses its own part")]
pub use ports::free as free_port;
use process::Process;

/// A version from before brokers dropped the protocol versions of old clients, and one from after that.
pub const KAFKA_3: &str = "3.9.2";
pub const KAFKA_4: &str = "4.4.0";

/// The authentication that a listener requires of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    Plain,
    Tls,
    Sasl,
    SaslTls,
}

impl Listener {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
            Self::Sasl => "sasl",
            Self::SaslTls => "sasl-tls",
        }
    }
}

/// The brokers to start.
#[derive(Debug, Clone)]
pub struct Plan {
    version: &'static str,
    nodes: usize,
    listeners: Vec<Listener>,
    authorize: bool,
    settings: Vec<String>,
}

impl Plan {
    /// Plans one node without authentication.
    pub fn new(version: &'static str) -> Self {
        Self { version, nodes: 1, listeners: vec![Listener::Plain], authorize: false, settings: vec![] }
    }

    /// Plans three nodes. A topic has a replica on each, and an append needs two.
    pub fn three(self) -> Self {
        Self { nodes: 3, ..self }
    }

    /// Adds all kinds of listeners, and permits only the user orderer to do anything.
    pub fn secured(self) -> Self {
        let listeners = vec![Listener::Plain, Listener::Tls, Listener::Sasl, Listener::SaslTls];
        Self { listeners, authorize: true, ..self }
    }

    /// Adds a line to the `server.properties` of every node.
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// Starts the nodes and waits until all of them are ready.
    pub fn start(self) -> Brokers {
        Brokers::start(&self)
    }

    /// Returns the brokers in the slot if a test still uses them, or starts new ones. The tests of a file share brokers
    /// this way.
    pub fn shared(self, slot: &'static Mutex<Weak<Brokers>>) -> Arc<Brokers> {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.upgrade().unwrap_or_else(|| {
            let started = Arc::new(self.start());
            *slot = Arc::downgrade(&started);
            started
        })
    }
}

/// Running brokers.
#[derive(Debug)]
pub struct Brokers {
    folder: tempfile::TempDir,
    certificates: Certificates,
    version: &'static str,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    arguments: Vec<String>,
    ports: Vec<(Listener, u16)>,
    internal_port: u16,
    process: Mutex<Process>,
}

impl Brokers {
    fn start(plan: &Plan) -> Self {
        // before the nodes are started, whose time to start does not include a download
        jars(plan.version);
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(&folder.path().join("tls"));
        let controllers: Vec<_> = (0..plan.nodes).map(|_| ports::free()).collect();
        let mut voters = String::new();
        for (id, port) in (1..).zip(&controllers) {
            let comma = if id == 1 { "" } else { "," };
            write!(voters, "{comma}{id}@127.0.0.1:{port}").unwrap();
        }
        let prepared: Vec<_> = (1..=plan.nodes).map(|id| Prepared::new(plan, folder.path(), id, &voters)).collect();
        // start all at once, because they wait for each other
        let nodes: Vec<_> = prepared.into_iter().map(Prepared::start).collect();
        for node in &nodes {
            node.process().wait_until_ready();
        }
        Self { folder, certificates, version: plan.version, nodes }
    }

    /// Returns `host:port` of each node's listener of this kind, in the order of the node IDs.
    pub fn addresses(&self, kind: Listener) -> Vec<String> {
        let ports = self.nodes.iter().flat_map(|node| &node.ports);
        ports.filter(|(listener, _)| *listener == kind).map(|(_, port)| format!("127.0.0.1:{port}")).collect()
    }

    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Kills a node by SIGKILL. Node IDs begin at 1.
    pub fn kill(&self, id: i32) {
        self.node(id).process().kill();
    }

    /// Pauses a node by SIGSTOP. Its connections stay open and silent.
    pub fn pause(&self, id: i32) {
        self.node(id).process().signal("STOP");
    }

    /// Resumes a node by SIGCONT.
    pub fn resume(&self, id: i32) {
        self.node(id).process().signal("CONT");
    }

    /// Restarts a killed node with its data on disk, and waits until it is ready.
    pub fn restart(&self, id: i32) {
        self.restart_all(&[id]);
    }

    /// Restarts several killed nodes that need each other to become ready.
    pub fn restart_all(&self, ids: &[i32]) {
        for id in ids {
            let node = self.node(*id);
            *node.process() = Process::start(&node.arguments, &log_of(self.folder.path(), *id));
        }
        for id in ids {
            self.node(*id).process().wait_until_ready();
        }
    }

    /// Runs one of Kafka's own commands against the brokers. Panics with its output if it fails.
    pub fn command(&self, class: &str, arguments: &[&str]) {
        let jars = jars(self.version);
        let bootstrap = format!("127.0.0.1:{}", self.nodes[0].internal_port);
        let ran = Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"])
            .arg(format!("{jars}/*"))
            .args([class, "--bootstrap-server", &bootstrap])
            .args(arguments)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{class} {arguments:?}: {ran:?}");
    }

    fn node(&self, id: i32) -> &Node {
        let at = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        at.and_then(|at| self.nodes.get(at)).unwrap_or_else(|| panic!("there is no node {id}"))
    }
}

impl Node {
    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node that is ready to be started.
struct Prepared {
    arguments: Vec<String>,
    ports: Vec<(Listener, u16)>,
    internal_port: u16,
    log: PathBuf,
}

impl Prepared {
    fn new(plan: &Plan, folder: &Path, id: usize, voters: &str) -> Self {
        let internal_port = ports::free();
        let ports: Vec<_> = plan.listeners.iter().map(|kind| (*kind, ports::free())).collect();
        let folder_of_node = folder.join(id.to_string());
        let mut arguments: Vec<String> = vec![script("node").display().to_string(), "--die-with-parent".to_owned()];
        let mut argument = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        argument("--dir", folder_of_node.display().to_string());
        argument("--id", id.to_string());
        argument("--voters", voters.to_owned());
        argument("--version", plan.version.to_owned());
        argument("--listener", format!("internal={internal_port}"));
        for (kind, port) in &ports {
            argument("--listener", format!("{}={port}", kind.name()));
        }
        for setting in &plan.settings {
            argument("--set", setting.clone());
        }
        if plan.authorize {
            arguments.push("--authorize".to_owned());
        }
        let log = log_of(folder, i32::try_from(id).unwrap());
        Self { arguments, ports, internal_port, log }
    }

    fn start(self) -> Node {
        let Self { arguments, ports, internal_port, log } = self;
        let process = Mutex::new(Process::start(&arguments, &log));
        Node { arguments, ports, internal_port, process }
    }
}

/// Returns the directory with the jars of a version, and downloads them if they are missing.
fn jars(version: &str) -> String {
    let fetched = Command::new(script("fetch")).arg(version).output().unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    String::from_utf8(fetched.stdout).unwrap().trim().to_owned()
}

fn log_of(folder: &Path, id: i32) -> PathBuf {
    folder.join(format!("{id}.log"))
}

/// Returns the path of a script in the workspace's `tests/kafka`, for any crate that includes this module.
fn script(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut scripts = here.ancestors().map(|folder| folder.join("tests/kafka").join(name));
    scripts.find(|path| path.is_file()).unwrap_or_else(|| panic!("no tests/kafka/{name} above {}", here.display()))
}
