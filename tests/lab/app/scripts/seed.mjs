// A student, a teacher and some documents; harmless when they are there already.
import { hashPassword, loadEnv, openDatabase, required } from '@eaf/shared';

loadEnv();
const { DATABASE_URL } = required('DATABASE_URL');
const pool = openDatabase(DATABASE_URL);
const users = [
  ['student@example.org', 'student', process.env.SEED_PASSWORD ?? 'les-fleurs-du-mal'],
  ['teacher@example.org', 'teacher', process.env.SEED_PASSWORD ?? 'les-fleurs-du-mal'],
];
for (const [email, role, password] of users) {
  await pool.query(
    'INSERT INTO "User" ("email", "role", "passwordHash") VALUES ($1, $2, $3) ON CONFLICT DO NOTHING',
    [email, role, hashPassword(password)],
  );
}
await pool.query(
  `INSERT INTO "Document" ("title", "content")
   SELECT title, content FROM (VALUES
     ('Les Fleurs du mal', 'Charles Baudelaire, poésie, 1857'),
     ('Le Rouge et le Noir', 'Stendhal, roman, 1830'),
     ('Juste la fin du monde', 'Jean-Luc Lagarce, théâtre, 1990')) AS new (title, content)
   WHERE NOT EXISTS (SELECT 1 FROM "Document")`,
);
await pool.end();
