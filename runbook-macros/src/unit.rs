//! What `#[step]` and `#[check]` share: a fn becomes a constructor and a struct of the same name.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, Ident, ItemFn, Pat, PathArguments, ReturnType, Type, TypeReference,
    parse_quote,
};

use crate::attribute::Options;
use crate::docs::{Docs, is_doc, with_dashes};
use crate::errors::Errors;
use crate::template;

/// What differs between steps and checks.
pub(crate) struct Kind {
    /// `step`.
    pub(crate) noun: &'static str,
    /// `Context`: the type that the fn gets a reference to.
    pub(crate) capability: &'static str,
    /// The other kind's, and why it is not for this kind.
    pub(crate) foreign: (&'static str, &'static str),
    /// `Result<..>`, as advice for a fn that returns nothing.
    pub(crate) returns: &'static str,
}

/// A fn that is to become a step or a check.
pub(crate) struct Unit {
    pub(crate) item: ItemFn,
    pub(crate) kind: &'static Kind,
    /// Whether its first argument is the context.
    pub(crate) takes_cx: bool,
    pub(crate) args: Vec<Arg>,
    pub(crate) docs: Docs,
}

/// One argument, the context left out.
pub(crate) struct Arg {
    /// Its name as a field.
    pub(crate) field: Ident,
    /// Its name for people, without `r#`.
    pub(crate) name: String,
    pub(crate) mode: Mode,
}

pub(crate) enum Mode {
    /// `&T`: cloned when the runbook is built.
    Borrowed(Box<Borrowed>),
    /// `T`: an input.
    Owned(Box<Type>),
}

pub(crate) struct Borrowed {
    /// `&T`, without a lifetime.
    whole: Type,
    /// What the field holds: `String` for `str`.
    kept: Type,
    /// The fn that makes it.
    capture: TokenStream,
}

