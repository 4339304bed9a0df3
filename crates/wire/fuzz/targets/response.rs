//! A response from a stranger; the first two bytes choose the API and the version.
//!
//! `cargo xtask fuzz response`.

#![no_main]

use bytes::Bytes;
use dhara_wire::{Api, response_frame, response_from};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [api, version, frame @ ..] = data else { return };
    let Some(api) = Api::from_key((*api).into()) else { return };
    let version = (*version).into();
    let frame = Bytes::copy_from_slice(frame);
    let Ok((id, response)) = response_from(&frame, api, version) else { return };
    let once = response_frame(id, version, &response).unwrap().to_bytes().slice(4..);
    let (id, response) = response_from(&once, api, version).unwrap();
    assert_eq!(response_frame(id, version, &response).unwrap().to_bytes().slice(4..), once);
});
