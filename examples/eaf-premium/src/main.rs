//! The runbooks of EAF Premium, for its operators: `eaf-premium list` shows them.

use std::process::ExitCode;

fn main() -> ExitCode {
    runbook::cli::main(eaf_premium::catalog())
}
