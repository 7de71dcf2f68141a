//! The example does what it says.
#![allow(missing_docs)]

use std::process::Command;

#[test]
fn events_are_followed_questions_answered_runs_cancelled_and_a_hundred_run_at_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_embed")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "take: 2 seats are taken",
            "take-2 asks: Three more?",
            "take-2: 5 seats are taken",
            "succeeded: 5 seats taken",
            "rolled back: 0 seats taken",
            "of 100 runs 66 succeeded and 34 were rolled back",
        ]
    );
}
