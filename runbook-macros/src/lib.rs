//! The macros of `runbook`.

mod attribute;
mod check;
mod cmd;
mod docs;
mod errors;
mod param;
mod runbook;
mod step;
mod template;
mod unit;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemFn, parse_macro_input};

/// step
#[proc_macro_attribute]
pub fn step(args: TokenStream, item: TokenStream) -> TokenStream {
    on_fn("step", args, item, step::expand)
}

/// check
#[proc_macro_attribute]
pub fn check(args: TokenStream, item: TokenStream) -> TokenStream {
    on_fn("check", args, item, check::expand)
}

/// runbook
#[proc_macro_attribute]
pub fn runbook(args: TokenStream, item: TokenStream) -> TokenStream {
    on_fn("runbook", args, item, runbook::expand)
}

/// cmd
#[proc_macro]
pub fn cmd(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as cmd::Input);
    shown("cmd", cmd::expand(&input))
}

/// param
#[proc_macro_derive(Param)]
pub fn derive_param(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    shown("derive(Param)", param::expand(&input))
}

fn on_fn(
    attribute: &str,
    args: TokenStream,
    item: TokenStream,
    expand: fn(proc_macro2::TokenStream, &ItemFn) -> proc_macro2::TokenStream,
) -> TokenStream {
    let unchanged = proc_macro2::TokenStream::from(item.clone());
    match syn::parse::<ItemFn>(item) {
        Ok(item) => shown(attribute, expand(args.into(), &item)),
        Err(error) => {
            // The item stays, so that the compiler says what is wrong with its syntax, and nothing
            // that uses it fails as well.
            let error = syn::Error::new(error.span(), format!("`#[{attribute}]` goes on a fn"))
                .to_compile_error();
            quote::quote! { #unchanged #error }.into()
        }
    }
}

/// Prints an expansion to standard error if `RUNBOOK_MACROS_DEBUG` is set.
fn shown(what: &str, expansion: proc_macro2::TokenStream) -> TokenStream {
    if std::env::var_os("RUNBOOK_MACROS_DEBUG").is_some_and(|value| value == "1") {
        use std::io::Write;
        // Not being able to print is no reason to fail the build.
        let _ = writeln!(std::io::stderr(), "// {what}\n{expansion}\n");
    }
    expansion.into()
}
