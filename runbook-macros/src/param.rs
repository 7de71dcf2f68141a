//! `#[derive(Param)]`: an enum of bare variants becomes a set of words that an operator can type.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields};

use crate::docs::{self, kebab};
use crate::errors::Errors;

pub(crate) fn expand(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let mut choices = Vec::new();
    if let Data::Enum(data) = &input.data {
        if data.variants.is_empty() {
            errors.at(&input.ident, "an enum without variants leaves nothing to choose");
        }
        for variant in &data.variants {
            if !matches!(variant.fields, Fields::Unit) {
                errors.at(
                    &variant.fields,
                    "a variant with fields can't be typed as one word: `#[derive(Param)]` takes \
                     bare variants",
                );
            }
            let name = variant.ident.to_string();
            let word = kebab(name.strip_prefix("r#").unwrap_or(&name));
            let twice = choices.iter().find(|(_, other, _)| *other == word);
            if let Some((other, _, _)) = twice {
                errors.at(
                    &variant.ident,
                    format!("`{}` and `{other}` are both typed as `{word}`", variant.ident),
                );
            }
            choices.push((&variant.ident, word, docs::line(&variant.attrs)));
        }
    } else {
        errors.at(
            &input.ident,
            "`#[derive(Param)]` is for enums of bare variants; for another type implement `Param` \
             by hand: `kind` and `parse`",
        );
    }
    if !input.generics.params.is_empty() {
        errors.at(&input.generics.params, "`#[derive(Param)]` takes no generics");
    }
    let ok = errors.is_empty();
    let errors = errors.to_items();
    let ident = &input.ident;
    if !ok {
        let (start, types, end) = input.generics.split_for_impl();
        return quote! {
            impl #start ::runbook::Param for #ident #types #end {
                fn kind() -> ::runbook::ParamKind { ::core::panic!() }
                fn parse(_: &str) -> ::core::result::Result<Self, ::std::string::String> {
                    ::core::panic!()
                }
            }
            #errors
        };
    }
    let shown: Vec<_> = choices
        .iter()
        .map(|(_, word, doc)| if doc.is_empty() { word.clone() } else { format!("{word} ({doc})") })
        .collect();
    let accepts = match shown.as_slice() {
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
        [] => String::new(),
    };
    let words = choices.iter().map(|(_, word, _)| word);
    let arms = choices.iter().map(|(variant, word, _)| {
        quote! { #word => ::core::result::Result::Ok(Self::#variant), }
    });
    quote! {
        impl ::runbook::Param for #ident {
            fn kind() -> ::runbook::ParamKind {
                ::runbook::ParamKind::new(#accepts, "string").choices([#(#words),*])
            }

            fn parse(text: &str) -> ::core::result::Result<Self, ::std::string::String> {
                match text {
                    #(#arms)*
                    _ => ::core::result::Result::Err(::std::string::String::from(#accepts)),
                }
            }
        }
    }
}
