//! Runs the server's own programs on its host: `pg_dump`, `pg_restore`, `psql`.

use runbook_core::{Command, Context, Failure, Observer, Output, Result, Secret, Stdin};

use crate::client::Postgres;
use crate::error::Error;

/// Runs a program with a file that holds the password: what comes on standard input, in a file that
/// has no name any more when it is written, and is gone with the last process that has it open.
/// libpq takes no pipe for it. The program and its arguments are those of the script: nothing is put
/// into its text.
pub(crate) const WITH_PASSWORD: &str = r#"
umask 077
PATH=${RUNBOOK_PROGRAMS:+$RUNBOOK_PROGRAMS:}$PATH
if [ "${PGPASSFILE-}" = /proc/self/fd/9 ]; then
    file=$(mktemp "${TMPDIR:-/tmp}/runbook-postgres.XXXXXXXX") || exit 125
    exec 9<>"$file" || exit 125
    rm -f -- "$file"
    cat >&9 || exit 125
fi
exec "$@" </dev/null
"#;

/// A program of the server's, or a script of ours around several, to be run on its host.
pub(crate) struct Program<'a> {
    db: &'a Postgres,
    /// The one that errors are about.
    name: &'static str,
    words: Vec<String>,
    shown: String,
    settings: String,
    application: Option<String>,
    /// Whether it connects to the server, and so is given the password.
    connects: bool,
}

impl<'a> Program<'a> {
    /// The program `name`.
    pub(crate) fn new(db: &'a Postgres, name: &'static str) -> Self {
        let (words, shown) = (vec![name.into()], name.into());
        Self { db, name, words, shown, settings: String::new(), application: None, connects: true }
    }

    /// A shell script whose text is fixed and whose arguments are `$1`, `$2` ..; errors show it as
    /// `shown`.
    pub(crate) fn script(
        db: &'a Postgres,
        name: &'static str,
        script: &'static str,
        args: &[&str],
        shown: impl Into<String>,
    ) -> Self {
        let words = ["sh", "-c", script, "sh"].into_iter().chain(args.iter().copied());
        let words = words.map(str::to_owned).collect();
        Self {
            db,
            name,
            words,
            shown: shown.into(),
            settings: String::new(),
            application: None,
            connects: true,
        }
    }

    /// One more argument.
    pub(crate) fn arg(mut self, arg: impl Into<String>) -> Self {
        let arg = arg.into();
        self.shown = format!("{} {}", self.shown, runbook_core::quote(&arg));
        self.words.push(arg);
        self
    }

    /// Settings of the server for this session, as `-c name=value`.
    pub(crate) fn settings(mut self, settings: impl Into<String>) -> Self {
        self.settings = settings.into();
        self
    }

    /// It looks at files only.
    pub(crate) fn offline(mut self) -> Self {
        self.connects = false;
        self
    }

    /// What it calls itself to the server.
    pub(crate) fn application(mut self, name: String) -> Self {
        self.application = Some(name);
        self
    }

    /// Runs it; its author promises that it changes nothing.
    pub(crate) async fn read(self, cx: &Observer) -> Result<Output> {
        let output = cx.on(self.db.host()).status(&self.command().read_only()).await;
        self.judge(output.map_err(|failure| self.plain(&failure))?)
    }

    /// Runs it.
    pub(crate) async fn run(self, cx: &Context) -> Result<Output> {
        let output = cx.on(self.db.host()).run_unchecked(&self.command()).await;
        self.judge(output.map_err(|failure| self.plain(&failure))?)
    }

    fn command(&self) -> Command {
        let config = self.db.config();
        let password = config.password.as_ref().filter(|_| self.connects);
        let password = password.map_or(Stdin::Empty, |password| {
            // host:port:database:user:password
            let escaped = password.expose().replace('\\', "\\\\").replace(':', "\\:");
            Stdin::Secret(Secret::new(format!("*:*:*:*:{escaped}\n")))
        });
        let mut command = Command::new("sh")
            .args(["-c", WITH_PASSWORD, "sh"])
            .args(&self.words)
            .env("PGHOST", &config.host)
            .env("PGPORT", config.port)
            .env("PGUSER", &config.user)
            .env("PGDATABASE", &config.database)
            .env("PGAPPNAME", self.application.as_ref().unwrap_or(&config.application_name))
            .env("PGCONNECT_TIMEOUT", config.connect_timeout.as_secs().clamp(1, i32::MAX as u64))
            .env("LC_ALL", "C")
            .stdin(password);
        if self.connects && config.password.is_some() {
            command = command.env("PGPASSFILE", "/proc/self/fd/9");
        }
        if config.tls.is_some() {
            command = command.env("PGSSLMODE", "require");
        }
        if let Some(folder) = &config.programs {
            command = command.env("RUNBOOK_PROGRAMS", folder);
        }
        if !self.settings.is_empty() {
            command = command.env("PGOPTIONS", &self.settings);
        }
        command
    }

    /// A failure of running it at all, told of the program and not of the script around it.
    fn plain(&self, failure: &Failure) -> Failure {
        let host = self.db.host();
        let text = failure.to_string();
        let said = text.split_once(&format!("` on {host}: ")).map_or(&*text, |(_, said)| said);
        let plain =
            Failure::new(failure.kind(), said).while_doing(format!("`{}` on {host}", self.shown));
        match failure.to_problem().next {
            Some(next) => plain.next(next),
            None => plain,
        }
    }

    fn judge(&self, output: Output) -> Result<Output> {
        if output.exit.success() {
            return Ok(output);
        }
        let (host, exit) = (self.db.host().name(), output.exit.to_string());
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::of_program(host, self.name, &self.shown, &exit, &said).into_failure())
    }
}
