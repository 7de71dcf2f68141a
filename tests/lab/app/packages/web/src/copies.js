// Students' copies, and the queue of their corrections.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { within } from '@eaf/shared';
import { signedIn } from './accounts.js';

const uploads = '.data/uploads/copies';

export function copies(app, { database, queue, secret }) {
  app.post('/api/v1/copies', signedIn(secret), async (request, response) => {
    const { title = 'untitled', text = '' } = request.body ?? {};
    const { rows } = await database.query(
      'INSERT INTO "Copy" ("userId", "title", "file") VALUES ($1, $2, \'\') RETURNING "id"',
      [request.user, title],
    );
    const file = join(uploads, `${rows[0].id}.txt`);
    await mkdir(uploads, { recursive: true });
    await writeFile(file, text);
    await database.query('UPDATE "Copy" SET "file" = $1 WHERE "id" = $2', [file, rows[0].id]);
    const job = await within(2000, queue.add('correct', { copy: rows[0].id }, { attempts: 3, backoff: 200 }));
    response.status(202).json({ id: rows[0].id, job: job.id, status: 'waiting' });
  });

  app.get('/api/v1/copies/:id', signedIn(secret), async (request, response) => {
    const { rows } = await database.query(
      'SELECT "id", "title", "status", "mark" FROM "Copy" WHERE "id" = $1 AND "userId" = $2',
      [Number(request.params.id) || 0, request.user],
    );
    if (rows.length === 0) return response.status(404).json({ error: 'no such copy' });
    response.json(rows[0]);
  });
}
