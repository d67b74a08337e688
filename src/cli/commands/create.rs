use crate::cli::args::{self, Retention, RetentionBytes};
use crate::cli::complete;
use crate::cli::exit::Exit;
use crate::cli::{Context, args::configure};
use crate::logdir::config::TopicConfig;
use crate::logdir::{Created, LogDirError, NewTopic};
use crate::units::TopicName;

/// Create a topic
///
/// Makes the log dir as well where it is missing. The topic gets a folder for each partition, as a Kafka broker makes
/// them, and a file TOPIC.json at the root of the log dir, which keeps its id and configuration.
///
/// Limits: 1 to 100000 partitions; a topic name has 1 to 249 of the characters a-z A-Z 0-9 . _ -
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Example:\n  kdir create app -P 3 --retention 7d --retention-bytes 10GB -c compression.type=zstd"
)]
pub(crate) struct CreateArgs {
    /// The topic's name
    #[arg(value_parser = args::topic)]
    topic: TopicName,
    /// How many partitions
    #[arg(short = 'P', long, value_name = "N", default_value = "1", value_parser = args::partition_count)]
    partitions: i32,
    /// How long records are kept: 7d, 36h, 90s, or forever [default: 7d, as in Kafka]
    #[arg(long, value_name = "DURATION")]
    retention: Option<Retention>,
    /// How many bytes a partition keeps: 10GB, 512MiB, or unlimited [default: unlimited]
    #[arg(long, value_name = "SIZE")]
    retention_bytes: Option<RetentionBytes>,
    /// A topic configuration of Kafka's, such as segment.bytes=64MiB (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = args::key_value, add = complete::config())]
    config: Vec<(String, String)>,
    /// Leave a topic that exists as it is, and succeed
    #[arg(long)]
    if_not_exists: bool,
}

pub(crate) fn run(args: &CreateArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let mut config = TopicConfig::default();
    for warning in configure(&mut config, &args.config, args.retention.as_ref(), args.retention_bytes)? {
        context.ui.warning(&warning);
    }
    let new = NewTopic { name: args.topic.clone(), partitions: args.partitions, config };
    let log_dir = context.open_or_make()?;
    let created = log_dir.create_topic(&new)?;
    super::warn_of_kept(&log_dir, context)?;
    match created {
        Created::New(topic) => context.ui.status(&format!(
            "created topic {} with {} in {}",
            topic.name,
            super::counted(topic.partitions.len() as u64, "partition"),
            log_dir.root().display()
        )),
        Created::Existing(topic) if args.if_not_exists => {
            context.ui.status(&format!("topic {} exists already and is left as it is", topic.name));
        }
        Created::Existing(topic) => {
            log_dir.refuse_lost_file(&topic)?;
            return Err(LogDirError::TopicExists { topic: topic.name }.into());
        }
    }
    Ok(Exit::Done)
}
