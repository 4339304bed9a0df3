//! The derive macros of Dhara: `#[derive(Event)]` and `#[derive(Events)]`.
//!
//! Use them through the `dhara` crate, which re-exports both and whose traits they implement.

mod attributes;
mod event;
mod events;

use proc_macro::TokenStream;

/// Makes a struct an event: implements `dhara::Event`.
///
/// Serialization is serde's: derive `Serialize` and `Deserialize` beside it.
///
/// ```ignore
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(topic = "orders", key = order_id)]
/// struct OrderCreated { order_id: String, total_amount: i64 }
/// ```
///
/// | attribute | meaning | without it |
/// |---|---|---|
/// | `topic = "orders"` | the topic it is published to | the event's name |
/// | `key = order_id` | the field whose text is the key: events of one key keep their order | no key, no order |
/// | `version = 2` | the version of its meaning, from 1 | 1 |
/// | `kind = integration` | `domain`, `integration` or `system` | `domain` |
/// | `name = "OrderCreated"` | the event's name on the wire | the type's name |
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    event::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an enum "one of several events": a handler that returns it publishes what its variant
/// holds. Implements `dhara::IntoEvents`, and `From` for each variant's type.
///
/// ```ignore
/// #[derive(Events)]
/// enum Charged { Completed(PaymentCompleted), Failed(PaymentFailed) }
/// ```
#[proc_macro_derive(Events)]
pub fn derive_events(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    events::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
