//! What the codec refuses, what it says then, and what it lets pass.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

use bytes::{BufMut, Bytes, BytesMut};
use dhara_wire::{
    Api, Array, ErrorCode, Message, Request, RequestError, RequestHeader, Response, api_versions,
    create_topics, fetch, metadata, produce, request_frame, request_from, response_frame,
    response_from,
};

/// A frame without its length.
fn frame(api: i16, version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i16(api);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    frame.put_slice(body);
    frame.freeze()
}

fn refused(frame: &Bytes) -> String {
    request_from(frame).unwrap_err().to_string()
}

#[test]
fn a_claimed_count_is_held_against_the_bytes_that_are_left() {
    let said = refused(&frame(3, 0, &i32::MAX.to_be_bytes()));
    assert_eq!(
        said,
        "malformed MetadataRequest version 0, field `topics`, byte 14: claims 2147483647 \
         elements, which 0 bytes cannot hold"
    );
    // Compact, with no tagged field in the header: 4294967294 topics.
    let said = refused(&frame(3, 9, &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]));
    assert!(said.contains("claims 4294967294 elements"), "{said}");
    let said = refused(&frame(3, 9, &[0, 0xff, 0xff, 0xff, 0xff, 0x1f]));
    assert!(said.contains("more than 32 bits"), "{said}");
    // 100 million tagged fields in the header.
    let said = refused(&frame(3, 9, &[0x80, 0xc2, 0xd7, 0x2f]));
    assert!(said.contains("field `tagged fields`"), "{said}");
}

#[test]
fn a_fault_names_its_place() {
    let mut body = vec![0, 0, 0, 2];
    body.extend(b"\0\x06orders\0\x02\xff\xfe");
    assert_eq!(
        refused(&frame(3, 0, &body)),
        "malformed MetadataRequest version 0, field `topics[1].name`, byte 24: is not UTF-8"
    );
    let said = refused(&frame(3, 0, b"\0\0\0\x01\xff\xff"));
    assert!(
        said.ends_with(
            "field `topics[0].name`, byte 16: is null, which this version does not allow"
        ),
        "{said}"
    );
    let said = refused(&frame(3, 0, b"\0\0\0\0!"));
    assert!(said.ends_with("byte 14: 1 bytes are left after the last field"), "{said}");
    let said = refused(&frame(3, 0, b"\0\0"));
    assert!(said.ends_with("field `topics`, byte 10: 4 bytes are due and 2 are left"), "{said}");
    let said = refused(&frame(3, 0, b"\xff\xff\xff\xfe"));
    assert!(said.ends_with("has the length -2"), "{said}");
}

#[test]
fn tags_rise_and_fill_what_they_claim() {
    // A name and a version of the client's software, then tagged fields.
    let body = |tags: &[u8]| [b"\0\x02a\x02b", tags].concat();
    let said = refused(&frame(18, 3, &body(&[2, 5, 0, 5, 0])));
    assert!(said.contains("tag 5 stands after tag 5"), "{said}");
    let said = refused(&frame(18, 3, &body(&[1, 5, 9, 0])));
    assert!(said.contains("9 bytes are due and 1 are left"), "{said}");
    // Fetch's tag 0 is a text, here with a byte behind it.
    let fetch = fetch::Request::default().encode(12).unwrap();
    let tagged = [&fetch[..fetch.len() - 1], &[1, 0, 3, 2, b'x', b'y']].concat();
    let said = fetch::Request::decode(&tagged.into(), 12).unwrap_err().to_string();
    assert!(said.contains("tag 0 holds 1 bytes more"), "{said}");
}

