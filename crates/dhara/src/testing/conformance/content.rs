//! What comes out is what went in.

use std::sync::Arc;

use bytes::Bytes;

use super::kit::{Kit, ensure, message, needs, number};
use super::{Checked, Failure, Outcome};
use crate::broker::{Batch, Delivery, Message, Position, Positions};

async fn through(kit: &Kit, messages: Vec<Message>) -> Result<Vec<Delivery>, Failure> {
    let broker = kit.open_with(1).await?;
    let mut reader = kit.group(&broker, "g").await?;
    reader.has_partitions(1).await?;
    let count = messages.len();
    broker.publish(Batch::Many(messages)).await?;
    reader.take(count).await
}

fn same(message: &Message, delivery: &Delivery) -> bool {
    message.topic == delivery.topic
        && message.key == delivery.key
        && message.body == delivery.body
        && message.headers == delivery.headers
        && message.timestamp.as_millis() == delivery.timestamp.as_millis()
}

fn all_same(sent: &[Message], got: &[Delivery]) -> Checked {
    for (message, delivery) in sent.iter().zip(got) {
        ensure!(same(message, delivery), "sent {message:?}, got {delivery:?}");
    }
    Ok(Outcome::Passed)
}

pub(super) async fn a_message_arrives_as_it_was_published(kit: Kit) -> Checked {
    let mut sent = message(Some("order_1"), 7);
    sent.headers = vec![(Arc::from("traceparent"), Bytes::from_static(b"00-abc"))];
    let got = through(&kit, vec![sent.clone()]).await?;
    all_same(&[sent], &got)?;
    let attempts: Vec<u32> = got.iter().map(|it| it.attempt).collect();
    ensure!(attempts == [1], "the first attempt is counted as {attempts:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn no_key_and_an_empty_key_are_two_things(kit: Kit) -> Checked {
    let sent = vec![message(None, 1), message(Some(""), 2)];
    let got = through(&kit, sent).await?;
    let none = got.iter().find(|it| number(it) == 1).map(|it| it.key.clone());
    let empty = got.iter().find(|it| number(it) == 2).map(|it| it.key.clone());
    ensure!(none == Some(None), "no key became {none:?}");
    ensure!(empty == Some(Some(Bytes::new())), "an empty key became {empty:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn binary_bodies_and_repeated_headers_arrive_untouched(kit: Kit) -> Checked {
    let every_byte: Vec<u8> = (0..=255).collect();
    let headers = vec![
        (Arc::from("a"), Bytes::from_static(b"1")),
        (Arc::from("b"), Bytes::new()),
        (Arc::from("a"), Bytes::from(every_byte.clone())),
    ];
    let mut sent = vec![message(Some("k"), 0); 4];
    for (place, (message, body)) in
        sent.iter_mut().zip([every_byte, Vec::new(), vec![0], vec![0xff; 70_000]]).enumerate()
    {
        message.body = Bytes::from(body);
        if place % 2 == 0 {
            message.headers.clone_from(&headers);
            message.key = Some(Bytes::from_static(&[0xff, 0, 0xfe]));
        }
    }
    // All go to one partition, so that they come in the order they were sent.
    let got = through(&kit, sent.clone()).await?;
    all_same(&sent, &got)
}

pub(super) async fn one_huge_message_arrives(kit: Kit) -> Checked {
    let mut sent = message(Some("big"), 1);
    sent.body = Bytes::from(vec![b'x'; 8 << 20]);
    let got = through(&kit, vec![sent.clone()]).await?;
    all_same(&[sent], &got)
}

pub(super) async fn positions_tell_where_messages_lie(kit: Kit) -> Checked {
    let broker = kit.open_with(4).await?;
    needs!(broker, replay);
    let batch: Vec<Message> =
        (0..40).map(|n| message(Some(&format!("key-{}", n % 7)), n)).collect();
    let mut told: Vec<Position> = match broker.publish(Batch::Many(batch)).await? {
        Positions::Many(many) => many,
        other => return Err(Failure::new(format!("positions of a batch: {other:?}"))),
    };
    match broker.publish(message(Some("key-3"), 40).into()).await? {
        Positions::One(one) => told.push(one),
        Positions::Many(mut many) => told.append(&mut many),
        Positions::Unknown => return Err(Failure::new("no position of a single message")),
    }
    let mut reader = kit.group(&broker, "g").await?;
    for delivery in reader.take(41).await? {
        let place = usize::try_from(number(&delivery)).unwrap_or(usize::MAX);
        let lies = Position { partition: delivery.partition, offset: delivery.offset };
        ensure!(
            told.get(place) == Some(&lies),
            "{place}: told {:?}, lies {lies:?}",
            told.get(place)
        );
    }
    Ok(Outcome::Passed)
}
