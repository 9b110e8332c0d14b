//! Checks that the files of this crate import each other in one direction. A reader of a file needs to know only the
//! files that it imports, and a directory can be replaced without changes to those below it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Permitted import cycles, each named by one of its files: none.
const ALLOWED: [&str; 0] = [];

/// The only file outside `consensus/` and tests that may name items of a consenter's directory: the crate's root, which
/// re-exports them.
const MAY_NAME_CONSENTERS: [&str; 1] = ["lib.rs"];

/// The modules of a crate by their path (`consensus::kafka::chain`), without tests.
struct Sources {
    modules: BTreeMap<Vec<String>, Module>,
}

struct Module {
    file: String,
    /// Re-exported names, each with its path.
    exports: BTreeMap<String, Vec<String>>,
    /// Used paths from the crate's root, including those of re-exports that the module itself uses.
    uses: Vec<Vec<String>>,
}

impl Sources {
    fn read(root: &Path) -> Self {
        let mut modules = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let file = path.strip_prefix(root).unwrap().to_owned();
                if file.starts_with("tests") || file == Path::new("tests.rs") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let path = module_path(&file);
                    modules.insert(path.clone(), Module::parse(&file.display().to_string(), &path, &text));
                }
            }
        }
        Self { modules }
    }

    fn of(files: &[(&str, &str)]) -> Self {
        let parse = |(file, text): &(&str, &str)| {
            let path = module_path(&PathBuf::from(file));
            (path.clone(), Module::parse(file, &path, text))
        };
        Self { modules: files.iter().map(parse).collect() }
    }

    /// Returns the file that contains the item of this path, resolved through re-exports.
    fn file_of(&self, path: &[String]) -> Option<&str> {
        let mut path = path.to_vec();
        // no chain of re-exports is longer
        for _ in 0..8 {
            let depth = (0..=path.len()).rev().find(|depth| self.modules.contains_key(&path[..*depth]))?;
            let module = &self.modules[&path[..depth]];
            match path.get(depth).and_then(|name| module.exports.get(name)) {
                Some(exported) => path = exported.iter().chain(&path[depth + 1..]).cloned().collect(),
                None => return (depth > 0).then_some(module.file.as_str()),
            }
        }
        None
    }

    /// Returns the imports: pairs of the importing and the imported file.
    fn edges(&self) -> BTreeSet<(&str, &str)> {
        let mut edges = BTreeSet::new();
        for module in self.modules.values() {
            let imported = module.uses.iter().filter_map(|path| self.file_of(path));
            edges.extend(imported.filter(|file| *file != module.file).map(|file| (module.file.as_str(), file)));
        }
        edges
    }

    fn circles(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        circles(&self.edges())
    }
}

/// Returns the files that reach themselves, each with the files of the same cycle.
fn circles<'a>(edges: &BTreeSet<(&'a str, &'a str)>) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let reached_from = |start: &'a str| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(file) = next.pop() {
            let imported = edges.iter().filter(|(from, _)| *from == file).map(|(_, to)| *to);
            next.extend(imported.filter(|to| reached.insert(*to)));
        }
        reached
    };
    let files: BTreeSet<&str> = edges.iter().map(|(from, _)| *from).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> = files.iter().map(|file| (*file, reached_from(file))).collect();
    let circle = |file: &str| -> BTreeSet<&str> {
        let comes_back = |to: &&&str| reached.get(**to).is_some_and(|from_there| from_there.contains(file));
        reached[file].iter().filter(comes_back).copied().collect()
    };
    files.iter().map(|file| (*file, circle(file))).filter(|(_, circle)| !circle.is_empty()).collect()
}

impl Module {
    fn parse(file: &str, path: &[String], text: &str) -> Self {
        let production = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        let code: String = production.lines().map(without_comment).flat_map(|line| [line, "\n"]).collect();
        let is_folder = file.ends_with("mod.rs") || file == "lib.rs";
        let (mut exports, mut uses, mut rest) = (BTreeMap::new(), Vec::new(), String::new());
        let children: BTreeSet<&str> = code
            .lines()
            .filter_map(|line| {
                line.rsplit_once("mod ").and_then(|(before, name)| {
                    matches!(before.trim(), "" | "pub" | "pub(crate)").then(|| name.strip_suffix(';')).flatten()
                })
            })
            .collect();
        let mut re_exported = Vec::new();
        let mut statements = code.as_str();
        while let Some((before, statement, after)) = next_use(statements) {
            rest.push_str(before);
            let is_public = before.lines().next_back().is_some_and(|line| line.trim_start().starts_with("pub"));
            for (name, used) in expand(statement) {
                let Some(used) = absolute(&used, path, is_folder, &children) else { continue };
                if is_public {
                    exports.insert(name.clone(), used.clone());
                    re_exported.push((name, used));
                } else {
                    uses.push(used);
                }
            }
            statements = after;
        }
        rest.push_str(statements);
        // paths within the code
        for root in ["crate::", "super::", "self::"] {
            for (at, _) in rest.match_indices(root) {
                let begins = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
                let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                let end = rest[at..].find(|c| !is_path(c)).map_or(rest.len(), |end| at + end);
                let written: Vec<String> = rest[at..end].split("::").map(str::to_owned).collect();
                uses.extend(absolute(&written, path, is_folder, &children).filter(|_| begins));
            }
        }
        // a module that uses a name that it re-exports also imports it
        let words: BTreeSet<&str> = rest.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        uses.extend(re_exported.into_iter().filter(|(name, _)| words.contains(name.as_str())).map(|(_, used)| used));
        Self { file: file.to_owned(), exports, uses }
    }
}

