//! The runbooks of EAF Premium: operate, deploy, back up, restore, and mend what breaks.
//!
//! EAF Premium is a Next.js monolith under PM2, behind Nginx, with PostgreSQL for its data and Redis
//! for a queue of corrections. One host runs all of it; the operator reaches it over SSH. Where that
//! is and what counts as healthy is in `eaf-premium.toml`; see [`Env`].
//!
//! `README.md` shows an operator's day.

mod books;
mod checks;
mod env;
mod files;
mod platform;
mod service;

use runbook::Catalog;

pub use crate::env::Env;

/// The runbooks of this program.
///
/// ```
/// let names: Vec<_> = eaf_premium::catalog().books().map(|book| book.name.clone()).collect();
/// assert!(names.contains(&"deploy".to_owned()));
/// ```
#[must_use]
pub fn catalog() -> Catalog<Env> {
    Catalog::new("eaf-premium")
        .doc("Operates EAF Premium: deploy, back up, restore, and mend what breaks.")
        .version(env!("CARGO_PKG_VERSION"))
        .book::<books::status>()
        .book::<books::start>()
        .book::<books::stop>()
        .book::<books::deploy>()
        .book::<books::verify>()
        .book::<books::return_to>()
        .book::<books::backup>()
        .book::<books::restore>()
        .book::<books::restore_files>()
        .book::<books::quick_plan>()
        .book::<books::many_401>()
        .book::<books::csrf_403>()
        .book::<books::queue_blocked>()
        .book::<books::redis_down>()
        .book::<books::database_slow>()
        .book::<books::release_checklist>()
}
