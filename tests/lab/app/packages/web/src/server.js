// The site: pages, API and health.
import { readFileSync } from 'node:fs';
import { CORRECTIONS, loadEnv, log, openDatabase, openRedis, required } from '@eaf/shared';
import { Queue } from 'bullmq';
import { createApp } from './app.js';

loadEnv();
const { DATABASE_URL, REDIS_URL, SESSION_SECRET, PORT } = required(
  'DATABASE_URL',
  'REDIS_URL',
  'SESSION_SECRET',
  'PORT',
);
const build = JSON.parse(readFileSync(new URL('build.json', import.meta.url), 'utf8'));
const database = openDatabase(DATABASE_URL);
const redis = openRedis(REDIS_URL);
const queue = new Queue(CORRECTIONS, { connection: redis });
queue.on('error', () => {}); // told by the connection

const app = createApp({
  build,
  database,
  redis,
  queue,
  secret: SESSION_SECRET,
  secureCookies: process.env.COOKIE_SECURE === 'true',
  maxUpload: Number(process.env.MAX_UPLOAD_SIZE_MB ?? 5) * 1024 * 1024,
});
const server = app.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) {
    log.error({ err: error.message, port: Number(PORT) }, 'cannot listen');
    process.exit(1);
  }
  log.info({ port: Number(PORT), ...build }, 'listening');
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    log.info({ signal }, 'stopping');
    server.close(() => process.exit(0));
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 2000).unref();
  });
}
