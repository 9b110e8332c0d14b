//! Describes the machine: figures without it mean nothing.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// The machine, and the program.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Model of the processors.
    pub processor: String,
    /// Number of processors that this process may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Load average of the minute before: how busy the machine was with other things.
    pub load_before: f64,
    /// Version and commit of this program.
    pub program: String,
    /// Build profile.
    pub build: &'static str,
}

impl Host {
    pub(super) fn inspect(load_before: f64, program: &str) -> Self {
        let value = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let memory = value("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kib: u64 = memory.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: value("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib >> 10,
            kernel: format!("{} {}", std::env::consts::OS, kernel.trim()),
            load_before,
            program: program.to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }

    /// Returns reasons to doubt the figures.
    pub fn caveats(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.build == "debug" {
            doubts.push("this is a debug build: its figures say nothing about a release build".to_owned());
        }
        #[expect(clippy::cast_precision_loss, reason = "few cores")]
        if self.load_before > 0.5 * self.cores as f64 {
            doubts.push(format!("the machine was busy before the first run (load {:.1})", self.load_before));
        }
        doubts
    }
}

pub(super) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// Returns the kind of the file system of a directory: a ledger in memory is no ledger on a disk.
pub fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let of_mount = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        folder.starts_with(at).then_some((at.len(), kind.to_owned()))
    });
    of_mount.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind)
}
