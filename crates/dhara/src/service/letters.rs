//! Dead letters of a service without a store: they go to a topic of their own.

use bytes::Bytes;

use super::core::Core;
use crate::broker::{Message, Topic};
use crate::store::DeadLetter;

/// The letter as a message: key, body and headers untouched, the reason in headers beside them.
pub(crate) fn message_of(core: &Core, letter: &DeadLetter) -> Message {
    let mut headers = letter.headers.clone();
    let mut add = |name: &str, value: String| headers.push((name.into(), Bytes::from(value)));
    add("dhara-dead-service", core.name.to_string());
    add("dhara-dead-handler", letter.handler.clone());
    add("dhara-dead-topic", letter.partition.topic.to_string());
    add("dhara-dead-partition", letter.partition.partition.to_string());
    add("dhara-dead-offset", letter.offset.to_string());
    add("dhara-dead-error", letter.error.clone());
    add("dhara-dead-attempts", letter.attempts.to_string());
    if let Some(id) = &letter.event_id {
        add("dhara-dead-event-id", id.clone());
    }
    Message {
        topic: Topic::new(format!("{}.dead-letters", core.name)),
        key: letter.key.clone(),
        body: letter.body.clone(),
        headers,
        timestamp: letter.at,
    }
}
