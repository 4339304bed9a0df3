//! Random messages, written straight from `schema/` by an interpreter of a hundred lines.
//!
//! It shares the reader of the schema with the crate, and nothing of what turns it into Rust.

#[path = "../../build/schema.rs"]
#[expect(dead_code, unreachable_pub, reason = "what the build asks of it is not asked here")]
mod schema;

use std::fs;
use std::path::Path;

use schema::{Field, Message, Struct, Type};
pub(crate) use schema::{Kind, Schema};

/// Long enough for a compact length of two bytes.
const LONG: &str = "a text that is longer than the hundred and twenty-six bytes whose length, \
                    counted from one, goes into a single byte where lengths are compact: so";

/// Small, fast, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        *values.get(self.below(values.len())).unwrap()
    }

    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// All APIs of `schema/`, and what travels inside their messages.
pub(crate) fn schemas() -> Vec<Schema> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let mut schemas = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "msg") {
            schemas.push(Schema::parse(&fs::read_to_string(&path).unwrap()).unwrap());
        }
    }
    schemas.sort_by_key(|schema| (schema.key, schema.name.clone()));
    schemas
}

/// A random frame, without its length: what a codec must read, and write again to the byte.
pub(crate) fn frame(schema: &Schema, kind: Kind, version: i16, random: &mut Random) -> Vec<u8> {
    let flexible = schema.is_flexible(version);
    let mut out = Vec::new();
    if kind == Kind::Request {
        out.extend(schema.key.unwrap().to_be_bytes());
        out.extend(version.to_be_bytes());
        out.extend(7_i32.to_be_bytes());
        out.extend((-1_i16).to_be_bytes());
    } else {
        out.extend(7_i32.to_be_bytes());
    }
    if flexible && (kind == Kind::Request || schema.key != Some(18)) {
        out.push(0);
    }
    out.extend(body(schema, kind, version, random));
    out
}

/// A random message without a header.
pub(crate) fn body(schema: &Schema, kind: Kind, version: i16, random: &mut Random) -> Vec<u8> {
    let message = schema.messages.iter().find(|message| message.kind == kind).unwrap();
    let flexible = schema.is_flexible(version);
    let mut out = Vec::new();
    let mut writer = Interpreter { message, version, flexible, random };
    writer.structure(message.root().unwrap(), true, &mut out);
    out
}

struct Interpreter<'a> {
    message: &'a Message,
    version: i16,
    flexible: bool,
    random: &'a mut Random,
}

impl Interpreter<'_> {
    fn structure(&mut self, one: &Struct, root: bool, out: &mut Vec<u8>) {
        let fields = one.fields.iter().filter(|field| field.versions.has(self.version));
        let (tagged, plain): (Vec<_>, Vec<_>) = fields.partition(|field| field.tag.is_some());
        for field in plain {
            self.field(field, out);
        }
        if self.flexible {
            self.tags(tagged, root, out);
        }
    }

    /// Known tags that differ from their defaults, and for the message itself some unknown ones.
    fn tags(&mut self, tagged: Vec<&Field>, root: bool, out: &mut Vec<u8>) {
        let mut tags = Vec::new();
        for field in tagged {
            let mut value = Vec::new();
            self.field(field, &mut value);
            if !self.random.once_in(3) && value != self.default(field) {
                tags.push((field.tag.unwrap(), value));
            }
        }
        tags.sort();
        if root && self.random.once_in(3) {
            tags.push((90, vec![1; self.random.below(9)]));
            tags.push((100_000, vec![2; self.random.below(200)]));
        }
        varint(tags.len(), out);
        for (tag, value) in tags {
            varint(tag as usize, out);
            varint(value.len(), out);
            out.extend(value);
        }
    }

    fn field(&mut self, field: &Field, out: &mut Vec<u8>) {
        let nullable = field.is_nullable(self.version);
        let structure = !field.array && matches!(field.ty, Type::Struct(_));
        if nullable && self.random.once_in(4) {
            return self.null(field, out);
        }
        if nullable && structure {
            out.push(1);
        }
        if field.array {
            let count = self.random.below(4);
            self.length(count, out);
            for _ in 0..count {
                self.value(&field.ty, out);
            }
        } else {
            self.value(&field.ty, out);
        }
    }

    fn value(&mut self, ty: &Type, out: &mut Vec<u8>) {
        let number =
            if self.random.once_in(3) { self.random.next() } else { self.random.next() % 5 };
        match ty {
            Type::Bool => out.push((number & 1) as u8),
            Type::I8 => out.push(number as u8),
            Type::I16 => out.extend((number as u16).to_be_bytes()),
            Type::I32 => out.extend((number as u32).to_be_bytes()),
            Type::I64 => out.extend(number.to_be_bytes()),
            Type::F64 => out.extend((number as f64).to_be_bytes()),
            Type::Uuid => {
                out.extend(number.to_be_bytes());
                out.extend(self.random.next().to_be_bytes());
            }
            Type::Text => {
                let text = self.random.one_of(&["", "a", "orders", "ধারা", LONG]);
                self.short_length(text.len(), out);
                out.extend(text.as_bytes());
            }
            Type::Bytes | Type::Records => {
                let length = self.random.one_of(&[0, 1, 20, 130, 5000]);
                self.length(length, out);
                out.extend(std::iter::repeat_n(number as u8, length));
            }
            Type::Struct(name) => self.structure(self.message.find(name).unwrap(), false, out),
        }
    }

    fn null(&self, field: &Field, out: &mut Vec<u8>) {
        match field.ty {
            Type::Struct(_) if !field.array => out.push(0xff),
            _ if self.flexible => out.push(0),
            Type::Text if !field.array => out.extend([0xff; 2]),
            _ => out.extend([0xff; 4]),
        }
    }

    fn length(&self, length: usize, out: &mut Vec<u8>) {
        if self.flexible {
            varint(length + 1, out)
        } else {
            out.extend((length as i32).to_be_bytes())
        }
    }

    fn short_length(&self, length: usize, out: &mut Vec<u8>) {
        if self.flexible {
            varint(length + 1, out)
        } else {
            out.extend((length as i16).to_be_bytes())
        }
    }

    /// The bytes of a field that has its default.
    fn default(&self, field: &Field) -> Vec<u8> {
        let mut out = Vec::new();
        let default = field.default.as_deref();
        let number = || -> i64 {
            let text = default.unwrap_or("0");
            let hex = text.strip_prefix("0x").map(|hex| i64::from_str_radix(hex, 16).unwrap());
            hex.unwrap_or_else(|| text.parse().unwrap())
        };
        match &field.ty {
            _ if default == Some("null") => self.null(field, &mut out),
            _ if field.array => self.length(0, &mut out),
            Type::Bool => out.push(u8::from(default == Some("true"))),
            Type::I8 => out.push(number() as u8),
            Type::I16 => out.extend((number() as i16).to_be_bytes()),
            Type::I32 => out.extend((number() as i32).to_be_bytes()),
            Type::I64 | Type::F64 => out.extend(number().to_be_bytes()),
            Type::Uuid => out.extend([0; 16]),
            Type::Text => self.short_length(0, &mut out),
            Type::Bytes | Type::Records => self.length(0, &mut out),
            Type::Struct(name) => {
                for inner in &self.message.find(name).unwrap().fields {
                    out.extend(self.default(inner));
                }
                out.push(0);
            }
        }
        out
    }
}

pub(crate) fn varint(value: usize, out: &mut Vec<u8>) {
    let mut value = value;
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
