//! Attribute arguments: `#[step(harmless, title = "Dump {db}")]` as a list of known options.

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Ident, LitStr, Token, Type, bracketed};

use crate::errors::{Errors, list, meant};

/// An option that an attribute knows.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// How it is written; shown where it was written otherwise.
    pub(crate) example: &'static str,
}

/// What follows an option's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing.
    Word,
    /// `= ".."`.
    Text,
    /// `= ".."` or `= ["..", ".."]`, and more than once.
    Texts,
    /// `= a::path`.
    Path,
}

/// One option as given.
pub(crate) struct Given {
    pub(crate) name: Ident,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Word,
    Texts(Vec<LitStr>),
    Path(Box<Type>),
}

/// The options of one attribute.
pub(crate) struct Options(Vec<Given>);

impl Options {
    /// Reads the arguments of the attribute `#[attribute(..)]`. What can't be read is reported and
    /// left out.
    pub(crate) fn parse(
        attribute: &str,
        known: &[Known],
        args: TokenStream,
        errors: &mut Errors,
    ) -> Self {
        let mut given = Vec::new();
        let read = |input: ParseStream<'_>| {
            while !input.is_empty() {
                match option(attribute, known, input, errors) {
                    Ok(Some(option)) => given.push(option),
                    Ok(None) => {}
                    Err(error) => errors.push(error),
                }
                skip_to_comma(input)?;
            }
            Ok(())
        };
        if let Err(error) = read.parse2(args) {
            errors.push(error);
        }
        let mut options = Self(Vec::with_capacity(given.len()));
        for option in given {
            let repeatable =
                known.iter().any(|known| option.name == known.name && known.form == Form::Texts);
            if !repeatable && options.get(&option.name.to_string()).is_some() {
                errors.at(&option.name, format!("`{}` is given twice", option.name));
            } else {
                options.0.push(option);
            }
        }
        options
    }

    /// The option called `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Given> {
        self.0.iter().find(|option| option.name == name)
    }

    /// The text of the option called `name`.
    pub(crate) fn text(&self, name: &str) -> Option<&LitStr> {
        self.texts(name).next()
    }

    /// All texts of the option called `name`.
    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = &LitStr> {
        self.0
            .iter()
            .filter(move |option| option.name == name)
            .filter_map(|option| match &option.value {
                Value::Texts(texts) => Some(texts),
                _ => None,
            })
            .flatten()
    }

    /// The path of the option called `name`.
    pub(crate) fn path(&self, name: &str) -> Option<&Type> {
        match &self.get(name)?.value {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }
}

/// The adaptors of steps and checks, which some look for in the attribute.
const POLICIES: &[&str] = &["retry", "timeout", "verify", "requires", "confirm", "named"];

/// One option, without the comma after it; `None` if it is unknown, which is reported.
fn option(
    attribute: &str,
    known: &[Known],
    input: ParseStream<'_>,
    errors: &mut Errors,
) -> syn::Result<Option<Given>> {
    let name = input.call(Ident::parse_any).map_err(|error| {
        let names = list(known.iter().map(|known| known.name));
        syn::Error::new(error.span(), format!("expected an option of `#[{attribute}]`: {names}"))
    })?;
    let Some(known) = known.iter().find(|known| name == known.name) else {
        let hint = if attribute != "runbook" && POLICIES.iter().any(|policy| name == policy) {
            format!(
                ": a {attribute} gets it where it is added, as in `b.{attribute}(it.{name}(..))`"
            )
        } else {
            meant(&name.to_string(), known.iter().map(|known| known.name))
                .map(|meant| format!("; did you mean `{meant}`?"))
                .unwrap_or_default()
        };
        let names = options(known.iter().map(|known| known.name));
        errors.at(&name, format!("`#[{attribute}]` has no option `{name}`{hint}\n{names}"));
        return Ok(None);
    };
    let wrong = |span| {
        let takes = match known.form {
            Form::Word => "no value",
            Form::Text => "a text",
            Form::Texts => "a text, or a list of texts",
            Form::Path => "a path",
        };
        syn::Error::new(span, format!("`{name}` takes {takes}: write `{}`", known.example))
    };
    if known.form == Form::Word {
        if !input.is_empty() && !input.peek(Token![,]) {
            return Err(wrong(name.span()));
        }
        return Ok(Some(Given { name, value: Value::Word }));
    }
    if !input.peek(Token![=]) {
        return Err(wrong(name.span()));
    }
    input.parse::<Token![=]>()?;
    let start = input.span();
    let value = match known.form {
        Form::Path => input
            .parse()
            .ok()
            .filter(|ty| matches!(ty, Type::Path(_)))
            .map(|ty| Value::Path(Box::new(ty))),
        Form::Texts if input.peek(syn::token::Bracket) => {
            let inside;
            bracketed!(inside in input);
            inside
                .parse_terminated(|item: ParseStream<'_>| item.parse::<LitStr>(), Token![,])
                .ok()
                .map(|texts| Value::Texts(texts.into_iter().collect()))
        }
        _ => input.parse().ok().map(|text| Value::Texts(vec![text])),
    };
    match value {
        Some(value) if input.is_empty() || input.peek(Token![,]) => Ok(Some(Given { name, value })),
        _ => Err(wrong(start)),
    }
}

/// `its options are ..`, or `its only option is ..`.
pub(crate) fn options<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    let is = if names.len() == 1 { "its only option is" } else { "its options are" };
    format!("{is} {}", list(names))
}

/// Goes on after the next comma, so that one bad option does not hide the next.
fn skip_to_comma(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() {
        if input.peek(Token![,]) {
            input.parse::<Token![,]>()?;
            break;
        }
        input.parse::<proc_macro2::TokenTree>()?;
    }
    Ok(())
}
