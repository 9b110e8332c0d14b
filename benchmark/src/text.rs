//! The report as text.

use orderer_core::counted::counted;
use std::fmt::{self, Write as _};

use super::report::{Pair, Report, Run, TargetReport, median};

/// A row of the table: a name, the figure of a run, and its number of decimals.
type Figure = (&'static str, fn(&Run) -> f64, usize);

/// The figures of the table: medians, with the range over the runs.
pub(super) const FIGURES: [Figure; 13] = [
    ("acknowledged/s", |run| run.acknowledged_per_second, 0),
    ("in blocks/s", |run| run.ordered_per_second, 0),
    ("to answer p50 ms", |run| run.to_answer_ms.get("p50"), 2),
    ("to answer p99 ms", |run| run.to_answer_ms.get("p99"), 2),
    ("to answer p99.9 ms", |run| run.to_answer_ms.get("p99.9"), 2),
    ("to block p50 ms", |run| run.to_block_ms.get("p50"), 2),
    ("to block p99 ms", |run| run.to_block_ms.get("p99"), 2),
    ("to block p99.9 ms", |run| run.to_block_ms.get("p99.9"), 2),
    ("CPU us/envelope", |run| run.cpu_micros.unwrap_or(f64::NAN), 1),
    ("verification us", |run| run.verification_micros, 1),
    ("CPU in verifications", |run| run.cpu_in_verifications.unwrap_or(f64::NAN), 2),
    ("allocations/envelope", |run| run.allocations.unwrap_or(f64::NAN), 1),
    ("blocks", blocks, 0),
];

#[expect(clippy::cast_precision_loss, reason = "few blocks")]
fn blocks(run: &Run) -> f64 {
    run.blocks as f64
}

/// Returns the whole report.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // writing to a String cannot fail
    let _ = write(report, &mut out);
    out
}

/// Describes the settings in one line.
pub(super) fn asked(report: &Report) -> String {
    let settings = &report.settings;
    let pace = settings.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate} a second"));
    format!(
        "{} a run of {} bytes ({} payload, {}), {}, {}, window {}, {pace}, {}, {} after {} of warm-up",
        counted(settings.envelopes, "envelope"),
        settings.envelope_bytes,
        settings.payload_bytes,
        settings.signatures,
        counted(settings.channels, "channel"),
        counted(settings.streams, "stream"),
        settings.window,
        counted(settings.subscribers, "subscriber"),
        counted(settings.runs, "run"),
        counted(settings.warm_up, "envelope"),
    )
}

/// Describes the machine in one line.
pub(super) fn place(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "{}, {} cores, {} MiB, {}, load {:.2} before; orderer {} {}; {}, durability {}",
        machine.processor,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        machine.load_before,
        machine.program,
        machine.build,
        report.settings.storage,
        report.settings.durability,
    )
}

fn write(report: &Report, out: &mut String) -> fmt::Result {
    writeln!(out, "load     {}", asked(report))?;
    writeln!(out, "machine  {}", place(report))?;
    for doubt in &report.doubts {
        writeln!(out, "DOUBT    {doubt}")?;
    }
    writeln!(out, "\nmedian of the runs [lowest .. highest]")?;
    for subject in &report.subjects {
        writeln!(out, "\n{}: {}", subject.name, subject.what)?;
        for (name, figure, digits) in FIGURES {
            let (low, high) = subject.range(figure);
            let median = shown(subject.median(figure), digits);
            writeln!(out, "  {name:<22}{median:>12}   [{} .. {}]", shown(low, digits), shown(high, digits))?;
        }
        writeln!(out, "  {:<22}{}", "answers", answers(subject))?;
    }
    for pair in &report.pairs {
        writeln!(out, "\n{} / {}, run by run", pair.of, pair.against)?;
        for (name, ratios) in ratios(pair) {
            let list: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
            writeln!(out, "  {name:<22}{:>12.3}   [{}]", median(ratios.clone()), list.join(" "))?;
        }
    }
    writeln!(out, "\nmeasured")?;
    report.measured.iter().try_for_each(|line| writeln!(out, "  {line}"))
}

/// Returns the ratios that exist.
pub(super) fn ratios(pair: &Pair) -> Vec<(&'static str, Vec<f64>)> {
    let all = [
        ("acknowledged/s", &pair.acknowledged_per_second),
        ("to block p50", &pair.to_block_p50),
        ("CPU an envelope", &pair.cpu),
    ];
    all.into_iter().filter(|(_, ratios)| !ratios.is_empty()).map(|(name, ratios)| (name, ratios.clone())).collect()
}

/// Formats a figure, or a dash if there is none.
pub(super) fn shown(figure: f64, digits: usize) -> String {
    if figure.is_finite() { format!("{figure:.digits$}") } else { "-".to_owned() }
}

/// Counts the responses of all runs together, and what is missing.
pub(super) fn answers(subject: &TargetReport) -> String {
    let mut all = std::collections::BTreeMap::<&str, usize>::new();
    for run in &subject.runs {
        run.answers.iter().for_each(|(answer, count)| *all.entry(answer).or_default() += count);
    }
    let sum = |figure: fn(&Run) -> usize| subject.runs.iter().map(figure).sum::<usize>();
    let mut parts: Vec<String> = all.iter().map(|(answer, count)| format!("{count} {answer}")).collect();
    let [sent, ordered] = [sum(|run| run.sent), sum(|run| run.ordered)];
    parts.push(format!("of {sent} sent, {ordered} seen in blocks"));
    for (name, count) in [("unanswered", sum(|run| run.unanswered)), ("seen twice", sum(|run| run.twice))] {
        if count > 0 {
            parts.push(format!("{count} {name}"));
        }
    }
    parts.join(", ")
}
