//! What stands in `#[event(...)]`.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{DeriveInput, Error, Expr, ExprLit, Ident, Lit, LitInt, LitStr, Member, Result};

const KNOWN: &str = "`topic`, `key`, `version`, `kind` and `name`";

/// The attributes of one event, as they were written.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) topic: Option<LitStr>,
    pub(crate) key: Option<(Member, Span)>,
    pub(crate) version: Option<u32>,
    pub(crate) kind: Option<&'static str>,
    pub(crate) name: Option<LitStr>,
}

impl Attributes {
    /// Reads every `#[event(...)]` of `input`; all that is wrong in them is told at once.
    pub(crate) fn read(input: &DeriveInput) -> Result<Self> {
        let mut attributes = Self::default();
        let mut errors: Option<Error> = None;
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
            if let Err(error) = attribute.parse_nested_meta(|meta| attributes.take(&meta)) {
                match &mut errors {
                    Some(errors) => errors.combine(error),
                    None => errors = Some(error),
                }
            }
        }
        errors.map_or(Ok(attributes), Err)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
        match name.as_str() {
            "topic" => {
                let topic = text(meta, "topic = \"orders\"")?;
                check_topic(&topic.value(), topic.span())?;
                once(&mut self.topic, topic, meta)
            }
            "key" => once(&mut self.key, key(meta)?, meta),
            "version" => once(&mut self.version, version(meta)?, meta),
            "kind" => once(&mut self.kind, kind(meta)?, meta),
            "name" => {
                let name = text(meta, "name = \"OrderCreated\"")?;
                check_name(&name)?;
                once(&mut self.name, name, meta)
            }
            _ => Err(meta.error(unknown(&name))),
        }
    }
}

fn unknown(name: &str) -> String {
    let meant = match name {
        "type" | "event_type" | "rename" => "; the name on the wire is `name = \"...\"`",
        "partition_key" | "id" => "; the key is `key = a_field`",
        "stream" | "queue" | "exchange" => "; the topic is `topic = \"...\"`",
        _ => "",
    };
    format!("an event has no attribute `{name}`{meant}; there are {KNOWN}")
}

fn once<T>(slot: &mut Option<T>, value: T, meta: &ParseNestedMeta<'_>) -> Result<()> {
    if slot.is_some() {
        return Err(meta.error("this attribute is given twice; remove one of the two"));
    }
    *slot = Some(value);
    Ok(())
}

fn expression(meta: &ParseNestedMeta<'_>, example: &str) -> Result<Expr> {
    let value =
        meta.value().map_err(|_| meta.error(format!("a value is missing: write `{example}`")))?;
    value.parse().map_err(|error: Error| Error::new(error.span(), format!("write `{example}`")))
}

fn text(meta: &ParseNestedMeta<'_>, example: &str) -> Result<LitStr> {
    match expression(meta, example)? {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text),
        other => {
            Err(Error::new(other.span(), format!("a string literal is wanted: write `{example}`")))
        }
    }
}

fn key(meta: &ParseNestedMeta<'_>) -> Result<(Member, Span)> {
    let expression = expression(meta, "key = order_id")?;
    let span = expression.span();
    match &expression {
        Expr::Path(path) if path.path.get_ident().is_some() => {
            let ident = path.path.get_ident().cloned();
            ident.map(|ident| (Member::Named(ident), span)).ok_or_else(|| Error::new(span, ""))
        }
        Expr::Lit(ExprLit { lit: Lit::Int(index), .. }) => {
            Ok((Member::Unnamed(syn::Index { index: index.base10_parse()?, span }), span))
        }
        Expr::Lit(ExprLit { lit: Lit::Str(name), .. }) => {
            let message =
                format!("a field is named without quotes: write `key = {}`", name.value());
            Err(Error::new(span, message))
        }
        _ => Err(Error::new(span, "the key is one field of the struct: write `key = order_id`")),
    }
}

fn version(meta: &ParseNestedMeta<'_>) -> Result<u32> {
    const EXAMPLE: &str = "version = 2";
    let expression = expression(meta, EXAMPLE)?;
    let wrong =
        || Error::new(expression.span(), format!("a whole number is wanted: write `{EXAMPLE}`"));
    let Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) = &expression else { return Err(wrong()) };
    match LitInt::base10_parse::<u32>(number) {
        Ok(0) => Err(Error::new(
            number.span(),
            "versions count from 1: leave `version` out, or write `version = 1` or more",
        )),
        Ok(version) => Ok(version),
        Err(_) => Err(wrong()),
    }
}

fn kind(meta: &ParseNestedMeta<'_>) -> Result<&'static str> {
    let expression = expression(meta, "kind = integration")?;
    let name = match &expression {
        Expr::Path(path) => path.path.get_ident().map(Ident::to_string),
        _ => None,
    };
    match name.as_deref() {
        Some("domain") => Ok("Domain"),
        Some("integration") => Ok("Integration"),
        Some("system") => Ok("System"),
        _ => Err(Error::new(
            expression.span(),
            "an event's kind is `domain`, `integration` or `system`, without quotes",
        )),
    }
}

/// What every broker takes as the name of a topic (Kafka's rule is the narrowest).
pub(crate) fn check_topic(topic: &str, span: Span) -> Result<()> {
    let message = if topic.is_empty() {
        "the topic is empty: name one, or leave `topic` out to use the event's name".to_owned()
    } else if topic == "." || topic == ".." || topic.len() > 249 {
        "a topic has at most 249 characters and is not `.` or `..`".to_owned()
    } else if let Some(bad) =
        topic.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'))
    {
        format!(
            "a topic cannot have {bad:?} in its name: write `topic = \"...\"` with ASCII letters, \
             digits, `.`, `_` and `-`"
        )
    } else {
        return Ok(());
    };
    Err(Error::new(span, message))
}

fn check_name(name: &LitStr) -> Result<()> {
    let value = name.value();
    if value.is_empty() {
        return Err(Error::new(
            name.span(),
            "the event's name is empty: leave `name` out to use the type's name",
        ));
    }
    match value.chars().find(|c| c.is_control() || matches!(c, '"' | '\\')) {
        Some(bad) => {
            Err(Error::new(name.span(), format!("an event's name cannot have {bad:?} in it")))
        }
        None => Ok(()),
    }
}
