//! Reads YAML files of Fabric's tools (configtx.yaml, crypto-config.yaml) as leniently as those tools do: names in
//! any case, numbers for texts, one text for a list. An error is collected with its key, and reading goes on, so that
//! all errors of a file are reported at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use orderer_localconfig::yaml::{self, Overrides, Value};

/// An error at a key, such as `Orderer.BatchTimeout`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// The key.
    pub key: String,
    /// The error.
    pub problem: String,
}

/// A file that is being read.
#[derive(Debug, Default)]
pub struct YamlDocument {
    root: Value,
    /// Variables that override a key, by the prefix and the path: `CONFIGTX_ORDERER_ORDERERTYPE`.
    overrides: Overrides,
    mistakes: RefCell<Vec<YamlError>>,
}

/// One node of the document, which may be absent.
#[derive(Clone, Debug)]
pub struct YamlNode<'a> {
    document: &'a YamlDocument,
    path: String,
    value: Value,
}

impl YamlDocument {
    /// Parses a text; merge keys (`<<: *x`) are applied.
    pub fn parse(text: &str) -> Result<Self, yaml::Error> {
        Ok(Self { root: yaml::parse(text)?, ..Self::default() })
    }

    /// Lets variables with this prefix override keys.
    #[must_use]
    pub fn overridden_by(self, prefix: &'static str, variables: &BTreeMap<String, String>) -> Self {
        Self { overrides: Overrides::new(prefix, variables), ..self }
    }

    /// Returns the root node.
    pub fn root(&self) -> YamlNode<'_> {
        YamlNode { document: self, path: String::new(), value: self.root.clone() }
    }

    /// Adds an error.
    pub fn report_error(&self, key: impl Into<String>, problem: impl Into<String>) {
        self.mistakes.borrow_mut().push(YamlError { key: key.into(), problem: problem.into() });
    }

    /// Returns the errors found so far.
    pub fn mistakes(&self) -> Vec<YamlError> {
        self.mistakes.borrow().clone()
    }
}

impl<'a> YamlNode<'a> {
    /// Returns the full name of the key.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Adds an error at this node.
    pub fn report_error(&self, problem: impl Into<String>) {
        self.document.report_error(&*self.path, problem);
    }

    /// Returns whether the node is absent.
    pub fn is_absent(&self) -> bool {
        self.value.is_null()
    }

    fn below(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Returns the node at a name, which may be absent.
    #[must_use]
    pub fn field(&self, name: &str) -> YamlNode<'a> {
        self.find(name, |key| key.eq_ignore_ascii_case(name))
    }

