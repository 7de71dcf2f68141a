// One correction. The text may ask for trouble: `!fail`, or `!slow 500` for so many milliseconds.
import { readFile } from 'node:fs/promises';

export async function correct(job, database) {
  const { rows } = await database.query('SELECT "id", "file" FROM "Copy" WHERE "id" = $1', [job.data.copy]);
  if (rows.length === 0) throw new Error(`copy ${job.data.copy} does not exist`);
  const text = await readFile(rows[0].file, 'utf8');
  const slow = /!slow (\d+)/.exec(text);
  if (slow) await new Promise((done) => setTimeout(done, Number(slow[1])));
  if (text.includes('!fail')) throw new Error('the language model refused the copy');
  const mark = Math.min(20, text.split(/\s+/).filter(Boolean).length);
  await database.query('UPDATE "Copy" SET "status" = \'corrected\', "mark" = $1 WHERE "id" = $2', [mark, rows[0].id]);
  return { mark };
}
