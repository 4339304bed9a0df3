//! What a connection brings: frames are taken from it until one is not whole or is refused.
//!
//! `cargo xtask fuzz stream`.

#![no_main]

use bytes::BytesMut;
use dhara_wire::{request_from, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut arrived = BytesMut::from(data);
    let (mut taken, whole) = (0, arrived.len());
    while let Ok(Some(frame)) = split(&mut arrived, 1 << 20) {
        taken += 4 + frame.len();
        let _ = request_from(&frame);
    }
    assert_eq!(taken + arrived.len(), whole);
});
