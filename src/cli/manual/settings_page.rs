//! orderer.yaml(5): the keys of the configuration, from their table, with the explanations of the file itself.

use std::io::{self, Write};

use clap_mangen::roff::{Roff, bold, roman};
use orderer_localconfig::settings::{KEYS, Key, Kind, ReloadEffect};

use super::page::section;

/// The file with all keys and their explanations.
const FILE: &str = include_str!("../../../orderer.yaml");

/// Writes the page.
pub(super) fn render(to: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::default();
    let source = format!("orderer {}", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["orderer.yaml", "5", "", &source, "orderer manual"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("orderer.yaml - configuration of the ordering service node")]);
    roff.control("SH", ["DESCRIPTION"]);
    let mut heading = true;
    for part in parts() {
        match part {
            Part::Text(text) => {
                roff.control("PP", []);
                roff.text([roman(text)]);
            }
            Part::Section(path) => {
                if std::mem::take(&mut heading) {
                    roff.control("SH", ["KEYS"]);
                }
                roff.control("SS", [path.as_str()]);
            }
            Part::Key(key) => {
                roff.control("TP", []);
                roff.text([bold(key.path)]);
                roff.text([roman(described(key))]);
            }
        }
    }
    roff.control("SH", ["KEYS WITHOUT EFFECT"]);
    roff.text([roman("These keys of Fabric's files are accepted and ignored.")]);
    for key in KEYS {
        if let ReloadEffect::Ignored(why) = key.effect {
            roff.control("TP", []);
            roff.text([bold(key.path)]);
            roff.text([roman(why)]);
        }
    }
    roff.to_writer(to)?;
    let files = "\
$FABRIC_CFG_PATH/orderer.yaml
./orderer.yaml
/etc/hyperledger/fabric/orderer.yaml";
    section("FILES", files, to)?;
    section("SEE ALSO", "orderer-start(1), orderer-config-check(1)", to)
}

/// A part of the file.
#[derive(Debug)]
enum Part {
    /// A paragraph of a comment.
    Text(String),
    /// The path of a key that has others below it.
    Section(String),
    /// A key with a value.
    Key(&'static Key),
}

/// Splits the file into its parts. Its keys are indented by two spaces a level.
fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    let mut comment: Vec<String> = Vec::new();
    let mut above: Vec<&str> = Vec::new();
    let flush = |comment: &mut Vec<String>, parts: &mut Vec<Part>| {
        let text = std::mem::take(comment).join("\n");
        parts.extend(text.split("\n\n").filter(|text| !text.is_empty()).map(|text| Part::Text(text.to_owned())));
    };
    for line in FILE.lines() {
        let (indented, level) = (line.trim_start(), (line.len() - line.trim_start().len()) / 2);
        if let Some(text) = indented.strip_prefix('#') {
            comment.push(text.trim_start().to_owned());
            continue;
        }
        let Some((key, value)) = indented.split_once(':') else {
            flush(&mut comment, &mut parts);
            continue;
        };
        above.truncate(level);
        above.push(key);
        let path = above.join(".");
        let known = KEYS.iter().find(|known| known.path == path);
        if value.trim().is_empty() && known.is_none() {
            parts.push(Part::Section(path));
            flush(&mut comment, &mut parts);
        } else {
            flush(&mut comment, &mut parts);
            parts.extend(known.map(Part::Key));
        }
    }
    parts
}

/// Describes the values of a key.
fn described(key: &Key) -> String {
    let kind = match key.kind {
        Kind::Text | Kind::Anything => "a text".to_owned(),
        Kind::Secret => "a text, hidden in all output".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Port => "a port".to_owned(),
        Kind::Number => "a number".to_owned(),
        Kind::Bytes => "bytes, or a number with KB, MB or GB".to_owned(),
        Kind::Duration => "a duration, such as 500ms".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Paths => "a list of paths".to_owned(),
        Kind::Pem => "PEM, or the path of a PEM file".to_owned(),
        Kind::Pems => "a list of PEM values or paths".to_owned(),
        Kind::List => "a list of texts".to_owned(),
        Kind::KeyIds => "a list of mappings with SKI and ID".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
    };
    let default = if key.default.is_empty() { "empty" } else { key.default };
    let variable = key.path.replace('.', "_").to_uppercase();
    format!("{kind}; default: {default}; variable: ORDERER_{variable}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_on_the_page_once() {
        let mut page = Vec::new();
        render(&mut page).expect("is written");
        let page = String::from_utf8(page).expect("text");
        for key in KEYS {
            let lines = page.lines().filter(|line| *line == format!("\\fB{}\\fR", key.path)).count();
            assert_eq!(lines, 1, "{}", key.path);
        }
        assert!(page.contains("variable: ORDERER_GENERAL_LISTENPORT"), "{page}");
    }

    #[test]
    fn explanations_are_beside_their_keys() {
        let parts = parts();
        let at = parts.iter().position(|part| matches!(part, Part::Key(key) if key.path == "General.ListenAddress"));
        let at = at.expect("the key is there");
        assert!(matches!(&parts[at - 1], Part::Text(text) if text.contains("gRPC listener")), "{:?}", parts[at - 1]);
        assert!(matches!(&parts[at - 2], Part::Section(path) if path == "General"), "{:?}", parts[at - 2]);
    }
}
