//! Profiles in the format of pprof's tools: `profile.proto`, gzipped.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use orderer_pprof::{Function, Label, Line, Location, Profile, Sample, ValueType};
use pprof::{Frames, Report};
use prost::Message as _;

/// Table of distinct texts. The first is empty, as the format requires.
struct Strings {
    known: HashMap<String, i64>,
    table: Vec<String>,
}

impl Strings {
    fn number(&mut self, text: &str) -> i64 {
        if let Some(number) = self.known.get(text) {
            return *number;
        }
        let number = i64::try_from(self.table.len()).unwrap_or(0);
        self.known.insert(text.to_owned(), number);
        self.table.push(text.to_owned());
        number
    }
}

const NANOS: i64 = 1_000_000_000;

/// Encodes the samples of processor time in this report. Takes some milliseconds.
pub(super) fn gzipped(report: &Report) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&profile(report).encode_to_vec())?;
    gzip.finish()
}

/// Returns the same profile with an instruction to hide frames of these names (a regular expression), and what they
/// called.
pub(super) fn without_frames(gzipped: Vec<u8>, names: &str) -> std::io::Result<Vec<u8>> {
    let mut profile = Vec::new();
    GzDecoder::new(&gzipped[..]).read_to_end(&mut profile)?;
    let strings = Profile::decode(&profile[..])?.string_table;
    let drop_frames = i64::try_from(strings.len()).unwrap_or(0);
    let more = Profile { string_table: vec![names.to_owned()], drop_frames, ..Profile::default() };
    // the concatenated fields of two messages are one message, and two compressed files are one
    let mut gzip = GzEncoder::new(gzipped, Compression::default());
    gzip.write_all(&more.encode_to_vec())?;
    gzip.finish()
}

fn profile(report: &Report) -> Profile {
    let mut strings = Strings { known: HashMap::new(), table: Vec::new() };
    strings.number("");
    let mut functions: HashMap<(String, u32), u64> = HashMap::new();
    let mut profile = Profile::default();
    let period = NANOS / i64::from(report.timing.frequency.max(1));
    let (thread, count) = (strings.number("thread"), strings.number("count"));
    let (samples, cpu, nanos) = (strings.number("samples"), strings.number("cpu"), strings.number("nanoseconds"));
    for (stack, times) in &report.data {
        let mut location_id = Vec::new();
        for symbol in stack.frames[own_frames(stack)..].iter().flatten() {
            let place = (symbol.name(), symbol.lineno());
            let id = *functions.entry(place).or_insert_with(|| {
                let id = profile.function.len() as u64 + 1;
                let (name, system_name) = (strings.number(&symbol.name()), strings.number(&symbol.sys_name()));
                let filename = strings.number(&symbol.filename());
                profile.function.push(Function { id, name, system_name, filename });
                let line = vec![Line { function_id: id, line: i64::from(symbol.lineno()) }];
                profile.location.push(Location { id, line });
                id
            });
            location_id.push(id);
        }
        let times = i64::try_from(*times).unwrap_or(i64::MAX);
        let label = vec![Label { key: thread, text: strings.number(&stack.thread_name_or_id()) }];
        profile.sample.push(Sample { location_id, value: vec![times, times.saturating_mul(period)], label });
    }
    let since = report.timing.start_time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    profile.time_nanos = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    profile.duration_nanos = i64::try_from(report.timing.duration.as_nanos()).unwrap_or(i64::MAX);
    let time = ValueType { kind: cpu, unit: nanos };
    profile.sample_type = vec![ValueType { kind: samples, unit: count }, time];
    (profile.period_type, profile.period) = (Some(time), period);
    profile.string_table = strings.table;
    profile
}

/// Returns the number of frames on top of a stack that belong to the profiler and its signal; the busy code is below.
fn own_frames(stack: &Frames) -> usize {
    let own = |name: &str| name.contains("pprof::backtrace") || name.contains("trace_unsynchronized");
    stack.frames.iter().rposition(|frame| frame.iter().any(|symbol| own(&symbol.name()))).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_names_what_was_busy_and_only_numbers_that_are_there() {
        let sampling = pprof::ProfilerGuardBuilder::default().frequency(999).build().expect("a profiler");
        let until = std::time::Instant::now() + std::time::Duration::from_millis(300);
        let mut busy = 0_u64;
        while std::time::Instant::now() < until {
            busy = std::hint::black_box(busy.wrapping_mul(31).wrapping_add(7));
        }
        let report = sampling.report().build().expect("a report");
        let profile = profile(&report);
        assert_eq!(profile.string_table[0], "");
        assert!(!profile.sample.is_empty());
        let known = u64::try_from(profile.location.len()).unwrap();
        assert!(profile.sample.iter().flat_map(|s| &s.location_id).all(|id| *id <= known));
        let texts = i64::try_from(profile.string_table.len()).expect("few");
        assert!(profile.function.iter().all(|f| f.name < texts && f.filename < texts));
        let named = |f: &Function| usize::try_from(f.name).ok().and_then(|n| profile.string_table.get(n));
        let names: Vec<_> = profile.function.iter().filter_map(named).collect();
        assert!(names.iter().any(|name| name.contains("names_what_was_busy")), "{names:?}");
        let at = |id: u64| usize::try_from(id).unwrap() - 1;
        let top = |sample: &Sample| {
            let location = &profile.location[at(*sample.location_id.first()?)];
            named(&profile.function[at(location.line[0].function_id)])
        };
        let tops: Vec<_> = profile.sample.iter().filter_map(top).collect();
        assert!(!tops.is_empty());
        assert!(tops.iter().all(|name| *name != "trace" && !name.contains("pprof::")), "{tops:?}");
        assert_eq!(gzipped(&report).expect("is written")[..2], [0x1f, 0x8b]);
    }
}
