//! `orderer version`.

/// The version and the commit.
pub(super) const SHORT: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ORDERER_BUILD_COMMIT"), ")");

/// Returns the program's version, in the form of Fabric's own programs.
pub(super) fn text() -> String {
    text_of("orderer")
}

/// Returns the version of a program that this one can be.
pub(super) fn text_of(program: &str) -> String {
    format!(
        "{program}:\n Version: {}\n Commit SHA: {}\n Rust version: {}\n OS/Arch: {}/{}",
        env!("CARGO_PKG_VERSION"),
        env!("ORDERER_BUILD_COMMIT"),
        env!("ORDERER_BUILD_RUSTC"),
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}
