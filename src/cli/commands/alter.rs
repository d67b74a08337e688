use crate::cli::Context;
use crate::cli::args::{self, Retention, RetentionBytes, configure};
use crate::cli::complete;
use crate::cli::exit::{self, Exit};
use crate::logdir::{Alteration, LogDirError, Topic};
use crate::units::TopicName;
use std::collections::{BTreeMap, BTreeSet};

/// Change a topic's configuration, or add partitions
///
/// Processes that are writing to the topic go on with the configuration they started with. Partitions are only added;
/// records with keys that were written before stay where they are.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir alter app -c retention.ms=36h --unset segment.bytes --partitions 6")]
pub(crate) struct AlterArgs {
    /// The topic
    #[arg(value_parser = args::topic, add = complete::topics())]
    topic: TopicName,
    /// A topic configuration of Kafka's, such as segment.bytes=64MiB (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = args::key_value, add = complete::config())]
    config: Vec<(String, String)>,
    /// A key that goes back to Kafka's default (can be repeated)
    #[arg(long, value_name = "KEY", add = complete::set_keys())]
    unset: Vec<String>,
    /// How long records are kept: 7d, 36h, 90s, or forever
    #[arg(long, value_name = "DURATION")]
    retention: Option<Retention>,
    /// How many bytes a partition keeps: 10GB, 512MiB, or unlimited
    #[arg(long, value_name = "SIZE")]
    retention_bytes: Option<RetentionBytes>,
    /// How many partitions the topic is to have; more than now
    #[arg(short = 'P', long, value_name = "N", value_parser = args::partition_count)]
    partitions: Option<i32>,
}

pub(crate) fn run(args: &AlterArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let changes_config =
        !args.config.is_empty() || !args.unset.is_empty() || args.retention.is_some() || args.retention_bytes.is_some();
    if !changes_config && args.partitions.is_none() {
        return Err(exit::usage(
            "nothing to change: give --config, --unset, --retention, --retention-bytes or --partitions",
        ));
    }
    if let Some((key, _)) = args.config.iter().find(|(key, _)| args.unset.contains(key)) {
        return Err(exit::usage(format!("--unset {key} cannot be used with --config {key}")));
    }
    let (mut warnings, mut before) = (Vec::new(), None);
    let change = |topic: &Topic| -> Result<Alteration, Refusal> {
        before = Some(topic.clone());
        let mut config = topic.config.clone();
        for key in &args.unset {
            if !config.unset(key).map_err(anyhow::Error::from)? {
                warnings.push(format!("{key} was not set"));
            }
        }
        warnings.extend(configure(&mut config, &args.config, args.retention.as_ref(), args.retention_bytes)?);
        Ok(Alteration { config: changes_config.then_some(config), partitions: args.partitions })
    };
    let topic = context.open_to_write()?.alter_topic(&args.topic, change).map_err(|refusal| refusal.0)?;
    for warning in warnings {
        context.ui.warning(&warning);
    }
    let changes = before.map_or_else(Vec::new, |before| changes(&before, &topic));
    let changes = if changes.is_empty() { "nothing changed".to_owned() } else { changes.join(", ") };
    context.ui.status(&format!("altered topic {}: {changes}", topic.name));
    Ok(Exit::Done)
}

/// What is different now, and what it was.
fn changes(before: &Topic, after: &Topic) -> Vec<String> {
    let set: BTreeMap<_, _> = before.config.overrides().collect();
    let sets: BTreeMap<_, _> = after.config.overrides().collect();
    let keys: BTreeSet<_> = set.keys().chain(sets.keys()).filter(|key| set.get(*key) != sets.get(*key)).collect();
    let text = |config: &BTreeMap<&str, &str>, key: &&str| (*config.get(key).unwrap_or(&"default")).to_owned();
    let mut changes: Vec<String> =
        keys.iter().map(|key| format!("{key}={} (was {})", text(&sets, key), text(&set, key))).collect();
    let (had, has) = (before.partitions.len(), after.partitions.len());
    if had != has {
        changes.push(format!("{has} partitions (was {had})"));
    }
    changes
}

/// What stops an alteration: the log dir's error or one of the configuration.
struct Refusal(anyhow::Error);

impl From<LogDirError> for Refusal {
    fn from(error: LogDirError) -> Self {
        Self(error.into())
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}
