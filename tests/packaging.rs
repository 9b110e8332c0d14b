//! Tests what the packages install, from their sources.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_image_takes_the_place_of_fabrics() {
    let image = read("packaging/Dockerfile");
    let has = |line: &str| image.lines().any(|found| found.trim() == line);
    assert!(!image.lines().any(|line| line.starts_with("ENTRYPOINT")), "command: orderer names the program");
    for line in [
        "CMD [\"orderer\", \"start\"]",
        "ENV FABRIC_CFG_PATH=/etc/hyperledger/fabric",
        "VOLUME /etc/hyperledger/fabric",
        "VOLUME /var/hyperledger",
        "COPY --from=build /source/target/dist/orderer /usr/local/bin/orderer",
    ] {
        assert!(has(line), "{line}");
    }
    assert!(image.contains("EXPOSE 7050") && image.contains("\"health\", \"--alive\""));
}

#[test]
fn files_that_may_hold_secrets_are_not_for_everybody() {
    let manifest = read("Cargo.toml");
    for file in ["etc/hyperledger/fabric/orderer.yaml\", \"640\"", "etc/default/orderer\", \"640\""] {
        assert!(manifest.contains(file), "{file}");
    }
    assert!(read("packaging/debian/postinst").contains("chmod 0640"));
}

#[test]
fn a_node_that_does_not_start_leaves_no_package_half_configured() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    // run the script with its paths below this directory, and with stub tools that only record their arguments
    let mut script = read("packaging/debian/postinst");
    for place in ["/run/systemd/system", "/etc/", "/var/lib/orderer"] {
        script = script.replace(place, &format!("{}{place}", root.path().display()));
    }
    fs::write(at("postinst"), script).unwrap();
    for folder in ["bin", "run/systemd/system", "etc/default", "etc/hyperledger/fabric"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    let settings = at("etc/hyperledger/fabric/orderer.yaml");
    fs::write(&settings, "").unwrap();
    fs::set_permissions(&settings, fs::Permissions::from_mode(0o644)).unwrap();
    let tool = |name: &str, text: &str| {
        let path = at("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\"\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for name in ["systemd-sysusers", "install", "chgrp"] {
        tool(name, "");
    }
    tool("systemctl", "test \"$1\" != restart");
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap());
    let script = at("postinst");
    let configure =
        |arguments: &[&str]| Command::new("sh").arg(&script).args(arguments).env("PATH", &path).output().unwrap();
    let upgraded = configure(&["configure", "0.0.9"]);
    let [said, complained] = [&upgraded.stdout, &upgraded.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(upgraded.status.success(), "{said}{complained}");
    assert!(said.contains("systemctl restart --no-block orderer.service"), "{said}");
    assert!(complained.contains("was not restarted"), "{complained}");
    assert_eq!(fs::metadata(&settings).unwrap().permissions().mode() & 0o777, 0o640);
    // an installation that fails is still an error
    tool("install", "exit 1");
    assert!(!configure(&["configure"]).status.success());
    assert!(!read("packaging/systemd/orderer.service").lines().any(|line| line.starts_with("ProcSubset")));
}
