//! Writes a trace anew as `.evt`, packed as tightly as can be, with facts about it: how `traces/`
//! was made.
//!
//! `cargo run --release --example import -- IN OUT [KEY=VALUE]...`

use evenfit_trace::{Codec, Trace};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, facts @ ..] = args.as_slice() else {
        return Err("usage: import IN OUT [KEY=VALUE]...".into());
    };
    let mut trace = Trace::open(input)?;
    for fact in facts {
        let (key, value) = fact.split_once('=').ok_or("a fact reads KEY=VALUE")?;
        trace.add_fact(key, value);
    }
    trace.save(output, Codec::Zstd(22))?;
    Ok(())
}
