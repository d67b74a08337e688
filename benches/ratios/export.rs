//! Topics as one file, against tar of the same folders.

use crate::bench::Bench;
use crate::data;
use crate::report::{Row, Target, rate};

pub fn rows(bench: &mut Bench) {
    for (size, options) in [(1024, ""), (100, ""), (100, "--batch-size 4000")] {
        let name = format!("export {size}-byte records{}{options}", if options.is_empty() { "" } else { ", " });
        if bench.wants(&name) {
            data::write_lines(&bench.dir.join("lines"), size, bench.bytes);
            bench.run(&format!(
                "rm -rf ld; \"$KDIR\" -q create t -P 4; \"$KDIR\" -q produce {options} t <lines; rm lines; sync; \
                 cat ld/t-*/*.log >/dev/null"
            ));
            let (ours, theirs) =
                ("\"$KDIR\" -q export t | cat >/dev/null", "tar cf - -C ld t-0 t-1 t-2 t-3 | cat >/dev/null");
            let turns = bench.in_turn(&bench.dir, bench.runs, "true", ours, theirs);
            let note = format!("{}; against `{theirs}`", rate(bench.bytes, turns.ours()));
            bench.row(Row::ratio(name, &turns, Target::AtMost(1.10)).note(note));
        }
    }
    if bench.wants("import") {
        data::write_lines(&bench.dir.join("lines"), 1024, bench.bytes);
        bench.run(
            "rm -rf ld; \"$KDIR\" -q create t; \"$KDIR\" -q produce t <lines; rm lines; \"$KDIR\" -q export t >t.tar; sync",
        );
        let (ours, theirs) = ("\"$KDIR\" -q -d copy import t.tar", "mkdir copy; tar xf t.tar -C copy; sync -f copy");
        let turns = bench.in_turn(&bench.dir, bench.runs, "rm -rf copy", ours, theirs);
        let note = format!("{}, durable, checked; against `{theirs}`", rate(bench.bytes, turns.ours()));
        bench.row(Row::ratio("import", &turns, Target::None).note(note));
    }
    bench.run("rm -rf ld lines copy t.tar");
}
