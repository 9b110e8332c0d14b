//! Writes cases to a file.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Parser;
use orderer_case_generator::{generate, large};

#[derive(Debug, Parser)]
#[command(about = "Makes chains of odd configurations, certificates and signatures from a seed")]
struct Arguments {
    /// Seed of the cases
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first case
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Number of cases
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// Write only cases whose name begins with this text
    #[arg(long, default_value = "")]
    family: String,
    /// Write the large configurations instead, which do not depend on the seed
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
