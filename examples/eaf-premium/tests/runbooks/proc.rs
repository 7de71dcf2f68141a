//! What the kernel tells: who listens, and what they are. And what ends them.

use runbook::testing::{CommandCall, FakeTarget, Reply};

use crate::platform::{Platform, SITE};
use crate::posix::{arguments, is_script};

/// Plays `/proc` on `target`: of it only the site's port and who has that.
pub(crate) fn play(target: &FakeTarget, platform: &Platform) {
    type Script = fn(&Platform, &CommandCall) -> String;
    let scripts: [(&'static str, Script); 3] =
        [("printf '\\001%s\\n'", texts), ("ls -l /proc/", holders), ("signal=$1; shift", signal)];
    for (part, script) in scripts {
        let platform = platform.clone();
        target.on(is_script(part)).reply_with(move |call| Reply::stdout(script(&platform, call)));
    }
}

/// Who has the site's port: the site, or the stranger.
fn owner(platform: &Platform) -> Option<u32> {
    let state = platform.state();
    state.stranger.or_else(|| state.apps.get(SITE).and_then(|app| app.pid))
}

/// The texts of files, as one command reads several.
fn texts(platform: &Platform, call: &CommandCall) -> String {
    let owner = owner(platform);
    let text = |path: &str| {
        if path == "/proc/net/tcp" {
            // 0BB8 is port 3000, 0A is listening, 4242 is the socket.
            let line = "0: 0100007F:0BB8 00000000:0000 0A 0:0 0:0 0 0 0 4242 1 0\n";
            return Some(owner.map_or(String::new(), |_| line.to_owned()));
        }
        let pid = owner?;
        let about = path.strip_prefix(&format!("/proc/{pid}/"))?;
        Some(match about {
            "stat" => format!("{pid} (node) S 1 1 1 0 -1 0 0 0 0 0 70 30 0 0 20 0 1 0 555 1000 25"),
            "cmdline" => "/usr/bin/node\0server.js\0".into(),
            _ => "0::/\n".into(),
        })
    };
    let files = arguments(call).into_iter();
    files.filter_map(|path| Some(format!("\u{1}{path}\n{}", text(&path)?))).collect()
}

/// Which process holds which socket.
fn holders(platform: &Platform, _: &CommandCall) -> String {
    match owner(platform) {
        Some(pid) => format!("/proc/{pid}/fd:\nlrwx 1 app app 64 Jan 1 3 -> socket:[4242]\n"),
        None => String::new(),
    }
}

/// Ends processes.
fn signal(platform: &Platform, call: &CommandCall) -> String {
    let mut state = platform.state();
    let told = |pid: &u32| arguments(call).contains(&pid.to_string());
    state.stranger = state.stranger.filter(|pid| !told(pid));
    String::new()
}
