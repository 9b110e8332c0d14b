//! Validates many cases on all processors and compares the results with Fabric's verdicts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::judge::{Judgement, judge};
use crate::processor::Stopwatch;
use crate::verdict::{FabricVerdicts, Outcome};

/// Maximum CPU time of a case. A case that takes more is abandoned.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(20);
/// Maximum elapsed time of a case, for one that waits forever. It is generous, so that busy machines pass.
const LOST_AFTER: Duration = Duration::from_secs(600);
/// Interval at which such cases are looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum length of printed reasons and kinds of reasons.
const SHOWN: usize = 300;

/// The result of a comparison with Fabric's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comparison {
    /// Both accept the chain, or both reject it at the same block.
    Agree,
    /// Fabric rejects a block that the library accepts.
    Laxer,
    /// The library rejects a block that Fabric accepts.
    Stricter,
    /// The library did not finish in time.
    Hang,
    /// The library panicked.
    Panic,
    /// There is no verdict of Fabric.
    Unjudged,
}

impl Comparison {
    const ALL: [Self; 6] = [Self::Agree, Self::Laxer, Self::Stricter, Self::Hang, Self::Panic, Self::Unjudged];

    /// Compares an outcome with Fabric's.
    pub fn of(fabric: Outcome, ours: Outcome) -> Self {
        // the position where the chain ends: an accepted chain ends after all others
        let end = |outcome| match outcome {
            Outcome::Accepted => usize::MAX,
            Outcome::Refused { block } => block,
        };
        match end(ours).cmp(&end(fabric)) {
            std::cmp::Ordering::Equal => Self::Agree,
            std::cmp::Ordering::Greater => Self::Laxer,
            std::cmp::Ordering::Less => Self::Stricter,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Laxer => "laxer",
            Self::Stricter => "stricter",
            Self::Hang => "hang",
            Self::Panic => "panic",
            Self::Unjudged => "unjudged",
        }
    }
}

/// A case on which the library does not agree with Fabric.
#[derive(Debug)]
pub struct Disagreement {
    /// Name of the case.
    pub name: String,
    /// Description of what is unusual.
    pub description: String,
    /// The result of the comparison.
    pub comparison: Comparison,
    /// The release whose verdict applies.
    pub release: u64,
    /// Fabric's verdict, the step that rejects, and its reason.
    pub fabric: (String, String, String),
    /// The library's verdict and its reason.
    pub ours: (String, String),
    /// Sum of the blocks' sizes in bytes.
    pub size: usize,
}

/// The result of a replay. It is displayed as text.
#[derive(Debug, Default)]
pub struct Report {
    families: BTreeMap<String, BTreeMap<Comparison, usize>>,
    /// The disagreements, in the order of the cases.
    pub disagreements: Vec<Disagreement>,
    slowest: Option<(Duration, String)>,
    took: Duration,
}

impl Report {
    /// Returns the number of validated cases.
    pub fn cases(&self) -> usize {
        self.families.values().flat_map(BTreeMap::values).sum()
    }

    /// Formats the disagreements as a tab-separated table with a header line.
    pub fn table(&self) -> String {
        let mut table =
            "id\tkind\tref\tgo verdict\tgo stage\tgo reason\tours\tours reason\tsize\tdescription\n".to_owned();
        let clean = |text: &str| text.replace(['\t', '\n', '\r', '\0'], " ");
        for d in &self.disagreements {
            let columns = [
                clean(&d.name),
                d.comparison.name().to_owned(),
                d.release.to_string(),
                d.fabric.0.clone(),
                d.fabric.1.clone(),
                clean(&d.fabric.2),
                d.ours.0.clone(),
                clean(&d.ours.1),
                d.size.to_string(),
                clean(&d.description),
            ];
            table += &columns.join("\t");
            table.push('\n');
        }
        table
    }

