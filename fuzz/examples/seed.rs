//! Fills `corpus/<target>` with the seeds of each target.
#![expect(clippy::disallowed_methods, reason = "this writes files of its own, no log dir")]

use std::path::Path;
use std::{fs, io};

const TARGETS: [&str; 7] =
    ["batch", "legacy", "index_and_checkpoint", "segment", "json_envelope", "template", "internal_topics"];

fn main() -> io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in TARGETS {
        let corpus = here.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let seeds = kdir_fuzz::seeds::seeds(&here.join("../tests/data/kafka"), target);
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number:03}")), seed)?;
        }
        println!("{}: {} seeds", corpus.display(), seeds.len());
    }
    Ok(())
}
