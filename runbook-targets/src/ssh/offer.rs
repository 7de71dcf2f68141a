//! What a server offers: [`Offer`]. libssh2 says that a handshake failed, but not over what.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// A server's first packet is a few KiB at most.
const LIMIT: usize = 64 * 1024;
const KEXINIT: u8 = 20;

/// The algorithms that a server offers, as it names them before anything is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) kex: Vec<String>,
    pub(crate) host_keys: Vec<String>,
    pub(crate) ciphers: Vec<String>,
    pub(crate) macs: Vec<String>,
}

impl Offer {
    /// Reads it from a new connection, which is of no use afterwards. Blocks for as long as the
    /// stream does.
    ///
    /// # Errors
    /// The other side ends, or does not speak SSH.
    pub(crate) fn read(stream: &mut (impl Read + Write)) -> Result<Self> {
        stream.write_all(b"SSH-2.0-runbook\r\n")?;
        let mut left = LIMIT;
        // Lines of greeting may come before the one that counts.
        while !line(stream, &mut left)?.starts_with(b"SSH-") {}
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let [a, b, c, d, padding] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let payload = length.checked_sub(usize::from(padding) + 1);
        let payload = payload.filter(|payload| *payload <= LIMIT).ok_or_else(garbage)?;
        let mut payload = vec![0; payload];
        stream.read_exact(&mut payload)?;
        parse(&payload).ok_or_else(garbage)
    }
}

fn line(stream: &mut impl Read, left: &mut usize) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        *left = left.checked_sub(1).ok_or_else(garbage)?;
        // One by one: what follows is for others to read.
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok(line);
        }
        line.push(byte[0]);
    }
}

fn parse(payload: &[u8]) -> Option<Offer> {
    // The type, and a cookie of 16 bytes.
    let mut rest = payload.strip_prefix(&[KEXINIT])?.get(16..)?;
    let mut list = || {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (names, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = tail;
        let names = std::str::from_utf8(names).ok()?;
        Some(names.split(',').map(str::to_owned).collect::<Vec<_>>())
    };
    let (mut kex, host_keys) = (list()?, list()?);
    // Signs of what else the server can do, put where old clients pass over them.
    kex.retain(|name| !name.starts_with("kex-strict-") && !name.starts_with("ext-info-"));
    let (ciphers, _from_server) = (list()?, list()?);
    Some(Offer { kex, host_keys, ciphers, macs: list()? })
}

fn garbage() -> Error {
    Error::new(ErrorKind::InvalidData, "what the other side says is not SSH")
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::net::TcpStream;

    use super::*;

    /// Takes what is written, and reads what was given.
    struct Script(Cursor<Vec<u8>>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn of(bytes: Vec<u8>) -> Result<Offer> {
        Offer::read(&mut Script(Cursor::new(bytes)))
    }

    #[test]
    fn a_real_server_says_what_it_offers() {
        let sshd = lab::Sshd::builder()
            .config("KexAlgorithms curve25519-sha256\nCiphers aes256-ctr\nMACs hmac-sha2-512")
            .start();
        let offer = Offer::read(&mut TcpStream::connect(sshd.addr()).unwrap()).unwrap();
        assert_eq!(offer.kex, ["curve25519-sha256"]);
        assert_eq!(offer.host_keys, ["ssh-ed25519"]);
        assert_eq!(offer.ciphers, ["aes256-ctr"]);
        assert_eq!(offer.macs, ["hmac-sha2-512"]);
    }

    #[test]
    fn what_is_not_ssh_is_an_error_and_takes_no_memory() {
        let not_ssh = |bytes: &[u8]| of(bytes.to_vec()).unwrap_err().kind();
        assert_eq!(not_ssh(b""), ErrorKind::UnexpectedEof);
        assert_eq!(not_ssh(b"HTTP/1.1 400 Bad Request\r\n"), ErrorKind::UnexpectedEof);
        assert_eq!(not_ssh(&[b'x'; LIMIT + 1]), ErrorKind::InvalidData);
        assert_eq!(not_ssh(&b"\n".repeat(LIMIT + 1)), ErrorKind::InvalidData);
        assert_eq!(not_ssh(b"SSH-2.0-x\r\n\xff\xff\xff\xff\x04"), ErrorKind::InvalidData);
        assert_eq!(not_ssh(b"SSH-2.0-x\r\n\0\0\0\x01\x04"), ErrorKind::InvalidData);
        assert_eq!(not_ssh(b"SSH-2.0-x\r\n\0\0\0\x06\x04\x15"), ErrorKind::InvalidData);
    }

    proptest::proptest! {
        #[test]
        fn no_packet_makes_it_panic(payload: Vec<u8>) {
            parse(&payload);
            parse(&[&[KEXINIT; 17], &payload[..]].concat());
        }
    }
}
