//! The protocol, in its second version: arrays of bulk strings in, replies out.

use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream,
};

use super::FakeRedis;
use crate::reply::Reply;

/// Answers until the client is gone or the server is stopped.
pub(super) async fn talk(server: FakeRedis, stream: DuplexStream) {
    let (read, mut write) = tokio::io::split(stream);
    let mut read = BufReader::new(read);
    let password = server.world().password.clone();
    let mut let_in = password.is_none();
    while let Some(words) = command(&mut read).await {
        if !server.is_running() {
            return;
        }
        let name = words.first().map(|word| word.to_uppercase()).unwrap_or_default();
        let answer = match (name.as_str(), words.last()) {
            ("AUTH", given) => match &password {
                Some(password) if given == Some(password) => {
                    let_in = true;
                    Ok(Reply::Data(b"OK".to_vec()))
                }
                Some(_) => Err(WRONG_PASSWORD.into()),
                None => Err(NO_PASSWORD.into()),
            },
            _ if !let_in => Err("NOAUTH Authentication required.".into()),
            _ => server.answer(&words),
        };
        let mut out = Vec::new();
        put(&mut out, &answer);
        if write.write_all(&out).await.is_err() {
            return;
        }
    }
}

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the \
                           default user. Are you sure your configuration is correct?";

/// The words of the next command; `None` at the end.
async fn command(read: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<Vec<String>> {
    let count = number(read, b'*').await?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(read, b'$').await?;
        let mut word = vec![0; length + 2];
        read.read_exact(&mut word).await.ok()?;
        word.truncate(length);
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Some(words)
}

async fn number(read: &mut (impl tokio::io::AsyncBufRead + Unpin), sign: u8) -> Option<usize> {
    let mut line = Vec::new();
    read.read_until(b'\n', &mut line).await.ok()?;
    let digits = line.strip_prefix(&[sign])?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn put(out: &mut Vec<u8>, answer: &Result<Reply, String>) {
    match answer {
        Err(why) => {
            out.extend_from_slice(format!("-{}\r\n", why.replace(['\r', '\n'], " ")).as_bytes())
        }
        Ok(Reply::Nil) => out.extend_from_slice(b"$-1\r\n"),
        Ok(Reply::Integer(number)) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
        Ok(Reply::Data(word)) if word == b"OK" || word == b"PONG" => {
            out.push(b'+');
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        Ok(Reply::Data(data)) => {
            out.extend_from_slice(format!("${}\r\n", data.len()).as_bytes());
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
        Ok(Reply::List(parts)) => {
            out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
            parts.iter().for_each(|part| put(out, &Ok(part.clone())));
        }
    }
}
