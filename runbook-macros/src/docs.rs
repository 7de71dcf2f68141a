//! Doc comments and names, as words for people.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// A doc comment: its first paragraph, and the rest.
#[derive(Default)]
pub(crate) struct Docs {
    /// The first paragraph in one line, without the stop at its end; empty if there is none.
    pub(crate) title: String,
    /// All after the first paragraph, in Markdown.
    pub(crate) rest: String,
}

impl Docs {
    pub(crate) fn of(attrs: &[Attribute]) -> Self {
        let text = text(attrs);
        let mut lines = text.trim().lines();
        let first: Vec<_> =
            lines.by_ref().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
        let title = first.join(" ");
        let title = match title.strip_suffix('.') {
            Some(short) if !short.ends_with('.') => short.to_owned(),
            _ => title,
        };
        let rest: Vec<_> = lines.collect();
        Self { title, rest: rest.join("\n").trim().to_owned() }
    }

    /// The title, or the name of the fn in words.
    pub(crate) fn title_or(&self, name: &str) -> String {
        if self.title.is_empty() { in_words(name) } else { self.title.clone() }
    }
}

/// A doc comment in one line, as the help text of a flag.
pub(crate) fn line(attrs: &[Attribute]) -> String {
    let docs = Docs::of(attrs);
    let rest: Vec<_> = docs.rest.split_whitespace().collect();
    if rest.is_empty() { docs.title } else { format!("{}. {}", docs.title, rest.join(" ")) }
}

/// Whether the attribute is a doc comment.
pub(crate) fn is_doc(attr: &Attribute) -> bool {
    attr.path().is_ident("doc")
}

/// The lines of all doc comments. `#[doc = include_str!(..)]` can't be seen by a macro.
fn text(attrs: &[Attribute]) -> String {
    let mut text = String::new();
    for attr in attrs.iter().filter(|attr| is_doc(attr)) {
        if let Meta::NameValue(doc) = &attr.meta
            && let Expr::Lit(ExprLit { lit: Lit::Str(lines), .. }) = &doc.value
        {
            for line in lines.value().lines() {
                text.push_str(line.strip_prefix(' ').unwrap_or(line));
                text.push('\n');
            }
            if lines.value().is_empty() {
                text.push('\n');
            }
        }
    }
    text
}

/// `switch_release` as `switch-release`.
pub(crate) fn with_dashes(name: &str) -> String {
    name.trim_matches('_').replace('_', "-")
}

/// `switch_release` as `Switch release`.
fn in_words(name: &str) -> String {
    let words = name.trim_matches('_').replace('_', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// `PlainText` as `plain-text`, `HTTPProxy` as `http-proxy`.
pub(crate) fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, letter) in letters.iter().enumerate() {
        let starts_word = letter.is_uppercase()
            && i > 0
            && (!letters[i - 1].is_uppercase()
                || letters.get(i + 1).is_some_and(|next| next.is_lowercase()));
        if (starts_word || *letter == '_') && !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        if *letter != '_' {
            out.extend(letter.to_lowercase());
        }
    }
    out
}

/// Whether it stays the same when it becomes part of a unit's id.
pub(crate) fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.split('-').all(|word| {
            !word.is_empty()
                && word
                    .chars()
                    .all(|c| c == '.' || c.is_numeric() || (c.is_alphabetic() && !c.is_uppercase()))
        })
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn the_first_paragraph_is_the_title_and_the_rest_is_the_text() {
        let attrs: Vec<Attribute> = vec![
            parse_quote!(#[doc = " Dumps the database"]),
            parse_quote!(#[doc = " to a file."]),
            parse_quote!(#[doc = ""]),
            parse_quote!(#[doc = " Takes a minute."]),
            parse_quote!(#[doc = ""]),
            parse_quote!(#[doc = "     pg_dump"]),
        ];
        let docs = Docs::of(&attrs);
        assert_eq!(docs.title, "Dumps the database to a file");
        assert_eq!(docs.rest, "Takes a minute.\n\n    pg_dump");
        assert_eq!(line(&attrs), "Dumps the database to a file. Takes a minute. pg_dump");
    }

    #[test]
    fn a_fn_without_doc_comment_is_called_by_its_name_in_words() {
        assert_eq!(Docs::of(&[]).title_or("switch_release"), "Switch release");
        assert_eq!(with_dashes("switch_release"), "switch-release");
    }

    #[test]
    fn variants_become_words_with_dashes() {
        assert_eq!(kebab("PlainText"), "plain-text");
        assert_eq!(kebab("HTTPProxy"), "http-proxy");
        assert_eq!(kebab("V2"), "v2");
        assert_eq!(kebab("Blue_Green"), "blue-green");
    }
}
