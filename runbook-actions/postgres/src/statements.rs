//! Splits a script into statements, as far as is needed to know how each begins.

/// The first words of each statement of a script, in upper case; or why it can't be split.
pub(crate) fn beginnings(script: &str) -> Result<Vec<String>, String> {
    let mut statements = Vec::new();
    let mut words = String::new();
    let mut rest = script;
    // How deep in `BEGIN ATOMIC .. END` of an SQL function we are.
    let mut bodies = 0usize;
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest)?,
            '\'' => {
                // `E'..'` has backslashes.
                let escapes = words.ends_with(['E', 'e'])
                    && !words.trim_end_matches(['E', 'e']).ends_with(char::is_alphanumeric);
                quoted(rest, '\'', escapes)?
            }
            '"' => quoted(rest, '"', false)?,
            '$' if !words.ends_with(|c: char| c.is_alphanumeric() || c == '_') => {
                dollars(rest)?.unwrap_or(1)
            }
            '\\' => return Err("it has a command of psql (a backslash)".into()),
            ';' if bodies == 0 => {
                end(&mut statements, &mut words);
                1
            }
            _ => {
                words.push(if c.is_whitespace() { ' ' } else { c });
                rest = &rest[c.len_utf8()..];
                let tail = words.to_ascii_uppercase();
                if tail.ends_with("BEGIN ATOMIC") {
                    bodies += 1;
                } else if bodies > 0
                    && tail.ends_with(" END")
                    && !rest.starts_with(char::is_alphanumeric)
                {
                    bodies -= 1;
                }
                continue;
            }
        };
        words.push(' ');
        rest = &rest[skip..];
    }
    end(&mut statements, &mut words);
    Ok(statements)
}

fn end(statements: &mut Vec<String>, words: &mut String) {
    let first: Vec<_> = words.split_whitespace().take(3).collect();
    if !first.is_empty() {
        statements.push(first.join(" ").to_ascii_uppercase());
    }
    words.clear();
}

/// The length of a comment, in which others may lie.
fn comment(text: &str) -> Result<usize, String> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Ok(at);
                }
            }
            _ => at += 1,
        }
    }
    Err("a comment does not end".into())
}

/// The length of a text in quotes.
fn quoted(text: &str, quote: char, escapes: bool) -> Result<usize, String> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return Ok(at + 1);
            }
        }
    }
    Err(format!("a text in {quote} does not end"))
}

/// The length of `$tag$ .. $tag$`; none if it is none.
fn dollars(text: &str) -> Result<Option<usize>, String> {
    let Some(end) = text[1..].find('$').map(|at| at + 2) else { return Ok(None) };
    let tag = &text[..end];
    let name = &tag[1..end - 1];
    if name.starts_with(|c: char| c.is_ascii_digit())
        || !name.chars().all(|c| c.is_alphanumeric() || c == '_')
    {
        return Ok(None);
    }
    match text[end..].find(tag) {
        Some(at) => Ok(Some(end + at + tag.len())),
        None => Err(format!("a text in {tag} does not end")),
    }
}

/// Whether a script can be one transaction: why not.
pub(crate) fn one_transaction(script: &str) -> Result<(), String> {
    for statement in beginnings(script)? {
        let first = statement.split(' ').next().unwrap_or_default();
        let ends = ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE"];
        let of_its_own = match first {
            "PREPARE" => statement.starts_with("PREPARE TRANSACTION"),
            "START" => statement.starts_with("START TRANSACTION"),
            // `ROLLBACK TO` goes back to a savepoint.
            "ROLLBACK" => !statement.starts_with("ROLLBACK TO"),
            _ => ends.contains(&first),
        };
        if of_its_own {
            return Err(format!("it begins or ends a transaction of its own (`{statement}`)"));
        }
        if statement.starts_with("COPY") {
            continue;
        }
        if ["VACUUM", "CREATE DATABASE", "DROP DATABASE", "ALTER SYSTEM", "REINDEX DATABASE"]
            .iter()
            .any(|outside| statement.starts_with(outside))
        {
            return Err(format!("`{statement}` can't be done in a transaction"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_texts_and_comments_end_nothing() {
        let script = "SELECT 'a;b', \"c;d\", E'it\\'s;', $$;COMMIT;$$, $x$ $$; $x$ -- ; COMMIT;\n\
                      /* ; /* COMMIT; */ ; */; update t set a = 'x''; y' ;; ";
        assert_eq!(beginnings(script).unwrap(), ["SELECT , ,", "UPDATE T SET"]);
    }

    #[test]
    fn a_body_of_an_sql_function_is_one_statement() {
        let script =
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3";
        assert_eq!(beginnings(script).unwrap(), ["CREATE FUNCTION F()", "SELECT 3"]);
        assert!(one_transaction(script).is_ok());
    }

    #[test]
    fn what_ends_the_transaction_is_refused() {
        let refused = [
            "COMMIT",
            "SELECT 1; commit work;",
            "begin;",
            "Start Transaction",
            "ROLLBACK",
            "END",
            "\\i other.sql",
            "SELECT 'open",
            "VACUUM t",
        ];
        for script in refused {
            assert!(one_transaction(script).is_err(), "{script}");
        }
        let fine = [
            "SAVEPOINT a; ROLLBACK TO a",
            "DO $$ BEGIN PERFORM 1; END $$",
            "PREPARE p AS SELECT 1",
            "SELECT $1, 5 AS x$",
            "COMMENT ON TABLE t IS 'COMMIT;'",
        ];
        for script in fine {
            assert_eq!(one_transaction(script), Ok(()), "{script}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        for script in ["$", "$$", "$a", "'", "/*/", "*/", "-", "é'é", "$é$x$é$", "E'\\", "\"\"\""]
        {
            let _ = beginnings(script);
        }
    }
}
