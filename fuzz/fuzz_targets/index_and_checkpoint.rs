#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kdir_fuzz::entry_points::index_and_checkpoint(bytes));
