// Whether the site can serve: not without the database; degraded without Redis.
import { within } from '@eaf/shared';

export function health({ build, database, redis }) {
  return async (request, response) => {
    const [db, cache] = await Promise.all([
      probe(database.query('SELECT 1')),
      probe(redis.ping()),
    ]);
    const status = db !== 'ok' ? 'error' : cache !== 'ok' ? 'degraded' : 'ok';
    response.status(status === 'error' ? 503 : 200).json({
      status,
      version: build.version,
      commit: build.commit,
      checks: { database: db, redis: cache },
    });
  };
}

async function probe(answer) {
  return within(1500, answer).then(() => 'ok', (error) => error.message || 'unavailable');
}
