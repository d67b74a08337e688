//! An oracle for compaction: a model of Kafka's cleaner, what brokers' cleaners wrote, and random logs.

mod against_model;
mod beside_others;
mod bytes;
mod cleaner_model;
mod faults;
mod golden;
mod old_formats;
mod random_log;
mod random_rounds;