#[test]
fn unknown_tags_of_a_message_survive_and_those_within_are_passed_over() {
    let plain = metadata::Request { topics: Some(["x"].map(topic).into()), ..Default::default() };
    let bytes = plain.encode(9).unwrap();
    // The topic is a name of two bytes and no tag; the message ends with no tag.
    assert_eq!(bytes[..4], [2, 2, b'x', 0]);
    let mut tagged = vec![2, 2, b'x', 2, 70, 1, 9, 71, 0];
    tagged.extend(&bytes[4..bytes.len() - 1]);
    let unknown = [2, 80, 1, 7, 0x80, 0x01, 0];
    tagged.extend(unknown);
    let read = metadata::Request::decode(&tagged.into(), 9).unwrap();
    let kept: Vec<_> = read.unknown.iter().collect();
    assert_eq!(kept, [(80, Bytes::from_static(&[7])), (128, Bytes::new())]);
    let again = read.encode(9).unwrap();
    assert_eq!(again, [&bytes[..bytes.len() - 1], &unknown].concat());
    // An older version has no place for them.
    assert!(read.encode(8).unwrap_err().to_string().contains("no place"));
}

#[test]
fn unknown_tags_between_known_ones_survive() {
    let response = api_versions::Response {
        finalized_features_epoch: 5,
        zk_migration_ready: true,
        ..Default::default()
    };
    let bytes = response.encode(3).unwrap();
    let known = [2, 1, 8, 0, 0, 0, 0, 0, 0, 0, 5, 3, 1, 1];
    assert!(bytes.ends_with(&known));
    let head = &bytes[..bytes.len() - known.len()];
    // Version 3 knows tags 0 to 3: 4 and 200 come from somebody newer.
    let mixed = [head, &[4], &known[1..], &[4, 1, 9, 0xc8, 0x01, 2, 8, 8]].concat();
    let read = api_versions::Response::decode(&mixed.clone().into(), 3).unwrap();
    assert_eq!(read.unknown.iter().count(), 2);
    assert_eq!(read.encode(3).unwrap(), mixed);
}

fn topic(name: &str) -> metadata::request::Topic {
    metadata::request::Topic { name: Some(name.into()), ..Default::default() }
}

#[test]
fn the_response_to_api_versions_has_no_tags_in_its_header() {
    let api_keys = Api::ALL.iter().map(|api| api_versions::response::ApiVersion {
        api_key: api.key(),
        min_version: api.advertised().first,
        max_version: api.advertised().last,
    });
    let response = api_versions::Response { api_keys: api_keys.collect(), ..Default::default() };
    let bytes = response_frame(9, 3, &response.clone().into()).unwrap().to_bytes();
    // The correlation id, and then the body's error code at once.
    assert_eq!(bytes[4..10], [0, 0, 0, 9, 0, 0]);
    let read = response_from(&bytes.slice(4..), Api::ApiVersions, 3).unwrap();
    assert_eq!(read, (9, Response::ApiVersions(response)));
    let other = response_frame(9, 9, &metadata::Response::default().into()).unwrap().to_bytes();
    assert_eq!(other[4..9], [0, 0, 0, 9, 0]);
}

#[test]
fn a_request_that_is_not_served_says_what_an_answer_needs() {
    let later = request_from(&frame(18, 99, b"whatever comes then")).unwrap_err();
    assert!(matches!(
        later,
        RequestError::UnsupportedVersion { api: Api::ApiVersions, version: 99, correlation_id: 1 }
    ));
    let told = later.to_string();
    assert_eq!(told, "a request for ApiVersions in version 99; versions 0 to 4 are served");
    let old = request_from(&frame(0, 2, b"")).unwrap_err();
    assert!(matches!(old, RequestError::UnsupportedVersion { api: Api::Produce, .. }));
    let unknown = request_from(&frame(71, 0, b"")).unwrap_err();
    assert!(matches!(unknown, RequestError::UnknownApi { key: 71, .. }));
}

