// Hands in copies of a text, as a student would: node scripts/hand-in.mjs COUNT TEXT
import { mkdir, writeFile } from 'node:fs/promises';
import { CORRECTIONS, loadEnv, openDatabase, openRedis, required } from '@eaf/shared';
import { Queue } from 'bullmq';

loadEnv();
const { DATABASE_URL, REDIS_URL } = required('DATABASE_URL', 'REDIS_URL');
const [count, text] = process.argv.slice(2);
const database = openDatabase(DATABASE_URL);
const connection = openRedis(REDIS_URL);
const queue = new Queue(CORRECTIONS, { connection });
await mkdir('.data/uploads/copies', { recursive: true });
for (let number = 1; number <= Number(count); number += 1) {
  const { rows } = await database.query(
    `INSERT INTO "Copy" ("userId", "title", "file")
     SELECT "id", $1, '' FROM "User" WHERE "role" = 'student' ORDER BY "id" LIMIT 1 RETURNING "id"`,
    [`Copy ${number}`],
  );
  const file = `.data/uploads/copies/${rows[0].id}.txt`;
  await writeFile(file, text);
  await database.query('UPDATE "Copy" SET "file" = $1 WHERE "id" = $2', [file, rows[0].id]);
  await queue.add('correct', { copy: rows[0].id });
}
await queue.close();
connection.disconnect();
await database.end();
