//! A mail as RFC 5322 has it.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use dhara::world::Timestamp;
use dhara::{Failure, FailureKind};
use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};

use crate::addressee::{address, header_text};
use crate::events::NotificationRequested;

const SENDER: &str = "The shop <shop@example.com>";

/// A mail, ready to be sent.
pub(super) struct Letter {
    /// The id of the event that asked for it: the same for each attempt to send it.
    pub(super) id: String,
    pub(super) envelope: Envelope,
    pub(super) bytes: Vec<u8>,
}

/// Why a mail could not be sent.
#[derive(Debug)]
pub(crate) enum MailError {
    /// It can never be sent as it stands.
    Unsendable(String),
    /// The folder or the mail server cannot take it now.
    Unavailable(String),
}

impl fmt::Display for MailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsendable(what) | Self::Unavailable(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for MailError {}

impl Failure for MailError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Unsendable(_) => FailureKind::Permanent,
            Self::Unavailable(_) => FailureKind::Transient,
        }
    }
}

impl Letter {
    /// Writes the mail that is asked for. Its date and its id are those of the event, so that it
    /// is the same mail at each attempt.
    pub(super) fn write(
        request: &NotificationRequested,
        id: &str,
        at: Timestamp,
    ) -> Result<Self, MailError> {
        let unsendable = |error: &dyn fmt::Display| {
            MailError::Unsendable(format!("no mail can be made of {id}: {error}"))
        };
        let sender: Mailbox = SENDER.parse().map_err(|e| unsendable(&e))?;
        let to = address(&request.to).map_err(|why| unsendable(&format!("its address {why}")))?;
        // Where it goes is told beside it, and not read from its head again.
        let envelope = Envelope::new(Some(sender.email.clone()), vec![to.clone()]);
        let envelope = envelope.map_err(|e| unsendable(&e))?;
        let name = Some(header_text(&request.user_id.0)).filter(|name| !name.is_empty());
        let date = UNIX_EPOCH + Duration::from_micros(at.as_micros());
        let message = Message::builder()
            .from(sender)
            .to(Mailbox::new(name, to))
            .envelope(envelope)
            .subject(header_text(&request.subject))
            .date(date)
            .message_id(Some(format!("<{id}@shop.example.com>")))
            .header(ContentType::TEXT_PLAIN)
            .body(request.text.clone())
            .map_err(|e| unsendable(&e))?;
        Ok(Self {
            id: id.to_owned(),
            envelope: message.envelope().clone(),
            bytes: message.formatted(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{OrderId, UserId};

    fn letter(name: &str, to: &str) -> Result<Letter, MailError> {
        let text = || format!("about {name}");
        let request = NotificationRequested {
            order_id: OrderId("order_1".into()),
            user_id: UserId(name.into()),
            to: to.into(),
            subject: text(),
            text: text(),
        };
        Letter::write(&request, "evt_1", Timestamp::from_millis(0))
    }

    #[test]
    fn a_letter_can_be_written_whatever_the_customer_is_called() {
        let chars = (0..0x3100).chain(0x1F300..0x1F700).filter_map(char::from_u32);
        for c in chars {
            for name in [format!("{c}"), format!("a{c}b"), format!("{c} {c}\r\n{c}\"")] {
                let letter = letter(&name, "jo@example.org").unwrap();
                assert_eq!(letter.envelope.to().len(), 1, "{name:?}");
                let head = String::from_utf8_lossy(&letter.bytes);
                let head = head.split("\r\n\r\n").next().unwrap();
                assert!(head.lines().filter(|line| line.starts_with("To: ")).count() == 1);
                assert!(!head.contains('\0'), "{name:?}");
            }
        }
    }

    #[test]
    fn what_has_no_address_is_never_sendable() {
        for to in ["", "a@[1.2.3.4]", "\"a b\"@x.com", "a@b\r\nc@d"] {
            let error = letter("jo", to).err().unwrap();
            assert_eq!(error.kind(), FailureKind::Permanent, "{to}: {error}");
        }
    }
}
