//! What is fuzzed: the entry points that the property tests run as well, and what both begin with.

#[path = "../../tests/storage/entry_points.rs"]
pub mod entry_points;
#[path = "../../tests/storage/internal_topics.rs"]
pub mod internal_topics;
#[path = "../../tests/storage/seeds.rs"]
pub mod seeds;
#[path = "../../tests/storage/templates.rs"]
pub mod templates;
