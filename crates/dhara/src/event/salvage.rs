//! What can still be said of a body that cannot be read: the event's id, how deep it lies, and
//! which member an error is in. Everything here takes any bytes, in one pass and without recursion.

use super::EventId;

/// The id is looked for in this much of a body.
const SEARCHED: usize = 1 << 20;
/// The deepest path that is named; what lies deeper is named by its container.
const NAMED_DEPTH: usize = 16;

/// The event's id, where the body holds one however broken the rest is.
pub(super) fn event_id(body: &[u8]) -> Option<EventId> {
    let body = body.get(..SEARCHED).unwrap_or(body);
    let cloud = is_cloud_event(body);
    let wanted: &[u8] = if cloud { b"id" } else { b"eventId" };
    let mut members = TopLevel::new(body);
    let text = members.find_map(|(key, value)| (key == wanted).then_some(value))?;
    let text: String = serde_json::from_slice(text).ok()?;
    EventId::parse(&text).ok()
}

/// Whether a body is a structured CloudEvent: which of the two formats' own members stands first.
pub(super) fn is_cloud_event(body: &[u8]) -> bool {
    let mut members = TopLevel::new(body);
    members
        .find(|(key, _)| matches!(*key, b"specversion" | b"eventId"))
        .is_some_and(|(key, _)| key == b"specversion")
}

/// How many objects and arrays lie inside each other.
pub(super) fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for token in Tokens::new(body) {
        match token.kind {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A token: a string, a piece of punctuation, or a run of anything else (a number, a word).
struct Token {
    /// Its first byte; `a` for a run.
    kind: u8,
    start: usize,
    end: usize,
}

struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes behind the closing quote of the string that begins here.
    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
        self.at = self.at.min(self.bytes.len());
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        while self.peek()?.is_ascii_whitespace() {
            self.at += 1;
        }
        let start = self.at;
        let kind = match self.peek()? {
            b'"' => {
                self.string();
                b'"'
            }
            punctuation @ (b'{' | b'}' | b'[' | b']' | b',' | b':') => {
                self.at += 1;
                punctuation
            }
            _ => {
                let end = |byte: u8| {
                    byte.is_ascii_whitespace()
                        || matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"')
                };
                while self.peek().is_some_and(|byte| !end(byte)) {
                    self.at += 1;
                }
                b'a'
            }
        };
        Some(Token { kind, start, end: self.at })
    }
}

/// The members of the outermost object whose values are strings or words, keys without quotes.
struct TopLevel<'a> {
    tokens: Tokens<'a>,
    depth: usize,
    /// The last string at the top, until a colon makes it a key.
    string: Option<(usize, usize)>,
    key: Option<(usize, usize)>,
}

impl<'a> TopLevel<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self { tokens: Tokens::new(body), depth: 0, string: None, key: None }
    }
}

impl<'a> Iterator for TopLevel<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let token = self.tokens.next()?;
            match token.kind {
                b'{' | b'[' => {
                    self.depth += 1;
                    self.key = None;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ if self.depth != 1 => {}
                b':' => self.key = self.string.take(),
                b'"' | b'a' => match self.key.take() {
                    Some((start, end)) => {
                        let key = self.tokens.bytes.get(start + 1..end.saturating_sub(1))?;
                        return Some((key, self.tokens.bytes.get(token.start..token.end)?));
                    }
                    None => self.string = (token.kind == b'"').then_some((token.start, token.end)),
                },
                _ => (self.string, self.key) = (None, None),
            }
        }
    }
}

/// Where in an object or array the reading is.
enum Step<'a> {
    Member(&'a str),
    Index(usize),
}

/// The member of `data` that holds the byte at this line and column (both from 1, as serde_json
/// tells them): `data.items[1].quantity`.
pub(super) fn path_at(data: &str, line: usize, column: usize) -> String {
    let lines: usize = data.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let end = lines + column;
    let mut path: Vec<Step<'_>> = Vec::new();
    let mut depth = 0_usize;
    let mut last_string = "";
    for token in Tokens::new(data.as_bytes()).take_while(|token| token.start < end) {
        match token.kind {
            b'{' | b'[' => {
                depth += 1;
                if depth <= NAMED_DEPTH {
                    let object = token.kind == b'{';
                    path.push(if object { Step::Member("") } else { Step::Index(0) });
                }
            }
            b'}' | b']' => {
                if depth <= NAMED_DEPTH {
                    path.pop();
                }
                depth = depth.saturating_sub(1);
            }
            b'"' => {
                let inside = token.start + 1..token.end.saturating_sub(1);
                last_string = data.get(inside).unwrap_or_default();
            }
            b':' | b',' if depth <= NAMED_DEPTH => match path.last_mut() {
                Some(Step::Member(member)) if token.kind == b':' => *member = last_string,
                Some(Step::Member(member)) => *member = "",
                Some(Step::Index(index)) => *index += usize::from(token.kind == b','),
                None => {}
            },
            _ => {}
        }
    }
    name(&path)
}

fn name(path: &[Step<'_>]) -> String {
    let mut name = String::from("data");
    for step in path {
        match step {
            Step::Member("") => {}
            Step::Member(member) => {
                name.push('.');
                name.push_str(member);
            }
            Step::Index(index) => name.push_str(&format!("[{index}]")),
        }
    }
    name
}
