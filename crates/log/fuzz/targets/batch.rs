#![no_main]

use dhara_log::fuzzing::Target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| Target::Batch.run(input));
