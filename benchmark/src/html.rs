//! The report as one HTML file: tables and inline charts. Nothing is loaded from elsewhere.

use std::fmt::{self, Write as _};

use super::report::{Latency, Report, Run, median};
use super::text::{FIGURES, answers, asked, place, ratios, shown};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8886}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;margin:1rem 0}\
td,th{padding:.2rem .8rem;border-bottom:1px solid var(--line);text-align:right;font-variant-numeric:tabular-nums}\
td:first-child,th:first-child{text-align:left}\
figure{margin:2rem 0}svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:currentColor}\
.doubt{border-left:4px solid #d33;padding-left:.8rem}small{opacity:.7}";

/// One colour per target.
const COLOURS: [&str; 6] = ["#1f77b4", "#d9722e", "#2f9e44", "#9467bd", "#c2255c", "#0b7285"];

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 10.0;

/// Returns the whole page.
pub fn html(report: &Report) -> String {
    let mut out = String::new();
    // writing to a String cannot fail
    let _ = page(report, &mut out);
    out
}

fn page(report: &Report, out: &mut String) -> fmt::Result {
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>orderer benchmark</title>\
         <style>{STYLE}</style></head><body>\n<h1>orderer benchmark</h1>\n<p>{}</p>\n<p><small>{}</small></p>\n",
        escaped(&asked(report)),
        escaped(&place(report)),
    )?;
    for doubt in &report.doubts {
        writeln!(out, "<p class=\"doubt\">{}</p>", escaped(doubt))?;
    }
    table(report, out)?;
    for pair in &report.pairs {
        writeln!(out, "<h2>{} / {}, run by run</h2><table>", escaped(&pair.of), escaped(&pair.against))?;
        for (name, ratios) in ratios(pair) {
            write!(out, "<tr><td>{name}</td><td><b>{:.3}</b></td>", median(ratios.clone()))?;
            ratios.iter().try_for_each(|ratio| write!(out, "<td>{ratio:.3}</td>"))?;
            writeln!(out, "</tr>")?;
        }
        writeln!(out, "</table>")?;
    }
    bars(report, out)?;
    curves(report, "Latency to the answer", |run| &run.to_answer_ms, out)?;
    curves(report, "Latency to the block", |run| &run.to_block_ms, out)?;
    writeln!(out, "<h2>What is measured</h2><ul>")?;
    for line in &report.measured {
        writeln!(out, "<li>{}</li>", escaped(line))?;
    }
    writeln!(out, "</ul></body></html>")
}

fn table(report: &Report, out: &mut String) -> fmt::Result {
    write!(out, "<table><tr><th>median [lowest .. highest]</th>")?;
    for subject in &report.subjects {
        write!(out, "<th>{}<br><small>{}</small></th>", escaped(&subject.name), escaped(&subject.what))?;
    }
    writeln!(out, "</tr>")?;
    for (name, figure, digits) in FIGURES {
        write!(out, "<tr><td>{name}</td>")?;
        for subject in &report.subjects {
            let (low, high) = subject.range(figure);
            let median = shown(subject.median(figure), digits);
            write!(out, "<td>{median} <small>[{} .. {}]</small></td>", shown(low, digits), shown(high, digits))?;
        }
        writeln!(out, "</tr>")?;
    }
    write!(out, "<tr><td>answers</td>")?;
    for subject in &report.subjects {
        write!(out, "<td>{}</td>", escaped(&answers(subject)))?;
    }
    writeln!(out, "</tr></table>")
}

/// Draws acknowledged envelopes per second, a bar for each run.
#[expect(clippy::cast_precision_loss, reason = "few bars")]
fn bars(report: &Report, out: &mut String) -> fmt::Result {
    let figure = |run: &Run| run.acknowledged_per_second;
    let most = report.subjects.iter().map(|subject| subject.range(figure).1).fold(1.0, f64::max);
    let count = report.subjects.iter().map(|subject| subject.runs.len() + 1).sum::<usize>();
    let step = (WIDTH - LEFT) / count.max(1) as f64;
    begin("Acknowledged a second, run by run", report, out)?;
    for mark in [0.0, 0.25, 0.5, 0.75, 1.0] {
        grid_line(mark, &format!("{:.0}", most * mark), out)?;
    }
    let mut x = LEFT + step / 2.0;
    for (at, subject) in report.subjects.iter().enumerate() {
        for run in &subject.runs {
            let height = (HEIGHT - TOP - BOTTOM) * figure(run) / most;
            writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{}\"><title>{:.0}</title></rect>",
                HEIGHT - BOTTOM - height,
                step * 0.8,
                colour(at),
                figure(run),
            )?;
            x += step;
        }
        x += step;
    }
    writeln!(out, "</svg></figure>")
}

/// Draws percentiles against milliseconds, a line for each run, on scales that give space to rare and to long values.
fn curves(report: &Report, title: &str, latency: fn(&Run) -> &Latency, out: &mut String) -> fmt::Result {
    let runs =
        || report.subjects.iter().enumerate().flat_map(|(at, s)| s.runs.iter().map(move |run| (at, latency(run))));
    let points = || runs().flat_map(|(_, latency)| &latency.curve).map(|(_, ms)| *ms);
    let low = points().fold(f64::INFINITY, f64::min).max(0.001).log10().floor();
    let high = points().fold(0.01, f64::max).log10().ceil().max(low + 1.0);
    begin(title, report, out)?;
    let mut decade = low;
    while decade <= high {
        grid_line((decade - low) / (high - low), &format!("{} ms", 10_f64.powf(decade)), out)?;
        decade += 1.0;
    }
    // 90, 99, ... are at equal distances
    let nines = |percentile: f64| (2.0 - (100.0 - percentile).log10()).clamp(0.0, 3.0) / 3.0;
    let x = |percentile: f64| LEFT + (WIDTH - LEFT) * nines(percentile);
    for percentile in [0.0, 50.0, 90.0, 99.0, 99.9] {
        let at = x(percentile).min(WIDTH - 18.0);
        writeln!(
            out,
            "<text x=\"{at:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{percentile}%</text>",
            HEIGHT - BOTTOM + 16.0
        )?;
    }
    for (at, latency) in runs() {
        let line: Vec<String> = latency
            .curve
            .iter()
            .map(|(percentile, ms)| {
                let level = (ms.max(0.001).log10() - low) / (high - low);
                format!("{:.1},{:.1}", x(*percentile), y(level))
            })
            .collect();
        let colour = colour(at);
        writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            line.join(" ")
        )?;
    }
    writeln!(out, "</svg></figure>")
}

/// Begins a chart with its legend.
fn begin(title: &str, report: &Report, out: &mut String) -> fmt::Result {
    let legend: Vec<String> = report
        .subjects
        .iter()
        .enumerate()
        .map(|(at, subject)| format!("<span style=\"color:{}\">&#9632;</span> {}", colour(at), escaped(&subject.name)))
        .collect();
    writeln!(
        out,
        "<figure><figcaption><b>{title}</b> {}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{title}\">",
        legend.join(" ")
    )
}

fn grid_line(level: f64, label: &str, out: &mut String) -> fmt::Result {
    let y = y(level);
    writeln!(
        out,
        "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"currentColor\" stroke-opacity=\".2\"/>\
         <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
        LEFT - 6.0,
        y + 4.0
    )
}

fn y(level: f64) -> f64 {
    HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * level
}

fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
