//! `#[runbook]`: a fn that fills a builder becomes an entry of a catalog.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, ExprLit, ExprUnary, FnArg, Ident, ItemFn, Lit, Pat, PatType, Type, UnOp,
    parse_quote,
};

use crate::attribute::{self, Form, Known, Options};
use crate::docs::{self, Docs, is_doc, is_id, with_dashes};
use crate::errors::Errors;
use crate::spans::local;
use crate::types::last_word;
use crate::unit::bare;

const OPTIONS: &[Known] =
    &[Known { name: "name", form: Form::Text, example: "name = \"deploy-shop\"" }];

/// A parameter of the runbook.
struct Parameter {
    name: String,
    ty: Type,
    doc: String,
    default: Option<Default>,
}

/// A default: the words as they would be typed, and the literal if the compiler can check it.
struct Default {
    text: String,
    literal: Expr,
}

pub(crate) fn expand(args: TokenStream, item: &ItemFn) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::parse("runbook", OPTIONS, args, &mut errors);
    let sig = &item.sig;
    if let Some(token) = &sig.asyncness {
        errors.at(
            token,
            "a runbook is built before it runs: a plain `fn`; what waits belongs into its steps and \
             checks",
        );
    }
    if !sig.generics.params.is_empty() {
        errors
            .at(&sig.generics.params, "a runbook can't be generic: a catalog lists it by its name");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a runbook can't be variadic");
    }

    // The fn without the attributes that only this macro knows.
    let mut item_clean = item.clone();
    for input in &mut item_clean.sig.inputs {
        if let FnArg::Typed(input) = input {
            input.attrs.retain(|attr| !is_doc(attr) && !attr.path().is_ident("param"));
        }
    }

    let mut inputs = sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(input) => Some(input),
        FnArg::Receiver(receiver) => {
            errors.at(receiver, "a runbook is a free fn: no `self` here");
            None
        }
    });
    let inputs: Vec<&PatType> = inputs.by_ref().collect();
    let (env, parameters) = arguments(item, &inputs, &mut errors);
    let name = match options.text("name") {
        Some(name) => {
            if !is_id(&name.value()) {
                errors.at(
                    name,
                    format!(
                        "the name of a runbook is typed on a command line: lower case words, \
                         digits and dots, joined by `-`, such as `{}`",
                        with_dashes(&plain(&sig.ident))
                    ),
                );
            }
            name.value()
        }
        None => with_dashes(&plain(&sig.ident)).to_lowercase(),
    };

    let (vis, ident) = (&item.vis, &sig.ident);
    let docs = Docs::of(&item.attrs);
    let (title, doc) = (docs.title_or(&plain(ident)), &docs.rest);
    let struct_doc = format!("The entry for a catalog that the fn [`{ident}`](fn@{ident}) makes.");
    let cfgs: Vec<&Attribute> =
        item.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect();
    let (b, env_arg, args, params) = (local("b"), local("env"), local("args"), local("params"));
    let (header, env_ty, env_value) = match &env {
        Some(env) => (quote! { impl }, quote! { #env }, Some(quote! { #env_arg, })),
        None => (quote! { impl<E> }, quote! { E }, None),
    };
    let ok = errors.is_empty();
    let types: Vec<_> = parameters.iter().map(|parameter| &parameter.ty).collect();
    let index: Vec<_> = (0..parameters.len()).map(syn::Index::from).collect();
    let (spec, fill) = if ok {
        let news = parameters.iter().map(|Parameter { name, ty, doc, default }| {
            let default = match default {
                Some(Default { text, .. }) => quote! { ::core::option::Option::Some(#text) },
                None => quote! { ::core::option::Option::None },
            };
            quote! { ::runbook::__macros::parameter::<#ty>(#name, #doc, #default) }
        });
        let at_return = match &sig.output {
            syn::ReturnType::Default => ident.span(),
            syn::ReturnType::Type(_, ty) => ty.span(),
        };
        let at_return = Span::mixed_site().located_at(at_return);
        let built = quote_spanned! {at_return=>
            ::runbook::Built::built(#ident(
                #b, #env_value #(#params.#index.value(#args)?),*
            ))
        };
        let literals = parameters.iter().filter_map(literal_check);
        (
            quote! {
                #(#literals)*
                (#(#news,)*)
            },
            quote! {
                let #params = Self::__params();
                #built
            },
        )
    } else {
        (quote! { ::core::panic!() }, quote! { ::core::panic!() })
    };
    let spec_types = if ok {
        quote! { (#(::runbook::__macros::Parameter<#types>,)*) }
    } else {
        quote! { () }
    };
    let specs = if ok {
        quote! { ::std::vec![#(#params.#index.spec),*] }
    } else {
        quote! { ::std::vec![] }
    };
    let errors_items = errors.to_items();
    let user_fn = if ok {
        quote! { #[allow(clippy::too_many_arguments)] #item_clean }
    } else {
        bare(&item_clean)
    };
    quote! {
        #user_fn

        #(#cfgs)*
        #[doc = #struct_doc]
        #[allow(non_camel_case_types, dead_code)]
        #vis struct #ident {}

        #(#cfgs)*
        #[allow(dead_code)]
        impl #ident {
            #[allow(clippy::unused_unit)]
            fn __params() -> #spec_types { #spec }
        }

        #(#cfgs)*
        #[allow(unused_variables, clippy::pedantic)]
        #header ::runbook::Book<#env_ty> for #ident {
            fn spec() -> ::runbook::BookSpec {
                let #params = Self::__params();
                ::runbook::BookSpec {
                    name: ::std::string::String::from(#name),
                    title: ::std::string::String::from(#title),
                    doc: ::std::string::String::from(#doc),
                    params: #specs,
                }
            }

            fn fill(
                #b: &mut ::runbook::Runbook,
                #env_arg: &#env_ty,
                #args: &::runbook::Args,
            ) -> ::core::result::Result<(), ::runbook::Error> {
                #fill
            }
        }

        #errors_items
    }
}

/// The environment's type and the parameters.
fn arguments(
    item: &ItemFn,
    inputs: &[&PatType],
    errors: &mut Errors,
) -> (Option<Type>, Vec<Parameter>) {
    let mut env = None;
    let mut parameters = Vec::new();
    let mut rest = inputs.iter();
    match rest.next() {
        Some(first) if is_builder(&first.ty) => {}
        Some(first) => {
            errors.at(&first.ty, "the builder comes first: `b: &mut Runbook`");
            rest = inputs.iter();
        }
        None => errors.at(
            &item.sig.ident,
            format!("a runbook fills a builder: `fn {}(b: &mut Runbook, ..)`", item.sig.ident),
        ),
    }
    for (position, input) in rest.enumerate() {
        if let Type::Reference(reference) = &*input.ty {
            let target = &*reference.elem;
            if reference.mutability.is_some() {
                errors.at(
                    &input.ty,
                    "a runbook borrows one thing mutably, its builder, which comes first",
                );
            } else if position > 0 || owned_of(target).is_some() {
                let owned = owned_of(target).unwrap_or_else(|| target.clone());
                let owned = quote!(#owned).to_string().replace(' ', "");
                let message = if position == 0 {
                    format!("a parameter is owned: write `{owned}`")
                } else {
                    format!(
                        "a parameter is owned: write `{owned}`; only the environment is borrowed, \
                         and comes right after the builder"
                    )
                };
                errors.at(&input.ty, message);
            } else {
                if let Some(attr) = input.attrs.iter().find(|attr| attr.path().is_ident("param")) {
                    errors.at(attr, "this is the environment, not a parameter");
                }
                env = Some(target.clone());
            }
            continue;
        }
        parameters.extend(parameter(input, errors));
    }
    (env, parameters)
}

fn parameter(input: &PatType, errors: &mut Errors) -> Option<Parameter> {
    let mut default = None;
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("param")) {
        let Ok(list_attr) = attr.meta.require_list() else {
            errors.at(attr, "write `#[param(default = ..)]`");
            continue;
        };
        let read = list_attr.parse_nested_meta(|meta| {
            if !meta.path.is_ident("default") {
                let name = &meta.path;
                return Err(meta.error(format!(
                    "`#[param]` has no option `{}`\n{}",
                    quote!(#name),
                    attribute::options(["default"])
                )));
            }
            let literal: Expr = meta.value()?.parse()?;
            match text_of(&literal) {
                Some(text) => default = Some(Default { text, literal }),
                None => errors.at(
                    &literal,
                    "a default is a literal, as it would be typed on the command line: `3`, \
                     `true`, `\"5m\"`",
                ),
            }
            Ok(())
        });
        if let Err(error) = read {
            errors.push(error);
        }
    }
    match &*input.pat {
        Pat::Ident(pat) if pat.subpat.is_none() => Some(Parameter {
            name: plain(&pat.ident),
            ty: (*input.ty).clone(),
            doc: docs::line(&input.attrs),
            default,
        }),
        pat => {
            errors.at(pat, "a parameter has a plain name: it becomes a flag");
            None
        }
    }
}

/// A literal that the compiler compares with the type, where the two are known to go together.
fn literal_check(parameter: &Parameter) -> Option<TokenStream> {
    let Default { literal, .. } = parameter.default.as_ref()?;
    let ty = &parameter.ty;
    let word = last_word(ty)?.to_string();
    let is_float = word == "f32" || word == "f64";
    let whole_number = matches!(strip_sign(literal), Expr::Lit(ExprLit { lit: Lit::Int(_), .. }));
    let checked = ["u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "isize", "bool"];
    if (is_float && !whole_number) || checked.contains(&word.as_str()) {
        let span = literal.span();
        return Some(quote_spanned! {span=> const _: #ty = #literal; });
    }
    None
}

fn strip_sign(literal: &Expr) -> &Expr {
    match literal {
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => expr,
        literal => literal,
    }
}

/// A literal as it would be typed.
fn text_of(literal: &Expr) -> Option<String> {
    let sign = if matches!(literal, Expr::Unary(_)) { "-" } else { "" };
    let Expr::Lit(ExprLit { lit, .. }) = strip_sign(literal) else { return None };
    let text = match lit {
        Lit::Str(text) if sign.is_empty() => text.value(),
        Lit::Bool(value) if sign.is_empty() => value.value.to_string(),
        Lit::Int(number) => number.base10_digits().to_owned(),
        Lit::Float(number) => number.base10_digits().to_owned(),
        _ => return None,
    };
    Some(format!("{sign}{text}"))
}

/// `String` for `str` and the like: a borrowed parameter, not an environment.
fn owned_of(target: &Type) -> Option<Type> {
    match target {
        Type::Slice(slice) => {
            let item = &slice.elem;
            Some(parse_quote!(Vec<#item>))
        }
        target => {
            let word = last_word(target)?;
            if word == "str" {
                Some(parse_quote!(String))
            } else if word == "Path" {
                Some(parse_quote!(PathBuf))
            } else {
                None
            }
        }
    }
}

fn is_builder(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference)
        if reference.mutability.is_some()
            && last_word(&reference.elem).is_some_and(|word| word == "Runbook"))
}

fn plain(ident: &Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").unwrap_or(&name).to_owned()
}
