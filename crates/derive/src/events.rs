//! `#[derive(Events)]`.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Result, Type, Variant};

const EXAMPLE: &str = "`enum Charged { Completed(PaymentCompleted), Failed(PaymentFailed) }`";

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let variants = &variants(input)?.variants;
    if !input.generics.params.is_empty() {
        let message = "the events are concrete types: an enum of events has no parameters";
        return Err(Error::new(input.generics.span(), message));
    }
    let ident = &input.ident;
    let mut seen = HashSet::new();
    let mut arms = TokenStream::new();
    let mut conversions = TokenStream::new();
    for variant in variants {
        let (name, event) = (&variant.ident, event_of(variant)?);
        if !seen.insert(quote!(#event).to_string()) {
            let message = "another variant holds this type already; each type stands once";
            return Err(Error::new(event.span(), message));
        }
        arms.extend(quote_spanned! { event.span() =>
            Self::#name(event) => ::dhara::event::IntoEvents::into_events(event, out),
        });
        conversions.extend(quote! {
            #[automatically_derived]
            impl ::core::convert::From<#event> for #ident {
                fn from(event: #event) -> Self {
                    Self::#name(event)
                }
            }
        });
    }
    Ok(quote! {
        #[automatically_derived]
        impl ::dhara::event::IntoEvents for #ident {
            fn into_events(
                self,
                out: &mut ::dhara::event::Outgoing<'_>,
            ) -> ::core::result::Result<(), ::dhara::event::EncodeError> {
                match self { #arms }
            }
        }
        #conversions
    })
}

fn variants(input: &DeriveInput) -> Result<&DataEnum> {
    match &input.data {
        Data::Enum(data) if data.variants.is_empty() => {
            let message = format!("the enum has no variants; write one for each event: {EXAMPLE}");
            Err(Error::new(input.ident.span(), message))
        }
        Data::Enum(data) => Ok(data),
        _ => {
            let message = format!(
                "`#[derive(Events)]` is for an enum of events: {EXAMPLE}; for a single event write \
                 `#[derive(Event)]`"
            );
            Err(Error::new(input.ident.span(), message))
        }
    }
}

fn event_of(variant: &Variant) -> Result<&Type> {
    if let Fields::Unnamed(fields) = &variant.fields
        && let Some(field) = fields.unnamed.first()
        && fields.unnamed.len() == 1
    {
        return Ok(&field.ty);
    }
    let message = format!(
        "each variant holds exactly one event: {EXAMPLE}; to publish nothing, let the handler \
         return an `Option` of the enum"
    );
    Err(Error::new(variant.span(), message))
}
