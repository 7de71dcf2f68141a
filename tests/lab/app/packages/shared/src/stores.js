// PostgreSQL and Redis.
import Redis from 'ioredis';
import pg from 'pg';
import { log } from './log.js';

export function openDatabase(url) {
  const pool = new pg.Pool({ connectionString: url, max: 4, connectionTimeoutMillis: 2000 });
  pool.on('error', (error) => log.warn({ err: error.message }, 'database connection lost'));
  return pool;
}

// `blocking` is for a worker: it waits for jobs as long as it takes.
export function openRedis(url, { blocking = false } = {}) {
  const redis = new Redis(url, {
    maxRetriesPerRequest: blocking ? null : 1,
    connectTimeout: 2000,
    retryStrategy: (times) => Math.min(50 * times, 500),
  });
  let told = false;
  redis.on('ready', () => (told = false));
  redis.on('error', (error) => {
    if (!told) log.warn({ err: error.message }, 'redis unavailable');
    told = true;
  });
  return redis;
}

// What `promise` gives, or an error after `ms` milliseconds.
export function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
