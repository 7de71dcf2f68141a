//! `#[check]`: an async fn becomes a constructor and a `Check`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ItemFn;

use crate::attribute::{Form, Known, Options};
use crate::errors::Errors;
use crate::unit::{Kind, Unit, bare, ends, local, ok_type};

const CHECK: Kind = Kind {
    noun: "check",
    capability: "Observer",
    foreign: ("Context", "it only looks, and an `Observer` has no method that changes anything"),
    returns: "Result<Verdict<()>>",
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
    let ok = errors.is_empty();
    let items = unit.items(ok);
    let attrs = unit.impl_attrs();
    let name = unit.name();
    let cx = local("cx");

    let returned = match &item.sig.output {
        syn::ReturnType::Default => syn::parse_quote!(::runbook::Result<::runbook::Verdict<()>>),
        syn::ReturnType::Type(_, ty) => (**ty).clone(),
    };
    let (first, last) = ends(&ok_type(&returned));
    let open = quote_spanned! {first=> << };
    let close = quote_spanned! {last=>
        as ::runbook::__macros::Returned>::Ok as ::runbook::__macros::Judged>::Evidence
    };
    let evidence = quote! { type Evidence = #open #returned #close; };
    let (about, body, errors) = if ok {
        let bind = unit.bind(&quote! { self }, &cx);
        let call = unit.call_body(&cx);
        let lift = quote_spanned! {first=> ::runbook::__macros::lift };
        (about, quote! { #bind #lift(#call.await) }, quote!())
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
