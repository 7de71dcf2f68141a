//! `#[check]`: an async fn becomes a constructor and a `Check`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{ItemFn, parse_quote};

use crate::attribute::{Form, Known, Options};
use crate::errors::Errors;
use crate::signature::{Kind, Unit};
use crate::spans::{ends, local, this};
use crate::types::{is_plain, last_word, ok_type};
use crate::unit::bare;

const CHECK: Kind = Kind {
    noun: "check",
    capability: "Observer",
    foreign: ("Context", "it only looks, and an `Observer` has no method that changes anything"),
    returns: "Result<Verdict<..>>",
};

const OPTIONS: &[Known] = &[
    Known { name: "title", form: Form::Text, example: "title = \"{host} answers\"" },
    Known { name: "preview", form: Form::Texts, example: "preview = \"df -P {path}\"" },
    Known { name: "id", form: Form::Text, example: "id = \"answers\"" },
];

pub(crate) fn expand(args: TokenStream, item: &ItemFn) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::parse("check", OPTIONS, args, &mut errors);
    let Some(unit) = Unit::parse(item, &CHECK, &mut errors) else {
        let (bare, errors) = (bare(item), errors.to_items());
        return quote! { #bare #errors };
    };
    let about = unit.about(&options, &mut errors);
    let mut returned = unit.returned();
    let ok_part = ok_type(&returned).clone();
    if is_plain(&ok_part) && last_word(&ok_part).is_none_or(|word| word != "Verdict") {
        if errors.is_empty() {
            let shown = quote!(#ok_part).to_string().replace(' ', "");
            errors.at(
                &ok_part,
                format!(
                    "a check gives back a `Verdict` in its `Result`: \
                     `Verdict::pass_if(good, evidence, \"why, in one line\")` makes one, and \
                     `-> Result<Verdict<{shown}>>` is its type"
                ),
            );
        }
        returned = parse_quote!(::runbook::Result<::runbook::Verdict<#ok_part>>);
    }
    let ok = errors.is_empty();
    let items = unit.items(ok);
    let attrs = unit.impl_attrs();
    let name = unit.name();
    let (cx, this) = (local("cx"), this());
    let (first, last) = ends(ok_type(&returned));
    let open = quote_spanned! {first=> << };
    let close = quote_spanned! {last=>
        as ::runbook::__macros::Returned>::Ok as ::runbook::__macros::Judged>::Evidence
    };
    let evidence = quote! { type Evidence = #open #returned #close; };
    let (about, body, errors) = if ok {
        let bind = unit.bind(&this, &cx);
        let call = unit.call_body(&this, &cx);
        (about, quote! { #bind #call }, quote!())
    } else {
        let about = quote! { fn about(&self) -> ::runbook::About { ::core::panic!() } };
        (about, quote! { ::core::panic!() }, errors.to_items())
    };
    quote! {
        #items

        #attrs
        impl ::runbook::Check for #name {
            #evidence
            #about

            async fn check(
                &self, #cx: &::runbook::Observer
            ) -> ::runbook::Result<::runbook::Verdict<Self::Evidence>> {
                #body
            }
        }

        #errors
    }
}
