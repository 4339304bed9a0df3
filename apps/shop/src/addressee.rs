//! To whom a mail goes. Whoever takes an address, and whoever writes to it, judge it here alike:
//! what was accepted can be written to.

use lettre::Address;
use lettre::message::{Mailbox, Message};
use std::net::IpAddr;

/// The longest address that SMTP takes.
const LONGEST: usize = 254;

/// Reads an address that any mail server can be given: of ASCII characters, at a host with a name,
/// and such that the header of a mail to it reads back as the same address.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    let malformed = || "must be a mail address, as in name@example.com".to_owned();
    if !text.is_ascii() {
        return Err("must be a mail address of ASCII characters".to_owned());
    }
    let address: Address = text.parse().map_err(|_| malformed())?;
    if text.len() > LONGEST || address.domain().starts_with('[') {
        return Err(malformed());
    }
    if address.domain().parse::<IpAddr>().is_ok() {
        return Err("must be at a host with a name, as in name@example.com".to_owned());
    }
    let header: Mailbox = text.parse().map_err(|_| malformed())?;
    if header.name.is_some() || header.email != address {
        return Err(malformed());
    }
    let message = Message::builder().from(header.clone()).to(header).body(String::new());
    let message = message.map_err(|_| malformed())?;
    if message.envelope().to() != [address.clone()] {
        return Err(malformed());
    }
    Ok(address)
}

/// Text as it may stand in a mail's header: on one line, without characters that control anything.
pub(crate) fn header_text(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_written_to_is_an_address() {
        for good in ["jo@example.org", "j.o+tag@mail.example.org", "user_1@example.com"] {
            assert_eq!(address(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "jo",
            "jo@",
            "@example.org",
            "\"a b\"@x.com",
            "a@[1.2.3.4]",
            "a@1.2.3.4",
            "a@[IPv6:::1]",
            "a b@x.com",
            "a@x.com\r\nBcc: b@x.com",
            "Jo <jo@x.com>",
            "jö@example.org",
            "jo@exämple.org",
            &format!("{}@example.org", "x".repeat(250)),
        ] {
            assert!(address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn header_text_is_one_line() {
        assert_eq!(header_text(" a\r\nBcc:\0 b\t c\u{85}"), "a Bcc: b c");
        assert_eq!(header_text("\n"), "");
    }
}
