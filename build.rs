//! Notes what the program is built from, for `orderer version`.

use std::path::Path;
use std::process::Command;

fn main() {
    let commit = std::env::var("ORDERER_BUILD_COMMIT")
        .ok()
        .or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    let rustc = std::env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"]));
    let rustc = rustc.and_then(|line| line.split_whitespace().nth(1).map(str::to_owned));
    println!("cargo:rustc-env=ORDERER_BUILD_COMMIT={commit}");
    println!("cargo:rustc-env=ORDERER_BUILD_RUSTC={}", rustc.unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo:rerun-if-env-changed=ORDERER_BUILD_COMMIT");
    // the files that a commit, or another branch, changes, whether or not reflogs are kept; in a work tree they are elsewhere
    let branch = output("git", &["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = output("git", &["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
