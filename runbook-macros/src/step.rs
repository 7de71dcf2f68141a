//! `#[step]`: an async fn becomes a constructor and a `Step`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{ItemFn, Type};

use crate::attribute::{Form, Given, Known, Options};
use crate::errors::Errors;
use crate::signature::{Kind, Unit};
use crate::spans::{at, ends, local, macro_at, this};
use crate::types::{last_word, ok_type};
use crate::unit::bare;

const STEP: Kind = Kind {
    noun: "step",
    capability: "Context",
    foreign: ("Observer", "it is there to change something"),
    returns: "Result<()>",
};

const OPTIONS: &[Known] = &[
    Known { name: "harmless", form: Form::Word, example: "harmless" },
    Known { name: "irreversible", form: Form::Word, example: "irreversible" },
    Known { name: "rollback", form: Form::Path, example: "rollback = Record" },
    Known { name: "before", form: Form::Path, example: "before = a_fn" },
    Known { name: "satisfied", form: Form::Path, example: "satisfied = a_fn" },
    Known { name: "title", form: Form::Text, example: "title = \"Dump {db}\"" },
    Known { name: "preview", form: Form::Texts, example: "preview = \"pg_dump {db}\"" },
    Known { name: "id", form: Form::Text, example: "id = \"dump\"" },
    Known { name: "repeatable", form: Form::Word, example: "repeatable" },
];

/// How the step is undone.
enum Undo<'a> {
    Harmless,
    Irreversible,
    /// A type that implements `Rollback`.
    Record(&'a Type),
    /// Two fns.
    Fns {
        before: &'a Type,
        rollback: &'a Type,
    },
}

