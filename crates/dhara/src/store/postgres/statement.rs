//! Parameters into a statement, rows out of it.
//!
//! PostgreSQL decides of what type a parameter is before it sees one, so a value is written as the
//! type that was decided: an integer as any number, as a boolean or as text; a text as whatever the
//! server reads from text, a UUID, a timestamp or JSON say.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{Row as ServerRow, Statement};

use super::super::{Param, Row, StoreError, Value};
use super::error;

type Problem = Box<dyn std::error::Error + Sync + Send>;

/// The parameters of `statement`, where they are as many as it asks for.
pub(super) fn bind<'a>(
    statement: &Statement,
    sql: &str,
    params: &'a [Param<'a>],
) -> Result<Vec<Bound<'a>>, StoreError> {
    let wanted = statement.params().len();
    if wanted != params.len() {
        let given = params.len();
        let detail = format!("it asks for {wanted} parameters, and {given} were given");
        return Err(error::wrong(sql, &detail));
    }
    for (param, ty) in params.iter().zip(statement.params()) {
        check(param, ty).map_err(|detail| error::wrong(sql, &detail))?;
    }
    Ok(params.iter().map(Bound).collect())
}

/// What PostgreSQL would misread is refused here, with what to do.
fn check(param: &Param<'_>, ty: &Type) -> Result<(), String> {
    match *param {
        Param::Int(int) if !fits(int, ty) => Err(format!(
            "{int} does not fit the type {ty} that PostgreSQL gives its parameter: make the column \
             BIGINT, or write CAST($1 AS BIGINT)"
        )),
        Param::Blob(_) if *base(ty) != Type::BYTEA => Err(format!(
            "bytes are given for a parameter of type {ty}: make the column BYTEA, or write \
             CAST($1 AS BYTEA)"
        )),
        Param::Text(text) if text.contains('\0') => {
            Err("a text holds U+0000, which PostgreSQL's texts cannot: use bytes".to_owned())
        }
        _ => Ok(()),
    }
}

fn fits(int: i64, ty: &Type) -> bool {
    match *base(ty) {
        Type::INT2 => i16::try_from(int).is_ok(),
        Type::INT4 => i32::try_from(int).is_ok(),
        Type::OID => u32::try_from(int).is_ok(),
        _ => true,
    }
}

/// The type behind a domain.
fn base(ty: &Type) -> &Type {
    match ty.kind() {
        Kind::Domain(inner) => base(inner),
        _ => ty,
    }
}

/// A parameter on its way to the server.
#[derive(Debug)]
pub(super) struct Bound<'a>(&'a Param<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Problem> {
        match *self.0 {
            Param::Null => return Ok(IsNull::Yes),
            Param::Int(int) => write_int(int, base(ty), out)?,
            Param::Real(real) => match *base(ty) {
                Type::FLOAT8 => out.put_f64(real),
                #[expect(clippy::cast_possible_truncation, reason = "the column is no wider")]
                Type::FLOAT4 => out.put_f32(real as f32),
                _ => out.put_slice(real.to_string().as_bytes()),
            },
            Param::Text(text) => out.put_slice(text.as_bytes()),
            Param::Blob(blob) => out.put_slice(blob),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, ty: &Type) -> Format {
        let binary = match self.0 {
            Param::Null | Param::Blob(_) => true,
            Param::Int(_) => is_written_as_int(base(ty)),
            Param::Real(_) => matches!(*base(ty), Type::FLOAT8 | Type::FLOAT4),
            Param::Text(_) => false,
        };
        if binary { Format::Binary } else { Format::Text }
    }

    to_sql_checked!();
}

fn is_written_as_int(ty: &Type) -> bool {
    matches!(
        *ty,
        Type::INT8 | Type::INT4 | Type::INT2 | Type::OID | Type::BOOL | Type::FLOAT8 | Type::FLOAT4
    )
}

fn write_int(int: i64, ty: &Type, out: &mut BytesMut) -> Result<(), Problem> {
    match *ty {
        Type::INT8 => out.put_i64(int),
        Type::INT4 => out.put_i32(int.try_into()?),
        Type::INT2 => out.put_i16(int.try_into()?),
        Type::OID => out.put_u32(int.try_into()?),
        Type::BOOL => out.put_u8(u8::from(int != 0)),
        Type::FLOAT8 => out.put_f64(int as f64),
        Type::FLOAT4 => out.put_f32(int as f32),
        _ => out.put_slice(int.to_string().as_bytes()),
    }
    Ok(())
}

/// All rows of an answer.
pub(super) fn rows(sql: &str, answer: &[ServerRow]) -> Result<Vec<Row>, StoreError> {
    let Some(first) = answer.first() else { return Ok(Vec::new()) };
    let columns: Arc<[String]> =
        first.columns().iter().map(|column| column.name().to_owned()).collect();
    let mut rows = Vec::with_capacity(answer.len());
    for row in answer {
        let mut values = Vec::with_capacity(columns.len());
        for index in 0..columns.len() {
            let Read(value) =
                row.try_get(index).map_err(|problem| error::of_statement(sql, problem))?;
            values.push(value);
        }
        rows.push(Row::new(Arc::clone(&columns), values));
    }
    Ok(rows)
}