impl Unit {
    /// Looks at the fn; `None` if no struct can be made of it, which is reported.
    pub(crate) fn parse(item: &ItemFn, kind: &'static Kind, errors: &mut Errors) -> Option<Self> {
        let noun = kind.noun;
        let sig = &item.sig;
        let mut whole = true;
        if sig.asyncness.is_none() {
            errors.at(
                &sig.fn_token,
                format!("a {noun} is an `async fn`: write `async fn {}(..)`", sig.ident),
            );
        }
        if let Some(token) = &sig.constness {
            errors.at(token, format!("a {noun} can't be a `const fn`"));
        }
        if let Some(token) = &sig.abi {
            errors.at(token, format!("a {noun} can't be an `extern` fn"));
        }
        if !matches!(sig.safety, syn::Safety::Default) {
            errors.at(&sig.safety, format!("a {noun} can't be an `unsafe fn`"));
        }
        if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
            let generics = &sig.generics;
            let tokens = match &generics.where_clause {
                Some(clause) if generics.params.is_empty() => quote! { #clause },
                _ => generics.params.to_token_stream(),
            };
            let only_lifetimes = !generics.params.is_empty()
                && generics.params.iter().all(|p| matches!(p, syn::GenericParam::Lifetime(_)));
            let message = if only_lifetimes {
                no_lifetime(noun)
            } else {
                format!(
                    "a {noun} can't be generic, since its output is read back from the journal \
                     by its type: write one fn a type, or implement the trait by hand"
                )
            };
            errors.at(&tokens, message);
            whole = false;
        }
        if let Some(variadic) = &sig.variadic {
            errors.at(variadic, format!("a {noun} can't be variadic"));
            whole = false;
        }
        match &sig.output {
            ReturnType::Default => errors.at(
                &sig.ident,
                format!("a {noun} gives back a `Result`: write `-> {}`", kind.returns),
            ),
            ReturnType::Type(_, ty) => {
                if let Type::ImplTrait(ty) = &**ty {
                    errors.at(ty, format!("a {noun} names what it gives back: no `impl` here"));
                    whole = false;
                } else if is_plain(ty) {
                    let shown = quote!(#ty).to_string().replace(' ', "");
                    let returns = match last_word(ty) {
                        Some(word) if noun == "step" || word == "Verdict" => {
                            format!("Result<{shown}>")
                        }
                        _ => kind.returns.to_owned(),
                    };
                    errors.at(
                        ty,
                        format!(
                            "a {noun} gives back a `Result`, not `{shown}`: write `-> {returns}`"
                        ),
                    );
                }
            }
        }
        let mut unit = Self {
            item: item.clone(),
            kind,
            takes_cx: false,
            args: Vec::new(),
            docs: Docs::of(&item.attrs),
        };
        for (position, input) in sig.inputs.iter().enumerate() {
            match input {
                FnArg::Receiver(receiver) => {
                    errors.at(receiver, format!("a {noun} is a free fn: no `self` here"));
                    whole = false;
                }
                FnArg::Typed(input) => {
                    if unit.context(position, &input.ty, errors) {
                        continue;
                    }
                    if let Some(cfg) = input.attrs.iter().find(|attr| attr.path().is_ident("cfg")) {
                        errors.at(
                            cfg,
                            format!(
                                "an argument of a {noun} can't be left out: put the `cfg` on the fn"
                            ),
                        );
                    }
                    match &*input.pat {
                        Pat::Ident(pat) if pat.subpat.is_none() && pat.by_ref.is_none() => {
                            let mode = mode(kind, &input.ty, errors);
                            whole &= mode.is_some();
                            let name = pat.ident.to_string();
                            let name = name.strip_prefix("r#").unwrap_or(&name).to_owned();
                            unit.args.extend(mode.map(|mode| Arg {
                                field: pat.ident.clone(),
                                name,
                                mode,
                            }));
                        }
                        pat => {
                            errors.at(
                                pat,
                                format!("an argument of a {noun} has a plain name: plans show it"),
                            );
                            whole = false;
                        }
                    }
                }
            }
        }
        whole.then_some(unit)
    }

    /// Whether the argument is the context; what is wrong with it is reported.
    fn context(&mut self, position: usize, ty: &Type, errors: &mut Errors) -> bool {
        let Kind { noun, capability, foreign: (foreign, why), .. } = self.kind;
        let (target, borrowed) = match ty {
            Type::Reference(reference) => (&*reference.elem, reference.mutability.is_none()),
            ty => (ty, false),
        };
        let Some(word) = last_word(target) else { return false };
        if word == foreign {
            errors.at(ty, format!("a {noun} gets a `&{capability}`, not a `&{foreign}`: {why}"));
            // Left out of the constructor all the same: callers don't pass it.
            self.takes_cx = true;
            return true;
        }
        if word != *capability {
            return false;
        }
        if !borrowed {
            errors.at(ty, format!("a {noun} gets its context as `&{capability}`"));
        } else if position > 0 {
            errors.at(ty, format!("the `&{capability}` comes first"));
        }
        self.takes_cx = true;
        true
    }

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

/// The local that holds the value of the `i`th argument.
fn value(i: usize) -> Ident {
    format_ident!("value{i}", span = Span::mixed_site())
}

/// `self`, as the methods of the expansion see it.
pub(crate) fn this() -> Ident {
    Ident::new("self", Span::call_site())
}

/// A variable that user code can't see.
pub(crate) fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// How an argument of this type is taken; `None` if it can't be, which is reported.
fn mode(kind: &Kind, ty: &Type, errors: &mut Errors) -> Option<Mode> {
    let noun = kind.noun;
    match ty {
        Type::Reference(reference) => borrowed(noun, reference, errors),
        Type::ImplTrait(_) => {
            errors.at(ty, format!("an argument of a {noun} has a named type: no `impl` here"));
            None
        }
        ty => {
            if let Some((wrapper @ ("Out" | "Input"), inner)) = wrapped(ty) {
                let inner = quote!(#inner).to_string().replace(' ', "");
                errors.at(
                    ty,
                    format!(
                        "write the type of the value, `{inner}`: an owned argument takes a value \
                         or an `Out<{inner}>`, and the body gets the value; `{wrapper}` is not \
                         written here"
                    ),
                );
            } else if last_word(ty).is_some_and(|word| word == "Secret") {
                errors.at(
                    ty,
                    "a `Secret` is borrowed: write `&Secret`\nan owned argument is shown in plans \
                     and can be read back from the journal; a secret is in neither",
                );
            }
            Some(Mode::Owned(Box::new(ty.clone())))
        }
    }
}

fn borrowed(noun: &str, reference: &TypeReference, errors: &mut Errors) -> Option<Mode> {
    let target = &*reference.elem;
    if let Some(token) = &reference.mutability {
        let shown = quote!(#target).to_string().replace(' ', "");
        errors.at(
            token,
            format!(
                "a {noun} can't borrow mutably: a borrowed argument is cloned when the runbook is \
                 built, so that a change would be lost\nwrite `&{shown}` for what is there when \
                 the runbook is built, or `{shown}` for an input that can be wired from the output \
                 of an earlier unit"
            ),
        );
    }
    // Another lifetime has to be declared, and is reported there.
    if let Some(lifetime) = &reference.lifetime
        && lifetime.ident == "static"
    {
        errors.at(lifetime, no_lifetime(noun));
    }
    let (kept, capture) = match target {
        Type::Slice(slice) => {
            let item = &slice.elem;
            (
                parse_quote!(::std::vec::Vec<#item>),
                quote! { ::runbook::__macros::capture_slice::<#item> },
            )
        }
        Type::TraitObject(_) | Type::ImplTrait(_) => {
            errors.at(
                target,
                format!(
                    "an argument of a {noun} is cloned when the runbook is built: take a type that \
                     is `Clone`, such as `&Arc<dyn ..>`"
                ),
            );
            return None;
        }
        target => match last_word(target) {
            Some(word) if word == "str" => {
                (parse_quote!(::std::string::String), quote! { ::std::string::String::from })
            }
            Some(word) if word == "Path" => {
                (parse_quote!(::std::path::PathBuf), quote! { ::std::path::PathBuf::from })
            }
            _ => (target.clone(), quote! { ::runbook::__macros::capture::<#target> }),
        },
    };
    let mut whole = reference.clone();
    whole.lifetime = None;
    Some(Mode::Borrowed(Box::new(Borrowed { whole: Type::Reference(whole), kept, capture })))
}

fn no_lifetime(noun: &str) -> String {
    format!(
        "a {noun} names no lifetime: what it borrows is cloned when the runbook is built, and lent \
         to the body; leave the lifetime out"
    )
}

/// `Context` of `runbook::Context`.
pub(crate) fn last_word(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) if path.qself.is_none() => Some(&path.path.segments.last()?.ident),
        _ => None,
    }
}

/// `("Out", T)` of `runbook::Out<T>`.
fn wrapped(ty: &Type) -> Option<(&'static str, &Type)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let word = ["Out", "Input"].into_iter().find(|word| last.ident == word)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        syn::GenericArgument::Type(inner) if arguments.args.len() == 1 => Some((word, inner)),
        _ => None,
    }
}

/// The first type in `Result<..>`, to point at; the whole type if it has another form.
pub(crate) fn ok_type(ty: &Type) -> &Type {
    in_result(ty, 0).unwrap_or(ty)
}

/// The error type in `Result<..>`, to point at; the whole type if it names none.
pub(crate) fn error_type(ty: &Type) -> &Type {
    in_result(ty, 1).unwrap_or(ty)
}

fn in_result(ty: &Type, position: usize) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) if last.ident == "Result" => {
            match arguments.args.iter().nth(position)? {
                syn::GenericArgument::Type(ty) => Some(ty),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether the type is certainly no `Result`, even under another name: those are left to the
/// compiler, which sees through them.
pub(crate) fn is_plain(ty: &Type) -> bool {
    const PLAIN: &[&str] = &[
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16",
        "u32", "u64", "u128", "usize", "String", "PathBuf", "Vec", "Option", "Verdict",
    ];
    match ty {
        Type::Tuple(_) | Type::Reference(_) | Type::Array(_) | Type::Slice(_) => true,
        ty => last_word(ty).is_some_and(|word| PLAIN.iter().any(|plain| word == plain)),
    }
}

/// The spans of the first and the last token, so that what is written between them underlines
/// all of `tokens`.
pub(crate) fn ends(tokens: &impl quote::ToTokens) -> (Span, Span) {
    let mut tokens = tokens.to_token_stream().into_iter();
    let first = tokens.next().map_or_else(Span::call_site, |token| token.span());
    let last = tokens.last().map_or(first, |token| token.span());
    (first, last)
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