    fn find(&self, name: &str, is_it: impl Fn(&str) -> bool) -> YamlNode<'a> {
        let (document, path) = (self.document, self.below(name));
        let value = match (document.overrides.of(&path), &self.value) {
            (Some(text), _) => Value::String(text.to_owned()),
            (None, Value::Mapping(members)) => {
                let found = members.iter().find(|(key, _)| is_it(&yaml::shown(key)));
                found.map(|(_, member)| member.clone()).unwrap_or_default()
            }
            _ => Value::Null,
        };
        YamlNode { document, path, value }
    }

    /// Adds an error for every key but these, and for anything that is no mapping. An absent node is a mapping
    /// without members.
    pub fn expect_only(&self, known: &[&str]) {
        let members = match &self.value {
            Value::Null => return,
            Value::Mapping(members) => members,
            _ => return self.report_error(format!("is not a section with {}", known.join(", "))),
        };
        for key in members.keys() {
            let key = yaml::shown(key);
            if known.iter().any(|known| known.eq_ignore_ascii_case(&key)) {
                continue;
            }
            let nearest = known.iter().max_by(|a, b| {
                let distance = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &key.to_lowercase());
                distance(a).total_cmp(&distance(b))
            });
            let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
            self.document.report_error(self.below(&key), format!("unknown key{hint}"));
        }
    }

    /// Returns the members of a mapping with any names.
    pub fn members(&self) -> Vec<(String, YamlNode<'a>)> {
        match &self.value {
            Value::Null => Vec::new(),
            Value::Mapping(members) => {
                let names: Vec<String> = members.keys().map(yaml::shown).collect();
                let member = |name: String| (name.clone(), self.find(&name, |key| key == name));
                names.into_iter().map(member).collect()
            }
            _ => {
                self.report_error("is not a mapping of names");
                Vec::new()
            }
        }
    }

    /// Returns the elements of a list; any other present node is one element. A text may be a list in brackets.
    pub fn items(&self) -> Vec<YamlNode<'a>> {
        let values: Vec<Value> = match &self.value {
            Value::Null => Vec::new(),
            Value::Sequence(values) => values.clone(),
            Value::String(text) => match yaml::bracketed(text) {
                Some(parts) => parts.into_iter().map(Value::String).collect(),
                None => vec![self.value.clone()],
            },
            value => vec![value.clone()],
        };
        let node =
            |(index, value)| YamlNode { document: self.document, path: format!("{}[{index}]", self.path), value };
        values.into_iter().enumerate().map(node).collect()
    }

    /// Returns the same node with another path.
    #[must_use]
    pub fn at_path(mut self, path: String) -> Self {
        self.path = path;
        self
    }

    /// Returns a text; empty if absent.
    pub fn text(&self) -> String {
        yaml::text(&self.value).unwrap_or_else(|| {
            self.report_error("is not a text");
            String::new()
        })
    }

    /// Returns texts; none if absent.
    pub fn texts(&self) -> Vec<String> {
        self.items().iter().map(YamlNode::text).collect()
    }

    /// Returns a number; `None` if absent or invalid.
    pub fn number<T: TryFrom<i128>>(&self) -> Option<T> {
        self.read(|value| T::try_from(yaml::integer(value)?).ok(), "a number that fits")
    }

    /// Returns a number of bytes, such as `512 KB`; `None` if absent or invalid.
    pub fn size(&self) -> Option<u32> {
        self.read(|value| u32::try_from(yaml::size(value)?).ok(), "a number of bytes, such as 512 KB, below 4 GB")
    }

    /// Returns a duration, such as `2s`, or a number of nanoseconds; `None` if absent, zero or invalid.
    pub fn duration(&self) -> Option<Duration> {
        self.read(yaml::duration, "a duration, such as 500ms").filter(|duration| !duration.is_zero())
    }

    /// Returns a boolean; false if absent.
    pub fn flag(&self) -> bool {
        self.read(yaml::boolean, "true or false").unwrap_or_default()
    }

    fn read<T>(&self, as_what: impl FnOnce(&Value) -> Option<T>, what: &str) -> Option<T> {
        if self.is_absent() {
            return None;
        }
        let read = as_what(&self.value);
        if read.is_none() {
            self.report_error(format!("'{}' is not {what}", yaml::shown(&self.value)));
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> YamlDocument {
        YamlDocument::parse(text).expect("YAML")
    }

    #[test]
    fn values_are_read_as_leniently_as_fabrics_tools_read_them() {
        let document = document("a: &a {N: 5, Size: 2 MB, List: x}\nb: {<<: *a, n: 7, wait: 1m30s, Yes: on, id: 12}\n");
        let b = document.root().field("B");
        assert_eq!((b.field("N").number(), b.field("size").size()), (Some(7_u16), Some(2 << 20)));
        assert_eq!(
            (b.field("LIST").texts(), b.field("Wait").duration()),
            (vec!["x".to_owned()], Some(Duration::from_secs(90)))
        );
        assert_eq!(
            (b.field("yes").flag(), b.field("ID").text(), b.field("none").number::<u8>()),
            (true, "12".to_owned(), None)
        );
        assert_eq!(document.mistakes(), []);
    }

    #[test]
    fn what_cannot_be_read_is_noted_with_its_key_and_reading_goes_on() {
        let document = document("s: {N: many, Size: 5 GB, Wait: -1s, Flag: perhaps, Txt: [1], Bath: 1}\nt: text\n");
        let s = document.root().field("s");
        s.expect_only(&["N", "Size", "Wait", "Flag", "Txt", "Batch"]);
        let _ = (s.field("n").number::<u8>(), s.field("Size").size(), s.field("Wait").duration());
        let _ = (s.field("Flag").flag(), s.field("txt").text());
        document.root().field("t").expect_only(&["X"]);
        let said: Vec<String> = document.mistakes().iter().map(|m| format!("{}: {}", m.key, m.problem)).collect();
        let wanted = [
            "s.Bath: unknown key; did you mean Batch?",
            "s.n: 'many' is not a number that fits",
            "s.Size: '5 GB' is not a number of bytes, such as 512 KB, below 4 GB",
            "s.Wait: '-1s' is not a duration, such as 500ms",
            "s.Flag: 'perhaps' is not true or false",
            "s.txt: is not a text",
            "t: is not a section with X",
        ];
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_variable_overrides_a_key_also_one_that_is_not_there() {
        let variables = [("X_A_B", "2"), ("X_A_LIST", "[p, q]"), ("Y_A_B", "3")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let document = document("a: {b: 1}").overridden_by("X_", &variables);
        let a = document.root().field("A");
        assert_eq!(a.field("B").number(), Some(2_u8));
        assert_eq!(a.field("List").texts(), ["p", "q"]);
    }
}