    fn add(&mut self, case: &Case, verdicts: &FabricVerdicts, judgement: Option<&Judgement>) {
        let fabric = verdicts.get(case.release, &case.name);
        let comparison = match (fabric, judgement) {
            (None, _) => Comparison::Unjudged,
            (_, None) => Comparison::Hang,
            (_, Some(Judgement { outcome: None, .. })) => Comparison::Panic,
            (Some(fabric), Some(Judgement { outcome: Some(ours), .. })) => Comparison::of(fabric.outcome, *ours),
        };
        *self.families.entry(case.family().to_owned()).or_default().entry(comparison).or_default() += 1;
        if let Some(judgement) = judgement
            && self.slowest.as_ref().is_none_or(|(longest, _)| judgement.took > *longest)
        {
            self.slowest = Some((judgement.took, case.name.clone()));
        }
        if comparison == Comparison::Agree {
            return;
        }
        let fabric = fabric.map(|f| (f.outcome.to_string(), f.stage.clone(), f.reason.clone()));
        let ours = judgement.map(|j| (j.outcome.map_or("panic".to_owned(), |o| o.to_string()), j.reason.clone()));
        self.disagreements.push(Disagreement {
            name: case.name.clone(),
            description: case.description.clone(),
            comparison,
            release: case.release.number(),
            fabric: fabric.unwrap_or_default(),
            ours: ours.unwrap_or_default(),
            size: case.size_bytes(),
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:16}", "family")?;
        for comparison in Comparison::ALL {
            write!(f, "{:>10}", comparison.name())?;
        }
        writeln!(f)?;
        let mut total = BTreeMap::<Comparison, usize>::new();
        let line = |f: &mut fmt::Formatter<'_>, name: &str, counts: &BTreeMap<Comparison, usize>| {
            write!(f, "{name:16}")?;
            for comparison in Comparison::ALL {
                write!(f, "{:>10}", counts.get(&comparison).unwrap_or(&0))?;
            }
            writeln!(f)
        };
        for (family, counts) in &self.families {
            line(f, family, counts)?;
            for (comparison, count) in counts {
                *total.entry(*comparison).or_default() += count;
            }
        }
        line(f, "total", &total)?;
        if let Some((took, name)) = &self.slowest {
            writeln!(f, "{} cases in {:.1?}; the slowest: {name}, {took:.1?}", self.cases(), self.took)?;
        }
        let mut groups = BTreeMap::<String, Vec<&Disagreement>>::new();
        for d in &self.disagreements {
            let (fabric, ours) = (kind_of(&d.fabric.2), kind_of(&d.ours.1));
            let key = format!("{} {}: {fabric} <> {ours}", d.comparison.name(), d.fabric.1);
            groups.entry(key).or_default().push(d);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        for group in groups {
            let Some(smallest) = group.iter().min_by_key(|d| d.size) else { continue };
            let shown = |text: &str| text.chars().take(SHOWN).collect::<String>();
            writeln!(
                f,
                "{:5}  {}: {} ({})",
                group.len(),
                smallest.comparison.name(),
                smallest.name,
                smallest.description
            )?;
            writeln!(f, "       Fabric: {} {}", smallest.fabric.0, shown(&smallest.fabric.2))?;
            writeln!(f, "       ours:   {} {}", smallest.ours.0, shown(&smallest.ours.1))?;
        }
        Ok(())
    }
}

/// Returns a reason without the parts that differ between cases: quoted names, paths, numbers.
fn kind_of(reason: &str) -> String {
    let mut kind = String::new();
    let mut in_quotes = None;
    for word in reason.split_inclusive([' ', ':', ',', '(', ')']) {
        let begins = word.find(['\'', '"']);
        match (in_quotes, begins) {
            (Some(quote), _) => {
                if word.contains(quote) {
                    in_quotes = None;
                }
            }
            (None, Some(at)) => {
                let quote = if word[at..].starts_with('"') { '"' } else { '\'' };
                if !word[at + 1..].contains(quote) {
                    in_quotes = Some(quote);
                }
                kind.push('_');
            }
            (None, None) if word.contains('/') || word.chars().any(|c| c.is_ascii_digit()) => kind.push('#'),
            (None, None) => kind.push_str(word),
        }
        if kind.len() > SHOWN {
            break;
        }
    }
    kind
}

/// The stopwatch of the case that a worker is validating.
type InHand = Arc<Mutex<Option<Stopwatch>>>;

/// Validates all cases. A case that does not finish in time is abandoned together with its thread.
pub fn replay(cases: Vec<Case>, verdicts: &FabricVerdicts) -> Report {
    let began = Instant::now();
    let cases: Arc<[Case]> = cases.into();
    let (next, (done, results)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel());
    let work = || {
        let (cases, next, done) = (Arc::clone(&cases), Arc::clone(&next), done.clone());
        let in_hand = InHand::default();
        let seen = Arc::clone(&in_hand);
        thread::spawn(move || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(index) else { return };
                *in_hand.lock().unwrap_or_else(PoisonError::into_inner) = Some(Stopwatch::start());
                let judgement = judge(case);
                // the result of an abandoned case is discarded
                if in_hand.lock().unwrap_or_else(PoisonError::into_inner).take().is_none()
                    || done.send((index, judgement)).is_err()
                {
                    return;
                }
            }
        });
        seen
    };
    let mut workers: Vec<InHand> = (0..thread::available_parallelism().map_or(2, Into::into)).map(|_| work()).collect();
    let mut judged: Vec<Option<Judgement>> = vec![None; cases.len()];
    let mut left = cases.len();
    let mut looked = Instant::now();
    while left > 0 {
        match results.recv_timeout(POLL_INTERVAL) {
            Ok((index, judgement)) => {
                judged[index] = Some(judgement);
                left -= 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if looked.elapsed() < POLL_INTERVAL {
            continue;
        }
        looked = Instant::now();
        for worker in &mut workers {
            let mut in_hand = worker.lock().unwrap_or_else(PoisonError::into_inner);
            let is_stuck =
                in_hand.as_ref().is_some_and(|watch| watch.used() > GIVEN_UP_AFTER || watch.passed() > LOST_AFTER);
            if is_stuck {
                *in_hand = None;
                drop(in_hand);
                left -= 1;
                *worker = work();
            }
        }
    }
    let mut report = Report::default();
    for (case, judgement) in cases.iter().zip(&judged) {
        report.add(case, verdicts, judgement.as_ref());
    }
    report.took = began.elapsed();
    report
}
