//! What the user's ssh configuration says about a host: [`Lookup::resolve`].
//!
//! `ssh -G` is asked, because nothing else agrees with `ssh` on `Match`, `Include` and the order of
//! it all. What it leaves to be expanded (`~`, `%h` and so on in `IdentityFile` and `ProxyCommand`)
//! is expanded here; what only `ssh` can know (home, local names, `%C`) it is asked for in the same
//! call.

mod tokens;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use runbook_core::{During as _, Failure, FailureKind, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::OnceCell;

use self::tokens::Tokens;

/// A `Match exec` may ask the network; it may not hang forever.
const PATIENCE: Duration = Duration::from_secs(30);
/// Far more than any configuration of a host.
const LIMIT: u64 = 1 << 20;
/// A jump host may have a jump host; more than this many go in a circle.
const HOPS: usize = 16;

/// A host as the user names it.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    /// `host`, `user@host`, or an alias of the configuration.
    pub(crate) name: String,
    /// Instead of the user's own configuration; `none` is a name for no file.
    pub(crate) config: Option<PathBuf>,
    /// Instead of what the configuration says.
    pub(crate) user: Option<String>,
    /// Instead of what the configuration says.
    pub(crate) port: Option<u16>,
}

/// How to reach a host, and whom to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// As the user named it, without a user.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    /// The files of private keys, expanded.
    pub(crate) identity_files: Vec<PathBuf>,
    /// Somebody wrote those down; otherwise they are the ones that ssh looks for.
    pub(crate) identities_chosen: bool,
    /// Keys of the agent are used only if they are those of the files.
    pub(crate) identities_only: bool,
    /// The agent's socket.
    pub(crate) agent: Option<PathBuf>,
    /// The host to go through, which may have one of its own.
    pub(crate) jump: Option<Box<Resolved>>,
    /// The command whose standard streams are the connection, expanded; for `sh -c`.
    pub(crate) proxy_command: Option<String>,
    pub(crate) user_known_hosts: Vec<PathBuf>,
    pub(crate) global_known_hosts: Vec<PathBuf>,
    /// The name to look up among the known hosts, instead of host and port.
    pub(crate) host_key_alias: Option<String>,
    /// A list of keys that must not be trusted.
    pub(crate) revoked_host_keys: Option<PathBuf>,
    /// As configured; what is done is up to the policy that the code names.
    pub(crate) strict_host_key_checking: String,
    pub(crate) hash_known_hosts: bool,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) alive_interval: Option<Duration>,
    pub(crate) alive_count: u32,
    pub(crate) public_key_authentication: bool,
    pub(crate) password_authentication: bool,
    pub(crate) keyboard_interactive: bool,
    /// The algorithms that somebody chose; `None` for the usual ones.
    pub(crate) ciphers: Option<String>,
    pub(crate) host_key_algorithms: Option<String>,
    pub(crate) kex_algorithms: Option<String>,
    pub(crate) macs: Option<String>,
}

impl Lookup {
    /// Asks `ssh -G`, and again for each jump host.
    ///
    /// # Errors
    /// `ssh` is missing, refuses the configuration or does not answer; jump hosts go in a circle.
    pub(crate) async fn resolve(&self) -> Result<Resolved> {
        self.resolve_with(Ssh { program: Path::new("ssh"), patience: PATIENCE }).await
    }

    async fn resolve_with(&self, ssh: Ssh<'_>) -> Result<Resolved> {
        let doing = || format!("reading the ssh configuration of `{}`", self.name);
        // Hops are resolved from here backwards, each by the one that goes through it.
        let mut hops: Vec<Resolved> = Vec::new();
        let mut lookup = self.clone();
        let mut through: Option<String> = None;
        loop {
            let answer = lookup.ask(ssh, through.as_deref()).await.during(doing())?;
            let usual = usual(ssh).await.during(doing())?;
            let (resolved, jump) = answer.read(&lookup.name, usual).during(doing())?;
            hops.push(resolved);
            let Some(jump) = jump else { break };
            if hops.len() > HOPS {
                let way: Vec<_> = hops.iter().map(|hop| hop.name.as_str()).collect();
                return Err(Failure::msg(format!(
                    "its jump hosts go in a circle: {}",
                    way.join(" through ")
                ))
                .while_doing(doing())
                .next("give the jump host itself `ProxyJump none` in the ssh configuration"));
            }
            let (before, last) = match jump.rsplit_once(',') {
                Some((before, last)) => (Some(before.to_owned()), last),
                None => (None, jump.as_str()),
            };
            lookup = hop(last, self.config.clone());
            through = before;
        }
        let mut jump = None;
        while let Some(mut resolved) = hops.pop() {
            resolved.jump = jump.map(Box::new);
            jump = Some(resolved);
        }
        jump.ok_or_else(|| Failure::msg("no host was named").while_doing(doing()))
    }

