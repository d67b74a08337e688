//! Floor 0: values without bytes or files.
//!
//! Each type is valid by construction and knows how a person writes it and how it is shown. Nothing here reads
//! a clock, an environment variable or a file, but for the tz database, which jiff finds; what depends on "now" takes
//! it as an argument.

pub mod group_id;
pub mod name;
pub mod offset;
pub mod set_aside;
pub mod size;
mod strptime;
pub mod time;
pub mod time_format;
pub mod time_text;
pub mod zone;

pub use group_id::{GroupId, GroupIdError, java_hash};
pub use name::{TopicName, TopicNameError, TopicPartition};
pub use offset::{Offset, Position, RelativeOffset};
pub use set_aside::{FOLDER_NAME_MAX, SetAside, SetAsideKind};
pub use size::ByteSize;
pub use time::{Duration, TimeUnit, Timestamp};
pub use time_format::{Passes, TimeFormat, TimeState, UnknownZone};
pub use zone::LocalZone;
