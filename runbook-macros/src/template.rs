//! Templates over a unit's arguments: `"Dump {db}"` in a title or preview.

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::LitStr;

use crate::errors::{Errors, list};
use crate::signature::Arg;
use crate::spans::{at, macro_at, this};

/// An expression of type `String`, inside a method of the unit's struct.
pub(crate) fn expand(text: &LitStr, args: &[Arg], errors: &mut Errors) -> TokenStream {
    let span = macro_at(text);
    let mut format = String::new();
    let mut values = Vec::new();
    for part in parse(&text.value()) {
        match part {
            Ok(Part::Text(text)) => format.push_str(&text.replace('{', "{{").replace('}', "}}")),
            Ok(Part::Name(name)) => match args.iter().find(|arg| arg.name == name) {
                Some(arg) => {
                    let (this, field) = (at(&this(), span), at(&arg.field, span));
                    format.push_str("{}");
                    values.push(quote_spanned! {span=>
                        ::runbook::__macros::text(
                            (&&&::runbook::__macros::Show(&#this.#field)).show(),
                            #name,
                        )
                    });
                }
                None => {
                    let known = match args {
                        [] => "there are no arguments".to_owned(),
                        _ => format!("its arguments are {}", list(args.iter().map(|a| &a.name))),
                    };
                    errors.at(
                        text,
                        format!(
                            "`{{{name}}}` is not an argument of this fn: {known}\na brace that is \
                             meant as text is doubled: `{{{{`"
                        ),
                    );
                }
            },
            Err(problem) => errors.at(text, problem),
        }
    }
    let format = LitStr::new(&format, span);
    quote_spanned! {span=> ::std::format!(#format #(, #values)*) }
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

fn parse(template: &str) -> Vec<Result<Part, String>> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
        } else if brace == "}" {
            parts
                .push(Err("a `}` without its `{`; a brace that is meant as text is doubled: `}}`"
                    .to_owned()));
        } else if let Some(end) = rest.find('}') {
            if !text.is_empty() {
                parts.push(Ok(Part::Text(std::mem::take(&mut text))));
            }
            parts.push(Ok(Part::Name(rest[..end].trim().to_owned())));
            rest = &rest[end + 1..];
        } else {
            parts
                .push(Err("a `{` without its `}`; a brace that is meant as text is doubled: `{{`"
                    .to_owned()));
        }
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Ok(Part::Text(text)));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_doubled_braces_are_told_apart() {
        assert_eq!(
            parse("dump {db} as {{json}}"),
            [
                Ok(Part::Text("dump ".into())),
                Ok(Part::Name("db".into())),
                Ok(Part::Text(" as {json}".into())),
            ]
        );
        assert!(parse("dump {db")[0].is_err());
        assert!(parse("dump db}")[0].is_err());
    }
}