    async fn ask(&self, ssh: Ssh<'_>, through: Option<&str>) -> Result<Answer> {
        let host = self.name.rsplit_once('@').map_or(self.name.as_str(), |(_, host)| host);
        if host.is_empty() || host.starts_with('-') || self.name.contains(['\n', '\0']) {
            return Err(Failure::msg("that is no name of a host"));
        }
        let mut command = Command::new(ssh.program);
        command.arg("-G");
        if let Some(config) = &self.config {
            command.arg("-F").arg(config);
        }
        if let Some(user) = &self.user {
            command.arg("-l").arg(user);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        if let Some(through) = through {
            command.args(["-J", through]);
        }
        // No control socket is used, so its path is free to carry what only ssh knows.
        command.args(["-o", "ControlPath=%C:%u:%l:%L:%d", "--", &self.name]);
        Answer::of(command, ssh.patience).await
    }
}

/// The program to ask, and how long to wait for it.
#[derive(Clone, Copy)]
struct Ssh<'a> {
    program: &'a Path,
    patience: Duration,
}

/// `user@host:port`, as `ssh -G` prints the hops of a `ProxyJump`.
fn hop(text: &str, config: Option<PathBuf>) -> Lookup {
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, text),
    };
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match rest.rsplit_once(':') {
            // More than one colon: an address without a port.
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            _ => (rest, None),
        },
    };
    let port = port.and_then(|port| port.parse().ok());
    Lookup { name: host.to_owned(), config, user, port }
}

/// What `ssh -G` says without any configuration: nobody chose that.
async fn usual(ssh: Ssh<'_>) -> Result<&'static Answer> {
    static USUAL: OnceCell<Answer> = OnceCell::const_new();
    USUAL
        .get_or_try_init(|| {
            let mut command = Command::new(ssh.program);
            command.args(["-G", "-F", "none", "--", "localhost"]);
            Answer::of(command, ssh.patience)
        })
        .await
}

/// What `ssh -G` printed: keywords in lower case, each with its values.
#[derive(Debug)]
struct Answer(HashMap<String, Vec<String>>);

/// Ends `ssh` with what its `Match exec` started, if nobody waits for it any more.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            // It may have ended by itself just now.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Answer {
    async fn of(mut command: Command, patience: Duration) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().map_err(missing)?;
        let mut group = Group(child.id());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let all = async { tokio::try_join!(read(out), read(err), child.wait()) };
        let (out, err, status) = match tokio::time::timeout(patience, all).await {
            Ok(done) => done.during("running `ssh -G`")?,
            Err(_) => {
                return Err(Failure::new(
                    FailureKind::TimedOut,
                    format!("`ssh -G` did not answer within {} s", patience.as_secs()),
                )
                .next("look for a `Match exec` in the ssh configuration that hangs"));
            }
        };
        group.0 = None;
        if !status.success() {
            let said = String::from_utf8_lossy(&err);
            return Err(Failure::msg(format!(
                "`ssh -G` said: {}",
                said.trim().replace('\n', "; ")
            ))
            .next("correct the ssh configuration, or give host, user and port explicitly"));
        }
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        for line in String::from_utf8_lossy(&out).lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            values.entry(keyword.to_ascii_lowercase()).or_default().push(value.to_owned());
        }
        Ok(Self(values))
    }

    fn get(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).and_then(|values| values.first()).map(String::as_str)
    }

    fn all(&self, keyword: &str) -> &[String] {
        self.0.get(keyword).map_or(&[], Vec::as_slice)
    }

    fn is_on(&self, keyword: &str, otherwise: bool) -> bool {
        self.get(keyword).map_or(otherwise, |value| !matches!(value, "no" | "false" | "off"))
    }

    fn seconds(&self, keyword: &str) -> Option<Duration> {
        let seconds = self.get(keyword)?.parse().ok().filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds))
    }

    /// The value, unless it is the one that nobody chose.
    fn chosen(&self, keyword: &str, usual: &Self) -> Option<String> {
        let value = self.get(keyword)?;
        (usual.get(keyword) != Some(value)).then(|| value.to_owned())
    }

    fn some(&self, keyword: &str) -> Option<&str> {
        self.get(keyword).filter(|value| !value.eq_ignore_ascii_case("none"))
    }

    /// The host, and the hops before it as they stand in `ProxyJump`.
    fn read(&self, name: &str, usual: &Self) -> Result<(Resolved, Option<String>)> {
        let must = |keyword: &str| {
            self.get(keyword).map(str::to_owned).ok_or_else(|| {
                Failure::msg(format!("`ssh -G` said nothing of `{keyword}`"))
                    .next("give host, user and port explicitly")
            })
        };
        let name = name.rsplit_once('@').map_or(name, |(_, host)| host);
        let name = self.get("host").unwrap_or(name).to_owned();
        let (host, user) = (must("hostname")?, must("user")?);
        let port = must("port")?;
        let port = port.parse().during(format!("reading the port `{port}`"))?;
        let jump = self.some("proxyjump").map(str::to_owned);
        let tokens = Tokens::new(self, &name, &host, port, &user, jump.as_deref());
        let identity_files = self
            .all("identityfile")
            .iter()
            .filter(|file| !file.eq_ignore_ascii_case("none"))
            .map(|file| tokens.path(file).during(format!("expanding `IdentityFile {file}`")))
            .collect::<Result<_>>()?;
        let proxy_command = self
            .some("proxycommand")
            .map(|line| tokens.text(line).during(format!("expanding `ProxyCommand {line}`")))
            .transpose()?;
        let resolved = Resolved {
            identity_files,
            identities_chosen: self.all("identityfile") != usual.all("identityfile"),
            identities_only: self.is_on("identitiesonly", false),
            agent: agent(self.get("identityagent")),
            jump: None,
            proxy_command,
            user_known_hosts: paths(self.get("userknownhostsfile")),
            global_known_hosts: paths(self.get("globalknownhostsfile")),
            host_key_alias: self.some("hostkeyalias").map(str::to_owned),
            revoked_host_keys: self.some("revokedhostkeys").map(PathBuf::from),
            strict_host_key_checking: must("stricthostkeychecking")?,
            hash_known_hosts: self.is_on("hashknownhosts", false),
            connect_timeout: self.seconds("connecttimeout"),
            alive_interval: self.seconds("serveraliveinterval"),
            alive_count: self
                .get("serveralivecountmax")
                .and_then(|count| count.parse().ok())
                .unwrap_or(3),
            public_key_authentication: self.is_on("pubkeyauthentication", true),
            password_authentication: self.is_on("passwordauthentication", true),
            keyboard_interactive: self.is_on("kbdinteractiveauthentication", true),
            ciphers: self.chosen("ciphers", usual),
            host_key_algorithms: self.chosen("hostkeyalgorithms", usual),
            kex_algorithms: self.chosen("kexalgorithms", usual),
            macs: self.chosen("macs", usual),
            name,
            host,
            port,
            user,
        };
        Ok((resolved, jump))
    }
}

