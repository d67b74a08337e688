//! Producing from a file, against `cat` of the same bytes on the same file system.

use crate::bench::{Bench, file_system, room};
use crate::data;
use crate::report::{Row, Target, rate};
use std::fs;
use std::path::{Path, PathBuf};

const SIZES: [(usize, f64); 3] = [(1024, 1.10), (100, 1.25), (10, 3.0)];

pub fn rows(bench: &mut Bench) {
    let shm = PathBuf::from("/dev/shm/kdir-ratios");
    for (size, target) in SIZES {
        let name = format!("produce {size}-byte lines");
        if bench.wants(&name) {
            let dir = bench.dir.clone();
            against_cat(bench, &dir, &name, size, target);
            if file_system(Path::new("/dev/shm")) == "tmpfs" && room(Path::new("/dev/shm")) > 4 * bench.bytes {
                fs::create_dir_all(&shm).unwrap();
                against_cat(bench, &shm, &name, size, target);
                fs::remove_dir_all(&shm).unwrap();
            } else {
                bench.row(Row::not_run(format!("{name}, tmpfs"), "/dev/shm has no room for it"));
            }
        }
    }
    if bench.wants("produce log lines, compressed and durable") {
        compressed(bench);
    }
}

fn against_cat(bench: &mut Bench, dir: &Path, name: &str, size: usize, target: f64) {
    let system = file_system(dir);
    let lines = dir.join("lines");
    data::write_lines(&lines, size, bench.bytes);
    let target = Target::AtMost(target);
    // `cat` may share blocks in place of copying them where the file system can.
    let copies = ["ext4", "tmpfs"].contains(&system.as_str());
    let copy = if copies { "cat lines >copy" } else { "dd if=lines of=copy bs=1M status=none" };
    let setup = "rm -rf ld copy; \"$KDIR\" -q create t; sync";
    for (how, sync, theirs) in
        [("", "--sync never", copy.to_owned()), (", durable", "", format!("{copy} && sync copy"))]
    {
        // What is never written to a disk is never durable.
        if system == "tmpfs" && !how.is_empty() {
            continue;
        }
        let ours = format!("\"$KDIR\" -q produce {sync} t <lines");
        let turns = bench.in_turn(dir, bench.runs, setup, &ours, &theirs);
        let row = Row::ratio(format!("{name}{how}, {system}"), &turns, target);
        bench.row(row.note(format!("{}; against `{theirs}`", rate(bench.bytes, turns.ours()))));
    }
    // What it takes to bring bytes to a process and back: `cat` leaves them in the kernel.
    let ours = "\"$KDIR\" -q produce --sync never t <lines";
    let turns = bench.in_turn(dir, bench.runs, setup, ours, "dd if=lines of=copy bs=128k status=none");
    let row = Row::ratio(format!("{name}, {system}, against dd"), &turns, Target::None);
    bench.row(row.note("against `dd bs=128k`, which reads and writes as kdir does"));
    fs::remove_file(lines).unwrap();
    let _ = fs::remove_dir_all(dir.join("ld"));
    let _ = fs::remove_file(dir.join("copy"));
}

fn compressed(bench: &mut Bench) {
    let what = data::write_log_lines(&bench.dir.join("lines"), bench.bytes);
    let setup = "rm -rf ld copy; \"$KDIR\" -q create t; sync";
    for codec in ["lz4", "zstd"] {
        let ours = format!("\"$KDIR\" -q produce -z {codec} t <lines");
        let turns = bench.in_turn(&bench.dir, bench.runs, setup, &ours, "cat lines >copy && sync copy");
        bench.run(&format!("{setup}; {ours}"));
        let stored: u64 =
            segments(&bench.dir.join("ld/t-0")).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        let smaller = bench.bytes as f64 / stored as f64;
        let row = Row::ratio(format!("produce {what}, -z {codec}, durable"), &turns, Target::AtMost(1.0));
        bench.row(row.note(format!(
            "{}, {smaller:.1} times smaller; against `cat lines >copy && sync copy`",
            rate(bench.bytes, turns.ours())
        )));
    }
    bench.run("rm -rf ld copy lines");
}

/// The `.log` files of a partition.
pub fn segments(partition: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(partition).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|it| it == "log")).collect()
}
