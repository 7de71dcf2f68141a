//! What only a shell would understand.

use runbook::{Command, cmd};

fn main() {
    let commands: [Command; 10] = [
        cmd!("pg_dump shop | gzip > /var/backups/shop.gz"),
        cmd!("wc -l < list"),
        cmd!("cd /srv && make; make install"),
        cmd!("serve &"),
        cmd!("kill $(cat server.pid)"),
        cmd!("kill `cat server.pid`"),
        cmd!("ls $HOME/*.rs ~/x"),
        cmd!("echo \"it is $(date)\""),
        cmd!("RUST_LOG=debug serve"),
        cmd!(r"ls a\ b"),
    ];
    let _ = commands[0].to_string();
}
