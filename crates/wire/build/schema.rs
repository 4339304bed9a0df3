//! Reads the descriptions of messages in `schema/`. `schema/README.md` explains their language.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Peekable;
use std::str::{FromStr, Lines};

/// One file of `schema/`: an API with its request and response, or data that travels inside one.
#[derive(Debug)]
pub struct Schema {
    /// The number of the API; data has none.
    pub key: Option<i16>,
    /// The name as it is written, with underscores.
    pub name: String,
    pub versions: Versions,
    /// The first version with compact lengths and tagged fields.
    pub flexible: Option<i16>,
    pub about: String,
    pub messages: Vec<Message>,
}

/// A request, a response, or data.
#[derive(Debug)]
pub struct Message {
    pub kind: Kind,
    /// All structs of the message; the first is the message itself.
    pub structs: Vec<Struct>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    Data,
}

#[derive(Debug)]
pub struct Struct {
    pub name: String,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub array: bool,
    /// The first version in which the field may be null.
    pub nullable: Option<i16>,
    /// What stands after `=`.
    pub default: Option<String>,
    pub versions: Versions,
    pub tag: Option<u32>,
    /// Whether a value may be left out silently in a version that has no place for it.
    pub ignorable: bool,
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Bool,
    I8,
    I16,
    I32,
    I64,
    F64,
    Uuid,
    Text,
    Bytes,
    Records,
    Struct(String),
}

/// Versions from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub first: i16,
    pub last: i16,
}

impl Versions {
    pub fn has(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    pub fn all(self) -> impl Iterator<Item = i16> {
        self.first..=self.last
    }
}

impl Schema {
    /// Reads a file of the schema.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let mut lines = text.lines().peekable();
        let mut schema = Self::head(lines.next().unwrap_or_default())?;
        let within = schema.versions;
        schema.about =
            notes(&mut lines).ok_or_else(|| Wrong::new("no line says what it is for"))?;
        while let Some(line) = lines.next() {
            let (kind, name) = match line.split_once(' ') {
                _ if line.trim().is_empty() => continue,
                None if line == "request" => (Some(Kind::Request), "Request"),
                None if line == "response" => (Some(Kind::Response), "Response"),
                None if line == "data" => (Some(Kind::Data), "Data"),
                Some(("struct", name)) => (None, name),
                _ => return Err(Wrong::new(format!("`{line}` begins nothing that is known"))),
            };
            let mut inner = Vec::new();
            let fields = fields(&mut lines, 4, within, &mut inner)?;
            inner.insert(0, Struct { name: name.to_owned(), fields });
            if let Some(kind) = kind {
                schema.messages.push(Message { kind, structs: inner });
            } else if let Some(message) = schema.messages.last_mut() {
                message.structs.append(&mut inner);
            }
        }
        Ok(schema)
    }

    /// `api 1 fetch 4-18 flexible 12+` or `data subscription 0-3`.
    fn head(line: &str) -> Result<Self, Wrong> {
        let mut words = line.split_whitespace();
        let key = match words.next() {
            Some("api") => Some(number(words.next())?),
            Some("data") => None,
            _ => return Err(Wrong::new(format!("`{line}` is neither `api` nor `data`"))),
        };
        let name = words.next().unwrap_or_default().to_owned();
        let versions = versions(words.next().unwrap_or_default(), i16::MAX)?;
        let flexible = match words.next() {
            Some("flexible") => Some(from(words.next())?),
            _ => None,
        };
        Ok(Self { key, name, versions, flexible, about: String::new(), messages: Vec::new() })
    }

    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible.is_some_and(|first| first <= version)
    }
}

impl Message {
    pub fn root(&self) -> Option<&Struct> {
        self.structs.first()
    }

    pub fn find(&self, name: &str) -> Option<&Struct> {
        self.structs.iter().find(|one| one.name == name)
    }

    /// The fewest bytes that each struct takes in any version in which it travels.
    pub fn least_sizes(&self, schema: &Schema) -> BTreeMap<String, usize> {
        let mut least = BTreeMap::new();
        for version in schema.versions.all() {
            if let Some(root) = self.root() {
                self.least_size(root, version, schema.is_flexible(version), &mut least);
            }
        }
        least
    }

    fn least_size(
        &self,
        of: &Struct,
        version: i16,
        flexible: bool,
        least: &mut BTreeMap<String, usize>,
    ) -> usize {
        let mut size = usize::from(flexible);
        for field in of.fields.iter().filter(|field| field.versions.has(version)) {
            let inner = match &field.ty {
                Type::Struct(name) => self
                    .find(name)
                    .map_or(0, |inner| self.least_size(inner, version, flexible, least)),
                _ => 0,
            };
            if field.tag.is_none() {
                size += field.least_size(version, flexible, inner);
            }
        }
        let known = least.entry(of.name.clone()).or_insert(size);
        *known = size.min(*known);
        size
    }
}

