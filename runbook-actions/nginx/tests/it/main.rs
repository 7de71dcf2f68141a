//! Against a real nginx.

mod changes;
mod looks;
mod site;
