//! The structs of all messages, each in the module of its API.

use std::fmt::Write as _;

use crate::schema::{Field, Kind, Message, Schema, Struct, Type, Versions, Wrong};
use crate::{camel, decode, encode};

/// What the structs and the two directions of one message are written from.
pub(crate) struct Context<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) message: &'a Message,
}

/// A module for each schema.
pub(crate) fn modules(schemas: &[Schema]) -> Result<String, Wrong> {
    let mut out = String::new();
    for schema in schemas {
        module(schema, &mut out)
            .map_err(|wrong| Wrong::new(format!("{}: {wrong}", schema.name)))?;
    }
    Ok(out)
}

fn module(schema: &Schema, out: &mut String) -> Result<(), Wrong> {
    let Schema { name, about, versions, .. } = schema;
    let what = match schema.key {
        Some(key) => format!("{} (API {key})", camel(name)),
        None => camel(name),
    };
    put!(out, "/// {what}: {}\n///\n/// Versions {} to {}.", about, versions.first, versions.last);
    put!(out, "pub mod {name} {{");
    for message in &schema.messages {
        let context = Context { schema, message };
        let (inner, whole) = match message.kind {
            Kind::Request => ("request", "Request"),
            Kind::Response => ("response", "Response"),
            Kind::Data => ("data", "Data"),
        };
        put!(out, "pub use {inner}::{whole};");
        put!(out, "/// The structs of the {inner}.\npub mod {inner} {{");
        let least = message.least_sizes(schema);
        for (place, one) in message.structs.iter().enumerate() {
            let least = least.get(&one.name).copied().unwrap_or(0);
            if place > 0 && least == 0 {
                return Err(Wrong::new(format!("a `{}` may take no byte", one.name)));
            }
            context.write(one, place == 0, least, out)?;
        }
        context.write_message(out);
        put!(out, "}}");
    }
    put!(out, "}}");
    Ok(())
}

impl Context<'_> {
    fn write(&self, one: &Struct, root: bool, least: usize, out: &mut String) -> Result<(), Wrong> {
        let keeps = root && self.schema.flexible.is_some();
        self.write_struct(one, root, keeps, out)?;
        let name = &one.name;
        put!(out, "impl crate::Element for {name} {{\nconst LEAST: usize = {least};");
        decode::write(self, one, keeps, out);
        encode::write(self, one, keeps, out);
        put!(out, "}}");
        Ok(())
    }

    fn write_struct(
        &self,
        one: &Struct,
        root: bool,
        keeps: bool,
        out: &mut String,
    ) -> Result<(), Wrong> {
        let plain = one.fields.iter().all(Field::has_plain_default);
        match (root, self.message.kind) {
            (true, Kind::Data) => put!(out, "/// The data."),
            (true, kind) => {
                let kind = format!("{kind:?}").to_lowercase();
                put!(out, "/// The {kind}: {}", self.schema.about);
            }
            (false, _) => put!(out, "/// A part of the message.\n///\n{}", self.used_by(one)),
        }
        put!(out, "#[derive(Clone, Debug, PartialEq{})]", if plain { ", Default" } else { "" });
        put!(out, "pub struct {} {{", one.name);
        for field in &one.fields {
            put!(out, "{}", field.doc(self.schema.versions));
            put!(out, "pub {}: {},", field.ident(), field.rust_type());
        }
        if keeps {
            put!(out, "/// Tagged fields that this crate does not know.");
            put!(out, "pub unknown: crate::Tags,");
        }
        put!(out, "}}");
        if !plain {
            put!(out, "impl Default for {} {{\nfn default() -> Self {{\nSelf {{", one.name);
            for field in &one.fields {
                put!(out, "{}: {},", field.ident(), field.default_value()?);
            }
            put!(out, "{}}}\n}}\n}}", if keeps { "unknown: crate::Tags::default()," } else { "" });
        }
        Ok(())
    }

    /// The fields in which a struct stands.
    fn used_by(&self, one: &Struct) -> String {
        let mut places = String::from("/// Stands in");
        for outer in &self.message.structs {
            for field in &outer.fields {
                if field.ty == Type::Struct(one.name.clone()) {
                    let comma = if places.ends_with('n') { "" } else { "," };
                    let name = field.ident();
                    let _ = write!(places, "{comma} [`{0}::{name}`]", outer.name);
                }
            }
        }
        places + "."
    }

    fn write_message(&self, out: &mut String) {
        let Schema { name, versions, flexible, .. } = self.schema;
        let kind = match self.message.kind {
            Kind::Data => "Data".to_owned(),
            kind => format!("{kind:?}"),
        };
        put!(out, "impl crate::Message for {kind} {{");
        let called = if kind == "Data" { String::new() } else { kind };
        put!(out, "const NAME: &'static str = \"{}{called}\";", camel(name));
        let (first, last) = (versions.first, versions.last);
        put!(out, "const VERSIONS: crate::Versions = crate::Versions::new({first}, {last});");
        match flexible {
            Some(first) => put!(out, "const FLEXIBLE: Option<i16> = Some({first});"),
            None => put!(out, "const FLEXIBLE: Option<i16> = None;"),
        }
        put!(out, "}}");
    }
}

