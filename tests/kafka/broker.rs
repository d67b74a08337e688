//! A broker on the log dir of a [`Kdir`], and Kafka's tools.

use crate::support::Kdir;
use serde_json::Value;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// The script that knows where Kafka is and how it starts.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/kafka.sh");

/// A version of Apache Kafka; `tests/kafka/pom.xml` has the exact numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kafka {
    K4,
    K3,
    K2,
    V4_0,
    V4_1,
    V4_2,
    V4_4,
}

impl Kafka {
    fn name(self) -> &'static str {
        match self {
            Self::K4 => "4",
            Self::K3 => "3",
            Self::K2 => "2",
            Self::V4_0 => "4.0",
            Self::V4_1 => "4.1",
            Self::V4_2 => "4.2",
            Self::V4_4 => "4.4",
        }
    }

    /// As `kdir promote --kafka` has it.
    pub(crate) const fn release(self) -> &'static str {
        match self {
            Self::K4 => "4.3",
            Self::K3 | Self::K2 => "3.9",
            Self::V4_0 => "4.0",
            Self::V4_1 => "4.1",
            Self::V4_2 => "4.2",
            Self::V4_4 => "4.4",
        }
    }

    /// The class of `kafka-consumer-groups`.
    const fn consumer_group_command(self) -> &'static str {
        match self {
            Self::K2 => "kafka.admin.ConsumerGroupCommand",
            _ => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        }
    }

    /// Runs a main class with that stdin; fails unless it exits with 0.
    pub(crate) fn run(self, class: &str, args: &[&str], stdin: &[u8]) -> Output {
        let output = self.try_run(class, args, stdin);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class} {args:?} of Kafka {}: {}\n{stderr}", self.name(), output.status);
        output
    }

    /// The same, where it may fail.
    fn try_run(self, class: &str, args: &[&str], stdin: &[u8]) -> Output {
        let mut child = self.spawn(class, args);
        let mut pipe = child.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        let feeder = std::thread::spawn(move || {
            // A class that does not read its stdin closes it.
            let _ = pipe.write_all(&stdin);
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        output
    }

    /// Starts a main class, with pipes.
    fn spawn(self, class: &str, args: &[&str]) -> Child {
        let mut command = Command::new(SCRIPT);
        command.args(["run", self.name(), class]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What `kafka-dump-log` says of those files, with every check that it has: stdout and stderr.
    pub(crate) fn dump_log(self, files: &[PathBuf], options: &[&str]) -> (String, String) {
        let class = if self != Self::K3 && self != Self::K2 {
            "org.apache.kafka.tools.DumpLogSegments"
        } else {
            "kafka.tools.DumpLogSegments"
        };
        let files: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
        let files = files.join(",");
        let output = self.run(class, &[&["--files", &files], options].concat(), b"");
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// What spares a test to wait: few partitions of topics that the broker makes, and little memory. Producers make no topic again
/// that was deleted.
const QUICK: &str = "group.initial.rebalance.delay.ms=0\ntransaction.state.log.num.partitions=3\n\
                     log.cleaner.dedupe.buffer.size=8388608\nauto.create.topics.enable=false\n";

/// The id of each cluster that is formatted here.
pub(crate) const CLUSTER: &str = "S2RpciBhbmQgS2Fma2EhIQ";

/// A broker that serves the log dir of a [`Kdir`], and is killed if its test ends without stopping it.
pub(crate) struct Broker {
    pub(crate) kafka: Kafka,
    dir: PathBuf,
    /// Of the script: how it comes to its cluster.
    command: &'static str,
    ports: [u16; 2],
    /// What is not as in all other tests.
    properties: Vec<String>,
    runs: bool,
}

fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

impl Broker {
    /// Starts it, and waits until it serves.
    pub(crate) fn start(kafka: Kafka, kdir: &Kdir) -> Self {
        Self::start_with(kafka, kdir, &[])
    }

    /// The same, with more lines in its properties.
    pub(crate) fn start_with(kafka: Kafka, kdir: &Kdir, properties: &[&str]) -> Self {
        let ports = [free_port(), free_port()].map(|listener| listener.local_addr().unwrap().port());
        Self::started(kafka, kdir, "start", ports, properties)
    }

    /// Starts a second one, on another log dir, that joins the cluster of this one.
    pub(crate) fn joined_by(&self, kdir: &Kdir) -> Self {
        let ports = [free_port().local_addr().unwrap().port(), self.ports[1]];
        Self::started(self.kafka, kdir, "join", ports, &[])
    }

    /// A broker of a log dir that `kdir promote` hands to it with those arguments. It is not started yet.
    pub(crate) fn of_promoted(kafka: Kafka, kdir: &Kdir, args: &[&str]) -> Self {
        Self::unstarted(kafka, kdir).promoted(kdir, args)
    }

    /// The same, as node 2 of a cluster whose controller is a process of its own.
    pub(crate) fn of_promoted_beside(controller: &Self, kdir: &Kdir, args: &[&str]) -> Self {
        let mut broker = Self::unstarted(controller.kafka, kdir);
        broker.ports[1] = controller.ports[1];
        let dir = controller.dir.join("log");
        broker.promoted(kdir, &[&["--node-id", "2", "--metadata-dir", dir.to_str().unwrap()], args].concat())
    }

    fn promoted(self, kdir: &Kdir, args: &[&str]) -> Self {
        let properties = self.dir.join("server.properties");
        let _ = std::fs::remove_file(&properties);
        let [listener, controller] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        let own = ["-q", "promote", "--listener", &listener, "--controller", &controller, "--properties"];
        kdir.run(&[&own[..], &[properties.to_str().unwrap()], args].concat()).code(0);
        self.add_properties(QUICK);
        self
    }

    /// A broker of a log dir that `kafka-storage format` has made. It is not started yet.
    pub(crate) fn formatted(kafka: Kafka, kdir: &Kdir, options: &[&str]) -> Self {
        let broker = Self::unstarted(kafka, kdir);
        let controller = broker.ports[1];
        let quorum = if options.contains(&"--standalone") { "bootstrap.servers=" } else { "voters=1@" };
        broker.format(1, "broker,controller", &format!("{quorum}127.0.0.1:{controller}"), options);
        broker
    }

    /// Node 1 of a cluster, which is its controller and no broker. It is not started yet.
    pub(crate) fn controller(kafka: Kafka, kdir: &Kdir, options: &[&str]) -> Self {
        let controller = Self::unstarted(kafka, kdir);
        controller.format(1, "controller", &format!("voters=1@127.0.0.1:{}", controller.ports[1]), options);
        controller
    }

    /// A node that is to join the cluster of this one, whose voters can change, as broker and controller. It is not started yet.
    pub(crate) fn peer(&self, kdir: &Kdir, node_id: i32) -> Self {
        let peer = Self::unstarted(self.kafka, kdir);
        let quorum = format!("bootstrap.servers=127.0.0.1:{}", self.ports[1]);
        peer.format(node_id, "broker,controller", &quorum, &["--no-initial-controllers"]);
        peer
    }

    fn format(&self, node_id: i32, roles: &str, quorum: &str, options: &[&str]) {
        let [port, controller] = self.ports;
        let (client, controller) =
            (format!("PLAINTEXT://127.0.0.1:{port}"), format!("CONTROLLER://127.0.0.1:{controller}"));
        let listeners = match roles {
            "controller" => format!("listeners={controller}"),
            _ if quorum.starts_with("voters") => {
                format!("listeners={client},{controller}\nadvertised.listeners={client}")
            }
            _ => format!("listeners={client},{controller}\nadvertised.listeners={client},{controller}"),
        };
        let text = format!(
            "process.roles={roles}\nnode.id={node_id}\ncontroller.listener.names=CONTROLLER\ncontroller.quorum.{quorum}\n\
             {listeners}\nlog.dirs={}\noffsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n",
            self.dir.join("log").display()
        );
        let properties = self.dir.join("server.properties");
        std::fs::write(&properties, text).unwrap();
        self.add_properties(QUICK);
        let args = ["format", "--config", properties.to_str().unwrap(), "--cluster-id", CLUSTER];
        self.kafka.run("kafka.tools.StorageTool", &[&args[..], options].concat(), b"");
    }

    fn unstarted(kafka: Kafka, kdir: &Kdir) -> Self {
        let ports = [free_port(), free_port()].map(|listener| listener.local_addr().unwrap().port());
        let dir = kdir.temp().to_owned();
        Self { kafka, dir, command: "start", ports, properties: Vec::new(), runs: false }
    }

    fn add_properties(&self, lines: &str) {
        let path = self.dir.join("server.properties");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text + lines).unwrap();
    }

    fn started(kafka: Kafka, kdir: &Kdir, command: &'static str, ports: [u16; 2], properties: &[&str]) -> Self {
        let properties = properties.iter().map(|&line| line.to_owned()).collect();
        let mut broker = Self { kafka, dir: kdir.temp().to_owned(), command, ports, properties, runs: false };
        broker.start_again();
        broker
    }

    /// Starts it after [`Broker::stop`] or [`Broker::kill`].
    pub(crate) fn start_again(&mut self) {
        let (succeeded, stderr) = self.try_start();
        assert!(succeeded, "Kafka {} did not start:\n{stderr}\n{}", self.kafka.name(), self.log());
    }

    /// Starts it, where it may refuse: whether it serves, and what the script said.
    pub(crate) fn try_start(&mut self) -> (bool, String) {
        assert!(!self.runs, "it runs already");
        let [port, other_port] = self.ports.map(|port| port.to_string());
        let args = [self.command, self.kafka.name(), self.dir.to_str().unwrap(), &port, &other_port];
        let properties: Vec<&str> = self.properties.iter().map(String::as_str).collect();
        let output = self.script(&[&args[..], &properties].concat());
        self.runs = output.status.success();
        if !self.runs {
            self.script(&["kill", self.dir.to_str().unwrap()]);
        }
        (self.runs, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Stops it as an operator does, and waits. What it leaves is sound to `verify`, and `repair` changes none of it.
    pub(crate) fn stop(&mut self) {
        let output = self.script(&["stop", self.dir.to_str().unwrap()]);
        self.runs = false;
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
        crate::untouched::assert_repair_changes_nothing(&self.dir.join("log"));
    }

    /// Ends it without a chance to tidy up.
    pub(crate) fn kill(&mut self) {
        let output = self.script(&["kill", self.dir.to_str().unwrap()]);
        self.runs = false;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn script(&self, args: &[&str]) -> Output {
        Command::new(SCRIPT).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// What it has said since it was started last.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("broker.log")).unwrap_or_default()
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// What a tool of Kafka's prints that is given the address by that option.
    pub(crate) fn tool(&self, class: &str, option: &str, args: &[&str]) -> String {
        self.try_tool(class, option, args).unwrap_or_else(|said| panic!("{class} {args:?}: {said}"))
    }

    /// The same, where it may fail: with what it says then.
    pub(crate) fn try_tool(&self, class: &str, option: &str, args: &[&str]) -> Result<String, String> {
        let address = match option {
            "--bootstrap-controller" => format!("127.0.0.1:{}", self.ports[1]),
            _ => self.address(),
        };
        let output = self.kafka.try_run(class, &[&[option, &address], args].concat(), b"");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    }

    /// Its own properties.
    pub(crate) fn properties(&self) -> String {
        self.dir.join("server.properties").to_str().unwrap().to_owned()
    }

    /// Runs `Client.java` of this folder.
    pub(crate) fn client(&self, args: &[&str], stdin: &[u8]) -> Vec<u8> {
        self.kafka.run("Client", &[&[self.address().as_str()], args].concat(), stdin).stdout
    }

    /// Starts a command of `Client.java` that goes on until its stdin is closed.
    pub(crate) fn client_beside(&self, args: &[&str]) -> Child {
        self.kafka.spawn("Client", &[&[self.address().as_str()], args].concat())
    }

    /// Starts `Script.java`.
    pub(crate) fn producers(&self) -> Child {
        self.kafka.spawn("Script", &[&self.address()])
    }

    /// Starts `Groups.java`.
    pub(crate) fn group_clients(&self) -> Child {
        self.kafka.spawn("Groups", &[&self.address(), self.kafka.consumer_group_command()])
    }

    /// Starts `Shares.java`.
    pub(crate) fn share_clients(&self) -> Child {
        self.kafka.spawn("Shares", &[&self.address(), self.kafka.consumer_group_command()])
    }

    /// Creates topics, with a comma between them.
    pub(crate) fn create(&self, topics: &str, partitions: u32, configuration: &[&str]) {
        self.client(&[&["create", topics, &partitions.to_string()], configuration].concat(), b"");
    }

    /// Every record of the topics as Kafka's consumer returns it, as envelopes, partition by partition.
    pub(crate) fn records(&self, topics: &[&str], isolation: &str) -> Vec<Value> {
        crate::support::json_lines(&self.client(&[&["consume", isolation], topics].concat(), b""))
    }

    /// What kafka-console-consumer prints of topics, with a `|` between them, from their beginning on: that many records,
    /// which spares it to wait for more.
    pub(crate) fn console_consumer(&self, topics: &str, records: usize, options: &[&str]) -> String {
        let (class, topics_option) = if self.kafka == Kafka::K2 {
            ("kafka.tools.ConsoleConsumer", "--whitelist")
        } else {
            ("org.apache.kafka.tools.consumer.ConsoleConsumer", "--include")
        };
        let (address, records) = (self.address(), records.to_string());
        let args = ["--bootstrap-server", &address, topics_option, topics, "--from-beginning", "--timeout-ms", "20000"];
        let output = self.kafka.run(class, &[&args[..], &["--max-messages", &records], options].concat(), b"");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What `kafka-consumer-groups --describe` says of all groups: its rows in words, without the heading.
    pub(crate) fn describe_groups(&self) -> Vec<Vec<String>> {
        let args = ["--bootstrap-server", &self.address(), "--describe", "--all-groups"];
        let output = self.kafka.run(self.kafka.consumer_group_command(), &args, b"");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rows = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        rows.filter(|row| row.len() >= 9 && row[0] != "GROUP").collect()
    }

    /// What kafka-get-offsets says at `time` (-2 earliest, -1 latest, or ms): `topic:partition:offset` lines.
    pub(crate) fn get_offsets(&self, topic: &str, time: &str) -> String {
        let class = if self.kafka == Kafka::K2 {
            "kafka.tools.GetOffsetShell"
        } else {
            "org.apache.kafka.tools.GetOffsetShell"
        };
        let address = self.address();
        let option = if self.kafka == Kafka::K2 { "--broker-list" } else { "--bootstrap-server" };
        let args = [option, &address, "--topic", topic, "--time", time];
        String::from_utf8(self.kafka.run(class, &args, b"").stdout).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.runs {
            self.script(&["kill", self.dir.to_str().unwrap()]);
        }
    }
}
