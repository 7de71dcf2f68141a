//! Names and places: hygiene for the expansion's own variables, and the places that errors of the
//! compiler are to point at.

use proc_macro2::{Ident, Span};
use quote::ToTokens;
use syn::spanned::Spanned;

/// The place of `tokens`, as a span of this macro: lints leave it alone.
pub(crate) fn macro_at(tokens: &impl Spanned) -> Span {
    Span::mixed_site().located_at(tokens.span())
}

/// The same name, shown at the place of `span`.
pub(crate) fn at(ident: &Ident, span: Span) -> Ident {
    let mut ident = ident.clone();
    ident.set_span(ident.span().located_at(span));
    ident
}

/// `self`, as the methods of the expansion see it.
pub(crate) fn this() -> Ident {
    Ident::new("self", Span::call_site())
}

/// A variable that user code can't see.
pub(crate) fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The spans of the first and the last token, so that what is written between them underlines
/// all of `tokens`.
pub(crate) fn ends(tokens: &impl ToTokens) -> (Span, Span) {
    let mut tokens = tokens.to_token_stream().into_iter();
    let first = tokens.next().map_or_else(Span::call_site, |token| token.span());
    let last = tokens.last().map_or(first, |token| token.span());
    (first, last)
}
