//! kdir: Kafka's log without the broker.

use std::process::ExitCode;

fn main() -> ExitCode {
    kdir::cli::main()
}
