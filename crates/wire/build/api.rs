//! The table of APIs, and the enums over all requests and all responses.

use crate::camel;
use crate::schema::Schema;
use crate::structs::put;

/// `Api` with its facts, `Request` and `Response`.
pub(crate) fn table(schemas: &[Schema]) -> String {
    let apis: Vec<_> = schemas.iter().filter(|schema| schema.key.is_some()).collect();
    let mut out = String::new();
    write_api(&apis, &mut out);
    for kind in ["Request", "Response"] {
        write_any(kind, &apis, &mut out);
    }
    out
}

fn write_api(apis: &[&Schema], out: &mut String) {
    put!(out, "/// An API of the protocol, by its number.");
    put!(out, "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]");
    put!(out, "#[repr(i16)]\npub enum Api {{");
    for api in apis {
        put!(out, "/// {}", api.about);
        put!(out, "{} = {},", camel(&api.name), api.key.unwrap_or_default());
    }
    put!(out, "}}\nimpl Api {{");
    put!(out, "/// All APIs that this crate knows, by number.\npub const ALL: &[Self] = &[");
    for api in apis {
        put!(out, "Self::{},", camel(&api.name));
    }
    put!(out, "];");
    put!(out, "/// The API with this number.");
    put!(out, "pub const fn from_key(key: i16) -> Option<Self> {{\nSome(match key {{");
    for api in apis {
        put!(out, "{} => Self::{},", api.key.unwrap_or_default(), camel(&api.name));
    }
    put!(out, "_ => return None,\n}})\n}}");
    put!(out, "const fn facts(self) -> Facts {{\nmatch self {{");
    for api in apis {
        let name = camel(&api.name);
        let (first, last) = (api.versions.first, api.versions.last);
        let flexible = api.flexible;
        put!(out, "Self::{name} => Facts {{ name: \"{name}\", ");
        put!(out, "versions: Versions::new({first}, {last}), flexible: {flexible:?} }},");
    }
    put!(out, "}}\n}}\n}}");
}

fn write_any(kind: &str, apis: &[&Schema], out: &mut String) {
    let lower = kind.to_lowercase();
    put!(out, "/// A {lower} of any API.\n#[derive(Clone, Debug, PartialEq)]");
    put!(out,);
    put!(out, "pub enum {kind} {{");
    for api in apis {
        put!(out, "/// {}", api.about);
        put!(out, "{}(crate::{}::{kind}),", camel(&api.name), api.name);
    }
    put!(out, "}}\nimpl {kind} {{");
    put!(out, "/// The API that it belongs to.");
    put!(out, "pub const fn api(&self) -> Api {{\nmatch self {{");
    for api in apis {
        put!(out, "Self::{0}(_) => Api::{0},", camel(&api.name));
    }
    put!(out, "}}\n}}");
    put!(out, "pub(crate) const fn name(api: Api) -> &'static str {{\nmatch api {{");
    for api in apis {
        put!(out, "Api::{0} => \"{0}{kind}\",", camel(&api.name));
    }
    put!(out, "}}\n}}");
    put!(out, "pub(crate) fn read(api: Api, r: &mut crate::Reader<'_>) -> crate::Decoded<Self> {{");
    put!(out, "Ok(match api {{");
    for api in apis {
        put!(out, "Api::{0} => Self::{0}(crate::Element::read(r)?),", camel(&api.name));
    }
    put!(out, "}})\n}}");
    put!(out, "pub(crate) fn write(&self, w: &mut crate::Writer) -> crate::Encoded {{");
    put!(out, "match self {{");
    for api in apis {
        put!(out, "Self::{}(it) => crate::Element::write(it, w),", camel(&api.name));
    }
    put!(out, "}}\n}}\n}}");
    for api in apis {
        let name = camel(&api.name);
        put!(out, "impl From<crate::{}::{kind}> for {kind} {{", api.name);
        put!(out, "fn from(it: crate::{}::{kind}) -> Self {{\nSelf::{name}(it)\n}}\n}}", api.name);
    }
}
