//! Checks that what the documents name exists: links and their anchors, files of the repository, and profiles of configtx.yaml.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use orderer_localconfig::yaml;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the documents of the project, as paths relative to its root.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["", ".github", ".github/ISSUE_TEMPLATE", "docs", "docs/guides", "examples"] {
        for entry in fs::read_dir(root().join(folder)).into_iter().flatten().map(Result::unwrap) {
            if entry.path().extension().is_some_and(|extension| extension == "md") {
                found.push(Path::new(folder).join(entry.file_name()));
            }
        }
    }
    assert!(found.len() > 20, "the documents are not where this test was built");
    found.sort();
    found
}

fn read(document: &Path) -> String {
    fs::read_to_string(root().join(document)).unwrap()
}

/// Returns the text outside and inside fenced blocks.
fn split(text: &str) -> (String, String) {
    let (mut prose, mut code, mut inside) = (String::new(), String::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else {
            let part = if inside { &mut code } else { &mut prose };
            part.push_str(line);
            part.push('\n');
        }
    }
    (prose, code)
}

/// Returns the anchors of a document's headings, as GitHub derives them.
fn anchors(document: &Path) -> BTreeSet<String> {
    let (prose, _) = split(&read(document));
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// Returns the targets of a document's links.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for document in documents() {
        let (prose, _) = split(&read(&document));
        for link in links(&prose).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            let exists = root().join(&target).exists() && anchor.is_none_or(|anchor| anchors(&target).contains(anchor));
            if !exists {
                wrong.push(format!("{}: {link}", document.display()));
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn files_that_documents_name_exist() {
    let folders: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "target" && name != ".git")
        .collect();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for document in documents() {
        let text = read(&document);
        let words = text.split(|c: char| c.is_whitespace() || "`()[]|\"',;".contains(c));
        for word in words.map(|word| word.trim_start_matches("./").trim_end_matches(['.', ':'])) {
            // a path of the repository begins with one of its folders; the rest of a placeholder or a pattern is not checked
            let Some((folder, rest)) = word.split_once('/') else { continue };
            let is_plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) && !rest.is_empty();
            let is_document = Path::new(rest).extension().is_some_and(|extension| extension == "md");
            let is_placeholder =
                rest.contains("NAME") || !is_document && rest.contains(|c: char| c.is_ascii_uppercase());
            if !folders.contains(folder) || !is_plain || is_placeholder && !rest.ends_with("Dockerfile") {
                continue;
            }
            // a document may name files beside it, too
            let beside = document.parent().unwrap().join(word);
            // ARCHITECTURE.md leaves out the ending of some files
            let exists = [root().join(word), root().join(beside), root().join(format!("{word}.rs"))];
            if !exists.iter().any(|path| path.exists()) {
                wrong.push(format!("{}: {word}", document.display()));
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn profiles_that_documents_name_exist() {
    let mut profiles = BTreeSet::new();
    for file in ["examples/network/configtx.yaml", "tools/src/dev_network/configtx.yaml"] {
        let document = yaml::parse(&read(Path::new(file))).unwrap();
        let names = document["Profiles"].as_mapping().unwrap().keys();
        profiles.extend(names.map(|name| name.as_str().unwrap().to_owned()));
    }
    let mut named = BTreeSet::new();
    for document in documents() {
        for line in read(&document).lines().filter(|line| line.contains("genesis") || line.contains("configtxgen")) {
            let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || c == '`').collect();
            let flags = words.windows(2).filter(|pair| ["--profile", "-profile"].contains(&pair[0]));
            named.extend(flags.map(|pair| pair[1].trim_matches('"').to_owned()));
        }
    }
    // neither variables nor punctuation of a list of flags
    named.retain(|name| name.starts_with(|first: char| first.is_ascii_alphanumeric()));
    assert!(named.len() >= 4, "{named:?}");
    assert_eq!(named.difference(&profiles).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_document_is_in_the_list_of_documents() {
    let readme = read(Path::new("README.md"));
    let guides = read(Path::new("docs/guides/README.md"));
    for document in documents() {
        let name = document.display().to_string();
        let is_listed = match document.parent().unwrap().to_str().unwrap() {
            "docs/guides" if !name.ends_with("README.md") => {
                guides.contains(&format!("]({})", document.file_name().unwrap().display()))
            }
            "" | "docs" | "docs/guides" | "examples" => name == "README.md" || readme.contains(&format!("]({name})")),
            _ => true,
        };
        assert!(is_listed, "{name}");
    }
}
