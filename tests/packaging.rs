//! What the packages put where, read from their sources.

#![allow(clippy::unwrap_used, missing_docs)]

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
    let script = read("packaging/debian/postinst");
    let restart = script.split("systemctl restart").nth(1).unwrap().lines().next().unwrap();
    assert!(restart.ends_with("||"), "{restart}");
    assert!(!read("packaging/systemd/orderer.service").lines().any(|line| line.starts_with("ProcSubset")));
}
