//! Questions about types as they are written.

use syn::{Ident, PathArguments, Type};

/// `Context` of `runbook::Context`.
pub(crate) fn last_word(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) if path.qself.is_none() => Some(&path.path.segments.last()?.ident),
        _ => None,
    }
}

/// `("Out", T)` of `runbook::Out<T>`.
pub(crate) fn wrapped(ty: &Type) -> Option<(&'static str, &Type)> {
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
