// Migrations speak to PostgreSQL through the driver, in WebAssembly: no native engine is fetched.
// Prisma looks for native ones all the same; any file stills it.
process.env.PRISMA_SCHEMA_ENGINE_BINARY ??= process.execPath;
process.env.PRISMA_QUERY_ENGINE_LIBRARY ??= process.execPath;
// Nor is the network asked for a newer Prisma.
process.env.CHECKPOINT_DISABLE ??= '1';

import { PrismaPg } from '@prisma/adapter-pg';
import { defineConfig } from 'prisma/config';
import { loadEnv } from '../packages/shared/src/env.js';

loadEnv('../.env');

// Prisma forgets the timer of its wait for the lock, ten seconds, and would stay that much longer.
const { setTimeout } = globalThis;
globalThis.setTimeout = (action, delay, ...rest) => {
  const timer = setTimeout(action, delay, ...rest);
  return delay === 10_000 ? timer.unref() : timer;
};

// Names in PostgreSQL's catalogs have a type of their own, which the adapter does not know.
const [NAME, TEXT] = [19, 25];

class Adapter extends PrismaPg {
  async connect() {
    const connection = await super.connect();
    const perform = connection.performIO.bind(connection);
    connection.performIO = async (query) => {
      const result = await perform(query);
      for (const field of [result].flat().flatMap(({ fields }) => fields)) {
        if (field.dataTypeID === NAME) field.dataTypeID = TEXT;
      }
      return result;
    };
    return connection;
  }
}

export default defineConfig({
  experimental: { adapter: true },
  engine: 'js',
  schema: 'schema.prisma',
  migrations: { path: 'migrations' },
  adapter: async () =>
    new Adapter({
      connectionString: process.env.DIRECT_URL ?? process.env.DATABASE_URL,
      allowExitOnIdle: true, // nor for idle connections
    }),
});
