//! [`Table`], and the quoting of names and texts in statements.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A table, by its schema and name.
///
/// ```
/// use runbook_postgres::Table;
/// assert_eq!(Table::from("orders"), Table::new("public", "orders"));
/// assert_eq!(Table::from("audit.logins").to_string(), "audit.logins");
/// // A name with a dot in it:
/// let odd = Table::new("public", "orders.2026");
/// assert_eq!(odd.quoted(), r#""public"."orders.2026""#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Table {
    /// Its schema, e.g. `public`.
    pub schema: String,
    /// Its name.
    pub name: String,
}

impl Table {
    /// The table `name` of `schema`, both as they are, without quotes.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// As a statement names it, whatever characters it has.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }
}

impl From<&str> for Table {
    /// `schema.name`, or a name in the schema `public`.
    fn from(text: &str) -> Self {
        match text.split_once('.') {
            Some((schema, name)) => Self::new(schema, name),
            None => Self::new("public", text),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A name as a statement can hold it.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a statement can hold it.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_stay_inside() {
        assert_eq!(identifier("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("\\'"), "E'\\\\'''");
    }
}
