//! The protocol, version 3: startup, password, simple and extended queries.

use std::collections::HashMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::answers::{Answer, answer, shape};
use super::databases::renaming;
use super::{FakePostgres, FakeRows, Refusal};

const PROTOCOL: u32 = 196_608;
const SSL: u32 = 80_877_103;

/// Answers until the client is gone or the server is stopped.
pub(super) async fn talk(server: FakePostgres, mut stream: DuplexStream) {
    // Every way out of it is an end of the connection.
    let _ = converse(&server, &mut stream).await;
}

async fn converse(server: &FakePostgres, stream: &mut DuplexStream) -> Option<()> {
    let (user, database) = loop {
        let mut start = frame(stream).await?;
        match start.get_u32() {
            SSL => stream.write_all(b"N").await.ok()?,
            PROTOCOL => break names(&mut start),
            // A wish to cancel: what is asked here ends at once.
            _ => return None,
        }
    };
    let mut session = Session {
        server,
        database,
        out: BytesMut::new(),
        state: b'I',
        failed: false,
        renamed: Vec::new(),
    };
    let password = server.world().password.clone();
    if let Some(password) = password {
        session.message(b'R', |out| out.put_u32(3));
        session.flush(stream).await?;
        let (kind, mut given) = message(stream).await?;
        if kind != b'p' || text(&mut given)? != password {
            let why = format!("password authentication failed for user \"{user}\"");
            session.refuse(&Refusal::new("28P01", why));
            return session.flush(stream).await;
        }
    }
    if !server.world().databases.contains_key(&session.database) {
        let why = format!("database \"{}\" does not exist", session.database);
        session.refuse(&Refusal::new("3D000", why));
        return session.flush(stream).await;
    }
    session.message(b'R', |out| out.put_u32(0));
    for (name, value) in [("server_version", "15.14"), ("client_encoding", "UTF8")] {
        session.message(b'S', |out| {
            put_text(out, name);
            put_text(out, value);
        });
    }
    session.message(b'K', |out| out.put_u64(1));
    session.ready();
    session.flush(stream).await?;

    let (mut statements, mut portals) = (HashMap::new(), HashMap::new());
    loop {
        let (kind, mut body) = message(stream).await?;
        if kind == b'X' || !server.is_running() {
            return None;
        }
        // After an error all is passed over up to the next `Sync`.
        if session.failed && kind != b'S' {
            continue;
        }
        match kind {
            b'Q' => session.simple(&text(&mut body)?),
            b'P' => {
                let (name, sql) = (text(&mut body)?, text(&mut body)?);
                statements.insert(name, sql);
                session.message(b'1', |_| {});
            }
            b'D' => {
                let portal = body.get_u8() == b'P';
                let name = text(&mut body)?;
                if portal {
                    let (sql, _): &(String, _) = portals.get(&name)?;
                    session.describe(sql, false);
                } else {
                    session.describe(statements.get(&name)?, true);
                }
            }
            b'B' => {
                let (portal, name) = (text(&mut body)?, text(&mut body)?);
                portals.insert(portal, (statements.get(&name)?.clone(), values(&mut body)?));
                session.message(b'2', |_| {});
            }
            b'E' => {
                let (sql, values) = portals.get(&text(&mut body)?)?;
                session.execute(sql, values);
            }
            b'C' => session.message(b'3', |_| {}),
            b'S' => {
                session.failed = false;
                session.ready();
            }
            b'H' => {}
            other => {
                let what = char::from(other);
                let why = format!("the fake knows no message of the kind {what:?}");
                session.refuse(&Refusal::new("08P01", why));
            }
        }
        if matches!(kind, b'Q' | b'S' | b'H') {
            session.flush(stream).await?;
        }
    }
}

/// The server's side of one connection.
struct Session<'a> {
    server: &'a FakePostgres,
    database: String,
    out: BytesMut,
    /// As `ReadyForQuery` tells it: idle, in a transaction, in one that failed.
    state: u8,
    failed: bool,
    /// What the transaction has renamed so far, from what to what.
    renamed: Vec<(String, String)>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.take_back();
    }
}

