//! `#[derive(Event)]`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Ident, Member, Result, Type};

use crate::attributes::{Attributes, check_topic};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let fields = fields(input)?;
    if !input.generics.params.is_empty() {
        return Err(Error::new(
            input.generics.span(),
            "an event has no type parameters or lifetimes: its name and topic stand for one type, \
             so write a struct that owns concrete fields",
        ));
    }
    let attributes = Attributes::read(input)?;
    let ident = &input.ident;
    let name = match &attributes.name {
        Some(name) => name.value(),
        None => ident.unraw().to_string(),
    };
    let topic = match &attributes.topic {
        Some(topic) => topic.value(),
        None => {
            check_topic(&name, ident.span())?;
            name.clone()
        }
    };
    let version = attributes.version.unwrap_or(1);
    let kind = Ident::new(attributes.kind.unwrap_or("Domain"), Span::call_site());
    let key = match &attributes.key {
        Some((member, span)) => key(fields, member, *span)?,
        None => TokenStream::new(),
    };
    Ok(quote! {
        #[automatically_derived]
        impl ::dhara::event::Event for #ident {
            const TYPE: &'static str = #name;
            const TOPIC: &'static str = #topic;
            const VERSION: u32 = #version;
            const KIND: ::dhara::event::EventKind = ::dhara::event::EventKind::#kind;
            #key
        }
    })
}

fn fields(input: &DeriveInput) -> Result<&Fields> {
    let message = match &input.data {
        Data::Struct(data) => return Ok(&data.fields),
        Data::Enum(_) => {
            "an event is a struct; for one of several events write a struct for each and \
             `#[derive(Events)]` on the enum that holds them"
        }
        Data::Union(_) => "an event is a struct; a union cannot be one",
    };
    Err(Error::new(input.ident.span(), message))
}

fn key(fields: &Fields, member: &Member, span: Span) -> Result<TokenStream> {
    let found = fields.members().zip(fields).find(|(name, _)| name == member);
    let Some((_, field)) = found else { return Err(no_such_field(fields, member, span)) };
    if is_option(field) {
        return Err(Error::new(
            span,
            "a key cannot be optional, since events without one have no order: use a field that \
             is always there, or leave `key` out",
        ));
    }
    // The field's own span: a type that is not `Display` is marked there.
    let value = quote_spanned!(field.ty.span() => ::dhara::event::key_text(&self.#member));
    Ok(quote! {
        fn key(&self) -> ::core::option::Option<impl ::core::fmt::Display + '_> {
            ::core::option::Option::Some(#value)
        }
    })
}

fn no_such_field(fields: &Fields, member: &Member, span: Span) -> Error {
    let name = |member: &Member| match member {
        Member::Named(ident) => format!("`{ident}`"),
        Member::Unnamed(index) => format!("`{}`", index.index),
    };
    let names: Vec<String> = fields.members().map(|member| name(&member)).collect();
    let there_are = match names.as_slice() {
        [] => "it has none".to_owned(),
        names => format!("it has {}", names.join(", ")),
    };
    Error::new(span, format!("the event has no field {}; {there_are}", name(member)))
}

fn is_option(field: &Field) -> bool {
    let Type::Path(path) = &field.ty else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == "Option")
}
