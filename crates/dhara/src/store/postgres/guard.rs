//! What a handler's SQL is, as far as the framework must know before it is sent.
//!
//! This is no parser of SQL: it finds where statements begin in a text, past strings and comments,
//! and looks at their first words. Statements that end the transaction are known by these; inside
//! functions and procedures PostgreSQL refuses them by itself while a transaction block is open.

use super::super::StoreError;
use super::super::error::shown;

/// A text of SQL that may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// More than one statement stands in it.
    pub(super) is_batch: bool,
    /// One of them changes tables, types or functions.
    pub(super) defines: bool,
}

/// Whether a handler may send `sql` in its transaction.
pub(super) fn of_transaction(sql: &str) -> Result<Shape, StoreError> {
    let mut shape = Shape { is_batch: false, defines: false };
    for (number, words) in statements(sql).into_iter().enumerate() {
        if let Some(why) = refused(&words) {
            return Err(refusal(sql, why));
        }
        shape.is_batch |= number > 0;
        shape.defines |= matches!(words[0].as_str(), "CREATE" | "ALTER" | "DROP");
    }
    Ok(shape)
}

/// Whether `sql` is one statement that copies rows in.
pub(super) fn of_copy(sql: &str) -> Result<(), StoreError> {
    match statements(sql).as_slice() {
        [[first, _]] if first == "COPY" => Ok(()),
        _ => Err(refusal(sql, "only one COPY ... FROM STDIN stands here")),
    }
}

/// Whether `sql` may be sent beside the writer. What it writes all the same, in a `WITH` say, is
/// refused by the connection, which only reads.
pub(super) fn of_query(sql: &str) -> Result<(), StoreError> {
    const CONTROL: [&str; 6] = ["SET", "RESET", "CALL", "DO", "EXECUTE", "LOCK"];
    for words in statements(sql) {
        let why = refused(&words).or_else(|| {
            CONTROL.contains(&words[0].as_str()).then_some("a query only reads; a unit writes")
        });
        if let Some(why) = why {
            return Err(refusal(sql, why));
        }
    }
    Ok(())
}

/// Why a statement that begins with these words is not a handler's to send.
fn refused(words: &[String; 2]) -> Option<&'static str> {
    let [first, second] = words.each_ref().map(String::as_str);
    match first {
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE" => {
            Some("transactions and savepoints belong to the framework")
        }
        "SET" if !matches!(second, "LOCAL" | "CONSTRAINTS") => {
            Some("the connection's settings belong to the framework; SET LOCAL is yours")
        }
        "PREPARE" | "DEALLOCATE" | "DISCARD" | "RESET" | "LISTEN" | "UNLISTEN" => {
            Some("the connection belongs to the framework")
        }
        "COPY" => Some("COPY speaks another protocol; the transaction's own connection has it"),
        _ => None,
    }
}

fn refusal(sql: &str, why: &str) -> StoreError {
    let what = format!("the statement `{}` is refused: {why}", shown(sql));
    StoreError::Statement { what, source: None }
}

/// The first two words of each statement, in capitals.
fn statements(sql: &str) -> Vec<[String; 2]> {
    let mut found: Vec<[String; 2]> = Vec::new();
    let mut rest = sql;
    // How many words of the statement at hand were read.
    let mut words = 0;
    while let Some(token) = next(&mut rest) {
        match token {
            Token::End => words = 0,
            Token::Word(_) | Token::Other if words == 0 => {
                let first = if let Token::Word(word) = token { word } else { "" };
                found.push([first.to_ascii_uppercase(), String::new()]);
                words = 1;
            }
            Token::Word(word) if words == 1 => {
                if let Some([_, second]) = found.last_mut() {
                    *second = word.to_ascii_uppercase();
                }
                words = 2;
            }
            Token::Word(_) | Token::Other => words = 2,
        }
    }
    found
}

enum Token<'a> {
    Word(&'a str),
    /// A semicolon.
    End,
    Other,
}

