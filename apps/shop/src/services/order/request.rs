//! Reads `POST /orders`, and names every member that is wrong.

use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::catalogue;
use crate::addressee;
use crate::events::{Line, Money, Sku, UserId};
use crate::problem::{FieldError, Problem};

/// The largest body that is read.
pub(super) const MAX_BODY: usize = 64 << 10;
/// How many lines an order may have.
const MAX_LINES: usize = 50;
/// How many pieces one line may ask for.
const MAX_QUANTITY: u64 = 1000;

/// What a customer asks for, checked and priced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderRequest {
    pub(super) user_id: UserId,
    pub(super) email: Option<String>,
    pub(super) items: Vec<Line>,
    pub(super) total_amount: Money,
}

/// Reads the `Idempotency-Key` header.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Problem::field(
            StatusCode::BAD_REQUEST,
            "Idempotency-Key",
            "the header Idempotency-Key must be 1 to 255 visible ASCII characters",
        )),
    }
}

/// Reads an order from a request's headers and body.
pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<OrderRequest, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = format!("the body must be application/json, not {kind:?}");
        return Err(Problem::field(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type", detail));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}"))
    })?;
    let Value::Object(members) = value else {
        let detail = format!("the body must be an object, not {}", kind_of(&value));
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    };
    read(&members).map_err(Problem::fields)
}

fn read(members: &Map<String, Value>) -> Result<OrderRequest, Vec<FieldError>> {
    let mut errors = Errors::default();
    let user_id = user_id(members.get("userId"), &mut errors);
    let email = email(members.get("email"), &mut errors);
    let items = items(members.get("items"), &mut errors);
    if !errors.0.is_empty() {
        return Err(errors.0);
    }
    let total = |line: &Line| line.unit_price.saturating_mul(i64::from(line.quantity));
    let total_amount = items.iter().map(total).sum();
    Ok(OrderRequest { user_id: UserId(user_id), email, items, total_amount })
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), detail: detail.into() });
    }
}

fn user_id(value: Option<&Value>, errors: &mut Errors) -> String {
    match value {
        Some(Value::String(text)) if text.chars().any(char::is_control) => {
            errors.add("userId", "must not have control characters in it, such as line breaks");
        }
        Some(Value::String(text)) if !text.trim().is_empty() && text.chars().count() <= 100 => {
            return text.clone();
        }
        Some(Value::String(_)) => errors.add("userId", "must have 1 to 100 characters"),
        Some(other) => errors.add("userId", format!("must be a string, not {}", kind_of(other))),
        None => errors.add("userId", "is missing"),
    }
    String::new()
}

fn email(value: Option<&Value>, errors: &mut Errors) -> Option<String> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => match addressee::address(text) {
            Ok(_) => Some(text.clone()),
            Err(why) => {
                errors.add("email", why);
                None
            }
        },
        Some(other) => {
            errors.add("email", format!("must be a string, not {}", kind_of(other)));
            None
        }
    }
}

fn items(value: Option<&Value>, errors: &mut Errors) -> Vec<Line> {
    let lines = match value {
        Some(Value::Array(lines)) => lines,
        Some(other) => {
            errors.add("items", format!("must be an array, not {}", kind_of(other)));
            return Vec::new();
        }
        None => {
            errors.add("items", "is missing");
            return Vec::new();
        }
    };
    if !(1..=MAX_LINES).contains(&lines.len()) {
        let detail = format!("must have 1 to {MAX_LINES} lines, not {}", lines.len());
        errors.add("items", detail);
        return Vec::new();
    }
    let mut items: Vec<Line> = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let Some(line) = item(index, line, errors) else { continue };
        match items.iter_mut().find(|known| known.sku == line.sku) {
            // The same product twice is one line with the sum of both.
            Some(known) => {
                known.quantity += line.quantity;
                check_quantity(index, u64::from(known.quantity), errors);
            }
            None => items.push(line),
        }
    }
    items
}

fn item(index: usize, value: &Value, errors: &mut Errors) -> Option<Line> {
    let Value::Object(members) = value else {
        errors.add(format!("items[{index}]"), format!("must be an object, not {}", kind_of(value)));
        return None;
    };
    let field = format!("items[{index}].sku");
    let product = match members.get("sku") {
        Some(Value::String(sku)) => {
            let product = catalogue::product(sku);
            if product.is_none() {
                let short: String = sku.chars().take(60).collect();
                errors.add(field, format!("is not a product of this shop: {short:?}"));
            }
            product
        }
        Some(other) => {
            errors.add(field, format!("must be a string, not {}", kind_of(other)));
            None
        }
        None => {
            errors.add(field, "is missing");
            None
        }
    };
    let quantity = quantity(index, members.get("quantity"), errors);
    let (product, quantity) = (product?, quantity?);
    Some(Line { sku: Sku(product.sku.to_owned()), quantity, unit_price: product.price })
}

fn quantity(index: usize, value: Option<&Value>, errors: &mut Errors) -> Option<u32> {
    let field = format!("items[{index}].quantity");
    match value {
        Some(Value::Number(number)) => match number.as_u64() {
            Some(quantity) => check_quantity(index, quantity, errors),
            None => {
                errors.add(field, format!("must be a whole number from 1, not {number}"));
                None
            }
        },
        Some(other) => {
            errors.add(field, format!("must be a number, not {}", kind_of(other)));
            None
        }
        None => {
            errors.add(field, "is missing");
            None
        }
    }
}

fn check_quantity(index: usize, quantity: u64, errors: &mut Errors) -> Option<u32> {
    if (1..=MAX_QUANTITY).contains(&quantity) {
        return u32::try_from(quantity).ok();
    }
    let detail = format!("must be 1 to {MAX_QUANTITY}, not {quantity}");
    errors.add(format!("items[{index}].quantity"), detail);
    None
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields_of(body: &Value) -> Vec<(String, String)> {
        let Value::Object(members) = body else { panic!("not an object") };
        let errors = read(members).unwrap_err();
        errors.into_iter().map(|error| (error.field, error.detail)).collect()
    }

    #[test]
    fn one_product_on_two_lines_is_one_line() {
        let body = serde_json::json!({"userId": "u", "items": [
            {"sku": "tea-sylhet", "quantity": 2}, {"sku": "mug-dhaka", "quantity": 1},
            {"sku": "tea-sylhet", "quantity": 3}]});
        let Value::Object(members) = body else { panic!("not an object") };
        let request = read(&members).unwrap();
        let quantities: Vec<_> = request.items.iter().map(|line| line.quantity).collect();
        assert_eq!((quantities, request.total_amount), (vec![5, 1], 5 * 45_000 + 38_000));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let body = serde_json::json!({"userId": 5, "email": "nobody", "items": [
            {"sku": "unicorn", "quantity": 0}, {"quantity": 1.5}, 7,
            {"sku": "mug-dhaka", "quantity": 1_000_000_000}]});
        let fields: Vec<String> = fields_of(&body).into_iter().map(|(field, _)| field).collect();
        let expected = [
            "userId",
            "email",
            "items[0].sku",
            "items[0].quantity",
            "items[1].sku",
            "items[1].quantity",
            "items[2]",
            "items[3].quantity",
        ];
        assert_eq!(fields, expected);
    }
}