/// A value as it comes from the server.
struct Read(Value);

impl<'a> FromSql<'a> for Read {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Problem> {
        let ty = base(ty);
        Ok(Self(match *ty {
            Type::INT8 => Value::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Value::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => Value::Int(i16::from_sql(ty, raw)?.into()),
            Type::OID => Value::Int(u32::from_sql(ty, raw)?.into()),
            Type::BOOL => Value::Int(bool::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(ty, raw)?),
            Type::FLOAT4 => Value::Real(f32::from_sql(ty, raw)?.into()),
            Type::NUMERIC => numeric(raw).ok_or("a NUMERIC that cannot be read")?,
            Type::BYTEA => Value::Blob(raw.to_vec()),
            Type::UUID => Value::Text(uuid(raw)),
            Type::JSONB => Value::Text(text(raw.get(1..).unwrap_or_default())?),
            _ if is_text(ty) => Value::Text(text(raw)?),
            _ => {
                let advice = format!("a value of type {ty}: write CAST(... AS TEXT)");
                return Err(advice.into());
            }
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Problem> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn is_text(ty: &Type) -> bool {
    matches!(
        *ty,
        Type::TEXT
            | Type::VARCHAR
            | Type::BPCHAR
            | Type::NAME
            | Type::UNKNOWN
            | Type::JSON
            | Type::XML
            | Type::CHAR
    ) || matches!(ty.kind(), Kind::Enum(_))
}

fn text(raw: &[u8]) -> Result<String, Problem> {
    Ok(std::str::from_utf8(raw)?.to_owned())
}

fn uuid(raw: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in raw.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// A NUMERIC, which is what `sum` of BIGINT gives: an integer where it is one that fits, else a
/// double.
///
/// On the wire it is its number of digits, the weight of the first, its sign, how many decimals are
/// shown, and then the digits, each of them to the base of 10,000.
fn numeric(raw: &[u8]) -> Option<Value> {
    let (head, digits) = raw.split_first_chunk::<8>()?;
    let [_, _, w1, w2, s1, s2, _, _] = *head;
    let weight = i32::from(i16::from_be_bytes([w1, w2]));
    let negative = match u16::from_be_bytes([s1, s2]) {
        0x0000 => false,
        0x4000 => true,
        0xD000 => return Some(Value::Real(f64::INFINITY)),
        0xF000 => return Some(Value::Real(f64::NEG_INFINITY)),
        _ => return Some(Value::Real(f64::NAN)),
    };
    let digits: Vec<u16> =
        digits.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    if let Some(int) = integer(&digits, weight, negative) {
        return Some(Value::Int(int));
    }
    // Read from its decimal text, so that it is the nearest double.
    let mut text = String::from(if negative { "-" } else { "" });
    digits.iter().for_each(|digit| text.push_str(&format!("{digit:04}")));
    let exponent = 4 * (weight + 1 - i32::try_from(digits.len()).ok()?);
    format!("{text}e{exponent}").parse().ok().map(Value::Real)
}

fn integer(digits: &[u16], weight: i32, negative: bool) -> Option<i64> {
    let places = usize::try_from(weight + 1).ok().or_else(|| digits.is_empty().then_some(0))?;
    if digits.iter().skip(places).any(|digit| *digit != 0) {
        return None;
    }
    let mut int = 0_i64;
    for place in 0..places {
        let digit = i64::from(digits.get(place).copied().unwrap_or(0));
        int = int.checked_mul(10_000)?;
        int = if negative { int.checked_sub(digit)? } else { int.checked_add(digit)? };
    }
    Some(int)
}

/// A number of the framework as PostgreSQL's BIGINT; none comes near the bound.
pub(super) fn integer_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A text of the framework that may hold what came from outside: PostgreSQL's texts cannot hold
/// U+0000, and the event that such a text tells of is kept as bytes beside it.
pub(super) fn storable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(digits: &[u16], weight: i16, sign: u16) -> Vec<u8> {
        let mut raw = BytesMut::new();
        raw.put_u16(u16::try_from(digits.len()).unwrap());
        raw.put_i16(weight);
        raw.put_u16(sign);
        raw.put_u16(0);
        digits.iter().for_each(|digit| raw.put_u16(*digit));
        raw.to_vec()
    }

    #[test]
    fn a_numeric_is_an_integer_where_it_is_one() {
        let read = |digits: &[u16], weight, sign| numeric(&wire(digits, weight, sign)).unwrap();
        assert_eq!(read(&[], 0, 0), Value::Int(0));
        assert_eq!(read(&[12, 3456], 1, 0), Value::Int(123_456));
        assert_eq!(read(&[5], 2, 0x4000), Value::Int(-500_000_000));
        assert_eq!(read(&[922, 3372, 368, 5477, 5808], 4, 0x4000), Value::Int(i64::MIN));
        assert_eq!(read(&[922, 3372, 368, 5477, 5808], 4, 0), Value::Real(9.223372036854776e18));
        assert_eq!(read(&[1, 5000], 0, 0), Value::Real(1.5));
        assert_eq!(read(&[2500], -1, 0x4000), Value::Real(-0.25));
        assert_eq!(read(&[1], -2, 0), Value::Real(1e-8));
        assert_eq!(numeric(b"short"), None);
    }
}
