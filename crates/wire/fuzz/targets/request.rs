//! A request from a stranger: what can be read is written, read again, and written the same.
//!
//! `cargo xtask fuzz request`.

#![no_main]

use bytes::Bytes;
use dhara_wire::{request_frame, request_from};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok((header, request)) = request_from(&Bytes::copy_from_slice(data)) else { return };
    let once = request_frame(&header, &request).unwrap().to_bytes().slice(4..);
    let (header, request) = request_from(&once).unwrap();
    assert_eq!(request_frame(&header, &request).unwrap().to_bytes().slice(4..), once);
});
