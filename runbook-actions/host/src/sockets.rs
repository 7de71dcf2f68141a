//! What the kernel says of TCP sockets: `/proc/net/tcp` and `/proc/net/tcp6`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use runbook_core::{Observer, Result};

use crate::machine::Machine;

/// One TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) peer: IpAddr,
    pub(crate) state: &'static str,
    pub(crate) inode: u64,
}

pub(crate) const LISTEN: &str = "listen";

impl Machine {
    /// All TCP sockets of the network that commands there are in.
    pub(crate) async fn sockets(&self, cx: &Observer) -> Result<Vec<Socket>> {
        let paths = ["/proc/net/tcp", "/proc/net/tcp6"];
        let files = self.texts(cx, &paths).await?;
        // The second is missing where there is no IPv6.
        let Some(first) = files.get(paths[0]) else {
            return Err(self.odd("/proc/net/tcp", "it can't be read").failure());
        };
        let second = files.get(paths[1]).map_or("", String::as_str);
        Ok(first.lines().chain(second.lines()).filter_map(parse).collect())
    }
}

/// `sl local rem state tx:rx tr:when retrnsmt uid timeout inode ..`
fn parse(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = endpoint(fields.get(1)?)?;
    let (peer, _) = endpoint(fields.get(2)?)?;
    let state = match *fields.get(3)? {
        "01" => "established",
        "02" => "syn-sent",
        "03" | "0C" => "syn-received",
        "04" => "fin-wait-1",
        "05" => "fin-wait-2",
        "06" => "time-wait",
        "07" => "close",
        "08" => "close-wait",
        "09" => "last-ack",
        "0A" => LISTEN,
        "0B" => "closing",
        _ => return None,
    };
    Some(Socket { address, port, peer, state, inode: fields.get(9)?.parse().ok()? })
}

/// `0100007F:1F90`: words of the address as the processor keeps them, which is little-endian on
/// all that matters.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_le_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at * 8)?.to_le_bytes());
            }
            // What came by IPv4 to a socket of both is one of IPv4.
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families() {
        let four = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0";
        let socket = parse(four).unwrap();
        assert_eq!((socket.address.to_string(), socket.port), ("127.0.0.1".into(), 8080));
        assert_eq!((socket.state, socket.inode), (LISTEN, 4242));
        let six = " 1: 00000000000000000000000001000000:0016 0000000000000000FFFF0000010200C0:C000 01 0:0 00:0 0 0 0 7 1";
        let socket = parse(six).unwrap();
        assert_eq!(socket.address.to_string(), "::1");
        assert_eq!(socket.peer.to_string(), "192.0.2.1");
        assert_eq!(parse("  sl  local_address rem_address   st tx_queue"), None);
    }
}
