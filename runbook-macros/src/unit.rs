//! What `#[step]` and `#[check]` make alike: a constructor and a struct of the same name, and what
//! these say about themselves.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, Ident, ItemFn, ReturnType, Type, parse_quote};

use crate::attribute::Options;
use crate::docs::{is_doc, is_id, with_dashes};
use crate::errors::Errors;
use crate::signature::{Arg, Kind, Mode, Unit};
use crate::spans::{at, local, macro_at};
use crate::template;
use crate::types::{error_type, is_plain};

impl Unit {
    pub(crate) fn name(&self) -> &Ident {
        &self.item.sig.ident
    }

    /// The name without `r#`.
    pub(crate) fn plain_name(&self) -> String {
        let name = self.name().to_string();
        name.strip_prefix("r#").unwrap_or(&name).to_owned()
    }

    /// The attributes that hold for everything that is made of the fn: `cfg` and lint levels.
    fn common_attrs(&self) -> Vec<&Attribute> {
        let common = ["cfg", "allow", "warn", "deny", "forbid"];
        self.item
            .attrs
            .iter()
            .filter(|attr| common.iter().any(|name| attr.path().is_ident(name)))
            .collect()
    }

    /// Struct, constructor, the body as `name::call`, and the method that resolves the inputs.
    /// After an error only as much of it as keeps callers of the constructor free of errors.
    pub(crate) fn items(&self, ok: bool) -> TokenStream {
        let name = self.name();
        let Kind { noun, .. } = self.kind;
        let vis = &self.item.vis;
        let common = self.common_attrs();
        let for_callers: Vec<_> = self
            .item
            .attrs
            .iter()
            .filter(|attr| {
                is_doc(attr) || ["deprecated", "doc"].iter().any(|name| attr.path().is_ident(name))
            })
            .collect();
        let struct_doc = format!("The {noun} that the fn [`{name}`](fn@{name}) makes.");
        let unused = format!("a {noun} does nothing until it is added to a runbook");

        let fields = self.args.iter().map(|Arg { field, mode, .. }| match mode {
            Mode::Borrowed(borrowed) => {
                let kept = &borrowed.kept;
                quote! { #field: #kept }
            }
            Mode::Owned(ty) => quote! { #field: ::runbook::Input<#ty> },
        });
        let inputs = self.args.iter().map(|Arg { field, mode, .. }| match mode {
            Mode::Borrowed(borrowed) => {
                let whole = &borrowed.whole;
                quote! { #field: #whole }
            }
            Mode::Owned(ty) => quote! { #field: impl ::runbook::IntoInput<#ty> },
        });
        let values = self.args.iter().map(|Arg { field, mode, .. }| match mode {
            Mode::Borrowed(borrowed) => {
                let capture = &borrowed.capture;
                quote! { #field: #capture(#field) }
            }
            Mode::Owned(ty) => quote! {
                #field: ::runbook::IntoInput::<#ty>::into_input(#field)
            },
        });
        let body = self.call();
        let resolve = ok.then(|| self.resolve());
        let (fields, values) = if ok {
            (quote! { #(#fields),* }, quote! { #name { #(#values),* } })
        } else {
            (quote!(), quote! { ::core::panic!() })
        };
        quote! {
            #(#common)*
            #[doc = #struct_doc]
            #[allow(non_camel_case_types, dead_code)]
            #[must_use = #unused]
            #vis struct #name { #fields }

            #(#common)*
            #(#for_callers)*
            #[allow(clippy::too_many_arguments, unused_variables, unused_mut)]
            #vis fn #name(#(#inputs),*) -> #name {
                #values
            }

            #(#common)*
            #[allow(dead_code)]
            impl #name {
                #body
                #resolve
            }
        }
    }

    /// The user's fn, unchanged but for its name.
    fn call(&self) -> TokenStream {
        let mut item = self.item.clone();
        let doc = format!(
            "The body of the {}: calls it on its own, e.g. in a unit test.",
            self.kind.noun
        );
        item.attrs.retain(|attr| !is_doc(attr) && !attr.path().is_ident("deprecated"));
        item.attrs.retain(|attr| !attr.path().is_ident("cfg"));
        item.attrs.push(parse_quote!(#[doc = #doc]));
        // What the macro asks for is not the author's choice.
        item.attrs.push(parse_quote!(
            #[allow(clippy::too_many_arguments, clippy::unused_async, clippy::missing_errors_doc)]
        ));
        item.sig.ident = Ident::new("call", item.sig.ident.span());
        quote! { #item }
    }

    /// The values of the owned arguments, as a tuple. The only place that asks for the bounds on
    /// their types, so that there is one message an argument.
    fn resolve(&self) -> TokenStream {
        let cx = local("cx");
        let owned = || {
            self.args.iter().filter_map(|Arg { field, mode, .. }| match mode {
                Mode::Owned(ty) => Some((field, ty)),
                Mode::Borrowed(_) => None,
            })
        };
        let types = owned().map(|(_, ty)| ty);
        let values = owned()
            .map(|(field, ty)| quote! { ::runbook::__macros::get::<#ty>(&self.#field, #cx)? });
        quote! {
            #[allow(unused_variables, clippy::unused_unit)]
            fn __resolve(&self, #cx: &::runbook::Observer) -> ::runbook::Result<(#(#types,)*)> {
                ::core::result::Result::Ok((#(#values,)*))
            }
        }
    }

    /// Binds the owned arguments of `unit` to locals; [`Self::pass`] refers to them.
    pub(crate) fn bind(&self, unit: &Ident, cx: &Ident) -> TokenStream {
        let locals = self.args.iter().enumerate().filter_map(|(i, arg)| match arg.mode {
            Mode::Owned(_) => Some(value(i)),
            Mode::Borrowed(_) => None,
        });
        quote! { let (#(#locals,)*) = #unit.__resolve(#cx)?; }
    }

    /// The arguments for a call of the body (owned ones by value) or of a fn named in the
    /// attribute (`by_ref`); their spans are `span`, so that a mismatch is shown there.
    fn pass(&self, unit: &Ident, by_ref: bool, span: Span) -> Vec<TokenStream> {
        let unit = at(unit, span);
        let args = self.args.iter().enumerate();
        args.map(|(i, Arg { field, mode, .. })| {
            let (value, field) = (at(&value(i), span), at(field, span));
            match mode {
                Mode::Borrowed(_) => quote_spanned! {span=> &#unit.#field },
                Mode::Owned(_) if by_ref => quote_spanned! {span=> &#value },
                Mode::Owned(_) => quote_spanned! {span=> #value },
            }
        })
        .collect()
    }

    /// A call of a fn named in the attribute: the context, `extra`, then the step's arguments.
    pub(crate) fn call_named(
        &self,
        path: &Type,
        unit: &Ident,
        cx: &Ident,
        extra: &[TokenStream],
    ) -> TokenStream {
        let span = macro_at(path);
        let args = self.pass(unit, true, span);
        let cx = at(cx, span);
        // A path parsed as a type prints as an expression too: both are `a::b::<T>`.
        quote_spanned! {span=> #path(#cx #(, #extra)* #(, #args)*) }
    }

    /// A call of the body, lifted; an error type that is no failure is shown where it is written.
    pub(crate) fn call_body(&self, unit: &Ident, cx: &Ident) -> TokenStream {
        let returned = self.returned();
        let span = macro_at(error_type(&returned));
        let args = self.pass(unit, false, span);
        let cx = self.takes_cx.then(|| at(cx, span)).into_iter();
        quote_spanned! {span=> ::runbook::__macros::lift(Self::call(#(#cx,)* #(#args),*).await) }
    }

    /// `fn about` and `fn inputs` of the trait.
    pub(crate) fn about(&self, options: &Options, errors: &mut Errors) -> TokenStream {
        let id = match options.text("id") {
            Some(id) => {
                if !is_id(&id.value()) {
                    errors.at(
                        id,
                        format!(
                            "an id is made of lower case words, digits and dots, joined by `-`: \
                             `{}`",
                            with_dashes(&self.plain_name())
                        ),
                    );
                }
                quote! { #id }
            }
            None => {
                let id = with_dashes(&self.plain_name()).to_lowercase();
                quote! { #id }
            }
        };
        let title = match options.text("title") {
            Some(title) => template::expand(title, &self.args, errors),
            None => {
                let title = self.docs.title_or(&self.plain_name());
                quote! { #title }
            }
        };
        let previews: Vec<_> = options
            .texts("preview")
            .map(|line| template::expand(line, &self.args, errors))
            .collect();
        let doc = (!self.docs.rest.is_empty()).then(|| {
            let doc = &self.docs.rest;
            quote! { .doc(#doc) }
        });
        let repeatable = options.get("repeatable").map(|_| quote! { .repeatable() });
        let about = local("about");
        let args = self.args.iter().map(|Arg { field, name, .. }| {
            quote! {
                let #about = ::runbook::__macros::arg(
                    #about,
                    #name,
                    (&&&::runbook::__macros::Show(&self.#field)).show(),
                );
            }
        });
        let visit = local("visit");
        let see = self.args.iter().filter_map(|Arg { field, name, mode }| match mode {
            Mode::Owned(_) => Some(quote! { #visit.see(#name, &self.#field); }),
            Mode::Borrowed(_) => None,
        });
        quote! {
            fn about(&self) -> ::runbook::About {
                #[allow(unused_imports)]
                use ::runbook::__macros::{ShowNothing as _, ShowOther as _, ShowText as _};
                let #about = ::runbook::About::new(#id, #title)
                    #doc
                    #(.preview(#previews))*
                    #repeatable;
                #(#args)*
                #about
            }

            fn inputs(&self, #visit: &mut dyn ::runbook::Visit) {
                let _ = &#visit;
                #(#see)*
            }
        }
    }

    /// The return type; where it is no `Result`, which was reported, a `Result` of it.
    pub(crate) fn returned(&self) -> Type {
        match &self.item.sig.output {
            ReturnType::Type(_, ty) if is_plain(ty) => parse_quote!(::runbook::Result<#ty>),
            ReturnType::Type(_, ty) => (**ty).clone(),
            ReturnType::Default => parse_quote!(::runbook::Result<()>),
        }
    }

    /// What stands before the trait's impl.
    pub(crate) fn impl_attrs(&self) -> TokenStream {
        let common = self.common_attrs();
        quote! { #(#common)* #[allow(unused_variables, unused_mut, clippy::pedantic)] }
    }
}

/// The fn alone, for callers, when nothing can be made of it.
pub(crate) fn bare(item: &ItemFn) -> TokenStream {
    quote! { #[allow(dead_code, unused_variables)] #item }
}

/// The local that holds the value of the `i`th argument.
fn value(i: usize) -> Ident {
    format_ident!("value{i}", span = Span::mixed_site())
}
