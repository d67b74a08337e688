//! Which broker of which cluster a log dir is promoted to: by what was asked for, what was formatted and what is remembered.

use super::bootstrap::Bootstrap;
use super::broker_file::{BrokerFile, Handed};
use super::options::{KafkaRelease, METADATA_VERSION_3_9, PromoteOptions, Quorum};
use super::plan::Start;
use super::root::{Owner, Root};
use super::server_properties;
use super::{PromoteError, Result};
use crate::format::properties::{MetaProperties, topic_id_to_text};
use crate::logdir::LogDir;
use std::path::PathBuf;
use uuid::Uuid;

/// Kafka's own ids of directories never begin with a `-`, and the first hundred ids have meanings of their own.
const RESERVED_IDS: u128 = 100;

/// Which broker of which cluster it is to be.
pub(super) struct Identity {
    pub(super) start: Start,
    pub(super) cluster_id: String,
    pub(super) node_id: i32,
    pub(super) directory_ids: Vec<Uuid>,
    pub(super) handed: Vec<Handed>,
    pub(super) metadata_version: i16,
    /// The level of `share.version` that the cluster begins with.
    pub(super) share_version: i16,
    pub(super) quorum: Quorum,
    /// Those that are ours to give.
    pub(super) features: Vec<(String, i16)>,
    pub(super) replicas: Vec<i32>,
    /// Where the broker's properties are, and what they say; `None` where it has its own.
    pub(super) properties: Option<(PathBuf, String)>,
}

