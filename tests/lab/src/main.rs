//! Starts the whole lab for a person to play with; Ctrl-C ends it.

#![expect(clippy::print_stdout, reason = "it is for a person")]

use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).expect("handlers of signals");
    // A shell that is killed takes the lab with it.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));

    let start = Instant::now();
    println!("starting the lab ..");
    let world = lab::World::start();
    println!(
        "it took {:.1} s\n\n{world}\n\nCtrl-C ends everything and removes it",
        start.elapsed().as_secs_f32()
    );
    signals.forever().next();
    println!("\nstopping ..");
    drop(world);
    println!("nothing is left");
}
