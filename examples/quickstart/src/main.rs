//! Deploys a release of a small site on this machine, breaks, and puts itself back.
//!
//! ```sh
//! cargo run -p quickstart -- list
//! cargo run -p quickstart -- plan deploy
//! cargo run -p quickstart -- run deploy
//! cargo run -p quickstart -- run deploy --release v3-broken
//! cargo run -p quickstart -- run site-down
//! ```

mod backup;
mod books;
mod checks;
mod env;
mod http;
mod process;
mod release;
mod site;

use std::process::ExitCode;

use runbook::Catalog;

use crate::env::Env;

fn main() -> ExitCode {
    // The site that is deployed is this very program.
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("serve-site")
        && let (Some(release), Some(Ok(port))) = (args.next(), args.next().map(|p| p.parse()))
    {
        return site::serve(release.as_ref(), port);
    }
    runbook::cli::main(catalog())
}

/// The runbooks of this program.
fn catalog() -> Catalog<Env> {
    Catalog::new("quickstart")
        .doc("Deploys a release of a small site on this machine, breaks, and puts itself back.")
        .version(env!("CARGO_PKG_VERSION"))
        .env("here", Env::here())
        .book::<books::deploy>()
        .book::<books::previous>()
        .book::<books::site_down>()
        .book::<books::stop>()
}
