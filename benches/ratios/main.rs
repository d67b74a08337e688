//! kdir against the hardware and against Kafka's own tools, as one table.
//!
//! `cargo bench --bench ratios` runs all of it, `cargo bench --bench ratios -- produce follow` the rows whose name holds one
//! of these words. Both sides of a row run in turn, several times, on one file system; the table shows medians, as Markdown
//! on stdout and as JSON in `target/ratios.json`. Timings are shown, never asserted: machines are noisy. Rows that need
//! something which is not there say so.
//!
//! | variable | what | default |
//! | --- | --- | --- |
//! | `KDIR_BENCH_BYTES` | the size of the input; some rows take ten times as much | 1 GB |
//! | `KDIR_BENCH_RUNS` | the number of turns | 7 |
//! | `KDIR_BENCH_DIR` | where the files go, up to twelve times the input | below `target/` |

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a program of its own"
)]

mod bench;
mod compact;
mod consume;
mod data;
mod export;
mod follow;
mod groups;
mod growth;
mod kafka;
mod produce;
mod report;
mod small;
mod work;

use bench::Bench;

fn main() {
    if std::env::args().any(|word| word == work::ANSWERER) {
        return work::answer();
    }
    // Cargo passes --bench; whatever else begins with a hyphen is not for us either.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut bench = Bench::new(words);
    println!("{}\n", bench.machine());
    produce::rows(&mut bench);
    consume::rows(&mut bench);
    compact::rows(&mut bench);
    export::rows(&mut bench);
    small::rows(&mut bench);
    follow::rows(&mut bench);
    kafka::rows(&mut bench);
    groups::rows(&mut bench);
    work::rows(&mut bench);
    growth::rows(&mut bench);
    bench.finish();
}
