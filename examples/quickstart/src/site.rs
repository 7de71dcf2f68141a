//! The small site that is deployed: a real process that serves HTTP from a release folder.
//!
//! It is started as `quickstart serve-site RELEASE_DIR PORT`. A release is a folder with an
//! `index.html` and a `site.conf`; the site answers `/` with the page and `/health` with its
//! release, or with status 500 if its `site.conf` says `database = unreachable`.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;

/// Serves until it is killed.
pub(crate) fn serve(release: &Path, port: u16) -> ExitCode {
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => listener,
        Err(error) => {
            log(&format!("can't listen on 127.0.0.1:{port}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    log(&format!("serving {} on 127.0.0.1:{port}", release.display()));
    for stream in listener.incoming().flatten() {
        if let Err(error) = answer(stream, release) {
            log(&error.to_string());
        }
    }
    ExitCode::SUCCESS
}

fn answer(mut stream: TcpStream, release: &Path) -> std::io::Result<()> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    let mut request = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut request)?;
    let name = release.file_name().unwrap_or_default().to_string_lossy();
    let conf = std::fs::read_to_string(release.join("site.conf"))?;
    let (status, body) = match request.split(' ').nth(1) {
        Some("/health") if conf.contains("database = unreachable") => {
            ("500 Internal Server Error", format!("{name}: can't reach the database"))
        }
        Some("/health") => ("200 OK", name.into_owned()),
        Some("/") => ("200 OK", std::fs::read_to_string(release.join("index.html"))?),
        _ => ("404 Not Found", "no such page".into()),
    };
    log(&format!("{} -> {status}", request.trim()));
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// To standard output, which is the site's log file.
fn log(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
