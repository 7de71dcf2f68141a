//! [`Unit`]: a fn that is to become a step or a check, read and checked.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{FnArg, Ident, ItemFn, Pat, ReturnType, Type, TypeReference, parse_quote};

use crate::docs::Docs;
use crate::errors::Errors;
use crate::types::{is_plain, last_word, wrapped};

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
    pub(crate) whole: Type,
    /// What the field holds: `String` for `str`.
    pub(crate) kept: Type,
    /// The fn that makes it.
    pub(crate) capture: TokenStream,
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