impl Session<'_> {
    /// The transaction never happened.
    fn take_back(&mut self) {
        for (from, to) in self.renamed.drain(..).rev() {
            let databases = &mut self.server.world().databases;
            if let Some(database) = databases.remove(&to) {
                databases.insert(from, database);
            }
        }
    }

    fn message(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        let mut content = BytesMut::new();
        body(&mut content);
        self.out.put_u8(kind);
        self.out.put_u32(u32::try_from(content.len() + 4).unwrap_or(u32::MAX));
        self.out.put_slice(&content);
    }

    async fn flush(&mut self, stream: &mut DuplexStream) -> Option<()> {
        let out = self.out.split();
        stream.write_all(&out).await.ok()
    }

    fn ready(&mut self) {
        let state = self.state;
        self.message(b'Z', |out| out.put_u8(state));
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.failed = true;
        if self.state == b'T' {
            self.state = b'E';
        }
        self.message(b'E', |out| {
            for (field, value) in [
                (b'S', "ERROR"),
                (b'V', "ERROR"),
                (b'C', &*refusal.code),
                (b'M', &*refusal.message),
            ] {
                out.put_u8(field);
                put_text(out, value);
            }
            out.put_u8(0);
        });
    }

    /// Several statements, up to the first that is refused.
    fn simple(&mut self, script: &str) {
        for sql in script.split(';').map(str::trim).filter(|sql| !sql.is_empty()) {
            match self.run(sql, &[]) {
                Ok(Answer::Rows(rows)) => {
                    self.columns(&rows);
                    self.rows(&rows);
                }
                Ok(Answer::Done(tag)) => self.complete(&tag),
                Err(refusal) => {
                    self.refuse(&refusal);
                    break;
                }
            }
        }
        self.failed = false;
        self.ready();
    }

    fn describe(&mut self, sql: &str, parameters: bool) {
        match shape(self.server, &self.database, sql) {
            Err(refusal) => self.refuse(&refusal),
            Ok(shape) => {
                if parameters {
                    let count = parameters_of(sql);
                    self.message(b't', |out| {
                        out.put_u16(count);
                        (0..count).for_each(|_| out.put_u32(25));
                    });
                }
                match shape {
                    Some(rows) => self.columns(&rows),
                    None => self.message(b'n', |_| {}),
                }
            }
        }
    }

    fn execute(&mut self, sql: &str, values: &[Option<String>]) {
        match self.run(sql, values) {
            Ok(Answer::Rows(rows)) => self.rows(&rows),
            Ok(Answer::Done(tag)) => self.complete(&tag),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn run(&mut self, sql: &str, values: &[Option<String>]) -> Result<Answer, Refusal> {
        let first = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
        let ends = matches!(first.as_str(), "ROLLBACK" | "COMMIT");
        if self.state == b'E' && !ends {
            let why = "current transaction is aborted, commands ignored until end of transaction \
                       block";
            return Err(Refusal::new("25P02", why));
        }
        if ends {
            if first == "COMMIT" && self.state != b'E' {
                self.renamed.clear();
            }
            self.take_back();
            self.state = b'I';
        } else if first == "BEGIN" {
            self.state = b'T';
        }
        let answer = answer(self.server, &self.database, sql, values);
        if let (b'T', Ok(_), Some(names)) = (self.state, &answer, renaming(sql)) {
            self.renamed.push(names);
        }
        answer
    }

    fn columns(&mut self, rows: &FakeRows) {
        self.message(b'T', |out| {
            out.put_u16(u16::try_from(rows.columns.len()).unwrap_or(u16::MAX));
            for (name, kind) in &rows.columns {
                put_text(out, name);
                // Of no table; type, its size and modifier are not looked at; binary.
                out.put_u32(0);
                out.put_u16(0);
                out.put_u32(kind.oid());
                out.put_i16(-1);
                out.put_i32(-1);
                out.put_u16(1);
            }
        });
    }

    fn rows(&mut self, rows: &FakeRows) {
        for row in &rows.rows {
            self.message(b'D', |out| {
                out.put_u16(u16::try_from(row.len()).unwrap_or(u16::MAX));
                for (value, (_, kind)) in row.iter().zip(&rows.columns) {
                    value.put(*kind, out);
                }
            });
        }
        self.complete(&format!("SELECT {}", rows.rows.len()));
    }

    fn complete(&mut self, tag: &str) {
        self.message(b'C', |out| put_text(out, tag));
    }
}

/// A message without its length.
async fn frame(stream: &mut DuplexStream) -> Option<Bytes> {
    let length = stream.read_u32().await.ok()?;
    let mut body = vec![0; usize::try_from(length.checked_sub(4)?).ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some(body.into())
}

async fn message(stream: &mut DuplexStream) -> Option<(u8, Bytes)> {
    let kind = stream.read_u8().await.ok()?;
    Some((kind, frame(stream).await?))
}

/// The user and the database, which is called as the user where none is named.
fn names(start: &mut Bytes) -> (String, String) {
    let mut values = HashMap::new();
    while let (Some(name), Some(value)) = (text(start), text(start)) {
        values.insert(name, value);
    }
    let user = values.remove("user").unwrap_or_default();
    let database = values.remove("database").unwrap_or_else(|| user.clone());
    (user, database)
}

/// A text up to its zero byte.
fn text(from: &mut Bytes) -> Option<String> {
    let end = from.iter().position(|byte| *byte == 0)?;
    let text = from.split_to(end);
    from.advance(1);
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

/// The parameters of a `Bind`, which all come as text.
fn values(body: &mut Bytes) -> Option<Vec<Option<String>>> {
    let formats = body.try_get_u16().ok()?;
    body.advance(usize::from(formats) * 2);
    let count = body.try_get_u16().ok()?;
    let mut values = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let length = body.try_get_i32().ok()?;
        values.push(match usize::try_from(length) {
            Ok(length) => Some(String::from_utf8_lossy(&body.split_to(length)).into_owned()),
            Err(_) => None,
        });
    }
    Some(values)
}

/// How many parameters a statement has: the highest number after a `$`.
fn parameters_of(sql: &str) -> u16 {
    let numbers = sql.split('$').skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse::<u16>().ok()
    });
    numbers.max().unwrap_or(0)
}
