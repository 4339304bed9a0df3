//! Parameters into a statement, rows out of it.

use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement};

use super::super::{Param, Row, StoreError, Value};
use super::error;

/// Binds `$1`, `$2` ... of a statement.
///
/// To SQLite `$2` is a name, numbered by where it first stands; so each is looked up.
pub(super) fn bind(
    statement: &mut Statement<'_>,
    sql: &str,
    params: &[Param<'_>],
) -> Result<(), StoreError> {
    let mut highest = 0;
    for index in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(index) {
            None => index,
            Some(name) => number_of(name).ok_or_else(|| {
                let detail = format!("it has a parameter {name}; parameters are $1, $2 ...");
                wrong(sql, detail)
            })?,
        };
        let param = number.checked_sub(1).and_then(|at| params.get(at)).ok_or_else(|| {
            wrong(sql, format!("it asks for ${number}, and {} were given", params.len()))
        })?;
        highest = highest.max(number);
        statement
            .raw_bind_parameter(index, output_of(param))
            .map_err(|error| error::of_statement(sql, error))?;
    }
    if params.len() > highest {
        let given = params.len();
        return Err(wrong(
            sql,
            format!("it asks for {highest} parameters, and {given} were given"),
        ));
    }
    Ok(())
}

/// Binds parameters of one of the framework's own statements, in order, from the one numbered
/// `first` on.
pub(super) fn bind_from(
    statement: &mut Statement<'_>,
    first: usize,
    params: &[Param<'_>],
) -> rusqlite::Result<()> {
    for (index, param) in (first..).zip(params) {
        statement.raw_bind_parameter::<usize, _>(index, output_of(param))?;
    }
    Ok(())
}

/// All rows of a statement whose parameters are bound.
pub(super) fn rows(statement: &mut Statement<'_>, sql: &str) -> Result<Vec<Row>, StoreError> {
    let mut answer = Vec::new();
    let mut columns: Option<Arc<[String]>> = None;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(|error| error::of_statement(sql, error))? {
        // Asked after the first step, as a changed schema may have changed what `*` stands for.
        let columns = columns
            .get_or_insert_with(|| row.as_ref().column_names().map(ToOwned::to_owned).collect());
        let mut values = Vec::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            let value = row.get_ref(index).map_err(|error| error::of_statement(sql, error))?;
            values.push(value_of(value).ok_or_else(|| {
                wrong(sql, format!("column {column:?} holds a text that is not UTF-8"))
            })?);
        }
        answer.push(Row::new(Arc::clone(columns), values));
    }
    Ok(answer)
}

/// Runs a statement whose parameters are bound to its end, whatever rows it gives.
pub(super) fn drain(statement: &mut Statement<'_>) -> rusqlite::Result<()> {
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

/// Whether a statement follows on the first one.
pub(super) fn is_batch(sql: &str) -> bool {
    let sql = sql.trim_end().trim_end_matches(';');
    memchr::memchr(b';', sql.as_bytes()).is_some()
}

/// Runs statements that stand in one text, one after another; gives how many rows they changed.
pub(super) fn run_batch(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    let before = connection.total_changes();
    connection.execute_batch(sql)?;
    Ok(connection.total_changes().saturating_sub(before))
}

/// A statement that is wrong, and how.
pub(super) fn wrong(sql: &str, detail: String) -> StoreError {
    error::of_statement(sql, rusqlite::Error::ToSqlConversionFailure(detail.into()))
}

fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix(['$', '?'])?.parse().ok()
}

fn output_of<'a>(param: &Param<'a>) -> ToSqlOutput<'a> {
    ToSqlOutput::Borrowed(match *param {
        Param::Null => ValueRef::Null,
        Param::Int(int) => ValueRef::Integer(int),
        Param::Real(real) => ValueRef::Real(real),
        Param::Text(text) => ValueRef::Text(text.as_bytes()),
        Param::Blob(blob) => ValueRef::Blob(blob),
    })
}

fn value_of(value: ValueRef<'_>) -> Option<Value> {
    Some(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) => Value::Text(std::str::from_utf8(text).ok()?.to_owned()),
        ValueRef::Blob(blob) => Value::Blob(blob.to_vec()),
    })
}

/// A number of the framework as SQLite's integer; none comes near the bound.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
