//! A secret as an argument, visible to everybody on the host.

use runbook::{Secret, cmd};

fn main() {
    let password = Secret::new("hunter2hunter2");
    let passwords = vec![password.clone()];
    let _ = cmd!("mysqldump --password={password} shop");
    let _ = cmd!("login {password}");
    let _ = cmd!("login {passwords...}");
    let _ = cmd!("login {word}", word = password);
}