impl Identity {
    pub(super) fn find(roots: &[Root<'_>], controllers: &[LogDir], options: &PromoteOptions) -> Result<Self> {
        let formatted = roots.iter().find_map(|root| match &root.owner {
            Owner::Formatted(properties) | Owner::Promoted(properties) => Some(properties),
            Owner::Kdir => None,
        });
        let is_done = roots.iter().all(|root| matches!(root.owner, Owner::Promoted(_)));
        let is_formatted = roots.iter().any(|root| matches!(root.owner, Owner::Formatted(_)));
        let start = match (is_done, is_formatted || !controllers.is_empty()) {
            (true, _) => Start::Done,
            (false, true) => Start::Formatted,
            (false, false) => Start::Full,
        };
        let of_controllers = controllers.iter().map(controller_properties).collect::<Result<Vec<_>>>()?;
        let remembered = roots.iter().find_map(|root| root.remembered.as_ref());
        let cluster_id = cluster_id(controllers, &of_controllers, formatted, remembered, options)?;
        let node_ids = controller_ids(&of_controllers)?;
        let node_id = node_id(&node_ids, formatted, remembered, options)?;
        let formatted_dirs = match (controllers, is_formatted) {
            ([], true) => std::slice::from_ref(roots[0].log_dir),
            _ => controllers,
        };
        let quorum = quorum(formatted_dirs, options.quorum)?;
        let properties = match start {
            Start::Done => roots.iter().find_map(|root| root.remembered.as_ref()?.properties.clone()),
            // Who has formatted a log dir has properties for it, too.
            Start::Formatted if is_formatted && options.properties.is_none() => None,
            _ => Some(properties(roots, node_id, options, quorum, (!controllers.is_empty()).then_some(&*node_ids))?),
        };
        let begins_with = match start {
            Start::Full => None,
            _ => Some(Bootstrap::find(controllers.first().unwrap_or(roots[0].log_dir).folder())?),
        };
        let level = |name| begins_with.as_ref().map(|file| file.feature(name)).transpose();
        let known = if formatted_dirs.is_empty() { None } else { level("metadata.version")?.flatten() };
        let features = features(known, options.release)?;
        let of_features = features.first().map_or(METADATA_VERSION_3_9, |(_, level)| *level);
        let given = features.iter().find(|(name, _)| name == "share.version").map(|(_, level)| *level);
        // What is asked for now changes nothing of what is done.
        let given = given.filter(|_| start != Start::Done);
        let share_version = level("share.version")?.flatten().or(given).unwrap_or(0);
        Ok(Self {
            start,
            cluster_id,
            node_id,
            directory_ids: roots.iter().map(directory_id).collect(),
            handed: roots.iter().map(Root::handed).collect(),
            metadata_version: known.unwrap_or(of_features),
            share_version,
            quorum,
            features,
            replicas: replicas(options, node_id)?,
            properties,
        })
    }
}

/// The id of the cluster, which all controllers are of.
fn cluster_id(
    controllers: &[LogDir],
    of_controllers: &[MetaProperties],
    formatted: Option<&MetaProperties>,
    remembered: Option<&BrokerFile>,
    options: &PromoteOptions,
) -> Result<String> {
    let known = of_controllers.first().or(formatted).and_then(|properties| properties.cluster_id.clone());
    let known = known.or_else(|| begun(remembered).map(|it| it.cluster_id.clone()));
    let cluster_id = same("cluster id", options.cluster_id.clone(), known)?.unwrap_or_else(new_id_text);
    for (dir, properties) in controllers.iter().zip(of_controllers) {
        if properties.cluster_id.as_deref() != Some(&cluster_id) {
            let theirs = properties.cluster_id.as_deref().unwrap_or_default();
            let what = format!("cluster {theirs}, and the others of {cluster_id}");
            return Err(PromoteError::OtherCluster { path: dir.root().to_owned(), what });
        }
    }
    Ok(cluster_id)
}

/// The node ids of the controllers: each is one of its own.
fn controller_ids(of_controllers: &[MetaProperties]) -> Result<Vec<i32>> {
    let mut ids = Vec::with_capacity(of_controllers.len());
    for id in of_controllers.iter().filter_map(|it| it.node_id) {
        if ids.contains(&id) {
            let what = format!("two of --metadata-dir are of node {id}: name each controller once");
            return Err(PromoteError::Contradiction { what });
        }
        ids.push(id);
    }
    Ok(ids)
}

/// The node id of the broker, which no controller has.
fn node_id(
    controller_ids: &[i32],
    formatted: Option<&MetaProperties>,
    remembered: Option<&BrokerFile>,
    options: &PromoteOptions,
) -> Result<i32> {
    let known = formatted.and_then(|it| it.node_id).or_else(|| begun(remembered).map(|it| it.node_id));
    // After a demotion it is the one that comes to mind, and any other will do.
    let usual = remembered.map_or(1, |it| it.node_id);
    let node_id = same("node id", options.node_id, known)?.unwrap_or(usual);
    if controller_ids.contains(&node_id) {
        let what = format!("a controller has node id {node_id}: give the broker another one with --node-id");
        return Err(PromoteError::Contradiction { what });
    }
    Ok(node_id)
}

/// The properties that are to be written, and where: over no other file.
fn properties(
    roots: &[Root<'_>],
    node_id: i32,
    options: &PromoteOptions,
    quorum: Quorum,
    of_their_own: Option<&[i32]>,
) -> Result<(PathBuf, String)> {
    let disk = roots[0].log_dir.disk();
    // Where a broker finds them, wherever it is started.
    let dirs = roots.iter().map(|root| root.log_dir.root());
    let dirs: Vec<PathBuf> = dirs.map(|root| disk.resolve(root).unwrap_or_else(|_| root.to_owned())).collect();
    let text = server_properties::text(node_id, &dirs, options, quorum, of_their_own)?;
    let path = options.properties.clone().unwrap_or_else(|| roots[0].log_dir.root().join("server.properties"));
    server_properties::refuse_other(&**disk, &path, &text)?;
    Ok((path, text))
}

/// How the voters are known: as the quorum was formatted, or as is asked for.
fn quorum(formatted: &[LogDir], asked: Option<Quorum>) -> Result<Quorum> {
    if formatted.is_empty() {
        return Ok(asked.unwrap_or(Quorum::Static));
    }
    let mut found = Quorum::Static;
    for dir in formatted {
        // One that joins a quorum later was formatted without its voters.
        if Bootstrap::quorum(dir.folder())? == Quorum::Dynamic {
            found = Quorum::Dynamic;
        }
    }
    match asked {
        Some(asked) if asked != found => {
            let what = format!("the quorum was formatted as a {} one: leave --quorum out", found.name());
            Err(PromoteError::Contradiction { what })
        }
        _ => Ok(found),
    }
}

/// What `meta.properties` of a controller's log dir says, which was formatted and has never run.
fn controller_properties(dir: &LogDir) -> Result<MetaProperties> {
    let path = || dir.root().to_owned();
    let properties = dir.meta_properties()?;
    let properties = properties
        .ok_or_else(|| PromoteError::NotFormatted { path: path(), what: "meta.properties is not there".into() })?;
    if !properties.is_kraft {
        return Err(PromoteError::ZooKeeper { path: path() });
    }
    if dir.has_run_metadata()? {
        return Err(PromoteError::HasRun { path: path() });
    }
    Ok(properties)
}

/// What was asked for, and what is there, which is to be the same.
fn same<T: PartialEq + std::fmt::Display>(what: &str, asked: Option<T>, known: Option<T>) -> Result<Option<T>> {
    match (asked, known) {
        (Some(asked), Some(known)) if asked != known => Err(PromoteError::Contradiction {
            what: format!("the {what} is to be {asked}, and what is there has {known}"),
        }),
        (asked, known) => Ok(known.or(asked)),
    }
}

/// The features that are ours to give: a cluster that was formatted has its own.
fn features(known: Option<i16>, release: Option<KafkaRelease>) -> Result<Vec<(String, i16)>> {
    match (known, release) {
        (Some(_), Some(release)) => Err(PromoteError::Contradiction {
            what: format!(
                "--kafka {} is for a log dir that was not formatted: this one has its features",
                release.name()
            ),
        }),
        (Some(_), None) => Ok(Vec::new()),
        (None, release) => {
            let least = || vec![("metadata.version", METADATA_VERSION_3_9)];
            let features = release.map_or_else(least, KafkaRelease::features);
            Ok(features.into_iter().map(|(name, level)| (name.to_owned(), level)).collect())
        }
    }
}

fn replicas(options: &PromoteOptions, node_id: i32) -> Result<Vec<i32>> {
    if options.replicas.is_empty() {
        return Ok(vec![node_id]);
    }
    let mut replicas = options.replicas.clone();
    let Some(place) = replicas.iter().position(|replica| *replica == node_id) else {
        let what = format!("--replicas does not name this broker, node {node_id}, which has the records");
        return Err(PromoteError::Contradiction { what });
    };
    // The first is the preferred leader.
    replicas[..=place].rotate_right(1);
    Ok(replicas)
}

/// What is remembered of a promotion that has begun. After a demotion the cluster is another one, with a metadata log of its own:
/// nodes of the earlier one are not to take it for theirs.
fn begun(remembered: Option<&BrokerFile>) -> Option<&BrokerFile> {
    remembered.filter(|it| it.handed != Handed::Demoted)
}

fn directory_id(root: &Root<'_>) -> Uuid {
    let of_properties = match &root.owner {
        Owner::Formatted(properties) | Owner::Promoted(properties) => properties.directory_id,
        Owner::Kdir => None,
    };
    of_properties.or_else(|| begun(root.remembered.as_ref()).map(|it| it.directory_id)).unwrap_or_else(new_id)
}

/// A new id as Kafka makes them.
pub(super) fn new_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if id.as_u128() >= RESERVED_IDS && !topic_id_to_text(id).starts_with('-') {
            return id;
        }
    }
}

fn new_id_text() -> String {
    topic_id_to_text(new_id())
}
