//! `cmd!`: a command line that is split at compile time and never passes through a shell.

mod words;

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Expr, Ident, LitStr, Token};

use self::words::{Piece, Problem, Word};
use crate::errors::Errors;
use crate::spans::local;

/// `"literal", name = expr, ..`
pub(crate) struct Input {
    line: LitStr,
    named: Vec<(Ident, Expr)>,
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let line = input.parse::<LitStr>().map_err(|error| {
            syn::Error::new(
                error.span(),
                "expected the command as a string literal: `cmd!(\"ls -l {dir}\")`",
            )
        })?;
        let mut named = Vec::new();
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let name = input.call(Ident::parse_any).map_err(|error| {
                syn::Error::new(error.span(), "expected `name = value`; its use is `{name}`")
            })?;
            if !input.peek(Token![=]) {
                let message = format!(
                    "what follows the command is `name = value`; a variable `{name}` is found \
                     without being named here"
                );
                return Err(syn::Error::new(name.span(), message));
            }
            input.parse::<Token![=]>()?;
            named.push((name, input.parse()?));
        }
        Ok(Self { line, named })
    }
}

pub(crate) fn expand(input: &Input) -> TokenStream {
    let mut errors = Errors::default();
    let line = &input.line;
    let words = match words::split(&line.value()) {
        Ok(words) => words,
        Err(problems) => {
            for Problem { at, message } in problems {
                errors.at_span(span_in(line, &at), message);
            }
            Vec::new()
        }
    };
    let mut used = Vec::new();
    let mut call = quote!();
    let values = Values { input };
    for (position, word) in words.iter().enumerate() {
        let at = span_in(line, word.range());
        // The place of the user's word, but a macro's: lints then leave it alone.
        let span = Span::mixed_site().located_at(at);
        used.extend(word.names().map(ToOwned::to_owned));
        match word {
            Word::Splice { name, .. } => {
                let items = match values.named(name) {
                    Some(value) => value,
                    // `iter()` finds its way through any number of references; `&list` does not.
                    None => {
                        let variable = Values::variable(name, at, &mut errors);
                        quote_spanned! {span=> #variable.iter() }
                    }
                };
                call.extend(quote_spanned! {span=> .args(#items) });
            }
            Word::Joined { pieces, .. } => {
                let arg = match pieces.as_slice() {
                    [] => quote_spanned! {span=> "" },
                    [Piece::Text(text)] => quote_spanned! {span=> #text },
                    [Piece::Value(name)] => values.reference(name, at, &mut errors),
                    pieces => {
                        let whole = local("whole");
                        let parts = pieces.iter().map(|piece| match piece {
                            Piece::Text(text) => quote! { #whole.push(#text); },
                            Piece::Value(name) => {
                                let value = values.reference(name, at, &mut errors);
                                quote_spanned! {span=>
                                    #whole.push(::runbook::ToArg::to_arg(#value));
                                }
                            }
                        });
                        quote! {{
                            let mut #whole = ::std::ffi::OsString::new();
                            #(#parts)*
                            #whole
                        }}
                    }
                };
                call.extend(match (position, pieces.as_slice()) {
                    (0, [Piece::Value(_)]) => quote_spanned! {span=>
                        ::runbook::Command::new(::runbook::ToArg::to_arg(#arg))
                    },
                    (0, _) => quote_spanned! {span=> ::runbook::Command::new(#arg) },
                    _ => quote_spanned! {span=> .arg(#arg) },
                });
            }
        }
    }
    for (i, (name, _)) in input.named.iter().enumerate() {
        if input.named[..i].iter().any(|(other, _)| other == name) {
            errors.at(name, format!("`{name}` is given twice"));
        } else if errors.is_empty() && !used.iter().any(|used| name == used) {
            errors.at(name, format!("`{name}` is not used: its use is `{{{name}}}`"));
        }
    }
    if !errors.is_empty() {
        // A command all the same, so that what is done with it shows no errors of its own.
        let errors = errors.to_items();
        return quote! {{ #errors ::runbook::Command::new("") }};
    }
    if input.named.is_empty() {
        return call;
    }
    let names = input.named.iter().map(|(name, _)| name);
    let exprs = input.named.iter().map(|(name, expr)| {
        let splices = words.iter().any(|w| matches!(w, Word::Splice { name: n, .. } if name == n));
        if splices {
            quote! { #expr }
        } else {
            quote! { &#expr }
        }
    });
    quote! { match (#(#exprs,)*) { (#(#names,)*) => #call } }
}

/// What the names in braces stand for.
struct Values<'a> {
    input: &'a Input,
}

impl Values<'_> {
    /// The named argument, as bound by the `match` around the command.
    fn named(&self, name: &str) -> Option<TokenStream> {
        let (ident, _) = self.input.named.iter().find(|(ident, _)| ident == name)?;
        Some(quote! { #ident })
    }

    /// A reference to the value.
    fn reference(&self, name: &str, at: Span, errors: &mut Errors) -> TokenStream {
        match self.named(name) {
            Some(value) => value,
            None => {
                let variable = Self::variable(name, at, errors);
                quote_spanned! {Span::mixed_site().located_at(at)=> &#variable }
            }
        }
    }

    /// A variable of the code around; a name that can't be one is reported.
    fn variable(name: &str, at: Span, errors: &mut Errors) -> TokenStream {
        match syn::parse_str::<Ident>(name) {
            Ok(mut ident) => {
                ident.set_span(at);
                quote! { #ident }
            }
            Err(_) => {
                errors.at_span(at, format!("`{name}` is a keyword and can't be a variable"));
                quote! { "" }
            }
        }
    }
}

/// The span of a part of the literal where the compiler can tell it, else that of the literal.
fn span_in(line: &LitStr, at: &std::ops::Range<usize>) -> Span {
    let token = line.token();
    let plain = token.to_string() == format!("\"{}\"", line.value());
    // Offsets in the source are those in the value only if nothing is escaped.
    let part = plain.then(|| token.subspan(at.start + 1..at.end + 1)).flatten();
    part.unwrap_or_else(|| line.span())
}
