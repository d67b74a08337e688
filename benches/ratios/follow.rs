//! From a write into the pipe of `produce` to the arrival in the pipe of `consume -F`.

use crate::bench::{Bench, KDIR};
use crate::report::{Row, Target, shown};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the fast writer writes: as a program does whose buffer is flushed by a clock.
const TICK: Duration = Duration::from_millis(1);
/// Bytes of a line: nanoseconds since the start, and its end.
const LINE_SIZE: usize = 20;

pub fn rows(bench: &mut Bench) {
    // 100 000 records at the usual size of the input.
    let records = (bench.bytes / 10_000).clamp(1_000, 100_000);
    for (sync, p50, p99) in [("end", Target::AtMost(0.3), Target::AtMost(2.0)), ("1s", Target::None, Target::None)] {
        for a_second in [1_000, 100_000] {
            let name = format!("write to follow, {a_second} a second, --sync {sync}");
            if bench.wants(&name) {
                let latencies = latencies(bench, sync, records, a_second);
                let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
                let others = format!(
                    "{records} records; p90 {}, p99.9 {}, longest {}",
                    shown(at(0.9)),
                    shown(at(0.999)),
                    shown(at(1.0))
                );
                bench.row(Row::millis(format!("{name}, p50"), at(0.5), p50).note(others));
                bench.row(Row::millis(format!("{name}, p99"), at(0.99), p99));
            }
        }
    }
}

/// The times from write to arrival, the shortest first.
fn latencies(bench: &Bench, sync: &str, records: u64, a_second: u64) -> Vec<Duration> {
    bench.run("rm -rf ld; \"$KDIR\" -q create t; sync");
    let mut consumer = spawn(bench, &["consume", "-F", "t"]);
    let mut producer = spawn(bench, &["produce", "--sync", sync, "t"]);
    let start = Instant::now();
    let mut output = consumer.stdout.take().unwrap();
    let reader: JoinHandle<Vec<Duration>> = std::thread::spawn(move || {
        let (mut latencies, mut buffer, mut filled) = (Vec::new(), vec![0; 1 << 20], 0);
        while latencies.len() < records as usize {
            let read = output.read(&mut buffer[filled..]).unwrap();
            let now = start.elapsed();
            assert!(read > 0, "the follower ended");
            filled += read;
            let whole = filled / LINE_SIZE * LINE_SIZE;
            for line in buffer[..whole].chunks(LINE_SIZE) {
                let written: u64 = std::str::from_utf8(&line[..LINE_SIZE - 1]).unwrap().parse().unwrap();
                latencies.push(now - Duration::from_nanos(written));
            }
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
        latencies
    });
    write(producer.stdin.take().unwrap(), start, records, a_second);
    let mut latencies = reader.join().unwrap();
    consumer.kill().unwrap();
    consumer.wait().unwrap();
    assert!(producer.wait().unwrap().success());
    latencies.sort_unstable();
    latencies
}

/// Writes each record at its time; those of a tick with one write.
fn write(mut input: impl Write, start: Instant, records: u64, a_second: u64) {
    // The follower is to be there first.
    let first = start.elapsed() + Duration::from_millis(300);
    let in_a_tick = (a_second as f64 * TICK.as_secs_f64()).max(1.0) as u64;
    let mut written = 0;
    while written < records {
        let due = first + Duration::from_secs_f64(written as f64 / a_second as f64);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let line = format!("{:019}\n", start.elapsed().as_nanos());
        let count = in_a_tick.min(records - written);
        input.write_all(&line.into_bytes().repeat(count as usize)).unwrap();
        written += count;
    }
}

fn spawn(bench: &Bench, args: &[&str]) -> Child {
    let mut command = Command::new(KDIR);
    command.arg("-q").args(args).current_dir(&bench.dir).env("KDIR_LOG_DIR", "ld");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}
