//! The messages of pprof's `profile.proto`, as far as this project writes and reads them. The node writes CPU profiles, and
//! `orderer benchmark` reads them.

use prost::Message;

/// A profile. Texts are numbers of [`string_table`](Self::string_table), whose first text is empty.
#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    /// The meaning of each value of a sample.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    /// The samples, one for each stack.
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    /// The places in the program that the stacks name.
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    /// The functions of these places.
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// All texts.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    /// Text with a regular expression: tools hide the functions with such names, and what they call.
    #[prost(int64, tag = "7")]
    pub drop_frames: i64,
    /// Start of the profile, in nanoseconds since 1970.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// Duration of the profile, in nanoseconds.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// The unit of the period.
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    /// Period between two samples.
    #[prost(int64, tag = "12")]
    pub period: i64,
}

/// The meaning of a value, as texts.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ValueType {
    /// The measured quantity.
    #[prost(int64, tag = "1")]
    pub kind: i64,
    /// Its unit.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// The values of one stack.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// The stack, the innermost location first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    /// The values, in the order of [`Profile::sample_type`].
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    /// Further texts, such as the thread's name.
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// A text of a sample.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Label {
    /// The text's name, as a text.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// The text.
    #[prost(int64, tag = "2")]
    pub text: i64,
}

/// A place in the program.
#[derive(Clone, PartialEq, Message)]
pub struct Location {
    /// Its number, not 0.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its lines: more than one, the innermost first, if functions were inlined.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

/// A line of a function.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Line {
    /// Number of the function.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// Number of the line.
    #[prost(int64, tag = "2")]
    pub line: i64,
}

/// A function, with texts.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Function {
    /// Its number, not 0.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its readable name.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// Its name in the program.
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    /// The source file.
    #[prost(int64, tag = "4")]
    pub filename: i64,
}
