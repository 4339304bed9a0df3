//! How a struct is written.

use crate::schema::{Field, Struct, Type, Versions};
use crate::structs::{Context, put};

/// Writes `Element::write` of a struct; `keeps` when it keeps tags that nobody knows.
pub(crate) fn write(context: &Context<'_>, one: &Struct, keeps: bool, out: &mut String) {
    let all = context.schema.versions;
    put!(out, "fn write(&self, w: &mut crate::Writer) -> crate::Encoded {{");
    if one.fields.iter().any(|field| field.write_asks_version(all)) {
        put!(out, "let v = w.version();");
    }
    for field in one.fields.iter().filter(|field| field.tag.is_none()) {
        let refusal = field.refusal();
        match (field.condition(all), field.ignorable) {
            (None, _) => put!(out, "{};", field.write()),
            (Some(condition), true) => put!(out, "if {condition} {{ {}; }}", field.write()),
            (Some(condition), false) => {
                put!(out, "if {condition} {{ {}; }} else {refusal}", field.write());
            }
        }
    }
    match context.schema.flexible {
        Some(first) => write_tags(one, keeps, all, first, out),
        None => put!(out, "Ok(())"),
    }
    put!(out, "}}");
}

/// The tagged fields that differ from their defaults, and those that nobody knows.
fn write_tags(one: &Struct, keeps: bool, all: Versions, flexible: i16, out: &mut String) {
    let tagged: Vec<_> = one.fields.iter().filter(|field| field.tag.is_some()).collect();
    let unknown = if keeps { "Some(&self.unknown)" } else { "None" };
    if tagged.is_empty() {
        put!(out, "w.tags(crate::KnownTags::new(), {unknown})");
        return;
    }
    put!(out, "let mut tags = crate::KnownTags::new();");
    for field in tagged {
        let set = field.differs();
        let write = field.write();
        let add = format!("tags.add(w, {}, |w| {{ {write}; Ok(()) }})?;", field.tag.unwrap_or(0));
        // Before flexible versions no tag travels at all.
        let first = field.versions.first.max(flexible);
        let last = field.versions.last;
        let condition = field_condition(Versions { first, last }, all);
        match condition {
            None => put!(out, "if {set} {{ {add} }}"),
            Some(condition) if field.ignorable => {
                put!(out, "if {condition} && {set} {{ {add} }}");
            }
            Some(condition) => {
                put!(out, "if {condition} {{ if {set} {{ {add} }} }} else {}", field.refusal());
            }
        }
    }
    put!(out, "w.tags(tags, {unknown})");
}

fn field_condition(versions: Versions, all: Versions) -> Option<String> {
    match (versions.first > all.first, versions.last < all.last) {
        (false, false) => None,
        (true, false) => Some(format!("v >= {}", versions.first)),
        (false, true) => Some(format!("v <= {}", versions.last)),
        (true, true) => Some(format!("({}..={}).contains(&v)", versions.first, versions.last)),
    }
}

impl Field {
    fn write_asks_version(&self, all: Versions) -> bool {
        self.condition(all).is_some() || self.later_nullable().is_some()
    }

    /// The statement that writes the field.
    fn write(&self) -> String {
        let (method, name, place) = (self.method(), &self.name, self.ident());
        if self.is_number() || (!self.array && matches!(self.ty, Type::Bool | Type::Uuid)) {
            return format!("w.{method}(self.{place})");
        }
        let plain = format!("w.{method}(\"{name}\", &self.{place})?");
        let nullable = format!("w.nullable_{method}(\"{name}\", self.{place}.as_ref())?");
        match (self.nullable, self.later_nullable()) {
            (None, _) => plain,
            (Some(_), None) => nullable,
            (Some(_), Some(first)) => format!(
                "if v >= {first} {{ {nullable} }} else {{ \
                 let value = w.present(\"{name}\", self.{place}.as_ref())?; \
                 w.{method}(\"{name}\", value)? }}"
            ),
        }
    }

    /// The rest of an `else`: a value that has no place in the version is not left out silently.
    fn refusal(&self) -> String {
        format!("if {} {{ return Err(w.no_place(\"{}\")); }}", self.differs(), self.name)
    }

    /// Whether the field differs from its default.
    fn differs(&self) -> String {
        let place = format!("self.{}", self.ident());
        let default = self.default.as_deref();
        match (&self.ty, self.nullable) {
            (_, Some(_)) if default == Some("null") => format!("{place}.is_some()"),
            (Type::Struct(_), Some(_)) if !self.array => format!("{place}.is_some()"),
            (_, Some(_)) => format!("{place}.as_ref().is_none_or(|it| !it.is_empty())"),
            (Type::Bool, _) if default == Some("true") => format!("!{place}"),
            (Type::Bool, _) if !self.array => place,
            (Type::Uuid, _) if !self.array => format!("!{place}.is_zero()"),
            (Type::Struct(name), _) if !self.array => format!("{place} != {name}::default()"),
            (Type::F64, _) if !self.array => format!("{place} != 0.0"),
            _ if self.is_number() => format!("{place} != {}", default.unwrap_or("0")),
            _ => format!("!{place}.is_empty()"),
        }
    }
}
