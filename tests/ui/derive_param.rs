//! Types that are no choice between words.

use runbook::Param;

#[derive(Param)]
#[allow(non_camel_case_types)]
enum Strategy {
    AllAtOnce,
    Rolling { at_once: usize },
    allAtOnce,
}

#[derive(Param)]
struct Release(String);

fn main() {
    let _ = <Strategy as Param>::kind();
}
