//! Where settings come from, and what comes of them: a node's settings, or all that can be said of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Settings;
use super::check::Checker;
use super::effective::Effective;
use super::read::{EMBEDDED, Mistake, Source, flatten};

/// Checked settings, and what is worth saying about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// For the log, once there is one.
    pub notes: Vec<String>,
    /// Every key, and where its value came from.
    pub effective: Vec<Effective>,
    /// To read them again.
    pub origin: Origin,
}

/// Where settings come from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The configuration file; `None` for the embedded defaults.
    pub file: Option<PathBuf>,
    /// What relative paths are relative to if there is no file.
    pub working_folder: PathBuf,
    /// The process's environment.
    pub variables: BTreeMap<String, String>,
}

/// All that can be said of a configuration, whatever is wrong with it.
#[derive(Debug)]
pub struct Examined {
    /// As far as the mistakes leave any.
    pub settings: Option<Settings>,
    /// What is wrong.
    pub mistakes: Vec<Mistake>,
    /// What is worth saying.
    pub notes: Vec<String>,
    /// Every key, and where its value came from.
    pub effective: Vec<Effective>,
}

/// Reads and checks the settings.
pub fn load(origin: Origin) -> Result<Loaded, Vec<Mistake>> {
    match examine(&origin) {
        Examined { settings: Some(settings), mistakes, notes, effective } if mistakes.is_empty() => {
            Ok(Loaded { settings, notes, effective, origin })
        }
        Examined { mistakes, .. } => Err(mistakes),
    }
}

