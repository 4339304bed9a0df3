//! Frames from strangers: random, mutated, and made to hurt.
//!
//! `DHARA_WIRE_FRAMES` says how many.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::alloc::System;
use std::env;

use bytes::Bytes;
use dhara_wire::{Api, request_frame, request_from, response_frame, response_from};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Kind, Random};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What reading a frame may take, for each of its bytes.
const MOST_PER_BYTE: usize = 8;
/// What the path and the words of an error may take besides.
const MOST_FOR_AN_ERROR: usize = 1024;

/// A frame that is right, and what it is read as.
struct Seed {
    kind: Kind,
    api: Api,
    version: i16,
    frame: Vec<u8>,
}

/// Frames of every kind, API and version.
fn seeds(random: &mut Random) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for schema in support::schemas() {
        let Some(api) = schema.key.and_then(Api::from_key) else { continue };
        for version in schema.versions.all() {
            for kind in [Kind::Request, Kind::Response] {
                for _ in 0..4 {
                    let frame = support::frame(&schema, kind, version, random);
                    seeds.push(Seed { kind, api, version, frame });
                }
            }
        }
    }
    seeds
}

/// Breaks a frame: bits, bytes, lengths, its end, pieces of itself and of `other`.
fn mutate(frame: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let place = random.below(frame.len().max(1));
        let Some(byte) = frame.get_mut(place) else { return };
        match random.below(8) {
            0 => *byte ^= 1 << random.below(8),
            1 => *byte = random.next() as u8,
            2 => *byte = random.one_of(&[0, 1, 0x7f, 0x80, 0xff]),
            3 => frame.truncate(place),
            4 => frame.extend(other.iter().skip(random.below(other.len()))),
            5 => splice(frame, place, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            6 => splice(frame, place, &(random.next() as i32 >> random.below(32)).to_be_bytes()),
            _ => {
                let begin = random.below(place + 1);
                let piece = frame.get(begin..place).unwrap().to_vec();
                splice(frame, random.below(place + 1), &piece);
            }
        }
    }
}

/// Writes `bytes` over what stands at `place`.
fn splice(frame: &mut Vec<u8>, place: usize, bytes: &[u8]) {
    let end = frame.len().min(place + bytes.len());
    frame.splice(place..end, bytes.iter().copied());
}

/// Reads a frame and says whether it could be read, and what was allocated meanwhile.
fn read(kind: Kind, api: Api, version: i16, frame: &Bytes) -> (bool, usize) {
    let region = Region::new(ALLOCATOR);
    if kind == Kind::Request {
        let read = request_from(frame);
        let allocated = region.change().bytes_allocated;
        if let Ok((header, request)) = &read {
            let once = request_frame(header, request).unwrap().to_bytes().slice(4..);
            let (header, again) = request_from(&once).unwrap();
            assert_eq!(request_frame(&header, &again).unwrap().to_bytes().slice(4..), once);
        }
        return (read.is_ok(), allocated);
    }
    let read = response_from(frame, api, version);
    let allocated = region.change().bytes_allocated;
    if let Ok((id, response)) = &read {
        let once = response_frame(*id, version, response).unwrap().to_bytes().slice(4..);
        let (id, again) = response_from(&once, api, version).unwrap();
        assert_eq!(response_frame(id, version, &again).unwrap().to_bytes().slice(4..), once);
    }
    (read.is_ok(), allocated)
}

/// One test alone: the allocations of others would be counted with its own.
///
/// What can be read is gone through to its last element and written, and what was written is read
/// and written again, to the same bytes.
#[test]
fn no_frame_makes_the_codec_panic_or_take_memory() {
    let count = env::var("DHARA_WIRE_FRAMES").map_or(200_000, |count| count.parse().unwrap());
    let mut random = Random(0x6b61_666b);
    let seeds = seeds(&mut random);
    let (mut readable, mut most) = (0_u32, 0.0_f64);
    for number in 0..count {
        let Seed { kind, api, version, frame } = &seeds[random.below(seeds.len())];
        let mut frame = frame.clone();
        if number % 4 == 0 {
            let head = frame.len().min(11);
            frame.truncate(head);
            frame.extend((0..random.below(300)).map(|_| random.next() as u8 >> random.below(8)));
        } else if number as usize >= seeds.len() {
            let other = random.below(seeds.len());
            mutate(&mut frame, &seeds[other].frame, &mut random);
        }
        let frame = Bytes::from(frame);
        let (is_read, allocated) = read(*kind, *api, *version, &frame);
        let allowed = MOST_PER_BYTE * frame.len() + if is_read { 0 } else { MOST_FOR_AN_ERROR };
        let told = format!("{api} {kind:?} version {version}: {frame:?}");
        assert!(allocated <= allowed, "{told}: {allocated} bytes for {}", frame.len());
        readable += u32::from(is_read);
        if is_read {
            most = most.max(allocated as f64 / frame.len() as f64);
        }
    }
    println!("{count} frames, {readable} of them readable; at most {most:.2} bytes a byte");
}
