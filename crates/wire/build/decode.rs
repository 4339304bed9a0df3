//! How a struct is read.

use crate::schema::{Field, Struct, Type, Versions};
use crate::structs::{Context, put};

/// Writes `Element::read` of a struct; `keeps` when it keeps tags that nobody knows.
pub(crate) fn write(context: &Context<'_>, one: &Struct, keeps: bool, out: &mut String) {
    let all = context.schema.versions;
    let flexible = context.schema.flexible;
    let asks = one.fields.iter().any(|field| field.tag.is_none() && field.asks_version(all));
    let reads = flexible.is_some() || !one.fields.is_empty();
    put!(out, "fn read({}: &mut crate::Reader<'_>) -> crate::Decoded<Self> {{", name(reads, "r"));
    if asks {
        put!(out, "let v = r.version();");
    }
    for field in &one.fields {
        let name = field.ident();
        let default = field.default_value().unwrap_or_default();
        match (field.tag, field.condition(all)) {
            (Some(_), _) => put!(out, "let mut {name} = {default};"),
            (None, None) => put!(out, "let {name} = {};", field.read()),
            (None, Some(condition)) => {
                put!(
                    out,
                    "let {name} = if {condition} {{ {} }} else {{ {default} }};",
                    field.read()
                );
            }
        }
    }
    if flexible.is_some() {
        write_tags(one, keeps, all, out);
    }
    let names: Vec<_> = one.fields.iter().map(Field::ident).collect();
    let unknown = if keeps { ", unknown" } else { "" };
    put!(out, "Ok(Self {{ {}{unknown} }})\n}}", names.join(", "));
}

fn write_tags(one: &Struct, keeps: bool, all: Versions, out: &mut String) {
    let method = if keeps { "let unknown = r.keep_tags" } else { "r.skip_tags" };
    let tagged: Vec<_> = one.fields.iter().filter(|field| field.tag.is_some()).collect();
    if tagged.is_empty() {
        put!(out, "{method}(|_, _| Ok(false))?;");
        return;
    }
    put!(out, "{method}(|r, tag| {{");
    if tagged.iter().any(|field| field.asks_version(all)) {
        put!(out, "let v = r.version();");
    }
    put!(out, "match tag {{");
    for field in tagged {
        let guard = field.condition(all).map(|condition| format!(" if {condition}"));
        let (tag, name, read) = (field.tag.unwrap_or_default(), field.ident(), field.read());
        put!(out, "{tag}{} => {name} = {read},", guard.unwrap_or_default());
    }
    put!(out, "_ => return Ok(false),\n}}\nOk(true)\n}})?;");
}

fn name(used: bool, name: &str) -> String {
    if used { name.to_owned() } else { format!("_{name}") }
}

impl Field {
    /// When the field travels, where it does not always.
    pub(crate) fn condition(&self, all: Versions) -> Option<String> {
        let Versions { first, last } = self.versions;
        match (first > all.first, last < all.last) {
            (false, false) => None,
            (true, false) => Some(format!("v >= {first}")),
            (false, true) => Some(format!("v <= {last}")),
            (true, true) if first == last => Some(format!("v == {first}")),
            (true, true) => Some(format!("({first}..={last}).contains(&v)")),
        }
    }

    /// The version from which the field may be null, when there are earlier ones.
    pub(crate) fn later_nullable(&self) -> Option<i16> {
        self.nullable.filter(|first| *first > self.versions.first)
    }

    fn asks_version(&self, all: Versions) -> bool {
        self.condition(all).is_some() || self.later_nullable().is_some()
    }

    /// The expression that reads the field.
    fn read(&self) -> String {
        let (method, name) = (self.method(), &self.name);
        let generic = match &self.ty {
            Type::Struct(_) => format!("::<{}>", self.element_type()),
            _ if self.array => format!("::<{}>", self.element_type()),
            _ => String::new(),
        };
        let plain = format!("r.{method}{generic}(\"{name}\")?");
        let nullable = format!("r.nullable_{method}{generic}(\"{name}\")?");
        match (self.nullable, self.later_nullable()) {
            (None, _) => plain,
            (Some(_), None) => nullable,
            (Some(_), Some(first)) => {
                format!("if v >= {first} {{ {nullable} }} else {{ Some({plain}) }}")
            }
        }
    }
}