pub(crate) fn expand(args: TokenStream, item: &ItemFn) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::parse("step", OPTIONS, args, &mut errors);
    let undo = undo(&options, item, &mut errors);
    let Some(unit) = Unit::parse(item, &STEP, &mut errors) else {
        let (bare, errors) = (bare(item), errors.to_items());
        return quote! { #bare #errors };
    };
    let about = unit.about(&options, &mut errors);
    let ok = errors.is_empty();
    let items = unit.items(ok);
    let attrs = unit.impl_attrs();
    let name = unit.name();

    let returned = unit.returned();
    let (first, last) = ends(ok_type(&returned));
    let open = quote_spanned! {first=> < };
    let close = quote_spanned! {last=> as ::runbook::__macros::Returned>::Ok };
    let output = quote! { type Output = #open #returned #close; };

    if !ok {
        // Enough for the callers to compile, so that only the real errors are shown.
        let rollback = match undo {
            Some(Undo::Irreversible) => quote! { ::runbook::Irreversible },
            _ => quote! { ::runbook::Harmless },
        };
        let errors = errors.to_items();
        return quote! {
            #items
            #attrs
            impl ::runbook::Step for #name {
                #output
                type Rollback = #rollback;
                fn about(&self) -> ::runbook::About { ::core::panic!() }
                async fn run(
                    &self, _: &::runbook::Context
                ) -> ::runbook::Result<Self::Output> { ::core::panic!() }
            }
            #errors
        };
    }

    let rollback = match undo {
        Some(Undo::Irreversible) => quote! { ::runbook::Irreversible },
        Some(Undo::Record(ty)) => quote! { #ty },
        Some(Undo::Fns { .. }) => quote! { ::runbook::__macros::Recorded<#name> },
        Some(Undo::Harmless) | None => quote! { ::runbook::Harmless },
    };
    let (cx, this) = (local("cx"), this());
    let bind = unit.bind(&this, &cx);
    let run = unit.call_body(&this, &cx);
    let satisfied = options.path("satisfied").map(|path| {
        let found = unit.call_named(path, &this, &cx, &[]);
        let found = quote_spanned! {macro_at(path)=> ::runbook::__macros::lift(#found.await) };
        quote! {
            async fn satisfied(
                &self, #cx: &::runbook::Observer
            ) -> ::runbook::Result<::core::option::Option<Self::Output>> {
                #bind
                #found
            }
        }
    });
    let recorded = match undo {
        Some(Undo::Fns { before, rollback }) => recorded(&unit, before, rollback),
        _ => quote!(),
    };
    quote! {
        #items

        #attrs
        impl ::runbook::Step for #name {
            #output
            type Rollback = #rollback;
            #about
            #satisfied

            async fn run(&self, #cx: &::runbook::Context) -> ::runbook::Result<Self::Output> {
                #bind
                #run
            }
        }

        #recorded
    }
}

/// `impl Rollback` from two fns.
fn recorded(unit: &Unit, before: &Type, rollback: &Type) -> TokenStream {
    let name = unit.name();
    let attrs = unit.impl_attrs();
    let (cx, step, record, done) = (local("cx"), local("step"), local("record"), local("done"));
    let bind = unit.bind(&step, &cx);
    let look = unit.call_named(before, &step, &cx, &[]);
    let span = macro_at(before);
    let looked = quote_spanned! {span=> ::runbook::__macros::lift(#look.await)? };
    let new = quote_spanned! {span=> ::runbook::__macros::Recorded::new(&#record) };
    // The closure is never called: it tells the type of the record.
    let this = this();
    let read = quote_spanned! {span=> #this.read(|| #look)? };
    let span = macro_at(rollback);
    let (was, output) = (at(&record, span), at(&done, span));
    let extra = [quote_spanned! {span=> &#was }, quote! { #output }];
    let undo = unit.call_named(rollback, &step, &cx, &extra);
    let undone = quote_spanned! {span=> ::runbook::__macros::lift(#undo.await) };
    quote! {
        #attrs
        impl ::runbook::Rollback<#name> for ::runbook::__macros::Recorded<#name> {
            async fn record(#step: &#name, #cx: &::runbook::Observer) -> ::runbook::Result<Self> {
                #bind
                let #record = #looked;
                #new
            }

            async fn rollback(
                &self,
                #step: &#name,
                #done: ::core::option::Option<&<#name as ::runbook::Step>::Output>,
                #cx: &::runbook::Context,
            ) -> ::runbook::Result<()> {
                #bind
                let #record = #read;
                #undone
            }
        }
    }
}

/// Which rollback word was given; what is missing or too much is reported.
fn undo<'a>(options: &'a Options, item: &ItemFn, errors: &mut Errors) -> Option<Undo<'a>> {
    let name = &item.sig.ident;
    let words = ["harmless", "irreversible", "rollback", "before"];
    let given: Vec<&Given> = words.iter().filter_map(|word| options.get(word)).collect();
    match given.as_slice() {
        [] => {
            errors.at_span(
                Span::call_site(),
                format!(
                    "say how this step is undone; there is no default\n\n\
                     harmless                               nothing has to be undone\n\
                     irreversible                           it can't be undone: it is added with \
                     `irreversible(step, \"why that is acceptable\")`\n\
                     rollback = Record                      a type that implements \
                     `Rollback<{name}>`: what was there before, and how to put it back\n\
                     before = a_fn, rollback = another_fn   the same as two async fns: the first \
                     looks, the second puts back\n\n\
                     for example `#[step(harmless)]`"
                ),
            );
            None
        }
        [one] if one.name == "harmless" => Some(Undo::Harmless),
        [one] if one.name == "irreversible" => Some(Undo::Irreversible),
        [one] if one.name == "before" => {
            errors.at(
                &one.name,
                "`before` only looks: say with `rollback = a_fn` how to put back what it saw",
            );
            None
        }
        [one] => {
            let record = options.path("rollback")?;
            let is_fn = last_word(record)
                .is_some_and(|word| word.to_string().starts_with(|c: char| c.is_lowercase()));
            if is_fn {
                errors.at(
                    record,
                    format!(
                        "alone, `{}` names a type that implements `Rollback<{name}>`\nto undo it \
                         with a fn, say with `before = a_fn` what to note before the step",
                        one.name
                    ),
                );
                return None;
            }
            Some(Undo::Record(record))
        }
        [rollback, before] if rollback.name == "rollback" && before.name == "before" => {
            Some(Undo::Fns { before: options.path("before")?, rollback: options.path("rollback")? })
        }
        [first, others @ ..] => {
            for other in others {
                errors.at(
                    &other.name,
                    format!(
                        "`{}` contradicts `{}`: a step is undone in one way",
                        other.name, first.name
                    ),
                );
            }
            None
        }
    }
}
