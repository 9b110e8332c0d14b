//! `orderer start --dev --orderers N`: starts a process for each orderer and supervises these processes.
//!
//! An orderer process that exits is restarted. All orderers stop when this process receives a termination signal or
//! exits: the standard input of each is a pipe from this process, and an orderer stops when the pipe is closed.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use orderer_core::supervision::{RestartDecision, RestartHistory, RestartPolicy};
use orderer_localconfig::environment::load_settings;
use orderer_tools::commands::output::{done, print_errors};
use orderer_tools::dev_network::cluster::{DevCluster, DevOrderer, is_own};
use rustix::process::{Signal, getpid, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::signals::TerminationSignals;
use crate::telemetry::{self, LogFormat, SpecError};

/// Line that a supervised orderer prints on standard output when it serves.
pub(super) const SERVES: &str = "serves";
/// Time limit for an orderer to stop, after which it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Restart policy: without a limit, because a developer sees the failures in the log.
const RESTARTS: RestartPolicy = RestartPolicy {
    limit: usize::MAX,
    window: Duration::from_secs(60),
    initial_delay: Duration::from_millis(100),
    max_delay: Duration::from_secs(10),
    jitter: 0.0,
};

/// Starts a thread that sends SIGTERM to this process when its standard input is closed.
pub(super) fn end_with_supervisor() {
    std::thread::spawn(|| {
        // an error also means that the supervising process is gone
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        if let Err(error) = kill_process(getpid(), Signal::TERM) {
            tracing::error!(target: "orderer.node", %error, "the supervising process has exited, and this process failed to stop");
        }
    });
}

/// Runs the orderers until a termination signal is received. Blocks the thread.
pub(super) fn run(cluster: &DevCluster, variables: &BTreeMap<String, String>, format: LogFormat) -> ExitCode {
    let shared: BTreeMap<_, _> =
        variables.iter().filter(|(name, _)| !is_own(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    let mut all = Vec::new();
    for orderer in &cluster.orderers {
        match load_settings(Some(orderer.config_file.clone()), &shared) {
            Ok(loaded) => all.push(loaded.settings),
            Err(mistakes) => return print_errors(mistakes),
        }
    }
    if let Err(error) = log(variables, format) {
        return print_errors([format!("FABRIC_LOGGING_SPEC: {error}")]);
    }
    let greeting = cluster.greeting(&all);
    let ignored: Vec<_> = variables.keys().filter(|name| is_own(name)).cloned().collect();
    if !ignored.is_empty() {
        tracing::warn!(target: "orderer.node", "ignored environment variables, because each orderer's configuration file sets these keys: {}", ignored.join(", "));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start");
    done(runtime.and_then(|runtime| runtime.block_on(supervise(cluster, &ignored, format, &greeting))))
}

/// Starts logging in this process at level info, whatever `FABRIC_LOGGING_SPEC` says, because it logs little. The
/// variable applies to the orderers; an invalid value is an error here too.
fn log(variables: &BTreeMap<String, String>, format: LogFormat) -> Result<(), SpecError> {
    if let Some(spec) = variables.get("FABRIC_LOGGING_SPEC") {
        telemetry::check_spec(spec)?;
    }
    telemetry::start("info", format, None).map(drop)
}

/// An event of an orderer process.
enum Heard {
    /// The orderer serves for the first time.
    Serves,
    /// The orderer exited before it served; with a description.
    NeverServed(String),
}

/// Starts the orderers, prints `greeting` when all serve, and stops them after a termination signal or when an orderer
/// exits before it has served, which is an error.
async fn supervise(cluster: &DevCluster, ignored: &[String], format: LogFormat, greeting: &str) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let mut ends = TerminationSignals::new();
    let (say, mut hear) = mpsc::channel(2 * cluster.orderers.len());
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let width = cluster.orderers.iter().map(|orderer| orderer.name.len()).max().unwrap_or(0);
    let mut all = JoinSet::new();
    for orderer in &cluster.orderers {
        let mut command = Command::new(&program);
        let log_format = if format == LogFormat::Json { "json" } else { "human" };
        command.args(["start", "--supervised", "--log-format", log_format, "--config"]).arg(&orderer.config_file);
        // an own process group: Ctrl-C reaches this process only, which then stops the orderers
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        // this process is the one that the service manager supervises
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC"].into_iter().chain(ignored.iter().map(String::as_str)) {
            command.env_remove(variable);
        }
        let DevOrderer { name, .. } = orderer.clone();
        let label = Label { name, width, format };
        all.spawn(look_after(Kept { label, command, say: say.clone(), stop: stop.clone(), kill: kill.clone() }));
    }
    drop(say);
    let mut waited_for = cluster.orderers.len();
    let mut failed = None;
    loop {
        tokio::select! {
            signal = ends.next() => {
                tracing::info!(target: "orderer.node", signal, "stopping the orderers");
                break;
            }
            heard = hear.recv() => match heard {
                Some(Heard::Serves) => {
                    waited_for -= 1;
                    if waited_for == 0 {
                        println!("{greeting}");
                    }
                }
                Some(Heard::NeverServed(what)) => {
                    failed = Some(what);
                    break;
                }
                None => break,
            },
        }
    }
    stop.cancel();
    let ended = async { while all.join_next().await.is_some() {} };
    tokio::pin!(ended);
    tokio::select! {
        () = &mut ended => {}
        // a second signal kills the orderers at once
        _ = ends.next() => {
            kill.cancel();
            ended.await;
        }
    }
    failed.map_or(Ok(()), |what| Err(anyhow::anyhow!(what)))
}

/// A supervised orderer.
struct Kept {
    label: Label,
    command: Command,
    say: mpsc::Sender<Heard>,
    stop: CancellationToken,
    kill: CancellationToken,
}

/// Starts an orderer, and restarts it whenever it exits, until it is told to stop. Returns if it exits before it served
/// for the first time.
async fn look_after(mut kept: Kept) {
    let began = Instant::now();
    let (mut restarts, mut served) = (RestartHistory::default(), false);
    loop {
        let how = match kept.command.spawn() {
            Ok(child) => match kept.run(child, &mut served).await {
                Some(status) => status.to_string(),
                None => return,
            },
            Err(error) => format!("cannot be started: {error}"),
        };
        let name = &kept.label.name;
        if !served {
            let never = Heard::NeverServed(format!("{name} does not start ({how}): its log says why"));
            // the receiver is gone only when the program stops
            let _ = kept.say.send(never).await;
            return;
        }
        let RestartDecision::RestartIn(pause) = restarts.on_exit(began.elapsed(), 0.0, &RESTARTS) else { return };
        tracing::warn!(target: "orderer.node", "{name} has ended ({how}): it is started again in {pause:?}");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = kept.stop.cancelled() => return,
        }
    }
}

impl Kept {
    /// Runs an orderer process until it exits. Returns `None` if it was told to stop.
    async fn run(&self, mut child: Child, served: &mut bool) -> Option<ExitStatus> {
        let process = child.id().unwrap_or_default();
        tracing::info!(target: "orderer.node", process, "{} is started", self.label.name);
        let pipe = child.stdin.take();
        let log = child.stderr.take().map(|log| tokio::spawn(self.label.clone().relay(log)));
        let mut printed = child.stdout.take().map(|printed| BufReader::new(printed).lines());
        let status = loop {
            tokio::select! {
                status = child.wait() => break status.ok(),
                () = self.stop.cancelled() => {
                    drop(pipe);
                    self.end(&mut child).await;
                    break None;
                }
                line = next_line(&mut printed) => {
                    if line.as_deref() == Some(SERVES) && !std::mem::replace(served, true) {
                        let _ = self.say.send(Heard::Serves).await;
                    }
                }
            }
        };
        if let Some(log) = log {
            let _ = log.await;
        }
        status
    }

    /// Waits for an orderer to exit, and kills it after [`STOP_LIMIT`] or when `kill` is cancelled.
    async fn end(&self, child: &mut Child) {
        tokio::select! {
            _ = child.wait() => return,
            () = tokio::time::sleep(STOP_LIMIT) => {
                tracing::warn!(target: "orderer.node", limit = ?STOP_LIMIT, "{} did not stop in time and is being killed", self.label.name);
            }
            () = self.kill.cancelled() => {}
        }
        if let Err(error) = child.kill().await {
            tracing::error!(target: "orderer.node", %error, "{} cannot be killed", self.label.name);
        }
    }
}

/// Returns the next line. At the end returns `None` once; further calls never complete. Cancel safe: no part of a line
/// is lost.
async fn next_line<R: AsyncRead + Unpin>(lines: &mut Option<tokio::io::Lines<BufReader<R>>>) -> Option<String> {
    let next = match lines {
        Some(lines) => lines.next_line().await,
        None => std::future::pending().await,
    };
    let line = next.ok().flatten();
    if line.is_none() {
        *lines = None;
    }
    line
}

/// The prefix that marks the log lines of an orderer.
#[derive(Clone)]
struct Label {
    name: String,
    width: usize,
    format: LogFormat,
}

impl Label {
    /// Writes each line of an orderer's log, with its name, to standard error, until the log ends.
    async fn relay(self, log: impl AsyncRead + Unpin) {
        let mut log = BufReader::new(log);
        let mut line = Vec::new();
        // a read error counts as the end
        while log.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
            let text = self.mark(String::from_utf8_lossy(&line).trim_end_matches('\n'));
            // ignored: an error on standard error cannot be reported
            let _ = io::stderr().lock().write_all(text.as_bytes());
            line.clear();
        }
    }

    fn mark(&self, line: &str) -> String {
        let Self { name, width, format } = self;
        match (format, line.strip_prefix('{')) {
            (LogFormat::Json, Some(rest)) => format!("{{\"orderer\":\"{name}\",{rest}\n"),
            _ => format!("{name:<width$} | {line}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_whose_they_are() {
        let label = |format| Label { name: "orderer".to_owned(), width: 8, format };
        assert_eq!(label(LogFormat::Human).mark("{a} b"), "orderer  | {a} b\n");
        assert_eq!(label(LogFormat::Json).mark("orderer: no"), "orderer  | orderer: no\n");
        let line = label(LogFormat::Json).mark(r#"{"level":"INFO"}"#);
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&value["orderer"], &value["level"]), (&"orderer".into(), &"INFO".into()));
    }
}