/// The next token of `rest` that is neither space nor comment.
fn next<'a>(rest: &mut &'a str) -> Option<Token<'a>> {
    loop {
        *rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix("--") {
            *rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("/*") {
            *rest = after_comment(rest);
        } else {
            break;
        }
    }
    let first = rest.chars().next()?;
    let (token, length) = match first {
        ';' => (Token::End, 1),
        '\'' | '"' => (Token::Other, quoted(rest, first, false)),
        '$' => (Token::Other, dollar_quoted(rest)),
        _ if is_in_word(first) => {
            let length = rest.find(|c| !is_in_word(c) && c != '$').unwrap_or(rest.len());
            let (word, after) = rest.split_at(length);
            if word.eq_ignore_ascii_case("e") && after.starts_with('\'') {
                (Token::Other, length + quoted(after, '\'', true))
            } else {
                (Token::Word(word), length)
            }
        }
        _ => (Token::Other, first.len_utf8()),
    };
    *rest = rest.get(length..).unwrap_or("");
    Some(token)
}

fn is_in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

/// How long the quoted text is that `sql` begins with; a doubled quote does not end it.
fn quoted(sql: &str, quote: char, escapes: bool) -> usize {
    let mut chars = sql.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + quote.len_utf8();
        }
    }
    sql.len()
}

/// How long the text between `$tag$`s is; 1 where the dollar begins none, in `$1` say.
fn dollar_quoted(sql: &str) -> usize {
    let after = sql.get(1..).unwrap_or("");
    let Some(end) = after.find('$') else { return 1 };
    let tag = after.get(..end).unwrap_or("");
    if tag.starts_with(|c: char| c.is_ascii_digit()) || !tag.chars().all(is_in_word) {
        return 1;
    }
    let open = end + 2;
    let delimiter = sql.get(..open).unwrap_or("");
    let body = sql.get(open..).unwrap_or("");
    body.find(delimiter).map_or(sql.len(), |at| open + at + delimiter.len())
}

/// What follows the comment that `sql` begins with; comments nest.
fn after_comment(sql: &str) -> &str {
    let (mut depth, mut rest) = (0_usize, sql);
    loop {
        if let Some(inside) = rest.strip_prefix("/*") {
            (depth, rest) = (depth + 1, inside);
        } else if let Some(outside) = rest.strip_prefix("*/") {
            (depth, rest) = (depth.saturating_sub(1), outside);
            if depth == 0 {
                return rest;
            }
        } else {
            let mut chars = rest.chars();
            if chars.next().is_none() {
                return "";
            }
            rest = chars.as_str();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_seen_past_comments_and_strings() {
        for sql in [
            "COMMIT",
            " /* a /* nested */ one */ commit ;",
            "-- a comment\nRollback",
            "SELECT ';'; END",
            "SELECT E'it\\'s;' ; COMMIT -- '",
            "SELECT E'a''b\\'c;' ; COMMIT -- '",
            "SELECT 'it''s'; savepoint a",
            "SELECT $a$ ; $$ $a$; ABORT",
            "SELECT $1; COMMIT",
            "SELECT a$b$c FROM t; COMMIT; SELECT a$b$c",
            "SELECT \"a;b\"\"\"; BEGIN",
            "SET search_path = public",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "PREPARE TRANSACTION 'x'",
            "COPY t FROM STDIN",
            "()COMMIT; COMMIT",
        ] {
            assert!(of_transaction(sql).is_err(), "{sql} was let through");
        }
    }

    #[test]
    fn what_only_looks_like_control_is_let_through() {
        for sql in [
            "SELECT 'COMMIT; ROLLBACK'",
            "SELECT 1 -- ; COMMIT",
            "INSERT INTO t VALUES ($1, $$; COMMIT$$)",
            "SELECT \"commit\" FROM ende /* ; COMMIT */",
            "SET LOCAL work_mem = '4MB'",
            "SET CONSTRAINTS ALL IMMEDIATE",
            "SELECT E'\\'; COMMIT'",
            "",
        ] {
            assert!(of_transaction(sql).is_ok(), "{sql} was refused");
        }
    }

    #[test]
    fn batches_and_definitions_are_known() {
        let shape = |sql| of_transaction(sql).unwrap();
        assert_eq!(shape("SELECT 1;"), Shape { is_batch: false, defines: false });
        assert_eq!(shape("create table t (); -- ;"), Shape { is_batch: false, defines: true });
        assert_eq!(shape("SELECT 1; DROP TABLE t"), Shape { is_batch: true, defines: true });
        assert!(of_query("LOCK TABLE t").is_err());
        assert!(of_query("SELECT 1").is_ok());
    }
}