impl Resolved {
    /// A host of which all is known, so that no `ssh` is asked.
    pub(crate) fn explicit(host: &str, port: u16, user: &str) -> Self {
        let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/"));
        let ours = |file: &str| home.join(".ssh").join(file);
        let system = |file: &str| Path::new("/etc/ssh").join(file);
        Self {
            name: host.to_owned(),
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            identity_files: ["id_rsa", "id_ecdsa", "id_ed25519"].map(ours).into(),
            identities_chosen: false,
            identities_only: false,
            agent: agent(None),
            jump: None,
            proxy_command: None,
            user_known_hosts: ["known_hosts", "known_hosts2"].map(ours).into(),
            global_known_hosts: ["ssh_known_hosts", "ssh_known_hosts2"].map(system).into(),
            host_key_alias: None,
            revoked_host_keys: None,
            strict_host_key_checking: "yes".to_owned(),
            hash_known_hosts: false,
            connect_timeout: None,
            alive_interval: None,
            alive_count: 3,
            public_key_authentication: true,
            password_authentication: true,
            keyboard_interactive: true,
            ciphers: None,
            host_key_algorithms: None,
            kex_algorithms: None,
            macs: None,
        }
    }
}

/// The socket that `IdentityAgent` names.
fn agent(configured: Option<&str>) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match configured {
        None | Some("SSH_AUTH_SOCK") => variable("SSH_AUTH_SOCK").map(PathBuf::from),
        Some(value) if value.eq_ignore_ascii_case("none") => None,
        Some(value) => match value.strip_prefix('$') {
            Some(name) if !name.starts_with('{') => variable(name).map(PathBuf::from),
            _ => Some(PathBuf::from(value)),
        },
    }
}

/// Paths as `ssh -G` prints them: between blanks, although they may have some themselves. All are
/// absolute, so a word that is not goes to the one before.
fn paths(line: Option<&str>) -> Vec<PathBuf> {
    let mut found: Vec<String> = Vec::new();
    for word in line.unwrap_or_default().split(' ') {
        match found.last_mut() {
            Some(last) if !word.starts_with('/') && word != "none" => {
                last.push(' ');
                last.push_str(word);
            }
            _ => found.push(word.to_owned()),
        }
    }
    found.retain(|path| !path.is_empty() && !path.eq_ignore_ascii_case("none"));
    found.into_iter().map(PathBuf::from).collect()
}

fn missing(error: std::io::Error) -> Failure {
    Failure::from(error).while_doing("starting `ssh -G`").next(
        "install OpenSSH's client (`apt-get install openssh-client`), or give host, user and port \
         explicitly",
    )
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        (&mut stream).take(LIMIT).read_to_end(&mut bytes).await?;
        // What is too much is read all the same, or it would never end.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
