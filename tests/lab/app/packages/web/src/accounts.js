// Login, logout, and who one is.
import { isPassword, newSession, userOf } from '@eaf/shared';

export function accounts(app, { database, secret, secureCookies }) {
  app.get('/login', (request, response) => {
    response.send(`<!doctype html>
<title>EAF: login</title>
<form method="post" action="/login">
  <input type="hidden" name="csrf" value="${request.csrfToken()}">
  <input type="email" name="email" required>
  <input type="password" name="password" required>
  <button>Login</button>
</form>
`);
  });

  app.post('/login', async (request, response) => {
    const { email, password } = request.body ?? {};
    const { rows } = await database.query('SELECT "id", "passwordHash" FROM "User" WHERE "email" = $1', [email]);
    if (rows.length === 0 || !isPassword(String(password), rows[0].passwordHash)) {
      return response.status(401).json({ error: 'wrong email or password' });
    }
    response.cookie('session', newSession(rows[0].id, secret), {
      httpOnly: true,
      sameSite: 'lax',
      secure: secureCookies,
    });
    response.redirect(303, '/');
  });

  app.post('/logout', (request, response) => {
    response.clearCookie('session');
    response.redirect(303, '/login');
  });

  app.get('/', (request, response) => {
    if (userOf(request.cookies.session, secret) === null) return response.redirect(303, '/login');
    response.send(`<!doctype html>
<title>EAF: dashboard</title>
<h1>Dashboard</h1>
<form method="post" action="/logout"><input type="hidden" name="csrf" value="${request.csrfToken()}"><button>Logout</button></form>
`);
  });

  app.get('/api/v1/me', signedIn(secret), async (request, response) => {
    const { rows } = await database.query('SELECT "id", "email", "role" FROM "User" WHERE "id" = $1', [request.user]);
    response.json(rows[0]);
  });
}

export function signedIn(secret) {
  return (request, response, next) => {
    request.user = userOf(request.cookies.session, secret);
    if (request.user === null) return response.status(401).json({ error: 'login first' });
    next();
  };
}
