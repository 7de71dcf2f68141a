// The worker that corrects copies, with a health route of its own.
import { createServer } from 'node:http';
import { CORRECTIONS, loadEnv, log, openDatabase, openRedis, required } from '@eaf/shared';
import { Worker } from 'bullmq';
import { correct } from './correct.js';

loadEnv();
const { DATABASE_URL, REDIS_URL, WORKER_PORT } = required('DATABASE_URL', 'REDIS_URL', 'WORKER_PORT');
const database = openDatabase(DATABASE_URL);
const connection = openRedis(REDIS_URL, { blocking: true });
const worker = new Worker(CORRECTIONS, (job) => correct(job, database), {
  connection,
  concurrency: 2,
  lockDuration: 5000,
  stalledInterval: 2000,
});
worker.on('completed', (job) => log.info({ job: job.id }, 'corrected'));
worker.on('failed', (job, error) => log.error({ job: job?.id, err: error.message }, 'correction failed'));
worker.on('error', (error) => log.warn({ err: error.message }, 'worker'));

const server = createServer((request, response) => {
  const running = worker.isRunning() && connection.status === 'ready';
  response.writeHead(running ? 200 : 503, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ status: running ? 'ok' : 'error', queue: CORRECTIONS }));
});
server.listen(Number(WORKER_PORT), '127.0.0.1', () => log.info({ port: Number(WORKER_PORT) }, 'working'));

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, async () => {
    log.info({ signal }, 'stopping');
    setTimeout(() => process.exit(0), 2000).unref();
    await worker.close();
    process.exit(0);
  });
}