#[test]
fn a_value_that_a_version_has_no_place_for_is_not_left_out() {
    let assignment =
        create_topics::request::Assignment { partition_index: 1, broker_ids: [1].into() };
    let topic = create_topics::request::Topic {
        name: "a".repeat(40_000).into(),
        assignments: [assignment].into(),
        ..Default::default()
    };
    let request = create_topics::Request { topics: [topic].into(), ..Default::default() };
    let said = request.encode(5).unwrap_err().to_string();
    assert!(
        said.starts_with("cannot write CreateTopicsRequest version 5, field `topics[0].name`"),
        "{said}"
    );
    assert!(said.ends_with("has the length 40000, and 32767 is the most there can be"), "{said}");

    let state = fetch::request::ReplicaState { replica_id: 3, ..Default::default() };
    let follower = fetch::Request { replica_state: state, ..Default::default() };
    assert!(follower.encode(15).is_ok());
    assert_eq!(follower.encode(14).unwrap_err().field(), "replica_state");
    // What may be ignored is: there is no other way to serve an old client.
    let throttled = metadata::Response { throttle_time_ms: 7, ..Default::default() };
    let read = metadata::Response::decode(&throttled.encode(0).unwrap(), 0).unwrap();
    assert_eq!(read.throttle_time_ms, 0);
    let none = metadata::Request { topics: None, ..Default::default() };
    assert!(none.encode(1).is_ok());
    assert!(none.encode(0).unwrap_err().to_string().contains("is null"));
}

#[test]
fn a_header_must_name_the_api_of_its_message() {
    let header = RequestHeader::new(Api::Fetch, 4, 1);
    let error = request_frame(&header, &metadata::Request::default().into()).unwrap_err();
    assert!(error.to_string().contains("another API"));
    let header = RequestHeader::new(Api::Fetch, 3, 1);
    let error = request_frame(&header, &fetch::Request::default().into()).unwrap_err();
    assert!(error.to_string().ends_with("the versions are 4 to 18"), "{error}");
}

#[test]
fn records_and_texts_are_not_copied() {
    let records = Bytes::from(vec![7; 100_000]);
    let partition = produce::request::Partition { index: 3, records: Some(records.clone()) };
    let topic = produce::request::Topic {
        name: "orders".into(),
        partition_data: [partition].into(),
        ..Default::default()
    };
    let request = produce::Request { topic_data: [topic].into(), acks: -1, ..Default::default() };
    let header = RequestHeader::new(Api::Produce, 9, 1);
    let frame = request_frame(&header, &request.into()).unwrap();
    assert_eq!(frame.parts().len(), 3, "what comes before, the records, what comes after");
    assert_eq!(frame.parts()[1].as_ptr(), records.as_ptr());
    assert_eq!(frame.len(), frame.parts().iter().map(Bytes::len).sum::<usize>());

    let bytes = frame.to_bytes().slice(4..);
    let (_, Request::Produce(read)) = request_from(&bytes).unwrap() else { panic!() };
    let topic = read.topic_data.iter().next().unwrap();
    let records = topic.partition_data.iter().next().unwrap().records.unwrap();
    let span = bytes.as_ptr_range();
    assert!(span.contains(&records.as_ptr()) && span.contains(&topic.name.as_bytes().as_ptr()));
}

#[test]
fn an_array_is_the_same_however_it_came() {
    let made: Array<metadata::request::Topic> = ["a", "b"].into_iter().map(topic).collect();
    let request = metadata::Request { topics: Some(made.clone()), ..Default::default() };
    let read = metadata::Request::decode(&request.encode(9).unwrap(), 9).unwrap();
    let array = read.topics.unwrap();
    assert_eq!(array, made);
    assert_eq!(array.iter().len(), 2);
    assert_eq!(array.to_vec(), made.to_vec());
    assert_eq!(format!("{array:?}"), format!("{made:?}"));
}

#[test]
fn an_error_code_goes_into_a_field() {
    let topic = metadata::response::Topic {
        error_code: ErrorCode::UnknownTopicOrPartition.into(),
        ..Default::default()
    };
    assert_eq!(ErrorCode::from_code(topic.error_code), Some(ErrorCode::UnknownTopicOrPartition));
}
