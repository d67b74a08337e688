//! A JVM that does one step for each line of its stdin, a JSON object, and answers each with a line.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout};
use std::thread::JoinHandle;

/// It is killed when its test ends.
pub(crate) struct Stepped {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
}

impl Drop for Stepped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stepped {
    /// Of a process with pipes.
    pub(crate) fn new(mut child: Child) -> Self {
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut pipe = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut stderr = Vec::new();
            let _ = pipe.read_to_end(&mut stderr);
            String::from_utf8_lossy(&stderr).into_owned()
        });
        Self { child, stdin, stdout, stderr: Some(stderr) }
    }

    /// Has it do a step, and waits for the answer.
    pub(crate) fn step(&mut self, step: &str, mut line: Value) -> String {
        line["step"] = json!(step);
        let sent = writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush());
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        if sent.is_err() || answer.is_empty() {
            let stderr = self.stderr.take().unwrap().join().unwrap();
            panic!("{line}: {sent:?}\n{stderr}");
        }
        answer
    }
}