impl Field {
    /// The name as Rust writes it.
    pub(crate) fn ident(&self) -> String {
        match &*self.name {
            word @ ("match" | "type") => format!("r#{word}"),
            word => word.to_owned(),
        }
    }

    /// The type of an element, or of the field where it is no array.
    pub(crate) fn element_type(&self) -> String {
        match &self.ty {
            Type::Bool => "bool".into(),
            Type::I8 => "i8".into(),
            Type::I16 => "i16".into(),
            Type::I32 => "i32".into(),
            Type::I64 => "i64".into(),
            Type::F64 => "f64".into(),
            Type::Uuid => "crate::Uuid".into(),
            Type::Text => "crate::Text".into(),
            Type::Bytes | Type::Records => "bytes::Bytes".into(),
            Type::Struct(name) => name.clone(),
        }
    }

    fn rust_type(&self) -> String {
        let element = self.element_type();
        let whole = if self.array { format!("crate::Array<{element}>") } else { element };
        if self.nullable.is_some() { format!("Option<{whole}>") } else { whole }
    }

    /// The name of the methods of `Reader` and `Writer` that carry this type.
    pub(crate) fn method(&self) -> &'static str {
        match &self.ty {
            _ if self.array => "array",
            Type::Bool => "bool",
            Type::I8 => "i8",
            Type::I16 => "i16",
            Type::I32 => "i32",
            Type::I64 => "i64",
            Type::F64 => "f64",
            Type::Uuid => "uuid",
            Type::Text => "text",
            Type::Bytes | Type::Records => "bytes",
            Type::Struct(_) => "structure",
        }
    }

    fn is_null_by_default(&self) -> bool {
        self.default.as_deref() == Some("null")
    }

    /// Whether Rust's own default of the type is the field's.
    fn has_plain_default(&self) -> bool {
        if self.nullable.is_some() { self.is_null_by_default() } else { self.default.is_none() }
    }

    /// The default as an expression.
    pub(crate) fn default_value(&self) -> Result<String, Wrong> {
        let value = match self.default.as_deref() {
            Some("null") if self.nullable.is_some() => return Ok("None".into()),
            Some(value) if self.is_number() || self.ty == Type::Bool => value.to_owned(),
            Some(value) => {
                return Err(Wrong::new(format!("{} cannot be {value} by default", self.name)));
            }
            None => self.plain_value(),
        };
        Ok(if self.nullable.is_some() { format!("Some({value})") } else { value })
    }

    fn plain_value(&self) -> String {
        match self.ty {
            _ if self.array => "crate::Array::new()".into(),
            Type::Bool => "false".into(),
            Type::F64 => "0.0".into(),
            _ if self.is_number() => "0".into(),
            _ => format!("{}::default()", self.element_type()),
        }
    }

    pub(crate) fn is_number(&self) -> bool {
        let numbers = [Type::I8, Type::I16, Type::I32, Type::I64, Type::F64];
        !self.array && numbers.contains(&self.ty)
    }

    fn doc(&self, all: Versions) -> String {
        let mut facts = match (self.versions.first > all.first, self.versions.last < all.last) {
            (false, false) => "In all versions".to_owned(),
            (true, false) => format!("From version {} on", self.versions.first),
            (false, true) => format!("Up to version {}", self.versions.last),
            (true, true) if self.versions.first == self.versions.last => {
                format!("In version {}", self.versions.first)
            }
            (true, true) => {
                format!("In versions {} to {}", self.versions.first, self.versions.last)
            }
        };
        if let Some(first) = self.nullable.filter(|first| *first > self.versions.first) {
            let _ = write!(facts, ", null allowed from version {first} on");
        }
        if let Some(tag) = self.tag {
            let _ = write!(facts, ", as tag {tag}");
        }
        if let Some(default) = &self.default {
            let _ = write!(facts, ", `{default}` by default");
        }
        match &self.note {
            Some(note) => format!("/// {note}\n///\n/// {facts}."),
            None => format!("/// {facts}."),
        }
    }
}

/// Adds a line to what is written.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{
        use std::fmt::Write as _;
        // A `String` takes whatever there is memory for.
        let _ = writeln!($out, $($text)*);
    }};
}
pub(crate) use put;
