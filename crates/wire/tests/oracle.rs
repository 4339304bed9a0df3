//! Every API in every version, beside the codec of the `kafka-protocol` crate.
//!
//! Random messages are read and written by both. Both must write the bytes that they read, and
//! must show the same names with the same values, defaults included.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use dhara_wire::{
    Api, Message, assignment, request_frame, request_from, response_frame, response_from,
    subscription,
};
use kafka_protocol::messages::{
    ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, RequestHeader, RequestKind,
    ResponseHeader, ResponseKind,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use support::{Kind, Random};

/// Fields of versions that are not released yet, or that never were: theirs shows their defaults.
const UNRELEASED: &[(Api, &[&str])] = &[
    (Api::OffsetCommit, &["topic_id"]),
    (Api::OffsetFetch, &["topic_id"]),
    (Api::ShareFetch, &["partition_max_bytes"]),
    (
        Api::InitProducerId,
        &[
            "enable_2_pc",
            "keep_prepared_txn",
            "ongoing_txn_producer_id",
            "ongoing_txn_producer_epoch",
        ],
    ),
];

/// Messages of each kind, API and version.
const MESSAGES: u64 = 40;

/// Our reading of a frame, as `Debug` shows it, and our writing of what was read.
fn ours(kind: Kind, api: Api, version: i16, frame: &Bytes) -> (String, Bytes) {
    if kind == Kind::Request {
        let (header, request) = request_from(frame).unwrap();
        assert_eq!((header.api, header.version, header.correlation_id), (api, version, 7));
        let again = request_frame(&header, &request).unwrap().to_bytes();
        return (format!("{request:?}"), again.slice(4..));
    }
    let (correlation_id, response) = response_from(frame, api, version).unwrap();
    let again = response_frame(correlation_id, version, &response).unwrap().to_bytes();
    (format!("{response:?}"), again.slice(4..))
}

/// Theirs.
fn theirs(kind: Kind, api: Api, version: i16, frame: &Bytes) -> (String, Bytes) {
    let key = ApiKey::try_from(api.key()).unwrap();
    let mut left = frame.clone();
    let mut again = BytesMut::new();
    let shown = if kind == Kind::Request {
        let header_version = key.request_header_version(version);
        let header = RequestHeader::decode(&mut left, header_version).unwrap();
        header.encode(&mut again, header_version).unwrap();
        let request = RequestKind::decode(key, &mut left, version).unwrap();
        request.encode(&mut again, version).unwrap();
        format!("{request:?}")
    } else {
        let header_version = key.response_header_version(version);
        let header = ResponseHeader::decode(&mut left, header_version).unwrap();
        header.encode(&mut again, header_version).unwrap();
        let response = ResponseKind::decode(key, &mut left, version).unwrap();
        response.encode(&mut again, version).unwrap();
        format!("{response:?}")
    };
    assert!(left.is_empty(), "{api} version {version}: theirs leaves {} bytes", left.len());
    (shown, again.freeze())
}

#[test]
fn every_message_is_read_and_written_as_the_oracle_does() {
    let (mut messages, mut apis) = (0, Vec::new());
    for schema in &support::schemas() {
        let Some(api) = schema.key.and_then(Api::from_key) else { continue };
        apis.push(api);
        let unreleased = UNRELEASED.iter().find(|(of, _)| *of == api).map_or(&[][..], |it| it.1);
        for version in schema.versions.all() {
            for kind in [Kind::Request, Kind::Response] {
                for seed in 0..MESSAGES {
                    let mut random = Random(seed << 32 | (api.key() as u64) << 16 | version as u64);
                    let frame = support::frame(schema, kind, version, &mut random).into();
                    let told = format!("{api} {kind:?} version {version}, seed {seed}");
                    let (our_text, our_bytes) = ours(kind, api, version, &frame);
                    assert_eq!(our_bytes, frame, "{told}: ours writes other bytes");
                    let (their_text, their_bytes) = theirs(kind, api, version, &frame);
                    assert_eq!(their_bytes, frame, "{told}: theirs writes other bytes");
                    let our_text = Shown::plain(&our_text, &[]);
                    assert_eq!(our_text, Shown::plain(&their_text, unreleased), "{told}");
                    messages += 1;
                }
            }
        }
    }
    assert_eq!(apis, Api::ALL);
    println!("{messages} messages of {} APIs", apis.len());
}

/// Reads and writes data by ours and by theirs, whose type is `T`.
fn compare<M: Message + Debug, T: Encodable + Decodable + Debug>(version: i16, bytes: &Bytes) {
    let our = M::decode(bytes, version).unwrap();
    assert_eq!(our.encode(version).unwrap(), bytes);
    let mut again = BytesMut::new();
    let their = T::decode(&mut bytes.clone(), version).unwrap();
    their.encode(&mut again, version).unwrap();
    assert_eq!(again, bytes);
    let (our, their) = (format!("{our:?}"), format!("{their:?}"));
    assert_eq!(Shown::plain(&our, &[]), Shown::plain(&their, &[]));
}

#[test]
fn what_members_of_a_group_tell_each_other_is_read_as_the_oracle_does() {
    for schema in support::schemas().iter().filter(|schema| schema.key.is_none()) {
        let compare = match &*schema.name {
            "subscription" => compare::<subscription::Data, ConsumerProtocolSubscription>,
            "assignment" => compare::<assignment::Data, ConsumerProtocolAssignment>,
            other => panic!("nothing to compare {other} with"),
        };
        for version in schema.versions.all() {
            for seed in 0..MESSAGES {
                let bytes = support::body(schema, Kind::Data, version, &mut Random(seed));
                compare(version, &bytes.into());
            }
        }
    }
}

/// A walk over what `Debug` printed, which keeps names of fields and values alone.
struct Shown<'a> {
    left: &'a str,
    /// Fields that are left out.
    without: &'a [&'a str],
    out: String,
}