/// Reads and checks the settings, and tells everything about them.
pub fn examine(origin: &Origin) -> Examined {
    let Origin { file, working_folder, variables } = origin;
    let unreadable =
        |mistake| Examined { settings: None, mistakes: vec![mistake], notes: Vec::new(), effective: Vec::new() };
    let (text, written_in, folder) = match file {
        Some(path) => {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(e) => {
                    let source = Source::File(path.clone(), None);
                    return unreadable(Mistake { source, text: format!("cannot be read: {e}") });
                }
            };
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(working_folder);
            (text, path.clone(), folder.to_owned())
        }
        None => (EMBEDDED.to_owned(), PathBuf::from("(embedded orderer.yaml)"), working_folder.clone()),
    };
    let written = match flatten(&text, &written_in) {
        Ok(written) => written,
        Err(mistake) => return unreadable(mistake),
    };
    let foreign = variables.iter().filter(|(name, _)| name.starts_with("OTEL_"));
    let mut checker = Checker {
        folder,
        values: BTreeMap::new(),
        foreign: foreign.map(|(name, value)| (name.clone(), value.clone())).collect(),
        mistakes: Vec::new(),
        notes: Vec::new(),
    };
    checker.place(written);
    checker.override_by(variables);
    let settings = checker.settings(written_in.display().to_string());
    let effective = checker.effective();
    let Checker { mistakes, notes, .. } = checker;
    Examined { settings, mistakes, notes, effective }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use orderer_actors::Durability;
    use proptest::prelude::*;
    use serde_yaml::Value;

    use super::super::keys::{Effect, KEYS};
    use super::super::values::plain;
    use super::*;

    fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("msp")).expect("a folder");
        let file = folder.path().join("orderer.yaml");
        std::fs::write(&file, text).expect("a file");
        let variables = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let origin = Origin { file: Some(file), working_folder: folder.path().to_owned(), variables };
        load(origin).map_err(|mistakes| {
            let prefix = format!("{}/", folder.path().display());
            mistakes.iter().map(|m| m.to_string().replace(&prefix, "")).collect()
        })
    }

    #[test]
    fn the_embedded_file_documents_every_key_with_its_default() {
        let written = flatten(EMBEDDED, Path::new("orderer.yaml")).expect("is YAML");
        for key in KEYS.iter().filter(|key| !matches!(key.effect, Effect::Ignored(_))) {
            let (value, _) = written.get(key.path).unwrap_or_else(|| panic!("{} is not in orderer.yaml", key.path));
            let written = match value {
                Value::Sequence(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
                other => plain(other),
            };
            assert_eq!(written, key.default, "{}", key.path);
        }
        let unknown: Vec<_> = written.keys().filter(|path| !KEYS.iter().any(|key| key.covers(path))).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let text = "General:\n  ListenPrt: 7050\n  ListenPort: many\n  TLS:\n    Enabled: yes please\n  \
                    Keepalive:\n    ServerInterval: soon\n  LocalMSPDir: nowhere\nSolo:\n  Durability: maybe\n";
        let mistakes = load_text(text, &[]).expect_err("must fail");
        expect_test::expect![[r"
            orderer.yaml:2: unknown key General.ListenPrt; did you mean General.ListenPort?
            orderer.yaml:3: General.ListenPort: 'many' is not a port from 1 to 65535
            orderer.yaml:5: General.TLS.Enabled: 'yes please' is not true or false
            orderer.yaml:7: General.Keepalive.ServerInterval: 'soon' is not a duration, such as 500ms or 1h30m
            orderer.yaml:10: Solo.Durability: 'maybe' is not one of: disk, memory
            orderer.yaml:8: General.LocalMSPDir: no such folder: nowhere"]]
        .assert_eq(&mistakes.join("\n"));
    }

    #[test]
    fn a_missing_file_is_named_with_the_key_that_named_it() {
        let text = "General: {BootstrapMethod: file, BootstrapFile: genesis.block}";
        assert_eq!(
            load_text(text, &[]).expect_err("must fail"),
            ["orderer.yaml: General.BootstrapFile: no such file: genesis.block"]
        );
    }

    #[test]
    fn variables_override_the_file() {
        let loaded = load_text(
            "General:\n  ListenPort: 1\n",
            &[("ORDERER_GENERAL_LISTENPORT", "7999"), ("ORDERER_SOLO_DURABILITY", "memory"), ("ORDERER_CA", "x")],
        );
        let loaded = loaded.expect("loads");
        assert_eq!(loaded.settings.listen.port(), 7999);
        assert_eq!(loaded.settings.durability, Durability::Memory);
        assert_eq!(loaded.notes, ["variable ORDERER_CA names no key"]);
        let mistakes = load_text("", &[("ORDERER_GENERAL_LISTENPORT", "x")]).expect_err("must fail");
        assert_eq!(mistakes, ["ORDERER_GENERAL_LISTENPORT: General.ListenPort: 'x' is not a port from 1 to 65535"]);
    }

    /// The keys of Fabric 2.5's own file, with its values.
    #[test]
    fn the_reference_file_is_accepted_as_it_is() {
        let text = include_str!("../../tests/fixtures/fabric-2.5-orderer.yaml");
        // its bootstrap method is file, with no file
        let loaded = load_text(text, &[("ORDERER_GENERAL_BOOTSTRAPMETHOD", "none")]).expect("loads");
        assert!(loaded.notes.iter().any(|n| n.contains("raft") && n.contains("General.Cluster")), "{:?}", loaded.notes);
        assert_eq!(loaded.settings.listen.port(), 7050);
    }

    #[test]
    fn the_configuration_in_force_names_its_sources_and_hides_secrets() {
        let loaded = load_text(
            "General:\n  ListenPort: 1\nKafka:\n  SASLPlain: {User: u, Password: secret}\n  Brokers: [a:1, b:2]\n",
            &[("ORDERER_SOLO_DURABILITY", "memory"), ("ORDERER_KAFKA_SASL_PASSWORD", "secret")],
        );
        let effective = loaded.expect("loads").effective;
        let shown = |key: &str| {
            let found = effective.iter().find(|e| e.key == key).unwrap_or_else(|| panic!("{key}"));
            (found.value.as_str(), found.source.rsplit('/').next().unwrap_or_default())
        };
        assert_eq!(shown("General.ListenPort"), ("1", "orderer.yaml:2"));
        assert_eq!(shown("General.ListenAddress"), ("127.0.0.1", "default"));
        assert_eq!(shown("Solo.Durability"), ("memory", "ORDERER_SOLO_DURABILITY"));
        assert_eq!(shown("Kafka.Brokers"), ("[a:1, b:2]", "orderer.yaml:5"));
        assert_eq!(shown("Kafka.SASL.Password"), ("(hidden)", "ORDERER_KAFKA_SASL_PASSWORD"));
        assert_eq!(shown("Kafka.SASLPlain.Password").0, "(hidden)");
        assert!(!format!("{effective:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
            let _ = load_text(&text, &[]);
        }
    }
}
