//! Every API in every version, as the classes of Apache Kafka 4.1.0 write it.
//!
//! `fixtures/kafka-4.1.0.txt` comes from `java/Golden.java`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

use bytes::Bytes;
use dhara_wire::{Api, request_frame, request_from, response_frame, response_from};

fn from_hex(hex: &str) -> Vec<u8> {
    let places = (0..hex.len()).step_by(2);
    places.map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap()).collect()
}

/// The frame of a request: the header of a client without a name, and the body.
fn request(api: Api, version: i16, body: &[u8]) -> Bytes {
    let head = [api.key().to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 7], [0xff, 0xff]];
    let tags: &[u8] = if api.is_flexible(version) { &[0] } else { &[] };
    [head.as_flattened(), tags, body].concat().into()
}

fn response(api: Api, version: i16, body: &[u8]) -> Bytes {
    let flexible = api.is_flexible(version) && api != Api::ApiVersions;
    let tags: &[u8] = if flexible { &[0] } else { &[] };
    [&[0, 0, 0, 7], tags, body].concat().into()
}

#[test]
fn what_kafka_writes_is_read_and_written_to_the_same_bytes() {
    let mut read = Vec::new();
    for line in include_str!("fixtures/kafka-4.1.0.txt").lines() {
        let words: Vec<_> = line.split(' ').collect();
        let api = Api::from_key(words[1].parse().unwrap()).unwrap();
        let version = words[2].parse().unwrap();
        let body = from_hex(words[3]);
        if words[0] == "request" {
            let frame = request(api, version, &body);
            let (header, request) = request_from(&frame).unwrap();
            let again = request_frame(&header, &request).unwrap().to_bytes();
            assert_eq!(again.slice(4..), frame, "{api} request version {version}");
        } else {
            let frame = response(api, version, &body);
            let (id, response) = response_from(&frame, api, version).unwrap();
            let again = response_frame(id, version, &response).unwrap().to_bytes();
            assert_eq!(again.slice(4..), frame, "{api} response version {version}");
        }
        read.push((api, version, words[0]));
    }
    for api in Api::ALL {
        for version in api.versions().all() {
            assert!(read.contains(&(*api, version, "request")), "{api} version {version}");
            assert!(read.contains(&(*api, version, "response")), "{api} version {version}");
        }
    }
}