fn without_comment(line: &str) -> &str {
    line.find("//").map_or(line, |at| &line[..at])
}

fn module_path(file: &Path) -> Vec<String> {
    let path = file.with_extension("");
    let names = path.iter().map(|name| name.to_str().unwrap().to_owned());
    names.filter(|name| name != "mod" && name != "lib").collect()
}

/// Returns the code before the next `use`, its path, and the code after it.
fn next_use(code: &str) -> Option<(&str, &str, &str)> {
    let begins = |at: &usize| {
        let before = code[..*at].lines().next_back().unwrap_or_default();
        *at == 0 || code[..*at].ends_with('\n') || matches!(before.trim(), "" | "pub" | "pub(crate)" | "pub(super)")
    };
    let at = code.match_indices("use ").map(|(at, _)| at).find(begins)?;
    let end = at + code[at..].find(';')?;
    Some((&code[..at], &code[at + 4..end], &code[end + 1..]))
}

/// Returns the names and paths of a tree of imports.
fn expand(tree: &str) -> Vec<(String, Vec<String>)> {
    let tree = tree.trim();
    if let Some((before, inside)) = tree.split_once('{') {
        let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
        let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
        for c in inside.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if c == ',' && depth == 0 {
                parts.push(std::mem::take(&mut part));
            } else {
                part.push(c);
            }
        }
        parts.push(part);
        let parts = parts.iter().filter(|part| !part.trim().is_empty());
        return parts.flat_map(|part| expand(&format!("{before}{}", part.trim()))).collect();
    }
    let (path, name) = tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name)));
    let mut path: Vec<String> = path.split("::").map(|name| name.trim().to_owned()).collect();
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = name.map(str::to_owned).or_else(|| path.last().cloned()).unwrap_or_default();
    vec![(name, path)]
}

/// Returns a path from the crate's root, or `None` if the path leaves the crate.
fn absolute(written: &[String], module: &[String], is_folder: bool, children: &BTreeSet<&str>) -> Option<Vec<String>> {
    let (first, behind) = written.split_first()?;
    match first.as_str() {
        "crate" => Some(behind.to_vec()),
        "self" => Some(module.iter().chain(behind).cloned().collect()),
        "super" => {
            let parent = &module[..module.len().checked_sub(1)?];
            Some(parent.iter().chain(behind).cloned().collect())
        }
        child if is_folder && children.contains(child) => Some(module.iter().chain(written).cloned().collect()),
        _ => None,
    }
}

fn this_crate() -> Sources {
    Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn no_circle_of_files() {
    let sources = this_crate();
    assert!(sources.edges().len() > 100, "imports are found: {:?}", sources.edges());
    let mut circles = sources.circles();
    circles.retain(|file, _| !ALLOWED.contains(file));
    assert!(circles.is_empty(), "these files import each other: {circles:#?}");
}

#[test]
fn no_edge_back_up_between_folders() {
    let sources = this_crate();
    let edges = sources.edges().into_iter().map(|(from, to)| (top(from), top(to))).filter(|(from, to)| from != to);
    let circles = circles(&edges.collect());
    assert!(circles.is_empty(), "these folders import each other: {circles:#?}");
}

/// Returns the top-level directory of a file, or the file itself.
fn top(file: &str) -> &str {
    file.split_once('/').map_or(file, |(folder, _)| folder)
}

#[test]
fn nothing_but_a_consenter_names_it() {
    let sources = this_crate();
    let folder = |file: &str| {
        let below = file.strip_prefix("consensus/")?;
        below.split_once('/').map(|(folder, _)| folder.to_owned())
    };
    for (from, to) in sources.edges() {
        let Some(consenter) = folder(to) else { continue };
        let is_known = folder(from).as_ref() == Some(&consenter) || MAY_NAME_CONSENTERS.contains(&from);
        assert!(is_known, "{from} names the consenter {consenter} ({to})");
    }
}

#[test]
fn a_circle_is_found() {
    let straight = [("a.rs", "use crate::b::B;\nstruct A(B);"), ("b.rs", "pub struct B;")];
    assert!(Sources::of(&straight).circles().is_empty());
    let circle = [("a.rs", "use crate::b::B;\nstruct A(B);"), ("b.rs", "use super::a::A;\npub struct B(A);")];
    assert_eq!(Sources::of(&circle).circles().len(), 2);
}

#[test]
fn a_circle_is_found_through_what_a_folder_re_exports() {
    let folder = ("f/mod.rs", "mod one;\nmod two;\npub use one::{One, Uno};\npub(crate) use two::Two;\n");
    let two = ("f/two.rs", "pub struct Two;");
    let other = ("g.rs", "use crate::f::{One,\n    Two};\npub struct G(One, Two);");
    let back = ("f/one.rs", "pub struct One;\nfn of(g: &crate::g::G) {}");
    let found = Sources::of(&[folder, two, other, back]);
    assert_eq!(found.circles().into_keys().collect::<Vec<_>>(), ["f/one.rs", "g.rs"]);
    // comments and tests are not imports
    let back =
        ("f/one.rs", "//! See crate::g::G.\npub struct One;\n#[cfg(test)]\nmod tests {\n    use crate::g::G;\n}");
    assert!(Sources::of(&[folder, two, other, back]).circles().is_empty());
}

#[test]
fn a_folder_that_works_with_what_it_re_exports_imports_it() {
    let folder = ("f/mod.rs", "mod one;\npub use one::One;\npub struct All(One);");
    let one = ("f/one.rs", "use super::All;\npub struct One(All);");
    assert_eq!(Sources::of(&[folder, one]).circles().len(), 2);
}
