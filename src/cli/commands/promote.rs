use crate::cli::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::report::{Cell, Column, Report, ReportArgs, json_only, number, text};
use crate::cli::ui::Unit;
use crate::disk::suspension;
use crate::logdir::{LogDir, LogDirs};
use crate::promote::{
    self, Address, ConfigChange, DELIVERY_COUNT_LIMIT, Expiring, FirstStart, KafkaRelease, PlannedTopic, PromoteError,
    PromoteOptions, Promotion, PromotionPlan, Quorum, Start,
};
use crate::units::Offset;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// Hand the log dir to a Kafka broker
///
/// Makes the log dir one that an unmodified Apache Kafka broker (3.9 and later, KRaft) starts on and serves: every topic with its
/// id, configuration and records, and the groups with their offsets. No record is copied. At the end the command that starts
/// the broker is printed.
///
/// In a log dir of kdir's alone, three files are written: server.properties, unless --properties names another, then
/// bootstrap.checkpoint and meta.properties. In one that `kafka-storage format` has made (also with --standalone), the topics
/// are added to what format has written. One on which a broker has run already is refused: create topics there with
/// kafka-topics.
///
/// A broker deletes what is older than retention.ms 30 seconds after it has started, which kdir does only with `kdir
/// retention`. Topics that would lose records are named, and nothing is promoted without --yes, which lets it happen, or
/// --keep, which hands them over without a limit. Groups get a record that keeps their offsets for a week from now on, in
/// place of a week from the last commit. Share groups, which `kdir work` has, keep their state; they go on once the cluster
/// has share.version=1, which --kafka 4.2 and later give it, or `kafka-features.sh upgrade` afterwards.
///
/// No producer, worker or consumer of kdir may run on the log dir. --dry-run shows what would be done, and changes
/// nothing. Until a broker has started, --undo takes the promotion back; afterwards `kdir demote` does.
///
/// A broker with several log dirs: give --log-dir once for each. Controllers that are processes of their own: format their log
/// dirs, and name each with --metadata-dir.
///
/// A row a topic. Columns of JSON and TSV: topic, partitions, records, deleted (records that a broker deletes at its first
/// check), changes (settings that a broker does not take as they are); JSON has also topic_id and, of each partition, its first
/// and next offset.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  kdir promote --dry-run\n  kdir promote --kafka 4.3 --listener 10.0.0.7:9092 --keep"
)]
pub(crate) struct PromoteArgs {
    /// The features of a new cluster of that release: 3.9, 4.0, 4.1, 4.2, 4.3 or 4.4 [default: those of 3.9, on which every
    /// later release starts, too; `kafka-features upgrade` raises them]
    #[arg(long, value_name = "RELEASE")]
    kafka: Option<KafkaRelease>,
    /// The broker's node id [default: 1, or what was formatted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    node_id: Option<i32>,
    /// The cluster's id [default: a new one, or what was formatted]
    #[arg(long, value_name = "ID", value_parser = cluster_id)]
    cluster_id: Option<String>,
    /// Where clients reach the broker
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    listener: Address,
    /// Where the controller is reached; with --metadata-dir, once for each, in the same order
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9093")]
    controller: Vec<Address>,
    /// The nodes that are to have every partition, this one among them: the others catch up when they join
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    replicas: Vec<i32>,
    /// The formatted log dir of a controller of its own (can be repeated)
    #[arg(long, value_name = "DIR")]
    metadata_dir: Vec<PathBuf>,
    /// Where the broker's properties are written, never over another file [default: LOG-DIR/server.properties]
    #[arg(long, value_name = "FILE")]
    properties: Option<PathBuf>,
    /// How the voters of the metadata quorum are known: static by properties, dynamic so that more can be added (KIP-853)
    /// [default: static, or as it was formatted]
    #[arg(long, value_name = "KIND")]
    quorum: Option<QuorumChoice>,
    /// Hand topics that would lose records over with retention.ms=-1 and retention.bytes=-1
    #[arg(long, conflicts_with = "yes")]
    keep: bool,
    /// Let the broker delete what is past its retention
    #[arg(short, long)]
    yes: bool,
    /// Verify every log first, and spare the broker to read them again when it starts
    #[arg(long)]
    trusted: bool,
    /// Show what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Take a promotion back, before a broker has started
    #[arg(long, conflicts_with_all = ["keep", "yes", "dry_run", "kafka", "node_id", "cluster_id", "replicas", "properties"])]
    undo: bool,
    #[command(flatten)]
    report: ReportArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum QuorumChoice {
    Static,
    Dynamic,
}

const COLUMNS: [Column; 7] = [
    text("topic", "TOPIC"),
    number("partitions", "PARTITIONS"),
    number("records", "RECORDS"),
    number("deleted", "DELETED").leaves(1),
    text("changes", "CHANGES").leaves(2),
    json_only("topic_id"),
    json_only("offsets"),
];

/// What Kafka's tools take, and a file of properties holds.
fn cluster_id(text: &str) -> Result<String, String> {
    let is_id = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_id { Ok(text.to_owned()) } else { Err("it has letters, digits and signs, without spaces".into()) }
}

impl PromoteArgs {
    fn options(&self) -> PromoteOptions {
        PromoteOptions {
            release: self.kafka,
            node_id: self.node_id,
            cluster_id: self.cluster_id.clone(),
            listener: self.listener.clone(),
            controllers: self.controller.clone(),
            replicas: self.replicas.clone(),
            metadata_dirs: self.metadata_dir.clone(),
            properties: self.properties.clone(),
            quorum: self.quorum.map(|quorum| match quorum {
                QuorumChoice::Static => Quorum::Static,
                QuorumChoice::Dynamic => Quorum::Dynamic,
            }),
            first_start: if self.trusted { FirstStart::Trusts } else { FirstStart::Checks },
            expiring: match (self.keep, self.yes) {
                (true, _) => Expiring::Keep,
                (false, true) => Expiring::Delete,
                (false, false) => Expiring::Refuse,
            },
        }
    }
}

pub(crate) fn run(args: &PromoteArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let now = crate::cli::now();
    if args.dry_run {
        return dry_run(args, context);
    }
    suspension::wait_for_locks();
    let log_dirs = LogDirs::open_alone(&context.disk, &context.roots)?;
    let controllers = controllers(args, context, LogDir::open_alone)?;
    if args.undo {
        promote::undo(&log_dirs, &controllers, now)?;
        context.ui.status("the log dir is kdir's again");
        return Ok(Exit::Done);
    }
    if args.trusted {
        verify(&log_dirs, context)?;
    }
    let plan = PromotionPlan::make(&log_dirs, &controllers, &args.options(), now)?;
    let count = plan.topics.iter().map(|topic| topic.partitions.len() as u64).sum();
    let controller = args.controller.last().expect("it has a default");
    let promotion = Promotion { log_dirs: &log_dirs, controllers: &controllers, controller };
    let mut progress = context.ui.progress(Some(count), Unit::Partitions);
    let (mut notices, mut ready) = (Vec::new(), 0);
    let done = promotion.apply(plan, now, &mut notices, &mut || {
        ready += 1;
        progress.set(ready, String::new);
    });
    progress.finish();
    notices.iter().for_each(|notice| context.ui.warning(&super::told(notice)));
    let plan = done?;
    show(&plan, args, context)?;
    warn(&plan, context);
    tell(&plan, context);
    Ok(Exit::Done)
}

/// Refuses logs with which something is wrong.
fn verify(log_dirs: &LogDirs, context: &Context) -> anyhow::Result<()> {
    let found = super::verify::check(log_dirs.begin_verification(&[], super::verify::half_written_pause)?, context)?;
    let wrong = found.all().filter(|(_, finding)| finding.severity().is_wrong()).count();
    match wrong {
        0 => Ok(()),
        _ => Err(exit::advised(
            format!("{} of `kdir verify` say that something is wrong", super::counted(wrong as u64, "finding")),
            "`kdir verify` lists them; without --trusted the broker checks the logs itself",
        )),
    }
}

fn dry_run(args: &PromoteArgs, context: &Context) -> anyhow::Result<Exit> {
    let log_dirs = context.open_all()?;
    let controllers = controllers(args, context, LogDir::open)?;
    let mut plan = PromotionPlan::make(&log_dirs, &controllers, &args.options(), crate::cli::now())?;
    show(&plan, args, context)?;
    warn(&plan, context);
    if plan.refusals.is_empty() {
        let verb = if plan.start == Start::Done { "is promoted already" } else { "can be promoted" };
        context.ui.status(&format!("the log dir {verb}: nothing was changed"));
        return Ok(Exit::Done);
    }
    let path = log_dirs.first().root().to_owned();
    Err(PromoteError::Refused { path, reasons: std::mem::take(&mut plan.refusals) }.into())
}

fn controllers(
    args: &PromoteArgs,
    context: &Context,
    open: impl Fn(Arc<dyn crate::disk::Disk>, &std::path::Path) -> crate::logdir::Result<LogDir>,
) -> anyhow::Result<Vec<LogDir>> {
    if args.metadata_dir.iter().any(|dir| dir.as_os_str().is_empty()) {
        return Err(exit::usage("--metadata-dir is empty: name a directory"));
    }
    Ok(args.metadata_dir.iter().map(|dir| open(Arc::clone(&context.disk), dir)).collect::<Result<_, _>>()?)
}

fn show(plan: &PromotionPlan, args: &PromoteArgs, context: &Context) -> anyhow::Result<()> {
    let mut report = Report::new(context.ui, args.report.output, &context.zone, &COLUMNS);
    plan.topics.iter().try_for_each(|topic| report.row(row(topic)))?;
    report.finish()?;
    Ok(())
}

fn row(topic: &PlannedTopic) -> Vec<Cell> {
    let offsets = topic.partitions.iter().map(|partition| {
        let (Offset(first), Offset(next)) = (partition.log_start_offset, partition.log_end_offset);
        json!({"partition": partition.partition, "log_start_offset": first, "log_end_offset": next})
    });
    let changes: Vec<String> = topic.changes.iter().map(change).collect();
    vec![
        Cell::text(&topic.topic.name),
        Cell::Number(topic.partitions.len() as i64),
        Cell::Number(topic.records()),
        Cell::Number(topic.expiring()),
        Cell::text(changes.join(", ")),
        Cell::Json(crate::format::properties::topic_id_to_text(topic.topic_id).into()),
        Cell::Json(offsets.collect()),
    ]
}

fn change(change: &ConfigChange) -> String {
    let ConfigChange { key, from, to } = change;
    match to {
        Some(to) => format!("{key}={to} for {from}"),
        None => format!("without {key}={from}"),
    }
}

/// What a broker does otherwise with share groups.
fn warn(plan: &PromotionPlan, context: &Context) {
    if !plan.share_groups.is_empty() && !plan.serves_share_groups() {
        let groups = super::counted(plan.share_groups.len() as u64, "share group");
        let or_else = match plan.start {
            Start::Full => "promote with --kafka 4.2 or later, or run ",
            Start::Formatted | Start::Done => "run ",
        };
        context.ui.warning(&format!(
            "{groups} cannot go on before the cluster has share.version=1: {or_else}`kafka-features.sh upgrade --feature \
             share.version=1` once a broker of Kafka 4.1 or later serves it. Kafka 4.0 cannot read them, nor groups beside them"
        ));
    }
    for it in plan.share_groups.iter().filter(|it| it.last_tries > 0) {
        let records = super::counted(it.last_tries, "record");
        context.ui.warning(&format!(
            "share group {}: {records} with {DELIVERY_COUNT_LIMIT} attempts or more. A broker tries each once more, and gives it \
             up without a dead letter (group.share.delivery.count.limit)",
            it.group
        ));
    }
}

/// What there is to do next.
fn tell(plan: &PromotionPlan, context: &Context) {
    let PromotionPlan { cluster_id, node_id, groups, .. } = plan;
    if plan.start == Start::Done {
        context.ui.status("promoted already: no broker has started on it yet");
    } else {
        let topics = super::counted(plan.topics.len() as u64, "topic");
        let groups = super::counted(groups.len() as u64, "group");
        context.ui.status(&format!(
            "promoted {topics} and the offsets of {groups} to node {node_id} of cluster {cluster_id}"
        ));
    }
    let start = match &plan.properties {
        Some((path, _)) => format!("start the broker with `kafka-server-start.sh {}`", path.display()),
        None => "start the broker with the properties that the log dir was formatted with".into(),
    };
    if crate::disk::owner::is_roots(&context.roots[0]) {
        let dir = context.roots[0].display();
        context.ui.status(&format!("{dir} belongs to root: for a broker of another user, `chown -R USER {dir}` first"));
    }
    let reached = match plan.start {
        Start::Full | Start::Formatted => format!("; clients reach it at {}", plan.listener),
        // Where it was to be reached is in the properties.
        Start::Done => String::new(),
    };
    context.ui.status(&format!(
        "{start}{reached}. `kdir promote --undo` takes it back until then. A second node: `kafka-storage.sh format -t \
         {cluster_id}`, and kafka-reassign-partitions.sh moves partitions to it (see kdir-kafka(7))"
    ));
}
