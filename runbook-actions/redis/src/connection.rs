//! [`Connection`]: one connection through a host, and the pool that keeps it for the next unit.

use std::fmt;
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use deadpool_redis::redis::aio::{ConnectionLike as _, MultiplexedConnection};
use deadpool_redis::redis::{
    Arg, AsyncConnectionConfig, Cmd, FromRedisValue, RedisConnectionInfo, Value, cmd,
    from_redis_value,
};
use runbook_core::{BoxStream, Failure, FailureKind, Host, Result};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::client::place;
use crate::config::Config;
use crate::error::{At, Error};

/// Connections that were opened and are free.
pub(crate) type Pool = managed::Pool<Manager>;

/// How many units may talk at the same time.
const AT_MOST: usize = 32;

/// The name under which we show in `CLIENT LIST`.
const NAME: &str = "runbook";

/// One connection through a host. Ends with the value: nothing is left that drives it.
pub(crate) struct Connection {
    multiplexed: MultiplexedConnection,
    driver: JoinHandle<()>,
    place: String,
    user: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(crate) fn pool(host: &Host, config: &Config) -> Pool {
        let manager = Manager { host: host.clone(), config: config.clone() };
        // Built without time limits of its own, for which alone it could fail.
        Pool::builder(manager)
            .max_size(AT_MOST)
            .build()
            .unwrap_or_else(|error| unreachable!("a pool without time limits: {error}"))
    }

    /// Asks; an answer that does not come within `limit` is an error.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd, limit: Duration) -> Result<T> {
        self.try_ask(command, limit).await.map_err(Error::into_failure)
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &Cmd, limit: Duration) -> Result<T, Error> {
        let name = name(command);
        let at = At { place: &self.place, user: &self.user, command: &name };
        let mut connection = self.multiplexed.clone();
        let answer = match timeout(limit, connection.req_packed_command(command)).await {
            Ok(answer) => answer.and_then(Value::extract_error),
            Err(_) => {
                return Err(Error::TimedOut { place: self.place.clone(), command: name, limit });
            }
        };
        let value = answer.map_err(|error| Error::of(&error, at))?;
        from_redis_value(value).map_err(|error| {
            let (place, why) = (self.place.clone(), error.to_string());
            Error::Answer { place, command: name, why }
        })
    }

    async fn open(host: &Host, config: &Config) -> Result<Self> {
        let limit = config.connect_timeout;
        let began = Instant::now();
        let left = || limit.saturating_sub(began.elapsed());
        let unreachable = |why: String| {
            let address = config.address().to_string();
            Error::Unreachable { place: place(host, config), address, why }.into_failure()
        };
        let silent = format!("no answer within {}", humantime::format_duration(limit));
        let stream = timeout(left(), dial(host, config))
            .await
            .map_err(|_| unreachable(silent.clone()))??;
        let stream = timeout(left(), secure(host, config, stream)).await.map_err(|_| {
            // A server that does not speak it waits for the end of what it takes for a command.
            unreachable(format!("{silent} to the TLS handshake; does it speak TLS there?"))
        })??;
        // Who we are and where we want to be is said below: its errors are ours then.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let settings =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let (multiplexed, driver) = MultiplexedConnection::new_with_config(&info, stream, settings)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let this = Self {
            multiplexed,
            driver: tokio::spawn(driver),
            place: place(host, config),
            user: config.who().to_owned(),
        };
        let said = async {
            if let Some(password) = &config.password {
                let mut auth = cmd("AUTH");
                if let Some(user) = &config.user {
                    auth.arg(user);
                }
                this.try_ask::<()>(auth.arg(password.expose()), left()).await?;
            }
            // Also where it is 0: the first answer is the proof that this is a Redis server that
            // lets us in.
            this.try_ask::<()>(cmd("SELECT").arg(config.database), left()).await
        };
        said.await.map_err(|error| match error {
            Error::TimedOut { .. } => unreachable(silent),
            Error::Lost { .. } => unreachable(
                "it hung up at once: it may have no connection left (`maxclients`), or speak \
                 only TLS there"
                    .into(),
            ),
            Error::Answer { .. } => unreachable("what answers there is no Redis server".into()),
            error => error.into_failure(),
        })?;
        // Only for those who look; a user may be forbidden to.
        let _ = this.try_ask::<()>(cmd("CLIENT").arg("SETNAME").arg(NAME), limit).await;
        Ok(this)
    }
}

/// Through the target itself: the pool knows no unit. Whoever waits for the stream stops when its
/// unit is to stop.
async fn dial(host: &Host, config: &Config) -> Result<BoxStream> {
    let address = config.address();
    host.target().connect(&address).await.map_err(|failure| {
        if failure.kind() == FailureKind::Failed {
            let (place, address) = (place(host, config), address.to_string());
            Error::Unreachable { place, address, why: failure.to_string() }.into_failure()
        } else {
            failure
        }
    })
}

/// The same stream, private if that is asked for.
async fn secure(host: &Host, config: &Config, stream: BoxStream) -> Result<BoxStream> {
    let Some(tls) = &config.tls else { return Ok(stream) };
    if config.host.starts_with('/') {
        return Err(Failure::msg("TLS is not spoken over a unix socket")
            .next("leave `tls` out, or configure an address as `host`"));
    }
    let secured = async { Ok(tls.build()?.connect(stream, &config.host).await?.stream) };
    secured.await.map_err(|source| Error::Tls { place: place(host, config), source }.into_failure())
}

/// The words of a command that are no data: `GET`, `CLIENT LIST`.
pub(crate) fn name(command: &Cmd) -> String {
    const WITH_SECOND_WORD: [&str; 10] = [
        "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "MEMORY", "OBJECT", "SCRIPT", "SLOWLOG",
        "XINFO",
    ];
    let mut words = command.args_iter().map(|word| match word {
        Arg::Simple(word) => String::from_utf8_lossy(word).to_uppercase(),
        _ => String::new(),
    });
    let first = words.next().unwrap_or_default();
    match words.next() {
        Some(second) if WITH_SECOND_WORD.contains(&first.as_str()) => format!("{first} {second}"),
        _ => first,
    }
}

/// Opens connections for the pool.
pub(crate) struct Manager {
    host: Host,
    config: Config,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = Failure;

    async fn create(&self) -> Result<Connection> {
        Connection::open(&self.host, &self.config).await
    }

    /// One that does not answer at once is replaced by a new one.
    async fn recycle(&self, old: &mut Connection, _: &Metrics) -> RecycleResult<Failure> {
        // Its driver ends with the server, or with the runtime on which it was opened.
        if old.driver.is_finished() {
            return Err(RecycleError::message("it has ended"));
        }
        const AT_ONCE: Duration = Duration::from_secs(2);
        old.ask::<()>(&cmd("PING"), AT_ONCE).await.map_err(RecycleError::Backend)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("place", &self.place).finish_non_exhaustive()
    }
}