impl Field {
    pub fn is_nullable(&self, version: i16) -> bool {
        self.nullable.is_some_and(|first| first <= version)
    }

    fn least_size(&self, version: i16, flexible: bool, inner: usize) -> usize {
        match self.ty {
            _ if self.array => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Type::Bool | Type::I8 => 1,
            Type::I16 => 2,
            Type::I32 => 4,
            Type::I64 | Type::F64 => 8,
            Type::Uuid => 16,
            Type::Text => {
                if flexible {
                    1
                } else {
                    2
                }
            }
            Type::Bytes | Type::Records => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Type::Struct(_) if self.is_nullable(version) => 1,
            Type::Struct(_) => inner,
        }
    }
}

/// The fields that stand `indent` spaces in, with the structs that they contain added to `structs`.
fn fields(
    lines: &mut Peekable<Lines<'_>>,
    indent: usize,
    within: Versions,
    structs: &mut Vec<Struct>,
) -> Result<Vec<Field>, Wrong> {
    let mut fields = Vec::new();
    while let Some(line) = lines.next_if(|line| depth(line) == Some(indent)) {
        let mut field = Field::parse(line.trim(), within)
            .map_err(|wrong| Wrong::new(format!("`{}`: {wrong}", line.trim())))?;
        field.note = notes(lines);
        if lines.peek().is_some_and(|next| depth(next) > Some(indent)) {
            let Type::Struct(name) = &field.ty else {
                return Err(Wrong::new(format!("`{}` holds no fields", line.trim())));
            };
            let place = structs.len();
            let inner = self::fields(lines, indent + 4, field.versions, structs)?;
            structs.insert(place, Struct { name: name.clone(), fields: inner });
        }
        fields.push(field);
    }
    Ok(fields)
}

/// How far a line with a field is indented.
fn depth(line: &str) -> Option<usize> {
    let text = line.trim_start();
    (!text.is_empty() && !text.starts_with('|')).then(|| line.len() - text.len())
}

/// The lines behind `|` that follow, as one text.
fn notes(lines: &mut Peekable<Lines<'_>>) -> Option<String> {
    let mut text = Vec::new();
    while let Some(line) = lines.next_if(|line| line.trim_start().starts_with('|')) {
        text.push(line.trim_start().trim_start_matches('|').trim());
    }
    (!text.is_empty()).then(|| text.join(" "))
}

impl Field {
    /// `topics: [Topic]? = null   4-12 tag 1 null 2+ ignorable`
    fn parse(line: &str, within: Versions) -> Result<Self, Wrong> {
        let (name, rest) = line.split_once(": ").ok_or_else(|| Wrong::new("has no type"))?;
        let mut words = rest.split_whitespace().peekable();
        let written = words.next().unwrap_or_default();
        let (ty, nullable) = match written.strip_suffix('?') {
            Some(ty) => (ty, true),
            None => (written, false),
        };
        let element = ty.strip_prefix('[').and_then(|ty| ty.strip_suffix(']'));
        let mut field = Self {
            name: name.to_owned(),
            ty: Type::parse(element.unwrap_or(ty)),
            array: element.is_some(),
            nullable: nullable.then_some(0),
            default: None,
            versions: within,
            tag: None,
            ignorable: false,
            note: None,
        };
        while let Some(word) = words.next() {
            match word {
                "=" => field.default = words.next().map(str::to_owned),
                "tag" => field.tag = Some(number(words.next())?),
                "null" => field.nullable = Some(from(words.next())?),
                "ignorable" => field.ignorable = true,
                range => field.versions = versions(range, within.last)?,
            }
        }
        Ok(field)
    }
}

impl Type {
    fn parse(name: &str) -> Self {
        match name {
            "bool" => Self::Bool,
            "i8" => Self::I8,
            "i16" => Self::I16,
            "i32" => Self::I32,
            "i64" => Self::I64,
            "f64" => Self::F64,
            "uuid" => Self::Uuid,
            "text" => Self::Text,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            name => Self::Struct(name.to_owned()),
        }
    }
}

/// `4-18`, `7`, or `12+`, which ends at `last`.
fn versions(word: &str, last: i16) -> Result<Versions, Wrong> {
    if let Some(first) = word.strip_suffix('+') {
        return Ok(Versions { first: number(Some(first))?, last });
    }
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Ok(Versions { first: number(Some(first))?, last: number(Some(last))? })
}

fn from(word: Option<&str>) -> Result<i16, Wrong> {
    number(word.and_then(|word| word.strip_suffix('+')))
}

fn number<N: FromStr>(word: Option<&str>) -> Result<N, Wrong> {
    let word = word.unwrap_or_default();
    word.parse().map_err(|_| Wrong::new(format!("`{word}` is not the number that is due here")))
}

/// What is wrong with a file.
#[derive(Debug)]
pub struct Wrong(String);

impl Wrong {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}
