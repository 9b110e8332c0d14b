//! The process of one node.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Time limit for a start. After a crash, a node on a busy machine takes a tenth of it.
const READY_WITHIN: Duration = Duration::from_secs(240);

const READY: &str = "Kafka Server started";

#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Receives one message when the node is ready, and is closed when the node ends.
    ready: Mutex<Receiver<()>>,
}

impl Process {
    pub fn start(arguments: &[String], log: &Path) -> Self {
        let (program, arguments) = arguments.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::options().create(true).append(true).open(log).unwrap());
        let mut child = spawn(command);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut written = File::options().create(true).append(true).open(log).unwrap();
        let (tell, ready) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|length| length > 0) {
                // the directory may be gone already
                let _ = written.write_all(line.as_bytes());
                if line.contains(READY) {
                    // the receiver may be gone
                    let _ = tell.send(());
                }
                line.clear();
            }
        });
        Self { child, log: log.to_owned(), ready: Mutex::new(ready) }
    }

    pub fn wait_until_ready(&self) {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.recv_timeout(READY_WITHIN).is_err() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            panic!("a kafka node did not become ready; the end of its log:\n{tail}");
        }
    }

    pub fn kill(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Job {
    command: Command,
    reply: Sender<Child>,
}

/// Starts processes from a thread that lives as long as the test process: the kernel ends a node when the thread that
/// started it ends, and each test has its own thread.
fn spawn(command: Command) -> Child {
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, taken) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for mut job in taken {
                let child = job.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", job.command));
                job.reply.send(child).unwrap();
            }
        });
        Mutex::new(jobs)
    });
    let (reply, child) = mpsc::channel();
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send(Job { command, reply }).unwrap();
    child.recv().unwrap()
}
