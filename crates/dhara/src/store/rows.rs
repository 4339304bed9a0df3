//! Values that go into statements and come out of rows.

use std::sync::Arc;

use super::StoreError;

/// A value that is bound to a statement's `$1`, `$2` ...
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Param<'a> {
    /// NULL.
    Null,
    /// A 64-bit integer.
    Int(i64),
    /// A double.
    Real(f64),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

macro_rules! param_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Param<'_> {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

param_from!(i64 => Int, i32 => Int, u32 => Int, u16 => Int, u8 => Int, bool => Int, f64 => Real);

impl<'a> From<&'a str> for Param<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Param<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Param<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value)
    }
}

impl<'a, T> From<Option<T>> for Param<'a>
where
    Param<'a>: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// NULL.
    Null,
    /// A 64-bit integer.
    Int(i64),
    /// A double.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// A row of these values, under these names.
    pub fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The value of the column called `name`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Statement`] where there is no such column, or its value is no `T`.
    pub fn get<T: FromValue>(&self, name: &str) -> Result<T, StoreError> {
        let index = self.columns.iter().position(|column| column == name);
        let value = index.and_then(|index| self.values.get(index)).ok_or_else(|| {
            let what =
                format!("no column {name:?} in the answer, which has: {}", self.columns.join(", "));
            StoreError::Statement { what, source: None }
        })?;
        T::from_value(value).ok_or_else(|| {
            let wanted = std::any::type_name::<T>();
            let what = format!("column {name:?} holds {value:?}, which is no {wanted}");
            StoreError::Statement { what, source: None }
        })
    }
}

/// A type that a column's value can be read as.
pub trait FromValue: Sized {
    /// The value as this type, or `None` where it does not fit.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! int_from_value {
    ($($int:ty),*) => {$(
        impl FromValue for $int {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Int(int) => (*int).try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

int_from_value!(i64, i32, u64, u32, u16, u8, usize);

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(|int| int != 0)
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Real(real) => Some(*real),
            Value::Int(int) => Some(*int as f64),
            _ => None,
        }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Blob(blob) => Some(blob.clone()),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}
