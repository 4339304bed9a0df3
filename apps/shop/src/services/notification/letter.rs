//! A mail as RFC 5322 has it.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use dhara::{Failure, FailureKind, Meta};
use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};

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
    pub(super) fn write(request: &NotificationRequested, meta: &Meta) -> Result<Self, MailError> {
        let unsendable = |error: &dyn fmt::Display| {
            MailError::Unsendable(format!("no mail can be made of {}: {error}", meta.event_id))
        };
        let id = meta.event_id.to_string();
        let sender: Mailbox = SENDER.parse().map_err(|e| unsendable(&e))?;
        let address = request.to.parse().map_err(|e| unsendable(&e))?;
        let date = UNIX_EPOCH + Duration::from_micros(meta.timestamp.as_micros());
        let message = Message::builder()
            .from(sender)
            .to(Mailbox::new(Some(request.user_id.to_string()), address))
            .subject(request.subject.as_str())
            .date(date)
            .message_id(Some(format!("<{id}@shop.example.com>")))
            .header(ContentType::TEXT_PLAIN)
            .body(request.text.clone())
            .map_err(|e| unsendable(&e))?;
        Ok(Self { id, envelope: message.envelope().clone(), bytes: message.formatted() })
    }
}