impl<'a> Shown<'a> {
    fn plain(text: &'a str, without: &'a [&'a str]) -> String {
        let mut shown = Self { left: text, without, out: String::new() };
        shown.value();
        assert_eq!(shown.left, "", "all of it was understood");
        shown.out
    }

    /// The text up to the first character of which `ends` is true.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let (word, left) = self.left.split_at(self.left.find(ends).unwrap_or(self.left.len()));
        self.left = left;
        word
    }

    fn skip(&mut self, text: &str) -> bool {
        let left = self.left.strip_prefix(text);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    fn value(&mut self) {
        if self.left.starts_with('"') || self.left.starts_with("b\"") {
            return self.quoted();
        }
        let word = self.until(|letter| " ,()[]{}".contains(letter));
        if self.skip(" { ") {
            return self.fields();
        }
        if self.skip("(") {
            // `Some`, the name of an API, or a type of their own round a plain one.
            self.value();
            assert!(self.skip(")"));
        } else if self.skip("[") {
            self.elements();
        } else {
            self.out += &uuid(word).unwrap_or_else(|| word.to_owned());
        }
    }

    fn quoted(&mut self) {
        let start = self.left;
        let mut escaped = false;
        let open = start.find('"').unwrap() + 1;
        let length = start[open..].find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        let (text, left) = start.split_at(open + length.unwrap() + 1);
        self.out += text;
        self.left = left;
    }

    fn elements(&mut self) {
        self.out.push('[');
        while !self.skip("]") {
            self.value();
            self.skip(", ");
            self.out.push(';');
        }
        self.out.push(']');
    }

    fn fields(&mut self) {
        self.out.push('{');
        while !self.skip(" }") {
            let name = self.until(|letter| letter == ':').trim_start_matches('_');
            assert!(self.skip(": "));
            if ["unknown", "unknown_tagged_fields"].contains(&name) {
                // Both keep these, under other types; that they survive is seen in the bytes.
                assert!(self.skip("{"));
                self.until(|letter| letter == '}');
                assert!(self.skip("}"));
            } else {
                let before = self.out.len();
                self.out += name;
                self.out.push('=');
                self.value();
                self.out.push(';');
                if self.without.contains(&name) {
                    self.out.truncate(before);
                }
            }
            self.skip(", ");
        }
        self.out.push('}');
    }
}

/// Their way to print an id, in ours.
fn uuid(word: &str) -> Option<String> {
    let digits = word.replace('-', "");
    (word.len() == 36 && digits.len() == 32)
        .then(|| u128::from_str_radix(&digits, 16).ok())
        .flatten()
        .map(|number| dhara_wire::Uuid::from(number).to_string())
}
