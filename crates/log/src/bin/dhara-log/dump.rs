//! `dump`: the records of a partition.

use std::io::Write;

use dhara_log::batch::Record;
use dhara_log::inspect::Inspection;
use dhara_log::{LogError, RecordBatch};

use crate::arguments::Wanted;
use crate::text::{Hex, Json, Shown, Time};
use crate::{Failure, Outcome};

/// How much is read at a time.
const PIECE: usize = 1 << 20;

/// Shows records until there are no more, or as many as are wanted.
pub(crate) fn dump(
    log: &Inspection,
    wanted: &Wanted,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let bounds = log.bounds(&wanted.partition)?;
    let mut next = wanted.from.unwrap_or(bounds.earliest);
    let (mut left, mut outcome) = (wanted.count, Outcome::Good);
    while left > 0 {
        let fetched = match log.read(&wanted.partition, next, PIECE) {
            Err(LogError::Damaged { offset, next: after, what, .. }) if after > next => {
                put_damage(wanted, offset, after, &what, out)?;
                (next, outcome) = (after, Outcome::Damage);
                continue;
            }
            fetched => fetched?,
        };
        if fetched.next == next {
            break;
        }
        for batch in &fetched.batches {
            if !put_batch(batch, next, wanted, &mut left, out)? {
                outcome = Outcome::Damage;
            }
        }
        next = fetched.next;
    }
    Ok(outcome)
}

/// Shows the records of a batch from `from` on; `false` where they cannot be decoded.
fn put_batch(
    batch: &RecordBatch,
    from: u64,
    wanted: &Wanted,
    left: &mut u64,
    out: &mut dyn Write,
) -> Result<bool, Failure> {
    let result = batch.records().and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let records = match result {
        Ok(records) => records,
        Err(error) => {
            let (offset, after) = (batch.base_offset(), batch.next_offset());
            put_damage(wanted, offset, after, &error.to_string(), out)?;
            return Ok(false);
        }
    };
    for record in records.iter().filter(|record| record.offset >= from) {
        if *left == 0 {
            break;
        }
        *left -= 1;
        match wanted.is_json {
            true => put_json(record, batch, out)?,
            false => put_text(record, batch, out)?,
        }
    }
    Ok(true)
}

fn put_text(record: &Record, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), Failure> {
    write!(out, "{} {}", record.offset, Time(record.timestamp))?;
    if batch.is_control() {
        write!(out, " (marker of a transaction)")?;
    }
    if let Some(key) = &record.key {
        write!(out, " key={}", Shown(key))?;
    }
    match &record.value {
        Some(value) => write!(out, " value={}", Shown(value))?,
        None => write!(out, " no value")?,
    }
    for (name, value) in record.headers.iter() {
        write!(out, " {}={}", Shown(&name), Shown(&value.unwrap_or_default()))?;
    }
    writeln!(out)?;
    Ok(())
}

fn put_json(record: &Record, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), Failure> {
    write!(out, "{{\"offset\":{},\"timestamp\":{}", record.offset, record.timestamp)?;
    if batch.is_control() {
        write!(out, ",\"control\":true")?;
    }
    put_member("key", record.key.as_deref(), out)?;
    put_member("value", record.value.as_deref(), out)?;
    write!(out, ",\"headers\":[")?;
    for (place, (name, value)) in record.headers.iter().enumerate() {
        write!(out, "{}{{\"name\":{}", if place > 0 { "," } else { "" }, Json(&lossy(&name)))?;
        put_member("value", value.as_deref(), out)?;
        write!(out, "}}")?;
    }
    writeln!(out, "]}}")?;
    Ok(())
}

/// A member with text; with hexadecimal digits, and a name that says so, where it is none.
fn put_member(name: &str, bytes: Option<&[u8]>, out: &mut dyn Write) -> Result<(), Failure> {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => write!(out, ",\"{name}\":null")?,
        Some((Ok(text), _)) => write!(out, ",\"{name}\":{}", Json(text))?,
        Some((Err(_), bytes)) => write!(out, ",\"{name}Hex\":\"{}\"", Hex(bytes))?,
    }
    Ok(())
}

fn put_damage(
    wanted: &Wanted,
    offset: u64,
    next: u64,
    what: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if wanted.is_json {
        let what = Json(what);
        writeln!(out, "{{\"damaged\":{{\"from\":{offset},\"next\":{next},\"what\":{what}}}}}")?;
    } else {
        writeln!(out, "{offset} damaged up to below {next}: {}", Shown(what.as_bytes()))?;
    }
    Ok(())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
