//! A CPU profile as a flame graph: each function is a box above its caller, as wide as its share of the samples.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use orderer_pprof::{Line, Profile};
use prost::Message as _;

/// Size of the picture in pixels: its width, and the height of a box.
const WIDTH: f64 = 1200.0;
const ROW: usize = 17;
/// Boxes below this width are left out.
const BOX_MIN_WIDTH: f64 = 0.3;
/// Width of a character, and the width below which a box has no text.
const CHARACTER: f64 = 6.6;
const TEXT_MIN_WIDTH: f64 = 24.0;
/// Maximum number of callers of a function in the picture.
const DEPTH_MAX: usize = 200;

/// A function, as it was called by the functions above.
#[derive(Default)]
struct Frame {
    samples: u64,
    called: BTreeMap<String, Frame>,
}

impl Frame {
    fn add<'a>(&mut self, mut outer_first: impl Iterator<Item = &'a str>, samples: u64) {
        self.samples += samples;
        if let Some(name) = outer_first.next() {
            self.called.entry(name.to_owned()).or_default().add(outer_first, samples);
        }
    }

    fn depth(&self) -> usize {
        1 + self.called.values().map(Self::depth).max().unwrap_or(0)
    }
}

/// Returns the flame graph of a decompressed profile as SVG.
pub(super) fn flame_graph(profile: &[u8], title: &str) -> Result<String, prost::DecodeError> {
    let profile = Profile::decode(profile)?;
    let names: BTreeMap<u64, &str> = profile
        .function
        .iter()
        .map(|function| {
            let name = usize::try_from(function.name).ok().and_then(|at| profile.string_table.get(at));
            (function.id, name.map_or("?", String::as_str))
        })
        .collect();
    let lines: BTreeMap<u64, &[Line]> =
        profile.location.iter().map(|location| (location.id, &location.line[..])).collect();
    let mut root = Frame::default();
    for sample in &profile.sample {
        let samples = sample.value.first().and_then(|&count| u64::try_from(count).ok()).unwrap_or(0);
        let inner_first = sample.location_id.iter().filter_map(|id| lines.get(id)).flat_map(|lines| lines.iter());
        let mut stack: Vec<&str> =
            inner_first.map(|line| names.get(&line.function_id).copied().unwrap_or("?")).collect();
        stack.reverse();
        root.add(stack.into_iter().take(DEPTH_MAX), samples);
    }
    let mut out = String::new();
    // writing to a String cannot fail
    let _ = draw(&root, title, &mut out);
    Ok(out)
}

fn draw(root: &Frame, title: &str, out: &mut String) -> fmt::Result {
    let height = (root.depth() + 2) * ROW;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"monospace\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"4\" y=\"13\">{}</text>",
        escaped(title)
    )?;
    row(root, "all", (0.0, WIDTH), height - ROW, root.samples.max(1), out)?;
    writeln!(out, "</svg>")
}

#[expect(clippy::cast_precision_loss, reason = "pixels and percentages")]
fn row(frame: &Frame, name: &str, (left, width): (f64, f64), y: usize, all: u64, out: &mut String) -> fmt::Result {
    if width < BOX_MIN_WIDTH {
        return Ok(());
    }
    let percent = frame.samples as f64 * 100.0 / all as f64;
    // the same function has the same colour everywhere
    let shade = name.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 90;
    write!(
        out,
        "<g><title>{} ({} samples, {percent:.2} %)</title><rect x=\"{left:.1}\" y=\"{y}\" width=\"{width:.1}\" \
         height=\"{}\" fill=\"rgb(230,{},60)\" stroke=\"#fff\" stroke-width=\"0.5\"/>",
        escaped(name),
        frame.samples,
        ROW - 1,
        90 + shade
    )?;
    if width >= TEXT_MIN_WIDTH {
        let shown: String = (1..)
            .map(|n| f64::from(n) * CHARACTER)
            .take_while(|used| *used < width - 4.0)
            .zip(name.chars())
            .map(|(_, c)| c)
            .collect();
        write!(out, "<text x=\"{:.1}\" y=\"{}\">{}</text>", left + 2.0, y + ROW - 5, escaped(&shown))?;
    }
    writeln!(out, "</g>")?;
    let mut at = left;
    for (name, called) in &frame.called {
        let share = width * called.samples as f64 / frame.samples.max(1) as f64;
        row(called, name, (at, share), y.saturating_sub(ROW), all, out)?;
        at += share;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use orderer_pprof::{Function, Location, Sample};

    use super::*;

    #[test]
    fn boxes_are_as_wide_as_their_share() {
        let function = |id| Function { id, name: i64::try_from(id).expect("small"), ..Function::default() };
        let location = |id| Location { id, line: vec![Line { function_id: id, ..Line::default() }] };
        let sample = |stack: &[u64], count| Sample {
            location_id: stack.to_vec(),
            value: vec![count, count * 10],
            ..Sample::default()
        };
        let profile = Profile {
            string_table: ["", "main", "a<T>", "b"].map(str::to_owned).to_vec(),
            function: (1..=3).map(function).collect(),
            location: (1..=3).map(location).collect(),
            sample: vec![sample(&[2, 1], 3), sample(&[3, 1], 1)],
            ..Profile::default()
        };
        let svg = flame_graph(&profile.encode_to_vec(), "t").expect("is a profile");
        let of = |name: &str| svg.lines().find(|line| line.contains(&format!("<title>{name} "))).expect("a box");
        assert!(of("main").contains("width=\"1200.0\"") && of("main").contains("(4 samples, 100.00 %)"), "{svg}");
        assert!(of("a&lt;T&gt;").contains("width=\"900.0\"") && of("b").contains("x=\"900.0\""), "{svg}");
        assert!(flame_graph(b"\xff", "t").is_err());
    }
}
