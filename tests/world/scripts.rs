//! Scripts of the repository, which run the built program.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Setup;

/// A run of a script with the built program on the path, and with free ports.
pub struct Script(Command);

impl Script {
    /// Prepares a script by its path in the repository. It is ended after ten minutes, with everything that it has
    /// started, should it wait in vain.
    pub fn new(script: &str) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_orderer")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", "600"]).arg(root().join(script));
        // remove the tester's own settings from the environment
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["ORDERER_", "FABRIC_", "CORE_", "CLIENTS"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&*name);
            }
        }
        let port = || Setup::without_channels().port();
        command
            .env("PATH", path)
            .env("ORDERER_GENERAL_LISTENPORT", port().to_string())
            .env("ORDERER_ADMIN_LISTENADDRESS", format!("127.0.0.1:{}", port()))
            .env("ORDERER_OPERATIONS_LISTENADDRESS", format!("127.0.0.1:{}", port()))
            // a test must not depend on how full the disk of the machine is
            .env("ORDERER_FILELEDGER_LOWDISKBYTES", "0")
            .stdin(Stdio::null());
        Self(command)
    }

    /// Prepares the run of a guide in `docs/guides`.
    pub fn guide(name: &str) -> Self {
        Self::new("tests/guides/run").argument(root().join(format!("docs/guides/{name}.md")))
    }

    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<Path>) -> Self {
        self.0.arg(argument.as_ref());
        self
    }

    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Returns whether the script succeeded, its output, and its errors.
    pub fn attempt(mut self) -> (bool, String, String) {
        let ended = self.0.output().unwrap();
        let [stdout, stderr] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (ended.status.success(), stdout, stderr)
    }

    /// Runs a script that has to succeed, and returns its output.
    pub fn run(self) -> String {
        let what = format!("{:?}", self.0);
        let (succeeded, stdout, stderr) = self.attempt();
        assert!(succeeded, "{what}\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs a guide, or one of its sections, which has to succeed.
    pub fn holds(self) {
        let said = self.run();
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("the guide ") && last.ends_with(" holds"), "{said}");
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
