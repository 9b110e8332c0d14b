//! Writes cases to standard output, or to a file.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Parser;
use orderer_case_generator::{generate, large};

#[derive(Debug, Parser)]
#[command(about = "Makes chains of odd configurations, certificates and signatures from a seed")]
struct Arguments {
    /// Where the numbers come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first case
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many cases
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// Only cases whose name begins so
    #[arg(long, default_value = "")]
    family: String,
    /// The largest configurations instead, which have no seed
    #[arg(long)]
    large: bool,
    /// The file to write
    #[arg(long)]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut file = std::io::BufWriter::new(std::fs::File::create(&arguments.out)?);
    let mut record = Vec::new();
    if arguments.large {
        for large in large::cases(large::SIZE) {
            record.clear();
            (large.make)().write(&mut record);
            file.write_all(&record)?;
        }
        return Ok(file.flush()?);
    }
    for index in arguments.from..arguments.from + arguments.count {
        let case = generate(arguments.seed, index);
        if case.name.starts_with(&arguments.family) {
            record.clear();
            case.write(&mut record);
            file.write_all(&record)?;
        }
    }
    Ok(file.flush()?)
}
