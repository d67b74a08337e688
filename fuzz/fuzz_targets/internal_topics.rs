#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kdir_fuzz::internal_topics::internal_topics(bytes));
